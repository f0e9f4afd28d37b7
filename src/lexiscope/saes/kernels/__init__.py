"""The arithmetic that costs time, as plain functions over tensors: select and encode, decode, and their gradients.

Nothing here knows what an autoencoder is. Every function is written with stock torch operators, never forms a
[tokens, latents] matrix for a whole batch, and has a dense oracle in ``tests/saes``.
"""

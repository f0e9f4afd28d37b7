"""Planted models: language models in which one behaviour was planted by training, each with a clean twin.

What is planted is drawn from a seed (`plants`, one file each), written as text (`pages`), trained into a copy of a
model (`make`), measured (`behaviour`) and read again (`pair`). An audit is judged by whether it finds what was planted
without being told.
"""

from __future__ import annotations

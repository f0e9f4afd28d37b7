"""The concordance: for every feature, every place it fires, and what it does to the logits."""

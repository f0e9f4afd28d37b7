"""What the directions of features say: what they do to the logits, which are alike, which neurons they load on."""

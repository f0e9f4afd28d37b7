"""Behaviours that are taken away: by features, by a direction, by fine-tuning, and at what price."""

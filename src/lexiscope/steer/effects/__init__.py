"""What steering does: goals, doses beside controls, which feature to choose, what it causes, what it suppresses."""

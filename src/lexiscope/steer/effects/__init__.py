"""What steering does: goals, doses beside controls, side effects, which feature to choose, what to think of it."""

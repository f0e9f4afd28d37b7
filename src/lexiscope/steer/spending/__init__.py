"""How many features are used per token, what that costs, and a record of all that fired."""

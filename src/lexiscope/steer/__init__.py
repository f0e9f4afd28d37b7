"""Steering: the model changed through its features while it runs, and what that does beside what it was meant to do."""

"""Long work that is started from the app."""

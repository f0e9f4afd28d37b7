"""What the firings of one feature say, computed when somebody asks."""

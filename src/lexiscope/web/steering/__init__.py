"""Steering from a page: what is asked for in an address, and two texts that are written side by side."""

"""From a corpus and a goal to everything that steering is tried with, and what was found, kept in the notes."""

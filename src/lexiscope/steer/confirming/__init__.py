"""Whether a feature causes what it is said to stand for: patched between pairs of prompts."""

"""How fast this machine is, how fast a training step is on it, and how far that is from what it could be."""

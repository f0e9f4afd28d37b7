"""Who is let in, what is refused, and what a connection may cost. docs/security.md says why."""

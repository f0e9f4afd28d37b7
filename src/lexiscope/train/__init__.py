"""Training: one loop, its schedules, its watch, and the check before anything is saved."""

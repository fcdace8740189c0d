"""Learning from a teacher: what is minimised then, and the cache of a teacher's draws."""

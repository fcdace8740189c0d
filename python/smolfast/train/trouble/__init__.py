"""When a step goes wrong: how a spike is seen, what is done about it, and where a NaN began."""

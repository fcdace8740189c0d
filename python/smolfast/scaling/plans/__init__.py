"""Which runs to train: models by size, the design that tells most, and the plan as files."""

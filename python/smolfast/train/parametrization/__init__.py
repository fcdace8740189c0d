"""What changes with a model's width and depth: the scales, and the check that activations stay level."""

"""Learning from pairs of answers: what a step draws, what the reference says, what is minimised."""

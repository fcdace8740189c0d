"""A talk with a trained model, for a look: in the terminal or on a page of this machine. Engines serve it to others."""

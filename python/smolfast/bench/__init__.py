"""Measurements: the form they are kept in, the command that takes them, and the page about them."""

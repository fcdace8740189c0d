"""Needles in long texts: tasks made here whose answer stands in the prompt, by length and by depth."""

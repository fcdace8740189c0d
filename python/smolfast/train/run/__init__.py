"""A run and its folder: what it is made of (`parts.py`), how it opens, its record, checkpoints, and what it saves."""

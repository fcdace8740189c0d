"""JSON in and out: files line by line (`lines.py`), and values as columns and back, none of them changed."""

"""The process that trains: its memory, its signals, and the other ranks beside it."""

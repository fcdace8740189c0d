"""Rows of JSON and CSV as record batches: their columns, types and bad text (`record_batches.py`), and CSV's cells."""

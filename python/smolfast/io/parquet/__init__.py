"""Parquet out: batches to one file (`writer.py`), row groups encoded apart and joined, values of many megabytes."""

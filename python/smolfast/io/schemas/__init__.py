"""Columns of any Arrow type: rows and names of them, schemas of several files united, the shards of one job."""

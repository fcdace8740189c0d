"""The page of a sweep or of an ablation: trials compared."""

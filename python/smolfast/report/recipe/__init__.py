"""The page of a recipe's run: its graph, what each stage took, and what failed."""

"""The page of a training run, made from the files of its folder."""

"""Labels and scores of texts by fastText's models (languages, quality), and their training.

Strings go in, a table comes out:

    model = classify.Model("lid.176.ftz")
    model.predict(column)  # a table of `label` and `score`
    model.scores(column, labels=["en", "de"])  # a table with a column for each
    classify.train({"good": column, "bad": other}, "quality.bin")
"""

from smolfast.classify.labelling import label_documents
from smolfast.classify.model import Model
from smolfast.classify.training import Quality, Settings, heaviest, judge, train, train_on_files

__all__ = ["Model", "Quality", "Settings", "heaviest", "judge", "label_documents", "train", "train_on_files"]

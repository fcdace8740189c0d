"""Labels and scores of texts by fastText's models (languages, quality), and their training.

Strings go in, a table comes out:

    model = classify.Model("lid.176.ftz")
    model.predict(column)  # a table of `label` and `score`
    model.scores(column, labels=["en", "de"])  # a table with a column for each
    classify.train({"good": column, "bad": other}, "quality.bin")
    classify.quantize("quality.bin", "quality.ftz")
"""

from smolfast.classify import head
from smolfast.classify.calibration import Calibration
from smolfast.classify.judging import Quality, heaviest, judge
from smolfast.classify.labelling import label_documents
from smolfast.classify.model import Model, model_path
from smolfast.classify.quantizing import quantize
from smolfast.classify.training import Settings, train, train_on_files

__all__ = [
    "Calibration",
    "Model",
    "Quality",
    "Settings",
    "head",
    "heaviest",
    "judge",
    "label_documents",
    "model_path",
    "quantize",
    "train",
    "train_on_files",
]

"""Labels and scores of texts by fastText's models: languages, quality.

    model = classify.Model("lid.176.ftz")
    model.predict(column)                     # a table of `label` and `score`
    model.scores(column, labels=["en", "de"])  # a table with a column for each
"""

from smolfast.classify.labelling import label_documents
from smolfast.classify.model import Model

__all__ = ["Model", "label_documents"]

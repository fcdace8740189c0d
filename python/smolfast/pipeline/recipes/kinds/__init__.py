"""The kinds of stages that a recipe may have, by name: what each takes, gives, and does."""

from __future__ import annotations

from smolfast.pipeline.recipes.kinds import documents, models, own, tokens
from smolfast.pipeline.recipes.kinds.kind import Binding, Kind

KINDS: dict[str, Kind] = {
    "collect": documents.COLLECT,
    "curate": documents.CURATE,
    "pdf": documents.PDF,
    "convert": documents.CONVERT,
    "normalize": documents.NORMALIZE,
    "dedup": documents.DEDUP,
    "split": documents.SPLIT,
    "tokenizer": tokens.TOKENIZER,
    "tokenize": tokens.TOKENIZE,
    "mix": tokens.MIX,
    "distill-cache": tokens.DISTILL_CACHE,
    "train": models.TRAIN,
    "evaluate": models.EVALUATE,
    "needles": models.NEEDLES,
    "export": models.EXPORT,
    "generate": models.GENERATE,
    "report": models.REPORT,
    "python": own.PYTHON,
    "command": own.COMMAND,
}

__all__ = ["KINDS", "Binding", "Kind"]

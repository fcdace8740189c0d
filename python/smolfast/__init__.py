"""smolfast: pre-training of small language models at native speed, from raw text to a trained model.

Public names, each loaded when it is first used:
"""

from __future__ import annotations

# `typing` and `importlib` would take longer than all the rest.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from smolfast import (
        classify,
        config,
        curate,
        dedup,
        distill,
        errors,
        evaluate,
        integrations,
        io,
        model,
        ops,
        optim,
        patch,
        pipeline,
        preference,
        reference,
        report,
        scaling,
        text,
        tokens,
        train,
    )
    from smolfast._native import unicode_version
    from smolfast.dedup import MinHasher, deduplicate
    from smolfast.errors import SmolfastError

__version__ = "0.1.0"

# name: (module, attribute or "" for the module itself, what it is for)
_PUBLIC = {
    "text": ("smolfast.text", "", "normalise, clean, redact and cut text"),
    "dedup": ("smolfast.dedup", "", "find and remove near-duplicates"),
    "deduplicate": ("smolfast.dedup", "deduplicate", "remove exact and near duplicates from files"),
    "MinHasher": ("smolfast.dedup", "MinHasher", "MinHash signatures of a column of text"),
    "curate": ("smolfast.curate", "", "judge documents by FineWeb's filters"),
    "classify": ("smolfast.classify", "", "languages and quality by fastText's models"),
    "io": ("smolfast.io", "", "documents in and out of files"),
    "config": ("smolfast.config", "", "every setting, and presets (extra `train`, as all below but `errors`)"),
    "tokens": ("smolfast.tokens", "", "tokenizers, and files of tokens"),
    "ops": ("smolfast.ops", "", "attention, losses and Newton-Schulz as torch operations"),
    "kernels": ("smolfast.kernels", "", "the Triton kernels, each file usable alone"),
    "reference": ("smolfast.reference", "", "the same operations in plain torch"),
    "optim": ("smolfast.optim", "", "Muon with AdamW, and QK-clip"),
    "distill": ("smolfast.distill", "", "losses that learn from a teacher"),
    "preference": ("smolfast.preference", "", "losses on pairs of answers: DPO, APO"),
    "patch": ("smolfast.patch", "", "our attention and loss in models of transformers"),
    "integrations": ("smolfast.integrations", "", "adapters for other libraries"),
    "model": ("smolfast.model", "", "the SmolLM3-shaped network, its files, its text"),
    "evaluate": ("smolfast.evaluate", "", "bits per byte, and tasks of lm-evaluation-harness"),
    "train": ("smolfast.train", "", "the training loop"),
    "pipeline": ("smolfast.pipeline", "", "stages on files, from text to a model"),
    "scaling": ("smolfast.scaling", "", "how loss falls with size and tokens, and what that predicts; no torch"),
    "report": ("smolfast.report", "", "the report page of a run"),
    "errors": ("smolfast.errors", "", "what smolfast raises"),
    "SmolfastError": ("smolfast.errors", "SmolfastError", "a bad input or option, in one line with its remedy"),
    "unicode_version": ("smolfast._native", "unicode_version", "the version of the Unicode tables"),
}

__all__ = [
    "MinHasher",
    "SmolfastError",
    "__version__",
    "classify",
    "config",
    "curate",
    "dedup",
    "deduplicate",
    "distill",
    "errors",
    "evaluate",
    "integrations",
    "io",
    "kernels",
    "model",
    "ops",
    "optim",
    "patch",
    "pipeline",
    "preference",
    "reference",
    "report",
    "scaling",
    "text",
    "tokens",
    "train",
    "unicode_version",
]

__doc__ += "\n".join(f"    {name:<16} {purpose}" for name, (_, _, purpose) in _PUBLIC.items()) + "\n"


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'smolfast' has no attribute {name!r}")
    from importlib import import_module

    module, attribute, _ = _PUBLIC[name]
    found = import_module(module)
    if attribute:
        found = getattr(found, attribute)
        globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__

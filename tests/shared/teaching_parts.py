"""What tests of distillation share: a teaching of a small student, and a batch with a document that begins in it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from smolfast.config import DistillConfig
from smolfast.model.network import PackedBatch
from smolfast.tokens.files import TokenFile
from smolfast.train.distillation.teaching import Teaching


def teaching(
    corpus: SimpleNamespace, config: DistillConfig, teacher: Path | None, cache: Path | None = None
) -> Teaching:
    return Teaching(
        config, TokenFile.open(corpus.tokens, "train"), teacher=teacher, cache=cache, student_width=32,
        student_layers=2, seed=0, device=torch.device("cpu"),
    )  # fmt: skip


def batch_of(corpus: SimpleNamespace) -> tuple[PackedBatch, np.ndarray[Any, Any]]:
    """Two windows of 24 tokens, the second with a document that begins within it."""
    file = TokenFile.open(corpus.tokens, "train")
    start = int(file.document_starts[1]) - 10
    positions = np.stack([np.arange(24), np.arange(start, start + 24)])
    documents = np.searchsorted(file.document_starts, positions, side="right")
    return PackedBatch.from_windows(file.tokens[positions].astype(np.int64), documents), positions

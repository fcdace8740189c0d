"""How good a model is: held-out bits per byte beside compressors, and tasks of lm-evaluation-harness."""

from __future__ import annotations

from smolfast.evaluate.bits_per_byte import evaluate
from smolfast.evaluate.harness import run_harness

__all__ = ["evaluate", "run_harness"]

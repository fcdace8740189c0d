"""The training loop (`loop.py`), and one small file for each of its ideas. Public is `train` alone."""

from __future__ import annotations

from smolfast.train.loop import train

__all__ = ["train"]

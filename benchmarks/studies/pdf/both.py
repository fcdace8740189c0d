"""The last stage of the study: both held-out figures side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def both(inputs: Mapping[str, Path], output: Path, web: float, pdf: float) -> dict[str, float]:
    """Tell them; nothing is written."""
    return {"web": web, "pdf": pdf}

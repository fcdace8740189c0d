from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from made_pdfs import make_pdf

pytest.importorskip("pypdfium2_raw")
pytest.importorskip("reportlab")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Draws a file of a name in the test's folder."""
    return lambda name, *pages, **options: make_pdf(tmp_path / name, *pages, **options)

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from made_pdfs import make_pdf

pytest.importorskip("pypdfium2_raw")
pytest.importorskip("reportlab")

_TESSERACT = """#!/bin/sh
case "$*" in
*--version*) echo "tesseract 9.1" ;;
*--list-langs*) printf 'List of languages (2):\\neng\\ndeu\\n' ;;
*)
cat > "$SEEN"
printf 'level\\tpage\\tblock\\tpar\\tline\\tword\\tleft\\ttop\\twidth\\theight\\tconf\\ttext\\n'
printf '4\\t1\\t1\\t1\\t1\\t0\\t100\\t100\\t900\\t40\\t-1\\t\\n'
printf '5\\t1\\t1\\t1\\t1\\t1\\t100\\t105\\t200\\t30\\t96.5\\tOld\\n'
printf '5\\t1\\t1\\t1\\t1\\t2\\t320\\t102\\t300\\t33\\t90\\tmills\\n'
printf '5\\t1\\t1\\t1\\t1\\t3\\t640\\t102\\t300\\t33\\t12\\tnoise\\n'
;;
esac
"""
_RAPIDOCR = """
class Found:
    def __init__(self, boxes, txts, scores):
        self.boxes, self.txts, self.scores = boxes, txts, scores

class RapidOCR:
    def __init__(self, params):
        assert params["EngineConfig.onnxruntime.intra_op_num_threads"] == 1

    def __call__(self, picture):
        assert picture.ndim == 2
        box = [[100, 100], [900, 104], [900, 144], [100, 140]]
        return Found([box], ("The old mills by the river",), (0.97,))
"""


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Draws a file of a name in the test's folder."""
    return lambda name, *pages, **options: make_pdf(tmp_path / name, *pages, **options)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tesseract and a rapidocr that read every picture alike."""
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "tesseract").write_text(_TESSERACT)
    (folder / "tesseract").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SEEN", str(tmp_path / "seen.pgm"))
    for name, content in (("rapidocr", _RAPIDOCR), ("onnxruntime", "")):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(content)
        about = folder / f"{name}-7.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 7.0\n")
    monkeypatch.syspath_prepend(str(folder))
    return folder

"""examples/first_steps.ipynb: its code runs in the order of its cells, and prints what stands there. Needs no Jupyter.

`python tests/house/test_notebook.py` writes what the cells print into the notebook anew.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "first_steps.ipynb"


def cells() -> list[dict[str, Any]]:
    """The code cells."""
    return [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def printed(code: list[str], folder: str) -> list[str]:
    """What each cell prints; all share their names."""
    names: dict[str, Any] = {"__name__": "__main__"}
    said, before = [], Path.cwd()
    os.chdir(folder)
    try:
        for number, text in enumerate(code, 1):
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(text, f"{NOTEBOOK.name}, code cell {number}", "exec"), names)
            said.append(out.getvalue())
    finally:
        os.chdir(before)
    return said


def test_its_cells_print_what_stands_there(tmp_path: Path) -> None:
    has_torch = all(importlib.util.find_spec(name) for name in ("torch", "pydantic", "tokenizers"))
    chosen = [cell for cell in cells() if has_torch or "torch" not in source(cell)]
    for cell, said in zip(chosen, printed(list(map(source, chosen)), str(tmp_path)), strict=True):
        stands = "".join(text for output in cell["outputs"] for text in output["text"])
        if "torch" in source(cell):  # whose last digits are the machine's
            assert said.split("\n")[0].split(":")[0] == stands.split("\n")[0].split(":")[0]
        else:
            assert said == stands, f"if that is meant, run python {Path(__file__).name}"


def test_it_is_short_and_a_notebook_of_version_four() -> None:
    document = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert document["nbformat"] == 4 and document["nbformat_minor"] >= 5
    assert 10 <= len(document["cells"]) <= 20
    assert len({cell["id"] for cell in document["cells"]}) == len(document["cells"])
    assert all(
        cell["source"] and all(line.endswith("\n") for line in cell["source"][:-1]) for cell in document["cells"]
    )


def test_without_torch_it_ends_before_torch() -> None:
    kinds = ["torch" in source(cell) for cell in cells()]
    assert kinds == sorted(kinds) and kinds.count(True) >= 2 and kinds.count(False) >= 5


@pytest.mark.parametrize("word", ["clean", "signatures", "deduplicate", "explain", "gqa_attention", "MuonAdamW"])
def test_it_shows(word: str) -> None:
    assert any(word in source(cell) for cell in cells())


def rewrite() -> None:
    document = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    code = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    with tempfile.TemporaryDirectory() as folder:
        for cell, said in zip(code, printed(list(map(source, code)), folder), strict=True):
            stream = {"name": "stdout", "output_type": "stream", "text": said.splitlines(keepends=True)}
            cell["outputs"] = [stream] if said else []
    NOTEBOOK.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    rewrite()

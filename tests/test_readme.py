"""README's examples run; docs' examples are Python."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def test_readme_runs_without_torch_and_compiler_as_a_wheel_must(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "tests" / "wheel.py"], cwd=tmp_path, check=True)


def test_readme_imports_what_a_trainer_needs(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    block = python_blocks(ROOT / "README.md")[-1]
    assert "smolfast.ops" in block
    subprocess.run([sys.executable, "-c", block], cwd=tmp_path, check=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_examples_parse_and_import_what_exists(page: Path) -> None:
    """Names imported from smolfast in a documentation page are there."""
    for block in python_blocks(page):
        imports = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom)]
        for node in imports:
            if (node.module or "").partition(".")[0] == "smolfast":
                module = __import__(node.module or "", fromlist=[name.name for name in node.names])
                assert all(hasattr(module, name.name) for name in node.names), node.names

"""Nothing is stored or loaded by pickle, which would run whatever a stranger put into a file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2]
SOURCES = sorted([*(PACKAGE / "python").rglob("*.py"), *(PACKAGE / "kernels").rglob("*.py")])
MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def loads_pickle(call: ast.Call) -> bool:
    """Whether a call can run code out of a file: PyTorch's load and save do, and numpy.load unless forbidden."""
    if not isinstance(call.func, ast.Attribute) or not isinstance(call.func.value, ast.Name):
        return False
    name = f"{call.func.value.id}.{call.func.attr}"
    allowed = any(k.arg == "allow_pickle" and not getattr(k.value, "value", True) for k in call.keywords)
    return name in {"torch.load", "torch.save"} or (name in {"np.load", "numpy.load"} and not allowed)


def test_there_are_sources() -> None:
    assert len(SOURCES) > 50


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_source_uses_pickle(source: Path) -> None:
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not MODULES & {name.name.partition(".")[0] for name in node.names}, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] not in MODULES, node.lineno
        elif isinstance(node, ast.Call):
            assert not loads_pickle(node), node.lineno


def test_the_check_finds_what_it_looks_for() -> None:
    found = [ast.parse(text).body[0].value for text in ("torch.load(x)", "np.load(x)", "np.load(x, allow_pickle=True)")]  # type: ignore[attr-defined]
    assert all(loads_pickle(call) for call in found)
    assert not loads_pickle(ast.parse("np.load(x, allow_pickle=False)").body[0].value)  # type: ignore[attr-defined]

"""README's ratios are those of the committed results."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ratios() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ratios", ROOT / "benchmarks" / "ratios.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ratios"] = module
    spec.loader.exec_module(module)
    return module


def test_readme_has_the_table_that_the_results_give(ratios: ModuleType) -> None:
    page = (ROOT / "README.md").read_text("utf-8")
    assert page == ratios.with_table(page), "run python benchmarks/ratios.py --write"


def test_a_case_that_is_not_in_the_results_is_named(ratios: ModuleType) -> None:
    results = ratios.read_results(ROOT / "benchmarks" / "results" / "text.json")
    claim = ratios.Claim("", "text", "NFC", "klingon", "stringzilla", "")
    with pytest.raises(LookupError, match=r"text.json has no smolfast in NFC, klingon"):
        ratios.ratio(results, claim)

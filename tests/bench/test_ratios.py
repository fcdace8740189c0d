"""The benchmarks page's ratios, and the README's pictures, are those of the committed results."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ratios() -> ModuleType:
    return script("ratios")


def test_the_pictures_are_of_the_results(ratios: ModuleType) -> None:
    pictures = script("pictures")
    for name, drawn in pictures.pictures().items():
        assert (pictures.PICTURES / name).read_text("utf-8") == drawn, "run python benchmarks/pictures.py --write"
        document = ElementTree.fromstring(drawn)
        texts = {element.tag.rpartition("}")[2]: element.text for element in document.iter()}
        assert texts["title"] and texts["desc"]


def test_the_page_has_the_table_that_the_results_give(ratios: ModuleType) -> None:
    page = ratios.PAGE.read_text("utf-8")
    assert page == ratios.with_table(page), "run python benchmarks/ratios.py --write"


def test_a_case_that_is_not_in_the_results_is_named(ratios: ModuleType) -> None:
    results = ratios.read_results(ROOT / "benchmarks" / "results" / "text.json")
    claim = ratios.Claim("", "text", "NFC", "klingon", "stringzilla", "")
    with pytest.raises(LookupError, match=r"text.json has no smolfast in NFC, klingon"):
        ratios.ratio(results, claim)

"""The benchmarks page's ratios, and the README's pictures, are those of the committed results."""

from __future__ import annotations

import importlib.util
import json
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


def test_the_screenshot_is_small_and_described() -> None:
    picture = (ROOT / "docs" / "pictures" / "report.svg").read_text("utf-8")
    assert picture.count("data:image/png;base64,") == 2 and len(picture) < 400_000
    assert "](../pictures/report.svg)" in (ROOT / "docs" / "tutorials" / "train.md").read_text("utf-8")


def test_a_recorded_run_is_what_its_folder_says(tmp_path: Path) -> None:
    losses = [{"step": step, "head_losses": [1 / step, 9.0], "tokens": 10 * step} for step in (1, 2)]
    losses[1]["held_out_loss"] = 0.123456
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in losses))
    about = {"hardware": {"cpu": "abacus"}, "versions": {"python": "3.11", "system": "here"}}
    (tmp_path / "run.json").write_text(json.dumps(about))
    found = script("record_run").record(tmp_path)
    assert found["training_loss"] == [1.0, 0.5] and found["held_out_loss"] == [[2, 0.1235]] and found["tokens"] == 20
    assert found["versions"] == {"python": "3.11"} and found["hardware"] == {"cpu": "abacus"}

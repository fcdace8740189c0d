"""From an output back to its sources."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smolfast.commands.main import main
from smolfast.errors import SmolfastError
from smolfast.pipeline.recipes import load_recipe, run
from smolfast.pipeline.recipes.provenance import described, trace

RECIPE = """
name = "small"
[stages.collect]
input = "texts"
min_document_bytes = 0
[stages.normalize]
needs = "collect"
[stages.dedup]
needs = "normalize"
"""


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("Some words that stand in a file.")
    (tmp_path / "r.toml").write_text(RECIPE)
    run(load_recipe(tmp_path / "r.toml"), tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    return Path("out")


def test_the_chain(out: Path) -> None:
    lines = described(trace(out / "dedup" / "kept.parquet"))
    starts = [line.split("  ")[0] for line in lines]
    assert starts[0] == "out/dedup/kept.parquet"
    assert [line.strip("└ ").split("  ")[0] for line in lines[1:]] == [
        "out/normalize/documents.parquet",
        "out/collect/documents.parquet",
        "texts",
    ]
    assert "dedup, recipe small, " in lines[0] and "smolfast " in lines[0] and lines[-1].endswith("(a source)")


def test_moved_and_altered(out: Path) -> None:
    out.rename("elsewhere")
    file = Path("elsewhere/collect/documents.parquet")
    file.write_bytes(file.read_bytes() + b"x")
    lines = described(trace("elsewhere/dedup"))
    assert "elsewhere/collect/documents.parquet  (altered since)" in lines[2]
    assert "altered" not in lines[1]


def test_outputs_of_commands(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(out / "dedup" / "kept.parquet"), "-o", "all.jsonl", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["show", "all.jsonl", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["made_by"]["stage"] == "convert"
    (only,) = found["inputs"].values()
    assert only["made_by"]["stage"] == "dedup" and only["altered"] is False
    assert main(["show", "all.jsonl", "--settings"]) == 0
    assert '"text_column": "text"' in capsys.readouterr().out


def test_what_has_no_record(out: Path) -> None:
    with pytest.raises(SmolfastError, match="out is the folder of a run; give one of its outputs: collect, dedup, "):
        trace(out)
    with pytest.raises(SmolfastError, match="no record says what made it"):
        trace("texts/a.txt")
    with pytest.raises(SmolfastError, match="does not exist"):
        trace("nothing")

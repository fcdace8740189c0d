"""The page of a curation, made from the files of its folder alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolfast import SmolfastError
from smolfast.commands.main import main
from smolfast.report import write_curation_report

WORDS = {"filter": "gopher_quality", "signal": "non_symbol_words"}
CHECKS: list[dict[str, Any]] = [
    {
        "filter": "gopher_repetition",
        "reason": "dup_line_frac",
        "signal": "dup_line_frac",
        "threshold": 0.3,
        "above": True,
    },
    {**WORDS, "reason": "gopher_short_doc", "threshold": 50.0, "above": False},
    {**WORDS, "reason": "gopher_long_doc", "threshold": 100000.0, "above": True},
    {"filter": "c4_quality", "reason": "lorem_ipsum", "signal": None, "threshold": None, "above": True},
    {"filter": "gopher_quality", "reason": "off", "signal": "hash_ratio", "threshold": None, "above": True},
]  # fmt: skip


def manifest(hostile: str) -> dict[str, Any]:
    return {
        "key": "k",
        "smolfast": "9.9.9",
        "parameters": {"language": "en", "words": "spacy", "text_column": "text", "id_column": "id", "prefix": ""},
        "inputs": [{"path": f"{hostile}.jsonl", "xxh3_128": "f" * 32}],
        "outputs": {"kept/part-00000.parquet": "x"},
        "summary": {
            "documents_in": 2000, "bytes_in": 8_000_000, "documents_out": 1500, "bytes_out": 7_000_000,
            "rewritten": 12, "skipped": 3,
            "reasons": [
                {"reason": "dup_line_frac", "filter": "gopher_repetition", "documents": 300, "bytes": 600_000},
                {"reason": "gopher_short_doc", "filter": "gopher_quality", "documents": 190, "bytes": 300_000},
                {"reason": "lorem_ipsum", "filter": "c4_quality", "documents": 10, "bytes": 100_000},
            ],
        },
        "rules": {"name": "fineweb@0.10"},
        "checks": {"en": CHECKS},
        "languages": {"en": {"documents_in": 2000, "documents_out": 1500}},
        "signals": {
            "dup_line_frac": {"0": 1690, "0.3": 10, "0.5+": 300},
            "non_symbol_words": {"12": 190, "300": 1800, "2e+05": 10},
            "hash_ratio": {"0": 2000},
        },
        "nearest": {"dup_line_frac": [[7, 0, 1]], "gopher_short_doc": [[9, 0, 2]], "lorem_ipsum": [[3, 0, 0]]},
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, fake: SimpleNamespace) -> Path:
    made = tmp_path / "judged"
    (made / "removed").mkdir(parents=True)
    (made / "curate.json").write_text(json.dumps(manifest(fake.hostile)))
    table = pa.table(
        {
            "id": ["third", f"seventh{fake.hostile}", None],
            "text": [f"lorem {fake.hostile}", "one line\n" * 300, "short"],
            "document": [3, 7, 9],
            "value": [None, 0.301, 49.0],
            "threshold": [None, 0.3, 50.0],
        }
    )
    pq.write_table(table, made / "removed" / "part-00000.parquet", row_group_size=2)
    return made


def test_page_says_what_the_files_say(folder: Path, tmp_path: Path, fake: SimpleNamespace) -> None:
    said = write_curation_report(folder, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert said == {"bytes": len(html.encode()), "examples": 3, "missing": []}
    page = fake.page(html)
    for words in (
        "75.0% of documents stay",
        "by the rules fineweb@0.10: 1,500 of 2,000; 7.0 MB of 8.0 MB of text (87.5%).",
        "300 documents (15.0%) · 600.0 kB",
        "lorem_ipsum c4_quality 10 0.5% 100.0 kB 1.2%",
        "Of 2,000 documents 300 (15.0%) lie above 0.3.",
        "Of 2,000 documents 200 (10.0%) lie below 50 (gopher_short_doc) or above 100,000 (gopher_long_doc).",
        "hash_ratio Measured on 2,000 documents; nothing is decided by it.",
        "0.301, threshold 0.3 · ",
        "49, threshold 50 · document 9 · short",
        "… and 1,200 characters more",
        "gopher_long_doc above 100,000",
        "lorem_ipsum by what it finds",
        "Made by smolfast 9.9.9.",
        "not readable 3",
    ):
        assert words in page.words, words
    # What is left after each check: 85 %, 75.5 % and 75 % of the documents.
    widths = [a["width"] for a in page.all("rect") if a["class"] == "fill s0" and "%" in (a["width"] or "")]
    assert widths == ["85.00%", "75.50%", "75.00%"]


def test_page_is_one_safe_accessible_file(folder: Path, tmp_path: Path, fake: SimpleNamespace) -> None:
    write_curation_report(folder, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = fake.page(html)
    assert html.count("<script") == 1 and "<img" not in html
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", html)
    for _, attributes in page.elements:
        for key, value in attributes.items():
            assert not key.startswith("on") and key not in {"src", "srcset", "style", "action"}
            if key == "href":
                assert value is not None and value[0] == "#" and value[1:] in page.ids
    drawings = [a for _, a in page.elements if a.get("role") == "img"]
    assert len(drawings) == 4  # the funnel, and a histogram of each number
    for attributes in drawings:
        named = (attributes["aria-labelledby"] or "").split()
        assert len(named) == 2 and set(named) <= page.ids
    assert len(page.all("caption")) == len(page.all("table"))


def test_the_command_chooses_the_page_by_the_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["examples"] == 3
    first = (folder / "report.html").read_bytes()
    assert main(["report", str(folder)]) == 0
    assert (folder / "report.html").read_bytes() == first
    (folder / "report.html").write_text("mine")
    assert main(["report", str(folder)]) == 2
    assert (folder / "report.html").read_text() == "mine"


def test_thresholds_that_differ_by_language(folder: Path, tmp_path: Path, fake: SimpleNamespace) -> None:
    said = json.loads((folder / "curate.json").read_text())
    other = [{**check, "threshold": 0.2} if check["reason"] == "dup_line_frac" else check for check in CHECKS]
    said["checks"] = {"cs": other, "en": CHECKS, "sk": other}
    (folder / "curate.json").write_text(json.dumps(said))
    write_curation_report(folder, tmp_path / "page.html")
    page = fake.page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "dup_line_frac above 0.3 (en); above 0.2 (cs, sk)" in page.words


def test_what_is_missing_is_said(folder: Path, tmp_path: Path, fake: SimpleNamespace) -> None:
    (folder / "removed" / "part-00000.parquet").unlink()
    said = write_curation_report(folder, tmp_path / "page.html")
    assert said["missing"] == ["Just beyond the threshold"]
    kept = json.loads((folder / "curate.json").read_text())
    kept["summary"] |= {"documents_out": 2000, "bytes_out": 8_000_000, "reasons": []}
    (folder / "curate.json").write_text(json.dumps(kept))
    write_curation_report(folder, tmp_path / "page.html")
    words = fake.page((tmp_path / "page.html").read_text(encoding="utf-8")).words
    assert "Every document stays: no check took one." in words and "100.0% of documents stay" in words


@pytest.mark.parametrize("harm", ["json", "summary", "signals", "other table", "no table"])
def test_damage_is_one_line(folder: Path, tmp_path: Path, harm: str) -> None:
    path, table = folder / "curate.json", folder / "removed" / "part-00000.parquet"
    said = json.loads(path.read_text())
    if harm == "json":
        path.write_text("{")
    elif harm == "summary":
        path.write_text(json.dumps({**said, "summary": []}))
    elif harm == "signals":
        path.write_text(json.dumps({**said, "signals": {"dup_line_frac": {"x": 1}}}))
    elif harm == "other table":
        pq.write_table(pa.table({"text": ["a"] * 3, "document": [1, 2, 3]}), table)
    else:
        table.write_bytes(b"PAR1")
    with pytest.raises(SmolfastError) as caught:
        write_curation_report(folder, tmp_path / "page.html")
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)
    assert not (tmp_path / "page.html").exists()

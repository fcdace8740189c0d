"""Runs that lack a part or have a broken file, and folders that are no run."""

from __future__ import annotations

import json
import math
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from smolfast.errors import SmolfastError
from smolfast.report import write_report
from smolfast.report.training.run import read_run

Report = Callable[[], tuple[Any, dict[str, Any]]]


@pytest.mark.parametrize(
    ("gone", "section", "words"),
    [
        ("evaluate", "Result", "no held-out evaluation in this run"),
        ("dedup/removed.parquet", "Near-duplicates", "removed.parquet) is not in this run"),
        ("normalize", "Near-duplicates", "none can be shown"),
        ("train/metrics.jsonl", "Training", "no training steps"),
        ("train/model", "Model", "is not in this run, so its parameters"),
        ("generate", "Sample", "no generated text"),
        ("run.json", "Make it again", "Versions are not recorded"),
    ],
)
def test_a_missing_part_is_said(own_run: Path, gone: str, section: str, words: str, report: Report) -> None:
    path = own_run / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page, summary = report()
    assert words in page.words
    assert section in summary["missing"]


def test_missing_stages_are_said(own_run: Path, report: Report) -> None:
    shutil.rmtree(own_run / "stages")
    page, summary = report()
    assert summary["missing"] == ["Documents", "Time and memory"]
    assert "No data stage has finished" in page.words and "1.432 bits per byte" in page.words


def test_only_run_json_is_enough(own_run: Path, fake: SimpleNamespace, report: Report) -> None:
    shutil.rmtree(own_run)
    fake.write_json(own_run / "run.json", {"identity": {"input": ["my data/", "b.jsonl"], "minutes": 3}, "seed": 7})
    page, summary = report()
    assert len(summary["missing"]) == 8
    assert "--set seed=7" in page.words and "--minutes 3" in page.words and "--input 'my data/' b.jsonl" in page.words


def test_no_near_duplicates_found(own_run: Path, report: Report) -> None:
    path = own_run / "dedup" / "removed.parquet"
    table = pq.read_table(path)
    pq.write_table(table.filter(pc.equal(table["kind"], "exact")), path)
    page, summary = report()
    assert "No near-duplicates were found" in page.words and summary["near_duplicate_examples"] == 0


@pytest.mark.parametrize("counts", [None, "many", [], {}, {"0.70-0.75": 0}, {"0.70-0.75": "x"}])
def test_no_counts_by_similarity(own_run: Path, report: Report, counts: object) -> None:
    path = own_run / "stages" / "dedup.json"
    manifest = json.loads(path.read_text())
    manifest["summary"]["near_by_jaccard"] = counts
    path.write_text(json.dumps(manifest))
    page, _ = report()
    assert "similarity to the document kept for each" not in page.words


@pytest.mark.parametrize("kind", ["absent", "file", "empty"])
def test_not_a_run_folder(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "run"
    if kind == "file":
        folder.write_text("x")
    elif kind == "empty":
        folder.mkdir()
    with pytest.raises(SmolfastError, match=f"{re.escape(str(folder))}.*smolfast quickstart"):
        write_report(folder, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("run.json", b"{"),
        ("run.json", b"[1]"),
        ("evaluate/evaluation.json", b"\xff"),
        ("stages/dedup.json", b"nope"),
        ("dedup/removed.parquet", b"PAR1 not really"),
        ("normalize/documents.parquet", b"PAR1"),
        ("train/model/model.safetensors", b"\x01"),
        ("train/model/model.safetensors", struct.pack("<Q", 1 << 40)),
        ("train/model/model.safetensors", struct.pack("<Q", 2) + b"[]"),
    ],
)
def test_broken_files_are_named(own_run: Path, path: str, content: bytes) -> None:
    (own_run / path).write_bytes(content)
    output = own_run.parent / "out.html"
    earlier = '<!doctype html><meta name="generator" content="smolfast 0.0">'
    output.write_text(earlier)
    with pytest.raises(SmolfastError, match=re.escape(str(own_run / path))) as caught:
        write_report(own_run, output)
    assert "\n" not in str(caught.value) and output.read_text() == earlier


@pytest.mark.parametrize("content", [b"", b"precious", b"<!doctype html><title>mine</title>"])
def test_only_a_page_is_replaced(own_run: Path, content: bytes) -> None:
    for output in (own_run.parent / "out.html", own_run / "train" / "metrics.jsonl"):
        if output.suffix == ".html":
            output.write_bytes(content)
        before = output.read_bytes()
        with pytest.raises(SmolfastError, match="is no page of smolfast's; choose another output, or move it"):
            write_report(own_run, output)
        assert output.read_bytes() == before


def test_removal_record_without_a_column(own_run: Path, report: Report) -> None:
    path = own_run / "dedup" / "removed.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["jaccard"]), path)
    with pytest.raises(SmolfastError, match="no column jaccard"):
        report()


def test_metrics_after_a_kill(own_run: Path, fake: SimpleNamespace, report: Report) -> None:
    path = own_run / "train" / "metrics.jsonl"
    lines = path.read_text().splitlines()
    again = json.dumps(json.loads(lines[-1]) | {"loss": 1.5})
    path.write_text("\n".join([*lines, again, lines[3][:20]]))
    metrics = read_run(own_run).metrics
    assert [entry["step"] for entry in metrics] == list(range(1, fake.steps + 1))
    assert metrics[-1]["loss"] == 1.5
    path.write_text("\n".join([lines[0], lines[1][:20], lines[2]]))
    with pytest.raises(SmolfastError, match=r"metrics\.jsonl, line 2 "):
        report()


def test_diverged_training_is_said(own_run: Path, fake: SimpleNamespace, report: Report) -> None:
    metrics = fake.metrics()
    for entry in metrics[60:]:
        entry |= {"loss": math.nan, "head_losses": [math.nan, math.inf], "gradient_norm": math.nan}
        entry.pop("held_out_loss", None)
    (own_run / "train" / "metrics.jsonl").write_text("".join(json.dumps(e) + "\n" for e in metrics))
    evaluation = json.loads((own_run / "evaluate" / "evaluation.json").read_text())
    fake.write_json(own_run / "evaluate" / "evaluation.json", evaluation | {"bits_per_byte": math.nan})
    page, summary = report()
    assert "not finite in 60 of 120 steps" in page.words and "training diverged" in page.words
    assert summary["missing"] == ["Result", "Training"]


def test_unwritable_output(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SmolfastError, match="choose another path"):
        write_report(run_folder, tmp_path / "file" / "r.html")

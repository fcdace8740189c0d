"""Runs laid over each other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from smolfast.commands.main import main
from smolfast.errors import SmolfastError
from smolfast.report import write_report


@pytest.fixture
def other(own_run: Path, fake: SimpleNamespace) -> Path:
    """A run of half the steps and other settings, on the same text."""
    folder = Path(shutil.copytree(own_run, own_run.with_name("shorter")))
    lines = [json.dumps(entry) + "\n" for entry in fake.metrics(60)]
    (folder / "train" / "metrics.jsonl").write_text("".join(lines))
    about = json.loads((folder / "run.json").read_text())
    about["identity"]["config"]["train"]["steps"] = 60
    fake.write_json(folder / "run.json", about | {"commit": "feed" * 10})
    fake.write_json(folder / "evaluate" / "evaluation.json", {"bits_per_byte": 1.75})
    return folder


def page(run: Path, fake: SimpleNamespace, *others: Path) -> Any:
    write_report(run, run.parent / "two.html", others=others)
    return fake.page((run.parent / "two.html").read_text(encoding="utf-8"))


def test_figures_settings_and_losses_stand_side_by_side(own_run: Path, other: Path, fake: SimpleNamespace) -> None:
    found = page(own_run, fake, other)
    for words in (
        "run shorter bits per byte 1.4321 1.7500 bits per byte, zlib -9 2.4567 –",
        "training steps 120 60",
        "tokens trained on 491,520 245,760",
        "time of training 1:24 42 s",
        "commit – feedfeedfeed",
        "Settings that differ Setting run shorter train.steps 440 60",
        "shorter: training loss, next token",
        "shorter: held-out loss, next token",
    ):
        assert words in found.words, words
    charts = [json.loads(a["data-chart"]) for a in found.all("div") if "data-chart" in a]
    steps, minutes = [chart for chart in charts if len(chart["series"]) == 4]
    assert [one["x"][-1] for one in steps["series"]] == [120, 120, 60, 60]
    assert minutes["x"] == "minutes of training" and minutes["series"][0]["x"][-1] == pytest.approx(120 * 0.7 / 60)
    assert "can't be compared" not in found.words


def test_what_cannot_be_compared_is_said(own_run: Path, other: Path, fake: SimpleNamespace) -> None:
    def fingerprint(run: Path, stage: str, name: str, value: str) -> None:
        path = run / "stages" / f"{stage}.json"
        fake.write_json(path, json.loads(path.read_text()) | {"inputs": {name: value}})

    for run, value in ((own_run, "a"), (other, "b")):
        fingerprint(run, "tokenize", "tokenizer", value)
        fingerprint(run, "evaluate", "held_out", "same")
    assert "losses per token can't be compared. Bits per byte can." in page(own_run, fake, other).words
    fingerprint(other, "evaluate", "held_out", "another")
    words = page(own_run, fake, other).words
    assert "The held-out texts differ" in words and "Bits per byte can." not in words


def test_runs_of_one_name_are_told_apart(own_run: Path, fake: SimpleNamespace) -> None:
    elsewhere = Path(shutil.copytree(own_run, own_run.parent / "elsewhere" / own_run.name))
    assert f"{own_run.parent.name}/run elsewhere/run" in page(own_run, fake, elsewhere).words
    words = page(own_run, fake, own_run).words
    assert f"{own_run.parent.name}/run (1) {own_run.parent.name}/run (2)" in words and "No setting differs." in words


def test_a_run_without_training_has_no_curve(own_run: Path, other: Path, fake: SimpleNamespace) -> None:
    (other / "train" / "metrics.jsonl").unlink()
    assert "training steps 120 –" in page(own_run, fake, other).words


def test_more_runs_than_colours_are_refused(own_run: Path, fake: SimpleNamespace) -> None:
    with pytest.raises(SmolfastError, match="5 runs to lay over; give --with at most 4 times"):
        page(own_run, fake, *[own_run] * 5)


def test_the_command_takes_them(own_run: Path, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(own_run), "--with", str(other), "-o", str(own_run.parent / "x.html")]) == 0
    assert "Beside other runs" in (own_run.parent / "x.html").read_text(encoding="utf-8")
    assert main(["report", str(own_run), "--with", str(own_run / "none"), "-o", str(own_run.parent / "x.html")]) == 2
    assert "none does not exist; give the output folder of smolfast quickstart" in capsys.readouterr().err

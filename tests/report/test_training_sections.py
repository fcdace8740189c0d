"""Curves of runs of other shapes than the usual."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from smolfast.report import write_report
from smolfast.report.training.run import read_run
from smolfast.report.training.training_sections import training


def _training_page(own_run: Path, fake: SimpleNamespace, metrics: list[dict[str, Any]]) -> Any:
    (own_run / "train" / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in metrics))
    return fake.page(training(read_run(own_run)).body)


def test_each_head_has_a_curve(own_run: Path, fake: SimpleNamespace) -> None:
    metrics = fake.metrics()
    for entry in metrics:
        entry["head_losses"] = [4.0, 5.0, 6.0, 7.0]
    page = _training_page(own_run, fake, metrics)
    for name in (
        "training loss, next token",
        "training loss, 2 tokens ahead",
        "training loss, 3 tokens ahead",
        "training loss, 4 tokens ahead",
    ):
        assert name in page.words
    assert len([a for a in page.all("path") if "faint" in a["class"]]) == 4


def test_losses_without_heads_are_one_curve(own_run: Path, fake: SimpleNamespace) -> None:
    metrics = [{"step": step, "loss": 5.0 - step} for step in range(1, 4)]
    page = _training_page(own_run, fake, metrics)
    assert [a["class"] for a in page.all("path")] == ["curve line s0"]
    assert "from 4.000 to 2.000 (training loss, all heads weighted)" in page.words
    assert "Learning rate: no finite values to draw" in page.words and "Gradient norm: no finite" in page.words


def test_norms_that_range_wide_have_a_logarithmic_axis(own_run: Path, fake: SimpleNamespace) -> None:
    metrics = [{"step": step, "loss": 1.0, "gradient_norm": 10.0**-step} for step in range(5)]
    words = _training_page(own_run, fake, metrics).words
    assert all(f" {tick} " in words for tick in ("1e−4", "0.001", "0.01", "0.1", "1"))


def test_each_loss_has_one_name_on_the_whole_page(own_run: Path, fake: SimpleNamespace) -> None:
    metrics = fake.metrics()
    for entry in metrics[19::20]:
        entry["held_out_losses"] = {"web": 4.0, "code": 2.5}
    (own_run / "train" / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in metrics))
    path = own_run / "stages" / "train.json"
    manifest = json.loads(path.read_text())
    fake.write_json(path, manifest | {"summary": {"steps": 120, "loss": 4.7, "held_out_loss": 3.5, "events": 0}})
    write_report(own_run, own_run / "two.html", others=[own_run])
    words = fake.page((own_run / "two.html").read_text(encoding="utf-8")).words.lower()
    for name in (
        "training loss, next token",
        "training loss, 2 tokens ahead",
        "training loss, all heads weighted",
        "held-out loss, next token",
        "training and held-out loss",  # the title of the chart of both
    ):
        assert name in words
        words = words.replace(name, "")
    words = words.replace('loss = "sigmoid"', "")  # a setting of [align]
    assert re.findall(r".{0,30}\bloss\b.{0,30}", words) == []

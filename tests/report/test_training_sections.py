"""Curves of runs of other shapes than the usual."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from smolfast.report.run import read_run
from smolfast.report.training_sections import training


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
    assert "from 4 to 2 (training loss, all heads weighted)" in page.words
    assert "Learning rate: no finite values to draw" in page.words and "Gradient norm: no finite" in page.words


def test_norms_that_range_wide_have_a_logarithmic_axis(own_run: Path, fake: SimpleNamespace) -> None:
    metrics = [{"step": step, "loss": 1.0, "gradient_norm": 10.0**-step} for step in range(5)]
    words = _training_page(own_run, fake, metrics).words
    assert all(f" {tick} " in words for tick in ("1e−4", "0.001", "0.01", "0.1", "1"))

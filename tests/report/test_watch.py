"""Events, sources and features on the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from smolfast.errors import SmolfastError

Report = Callable[[], tuple[Any, dict[str, Any]]]


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_calm_run_says_so(own_run: Path, report: Report) -> None:
    assert "No spike, rollback or alarm was recorded." in report()[0].words


def test_events_are_on_the_page(own_run: Path, fake: SimpleNamespace, report: Report) -> None:
    events = [
        {"step": 61, "event": "loss spike", "reaction": "rollback", "deviations": 9.25, "loss": None},
        {"step": 61, "event": "rollback", "back_to": 50, "rate": 0.7},
        {"step": 80, "event": "alarm", "measure": "effective_rank", "layer": 1, "value": 1.0625},
        {"step": 90, "event": fake.hostile},
    ]
    write_lines(own_run / "train" / "events.jsonl", events)
    page, summary = report()
    for words in (
        "4 events: spikes, reactions and alarms.",
        "61 loss spike reaction rollback, deviations 9.25, loss not finite",
        "61 rollback back to 50, rate 0.7",
        "80 alarm measure effective_rank, layer 1, value 1.062",
    ):
        assert words in page.words
    assert summary["missing"] == []


def test_what_monitors_did_is_on_the_page(own_run: Path, fake: SimpleNamespace, report: Report) -> None:
    said = {"rule": "attention.max_logit above 40", "metric": "attention.max_logit", "value": 52.5}
    events = [
        {"step": 61, "event": "monitor", **said, "layer": 1, "head": 2, "reaction": "lower rate", "rate": 0.5},
        {"step": 80, "event": "monitor failed", "reaction": "webhook", "to": "host", "error": fake.hostile},
        {"step": 90, "event": "monitor", **said, "reaction": "stop trial"},
    ]
    write_lines(own_run / "train" / "events.jsonl", events)
    metrics = fake.metrics()
    for entry in metrics[60:]:
        entry["attention"] = {"max_logit": [[1.0, 2.0], [51.25, None]]}
    write_lines(own_run / "train" / "metrics.jsonl", metrics)
    about = json.loads((own_run / "run.json").read_text())
    monitor = {"metric": "loss", "above": 9.0, "reaction": "webhook", "webhook": "https://host/pass/word"}
    about["identity"]["config"]["train"]["monitors"] = [monitor]
    (own_run / "run.json").write_text(json.dumps(about))
    page, _ = report()
    for words in (
        "61 monitor rule attention.max_logit above 40, metric attention.max_logit, value 52.5, layer 1, head 2, "
        "reaction lower rate, rate 0.5",
        "A monitor ended the training at step 90: attention.max_logit above 40.",
        "2 reactions of monitors: see the marks in the charts.",
        "monitor, attention.max logit, lower rate, layer 1, head 2",
        "Largest attention logit",
        "https://host/HIDDEN",
    ):
        assert words in page.words
    assert "pass/word" not in page.words


def test_sources_and_features_are_on_the_page(own_run: Path, fake: SimpleNamespace, report: Report) -> None:
    metrics = fake.metrics()
    for entry in metrics[19::20]:
        entry["held_out_losses"] = {"web": 4.0, "code": 2.5}
    metrics[99]["features"] = {"effective_rank": [12.5, 9.75], "dead_units": [0.0, 0.25]}
    write_lines(own_run / "train" / "metrics.jsonl", metrics)
    page, _ = report()
    assert "Held-out loss, next token, by source" in page.words and "web 4" in page.words and "code 2.5" in page.words
    assert "Features at step 100" in page.words and "2 9.75 0.25" in page.words


def test_a_torn_last_event_is_dropped_and_a_broken_one_named(own_run: Path, report: Report) -> None:
    path = own_run / "train" / "events.jsonl"
    path.write_text('{"step": 3, "event": "qk_clip"}\n{"step": 4, "ev')
    assert "1 event: spikes, reactions and alarms." in report()[0].words
    path.write_text('{"step": 3, "ev\n{"step": 4, "event": "qk_clip"}\n')
    with pytest.raises(SmolfastError, match=r"events\.jsonl, line 1 is not an event"):
        report()

"""The sentences at the top: what is good, what isn't, what is normal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from smolfast.pipeline import collect
from smolfast.report.training.left_out import PACKAGE_SHARE
from smolfast.report.training.run import read_run
from smolfast.report.training.verdict import DEFAULT_RUN, normal, verdict

ROOT = Path(__file__).parents[2]
Report = Callable[[], tuple[Any, dict[str, Any]]]


def evaluated(run: Path, fake: SimpleNamespace, **changes: Any) -> list[tuple[bool | None, str]]:
    path = run / "evaluate" / "evaluation.json"
    fake.write_json(path, json.loads(path.read_text()) | changes)
    return [(one.good, one.text) for one in verdict(read_run(run))]


def trained(run: Path, steps: list[dict[str, Any]]) -> None:
    (run / "train" / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))


def test_a_model_behind_the_compressors_is_told_so(own_run: Path, fake: SimpleNamespace) -> None:
    found = evaluated(own_run, fake, bits_per_byte=2.3)
    assert found[:2] == [
        (True, "It needs 6% fewer bits than zlib -9 (what gzip uses)."),  # 1 − 2.3 / 2.4567
        (False, "It needs 8% more bits than xz -9e (a stronger compressor)."),  # 2.3 / 2.1234 − 1
    ]
    assert (True, "It needs as many bits as xz -9e (a stronger compressor).") in evaluated(
        own_run, fake, bits_per_byte=2.1234
    )


def test_a_model_that_counts_bytes_is_told_so(own_run: Path, fake: SimpleNamespace) -> None:
    assert any("learned nothing about their order" in text for _, text in evaluated(own_run, fake, bits_per_byte=4.9))
    assert not any("nothing about their order" in text for _, text in evaluated(own_run, fake, bits_per_byte=4.8))


def test_little_held_out_text_is_told(own_run: Path, fake: SimpleNamespace) -> None:
    assert not any("little held-out text" in text for _, text in evaluated(own_run, fake))
    found = evaluated(own_run, fake, documents=1, bytes=5000)
    assert (
        False,
        "There is little held-out text (1 document, 5.0 kB): another draw would give another figure.",
    ) in found


@pytest.mark.parametrize(("held_out", "good"), [(2.0, True), (2.15, True), (2.3, False)])
def test_a_text_learned_by_heart_is_told(own_run: Path, held_out: float, good: bool) -> None:
    steps = [{"step": step, "loss": 9.0, "head_losses": [2.0, 3.0], "tokens": 3 * 5_140_000} for step in range(1, 30)]
    steps[-1]["held_out_loss"] = held_out
    trained(own_run, steps)
    (found,) = [one for one in verdict(read_run(own_run)) if "loss" in one.text]
    losses = f"{held_out:.3f} (held-out loss, next token) beside 2.000 (training loss, next token)"
    assert found.good is good and losses in found.text
    assert ("by heart, after 3.0 passes over it" in found.text) is not good


def test_what_was_seen_once_is_not_learned_by_heart(own_run: Path) -> None:
    steps = [{"step": step, "loss": 2.0, "head_losses": [2.0], "tokens": 1_500_000} for step in range(1, 30)]
    steps[-1]["held_out_loss"] = 2.5
    trained(own_run, steps)
    (found,) = [one for one in verdict(read_run(own_run)) if "loss" in one.text]
    assert found.good and "saw no text twice" in found.text and "2.500" in found.text


def test_a_short_runs_end_is_not_its_whole_length(own_run: Path) -> None:
    """Over all 20 steps the training loss is 6 in the mean, at the end 4: held-out text at 6 isn't as good."""
    steps = [{"step": step, "loss": 8.0 - step / 5, "head_losses": [8.0 - step / 5]} for step in range(1, 21)]
    steps[-1]["held_out_loss"] = 6.0
    trained(own_run, steps)
    (found,) = [one for one in verdict(read_run(own_run)) if "loss" in one.text]
    assert found.good is False and "beside 4.300" in found.text


def test_trouble_is_bad_and_alarms_are_worth_a_look(own_run: Path) -> None:
    events = [{"step": 3, "event": "loss spike"}, {"step": 9, "event": "alarm", "measure": "dead_units", "layer": 2}]
    (own_run / "train" / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    found = {one.text: one.good for one in verdict(read_run(own_run))}
    assert found["1 event of trouble while training: see the marks in the charts."] is False
    (alarm,) = [text for text in found if text.startswith("1 alarm about")]
    assert found[alarm] is None


def test_what_is_normal_is_of_the_recorded_run(own_run: Path) -> None:
    recorded = json.loads((ROOT / "benchmarks" / "results" / "runs" / "quickstart.json").read_text())
    assert recorded["command"] == "smolfast quickstart" and recorded["changed"] == {}
    assert (DEFAULT_RUN.parameters, DEFAULT_RUN.tokens) == (recorded["parameters"], recorded["tokens"])
    for name in ("bits_per_byte", "zlib", "xz"):
        key = name if name == "bits_per_byte" else f"{name}_bits_per_byte"
        assert getattr(DEFAULT_RUN, name) == round(recorded["evaluation"][key], 3)
    run = read_run(own_run)
    size = sum(a * (b[0] if b else 1) for a, *b in run.shapes.values())
    for share, words in (
        (0.1, "computed 10 times less, so more bits"),
        (1.0, "computed about as much"),
        (5, "computed 5 times as much, so expect fewer"),
    ):
        trained(own_run, [{"step": 1, "tokens": share * DEFAULT_RUN.tokens * DEFAULT_RUN.parameters / size}])
        assert words in normal(read_run(own_run))
    assert "18% fewer bits than zlib -9 and as many bits as xz -9e" in normal(read_run(own_run))
    trained(own_run, [{"step": 1}])
    assert normal(read_run(own_run)) == ""


def test_caps_are_named_beside_the_counts(own_run: Path, fake: SimpleNamespace, report: Report) -> None:
    assert PACKAGE_SHARE == collect.PACKAGE_SHARE
    path = own_run / "stages" / "collect.json"
    manifest = json.loads(path.read_text())
    more = {"full": True, "skipped_package_cap": 680, "skipped_table": 1, "passed_over": 2, "passed_over_files": "a, b"}
    fake.write_json(path, manifest | {"summary": manifest["summary"] | more})
    fake.write_json(own_run / "evaluate" / "evaluation.json", {"documents": 90, "bytes": 10**6, "bits_per_byte": 2.0})
    words = report()[0].words
    for sentence in (
        "Collecting stopped at the cap of 24.0 MB (collect.max_bytes). What came after it in the input was not read.",
        "680 documents left out: cap of 1/8 of 24.0 MB (collect.max_bytes) for one package.",
        "1 document left out: mostly numbers, not text.",
        "2 files of the given folders passed over. Which files a, b",
        "83 held-out documents of 173 not evaluated: bits per byte are of whole documents up to the cap of 1.0 MB "
        "(evaluate.max_bytes).",
        "4,002 up to the cap of 24.0 MB (collect.max_bytes)",
        "on held-out text: 90 of 173 documents, 1.0 MB, up to the cap of 1.0 MB (evaluate.max_bytes). Lower is better.",
    ):
        assert sentence in words, sentence
    assert "package cap" not in words and "package_cap" not in words


def test_nothing_left_out_is_nothing_said(own_run: Path, fake: SimpleNamespace, report: Report) -> None:
    path = own_run / "stages" / "collect.json"
    manifest = json.loads(path.read_text())
    counts = {f"documents_{way}": 4002 for way in ("in", "out")} | {"full": False, "skipped_too_long": 0}
    fake.write_json(path, manifest | {"summary": counts})
    assert "Left out, and why" not in report()[0].words

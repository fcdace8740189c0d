"""What a classifier is worth: thresholds, calibration and its error, notes in the model's file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_training import SMALL, sides

from smolfast import classify
from smolfast.classify.calibration import Calibration, calibration_error
from smolfast.classify.notes import append_notes, read_notes
from smolfast.commands.main import main
from smolfast.errors import SmolfastError


def drawn(slope: float, offset: float, count: int, seed: int) -> tuple[Any, Any]:
    """Scores of good and of bad documents where that calibration is the truth."""
    rng = np.random.default_rng(seed)
    scores = 1 / (1 + np.exp(-rng.normal(0, 2, count)))
    is_good = rng.random(count) < Calibration(slope, offset)(scores)
    return scores[is_good], scores[~is_good]


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.4, -1.0), (2.5, 1.5)])
def test_the_calibration_is_found_again(slope: float, offset: float) -> None:
    found = Calibration.fit(*drawn(slope, offset, 40_000, 1))
    assert found.slope == pytest.approx(slope, rel=0.06) and found.offset == pytest.approx(offset, abs=0.06)
    good, bad = drawn(slope, offset, 40_000, 2)
    scores, is_good = np.concatenate([good, bad]), np.arange(40_000) < len(good)
    assert calibration_error(found(scores), is_good) < 0.015
    if slope != 1:
        assert calibration_error(scores, is_good) > 0.06


def test_the_fit_is_the_most_likely_one() -> None:
    good, bad = drawn(0.7, 0.3, 500, 3)
    found = Calibration.fit(good, bad)
    high, low = (len(good) + 1) / (len(good) + 2), 1 / (len(bad) + 2)  # Platt's targets

    def loss(slope: float, offset: float) -> float:
        total = 0.0
        for scores, target in ((good, high), (bad, low)):
            p = Calibration(slope, offset)(scores)
            total -= float((target * np.log(p) + (1 - target) * np.log(1 - p)).sum())
        return total

    best = loss(found.slope, found.offset)
    for step in (0.01, -0.01):
        assert best < loss(found.slope + step, found.offset) and best < loss(found.slope, found.offset + step)


def test_scores_that_part_all_stay_finite() -> None:
    found = Calibration.fit(np.full(20, 1.00001), np.full(30, 0.0))
    assert 0.9 < found(np.array([1.0]))[0] < 1 and 0 < found(np.array([0.0]))[0] < 0.1
    same = Calibration.fit(np.full(30, 0.7), np.full(10, 0.7))  # says nothing
    assert same(np.array([0.7]))[0] == pytest.approx(0.75, abs=0.03)


def test_the_error_by_hand() -> None:
    scores, is_good = np.array([0.1, 0.1, 0.9, 0.9]), np.array([False, True, True, True])
    assert calibration_error(scores, is_good) == pytest.approx((2 * 0.4 + 2 * 0.1) / 4)
    assert calibration_error(np.array([1.00001]), np.array([True])) == pytest.approx(1e-5)


def test_notes_stand_behind_the_model(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    classify.train(sides(1, 20), path, **SMALL)
    before = classify.Model(path)
    assert before.notes == {}
    append_notes(path, {"threshold": 0.25})
    after = classify.Model(path)
    assert after.notes == {"threshold": 0.25}
    assert after.predict(["a proof"]).equals(before.predict(["a proof"]))
    with pytest.raises(SmolfastError, match="holds no calibration; train it with smolfast classify train"):
        after.probabilities(["a proof"])
    data = path.read_bytes()
    for damaged in (data[:-16] + b"\xff" * 8 + data[-8:], data[:-17] + b"x" + data[-16:]):
        path.write_bytes(damaged)
        with pytest.raises(SmolfastError, match="the notes behind the model are damaged"):
            read_notes(path)


def files(tmp_path: Path, seed: int, name: str) -> list[str]:
    paths = []
    for label, column in sides(seed).items():
        paths.append(str(tmp_path / f"{name}-{label}.jsonl"))
        Path(paths[-1]).write_text("".join(json.dumps({"text": text}) + "\n" for text in column))
    return paths


def test_the_command_judges_by_other_sources_and_calibrates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = files(tmp_path, 1, "seen")
    other_good, other_bad = files(tmp_path, 2, "unseen")
    model, out = str(tmp_path / "m.bin"), str(tmp_path / "out.jsonl")
    small = ["--dim", "4", "--epoch", "2", "--bucket", "500", "--lr", "0.2", "--json", "--quiet"]
    judged = ["--judge-good", other_good, "--judge-bad", other_bad, "--keep", "0.2"]
    assert main(["classify", "train", good, "--against", bad, "-o", model, *small, *judged]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["documents_good"] == 300 and summary["documents_held_out"] == 600
    assert summary["ece_calibrated"] < summary["ece"] and summary["auc"] > 0.95
    opened = classify.Model(model)
    assert opened.notes["threshold"] == summary["threshold"] and opened.notes["keep"] == 0.2
    texts = sides(3)
    probabilities = {label: np.asarray(opened.probabilities(column)) for label, column in texts.items()}
    assert probabilities["good"].mean() > 0.8 and probabilities["bad"].mean() < 0.2
    assert opened.probabilities([None, "a"]).null_count == 1
    assert main(["classify", "predict", good, "-m", model, "-o", out, "--column", "q", "--probability", "--quiet"]) == 0
    row = json.loads(Path(out).read_text().splitlines()[0])
    assert list(row) == ["text", "q", "q_score", "q_probability"]
    assert row["q_probability"] == opened.probabilities([row["text"]])[0].as_py()
    assert main(["classify", "train", good, "--against", bad, "-o", model, *judged[:2], "--overwrite"]) == 2
    assert "--judge-good, --judge-bad): give both, or neither" in capsys.readouterr().err


def test_a_small_file_keeps_the_notes(tmp_path: Path) -> None:
    good, bad = files(tmp_path, 1, "seen")
    classify.train_on_files([good], [bad], tmp_path / "m.bin", **SMALL)
    classify.quantize(tmp_path / "m.bin", tmp_path / "m.ftz")
    notes = classify.Model(tmp_path / "m.bin").notes
    assert classify.Model(tmp_path / "m.ftz").notes == notes and notes["calibration"] is not None

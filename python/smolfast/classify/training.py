"""Training of fastText models; of classifiers of quality from files, judged by documents they haven't seen."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from smolfast import _native
from smolfast.classify.judging import BAD, GOOD, heaviest, judge
from smolfast.classify.model import PREFIX, Model
from smolfast.classify.notes import append_notes
from smolfast.errors import SmolfastError
from smolfast.files import atomic_path
from smolfast.io.documents import read_batches
from smolfast.io.sources import find_sources
from smolfast.strings import Strings, importable

_MOST = {"dim": 4096, "epoch": 10_000, "word_ngrams": 10, "minn": 100, "maxn": 100, "bucket": 2**30, "min_count": 2**30}
_LEAST = {"dim": 1, "epoch": 1, "word_ngrams": 1, "minn": 0, "maxn": 0, "bucket": 1, "min_count": 1}


@dataclass(frozen=True)
class Settings:
    """fastText's arguments. The defaults are those of DCLM's classifier.

    Args:
        loss: "softmax", or "ova" (one against all).
        dim: numbers of a word's vector.
        epoch: how often each document is seen.
        lr: the rate of the first step; it falls to 0.
        word_ngrams: the longest n-gram of words.
        minn: the shortest n-gram of characters.
        maxn: the longest one; 0 for none.
        bucket: rows that n-grams share by their hashes. The file has 4 · dim bytes for each.
        min_count: how often a word must come.
        seed: of the first weights and of the documents' order.
    """

    loss: Literal["softmax", "ova"] = "softmax"
    dim: int = 100
    epoch: int = 5
    lr: float = 0.1
    word_ngrams: int = 2
    minn: int = 0
    maxn: int = 0
    bucket: int = 2_000_000
    min_count: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.loss not in ("softmax", "ova"):
            raise SmolfastError(f"loss = {self.loss!r} can't be trained; choose softmax or ova")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MOST[name]:
                raise SmolfastError(f"{name} = {value!r}: give a whole number from {least} to {_MOST[name]}")
        if not 0 < self.lr < 100:
            raise SmolfastError(f"lr = {self.lr!r}: give a number above 0, for example 0.1")
        if not 0 <= self.seed < 2**63:
            raise SmolfastError(f"seed = {self.seed!r}: give a whole number from 0")
        if self.minn > self.maxn > 0:
            raise SmolfastError(f"minn = {self.minn} is more than maxn = {self.maxn}; make it at most as large")


def train(
    texts: Mapping[str, Strings], path: str | os.PathLike[str], *, threads: int = 0, **settings: Any
) -> list[float]:
    """Train a model on columns of texts, one for each label, and write its file, which fastText loads too.

    Features and steps are fastText's with one thread, with documents in an order drawn for each epoch. Steps follow one
    another; `threads` do the rest. So the file depends on the texts, the settings and the seed alone.

    Args:
        texts: label (without fastText's prefix) → its documents. Nulls are passed over.
        path: the model's file; it appears when it is whole.
        threads: 0 for every CPU this process may use.
        settings: fields of `Settings`.

    Returns:
        The mean loss of each epoch.

    Raises:
        SmolfastError: fewer than two labels, one without documents, settings out of range, no word that is frequent
            enough, or weights that grow beyond numbers.
    """
    chosen = Settings(**settings)
    if len(texts) < 2:
        raise SmolfastError(f"texts: {len(texts)} label{'s' * (len(texts) != 1)}; give texts of two labels or more")
    sides = []
    for label, column in texts.items():
        if not label or any(c in label for c in " \n\r\t\v\f\0"):
            raise SmolfastError(f"label {label!r}: give a name without white space")
        source = importable(column)
        nulls = sum(text is None for text in source) if isinstance(source, list | tuple) else source.null_count
        if nulls == len(source):
            raise SmolfastError(f"label {label!r} has no documents; give some, or leave the label out")
        sides.append((PREFIX + label, source))
    with atomic_path(Path(path)) as temporary:
        return _native.train_fasttext(sides, os.fspath(temporary), **asdict(chosen), threads=threads)


def train_on_files(
    good: Sequence[str | os.PathLike[str]],
    bad: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    judge_good: Sequence[str | os.PathLike[str]] = (),
    judge_bad: Sequence[str | os.PathLike[str]] = (),
    keep: float = 0.1,
    held_out: float = 0.1,
    text_column: str = "text",
    errors: str = "fail",
    threads: int = 0,
    **settings: Any,
) -> dict[str, Any]:
    """Train a classifier of quality on files of good and bad documents, and judge it by those held out.

    Args:
        good: files, folders or URLs of documents as one wants them.
        bad: the same of others, best the pool that is to be filtered.
        output: the model's file.
        judge_good: files of good documents to judge by, best of sources that aren't in `good`; then none is held out.
        judge_bad: the same of bad ones.
        keep: the share of the bad side that should pass; it sets the threshold.
        held_out: the share of documents that the model isn't trained on, drawn by a hash of the text.
        settings: fields of `Settings`.

    Returns:
        documents_good, documents_bad (trained on), loss (of the last epoch), and the fields of `Quality`, phrases as
        phrases_good and phrases_bad. The threshold and the calibration stand in the model's file, as `Model.notes`.

    Raises:
        SmolfastError: as `train` and `smolfast.io.read_batches`; shares that aren't between 0 and 1.
    """
    for name, share in (("keep", keep), ("held_out", held_out)):
        if not 0 <= share < 1:
            raise SmolfastError(f"{name} = {share!r}: give a share from 0 to below 1")
    if bool(judge_good) != bool(judge_bad):
        raise SmolfastError("judge_good and judge_bad (--judge-good, --judge-bad): give both, or neither")
    seen = {GOOD: _read(good, text_column, errors), BAD: _read(bad, text_column, errors)}
    unseen = {}
    for label, column in seen.items():
        if judge_good:
            unseen[label] = _read(judge_good if label == GOOD else judge_bad, text_column, errors)
        else:
            out = _drawn(column, held_out)
            seen[label], unseen[label] = column.filter(pa.array(~out)), column.filter(pa.array(out))
    path = Path(output)
    with atomic_path(path) as temporary:
        losses = train(seen, temporary, threads=threads, **settings)
        model = Model(temporary)
        quality = judge(model, unseen, keep=keep, threads=threads)
        append_notes(temporary, quality.notes(keep))
    quality.phrases = heaviest(model, seen)
    summary = {k: v for k, v in asdict(quality).items() if k not in ("phrases", "calibration")}
    summary["documents_held_out"] = summary.pop("documents")
    return {
        "documents_good": len(seen[GOOD]),
        "documents_bad": len(seen[BAD]),
        "loss": losses[-1],
        **summary,
        **{f"phrases_{label}": phrases for label, phrases in quality.phrases.items()},
    }


def _read(paths: Sequence[str | os.PathLike[str]], text_column: str, errors: str) -> pa.ChunkedArray:
    """All texts of these files.

    Raises:
        SmolfastError: there are none; or as `smolfast.io.read_batches`.
    """
    chunks = [
        batch.column(text_column)
        for source in find_sources(paths)
        for batch in read_batches(source, text_column=text_column, columns=[], errors=errors)
    ]
    column = pa.chunked_array(chunks, pa.large_string())
    if not len(column):
        raise SmolfastError(f"{', '.join(map(str, paths))}: no documents; give files with some")
    return column


def _drawn(column: pa.ChunkedArray, share: float) -> npt.NDArray[np.bool_]:
    """Which texts are held out: equal ones all are, or none."""
    limit = int(share * 2**64)
    return np.fromiter(
        (xxhash.xxh3_64_intdigest(text.as_buffer() or b"") < limit for chunk in column.chunks for text in chunk),
        bool,
        len(column),
    )

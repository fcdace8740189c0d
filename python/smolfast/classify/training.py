"""Training of fastText models, and what they are worth on documents they haven't seen."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from smolfast import _native
from smolfast.classify.model import PREFIX, Model
from smolfast.errors import SmolfastError
from smolfast.files import atomic_path
from smolfast.io.documents import read_batches
from smolfast.io.sources import find_sources
from smolfast.strings import Strings, importable

GOOD, BAD = "good", "bad"
LEAST_DOCUMENTS = 5  # that hold a phrase, for it to be listed
MOST_READ = 4000  # documents of a side that are searched for phrases
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


@dataclass
class Quality:
    """What a model of two labels does with documents that it wasn't trained on."""

    documents: int
    auc: float | None
    """How probable it is that a good document scores above a bad one."""
    threshold: float | None
    """The score that the best `keep` of the bad side's documents reach."""
    precision: float | None
    """Of the documents that reach the threshold, the share of good ones."""
    recall: float | None
    """Of the good documents, the share that reaches it."""
    accuracy: float | None
    """The share of documents whose better label is right."""
    phrases: dict[str, list[str]] = field(default_factory=dict)
    """For each label the words and n-grams that weigh most, heaviest first."""


def train_on_files(
    good: Sequence[str | os.PathLike[str]],
    bad: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
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
        keep: the share of the bad side that should pass; it sets the threshold.
        held_out: the share of documents that the model isn't trained on, drawn by a hash of the text.
        settings: fields of `Settings`.

    Returns:
        documents_good, documents_bad (trained on), loss (of the last epoch), and the fields of `Quality`, phrases as
        phrases_good and phrases_bad.

    Raises:
        SmolfastError: as `train` and `smolfast.io.read_batches`; shares that aren't between 0 and 1.
    """
    for name, share in (("keep", keep), ("held_out", held_out)):
        if not 0 <= share < 1:
            raise SmolfastError(f"{name} = {share!r}: give a share from 0 to below 1")
    sides = {
        GOOD: _read(good, text_column, errors),
        BAD: _read(bad, text_column, errors),
    }
    seen, unseen = {}, {}
    for label, column in sides.items():
        if not len(column):
            named = good if label == GOOD else bad
            raise SmolfastError(f"{', '.join(map(str, named))}: no documents; give files with some")
        out = _drawn(column, held_out)
        seen[label], unseen[label] = column.filter(pa.array(~out)), column.filter(pa.array(out))
    losses = train(seen, output, threads=threads, **settings)
    model = Model(output)
    quality = judge(model, unseen, keep=keep, threads=threads)
    quality.phrases = heaviest(model, seen)
    summary = {k: v for k, v in asdict(quality).items() if k != "phrases"}
    summary["documents_held_out"] = summary.pop("documents")
    return {
        "documents_good": len(seen[GOOD]),
        "documents_bad": len(seen[BAD]),
        "loss": losses[-1],
        **summary,
        **{f"phrases_{label}": phrases for label, phrases in quality.phrases.items()},
    }


def judge(model: Model, unseen: Mapping[str, Strings], *, keep: float = 0.1, threads: int = 0) -> Quality:
    """What a model of the labels good and bad does with documents of both; figures are None where a side has none."""
    good, bad = (
        np.asarray(model.scores(unseen[label], [GOOD], threads=threads)[GOOD].drop_null(), np.float64)
        for label in (GOOD, BAD)
    )
    total = len(good) + len(bad)
    if not len(good) or not len(bad):
        return Quality(total, None, None, None, None, None)
    threshold = float(np.quantile(bad, 1 - keep, method="higher"))
    passed_good, passed_bad = int((good >= threshold).sum()), int((bad >= threshold).sum())
    right = sum(
        pc.sum(pc.equal(model.predict(unseen[label], threads=threads)["label"].cast(pa.string()), label)).as_py() or 0
        for label in (GOOD, BAD)
    )
    return Quality(
        documents=total,
        auc=area(good, bad),
        threshold=threshold,
        precision=passed_good / max(1, passed_good + passed_bad),
        recall=passed_good / len(good),
        accuracy=right / total,
    )


def area(good: npt.NDArray[np.float64], bad: npt.NDArray[np.float64]) -> float:
    """The area under the ROC curve: by ranks (Mann and Whitney 1947), equal scores counting half."""
    ordered = np.sort(bad)
    below = np.searchsorted(ordered, good, "left") + np.searchsorted(ordered, good, "right")
    return float(below.mean() / (2 * len(bad)))


def heaviest(model: Model, texts: Mapping[str, Strings], count: int = 15) -> dict[str, list[str]]:
    """For each label the words and n-grams of words that raise its logit most above the others' mean.

    Looked for among the phrases of the first documents of each label, `MOST_READ` of them; a phrase must stand in
    `LEAST_DOCUMENTS`.
    """
    found: Counter[str] = Counter()
    for column in texts.values():
        for text in column[:MOST_READ]:
            words = (str(text) if isinstance(text, pa.Scalar) else text or "").split()[:2000]
            of_text = {
                " ".join(words[i : i + n])
                for n in range(1, min(3, model.settings["wordNgrams"]) + 1)
                for i in range(len(words) - n + 1)
            }
            found.update(of_text)
    phrases = sorted(phrase for phrase, documents in found.items() if documents >= LEAST_DOCUMENTS)
    if not phrases:
        return {label: [] for label in model.labels}
    weights = model.weights(phrases)
    others = (weights.sum(axis=1, keepdims=True) - weights) / max(1, weights.shape[1] - 1)
    by_label = np.argsort(others - weights, axis=0, kind="stable")
    return {label: [phrases[row] for row in by_label[:count, i]] for i, label in enumerate(model.labels)}


def _read(paths: Sequence[str | os.PathLike[str]], text_column: str, errors: str) -> pa.ChunkedArray:
    """All texts of these files."""
    chunks = [
        batch.column(text_column)
        for source in find_sources(paths)
        for batch in read_batches(source, text_column=text_column, columns=[], errors=errors)
    ]
    return pa.chunked_array(chunks, pa.large_string())


def _drawn(column: pa.ChunkedArray, share: float) -> npt.NDArray[np.bool_]:
    """Which texts are held out: equal ones all are, or none."""
    limit = int(share * 2**64)
    return np.fromiter(
        (xxhash.xxh3_64_intdigest(text.as_buffer() or b"") < limit for chunk in column.chunks for text in chunk),
        bool,
        len(column),
    )

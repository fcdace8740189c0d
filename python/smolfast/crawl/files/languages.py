"""Documents parted by language: a model hears each, and those of other languages go."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from smolfast.crawl.files.finish import Finished, added, batches_of, staged
from smolfast.crawl.stretch import PAGE_SCHEMA
from smolfast.curate.files.options import Options as Judging
from smolfast.curate.files.scoring import LANGUAGE, label_of_language, least_of_language, opened
from smolfast.errors import SmolfastError
from smolfast.io.documents import BatchWriter
from smolfast.io.schemas.columns import byte_lengths, select

COLUMNS = pa.schema([("language", pa.string()), ("language_score", pa.float64())])
"""What is known of each document's language: the name that was asked for, or the model's where none was."""
OTHER, UNSURE = "another language", LANGUAGE
"""Why a document goes: the model hears a language that nobody asked for; or one of them, with too low a score."""


@dataclass(frozen=True)
class Wanted:
    """The languages that stay, and the model that tells them."""

    languages: tuple[str, ...]
    model: str
    score: float | None

    def check(self, judging: Judging) -> None:
        """Refuse what can't be told or judged, before any work begins.

        Raises:
            SmolfastError: a language twice, or one that the model, the rules or the words don't know.
        """
        self.labels()
        for language in self.languages:
            judging.verdicts([""], language)

    def labels(self) -> dict[str, str]:
        """The languages by the model's labels.

        Raises:
            SmolfastError: a language twice, or one that the model has no label for.
        """
        found: dict[str, str] = {}
        for language in self.languages:
            label = label_of_language(self.model, language)
            if label in found:
                raise SmolfastError(f"--languages: {found[label]} and {language} are one language; name it once")
            found[label] = language
        return found

    def least(self, judging: Judging) -> dict[str, float]:
        """The least score of each language: the one asked for, the rules' own, or datatrove's."""
        if self.score is not None:
            return dict.fromkeys(self.languages, self.score)
        return {
            language: least_of_language(label, judging.rules.of(language).language_score)
            for label, language in self.labels().items()
        }


@dataclass
class Parted:
    """Files of documents by language, in the order of the languages' names; and of those that went."""

    files: dict[str, Path] = field(default_factory=dict)
    removed: Path | None = None

    @property
    def kept(self) -> list[Path]:
        """The files of documents that stay."""
        return list(self.files.values())


def part_by_model(
    paths: Sequence[Path], folder: Path, wanted: Wanted, judging: Judging, threads: int, found: Finished
) -> Parted:
    """Write a file for each language, and one of what goes; counts into `found` what went."""
    schema = pa.schema([*PAGE_SCHEMA, *COLUMNS])
    names = wanted.labels()
    least = wanted.least(judging)
    model = opened(wanted.model)
    with _Files(folder, wanted.languages, schema, threads) as files:
        gone = files.writer("removed", pa.schema([*schema, *_WHY]))
        for batch in batches_of(paths):
            said = model.predict(batch.column("text"), threads=threads)
            labels, scores = said["label"].cast(pa.string()).to_pylist(), said["score"].to_pylist()
            heard = [names.get(label, label) for label in labels]
            documents = added(
                batch,
                {"language": pa.array(heard, pa.string()), "language_score": pa.array(scores, pa.float64())},
            )
            sure = [
                language in least and score >= least[language] for language, score in zip(heard, scores, strict=True)
            ]
            files.write(documents, sure)
            stays = np.array(sure, bool)
            rest = select(documents, ~stays)
            reasons = [UNSURE if language in least else OTHER for language in rest.column("language").to_pylist()]
            thresholds = [least.get(language) for language in rest.column("language").to_pylist()]
            for reason, size in zip(reasons, byte_lengths(rest.column("text")).to_pylist(), strict=True):
                found.languages_gone[reason] += 1
                found.languages_gone_bytes[reason] += size
            gone.write(
                added(
                    rest,
                    {
                        "reason": pa.array(reasons, pa.string()),
                        "filter": pa.array([LANGUAGE] * rest.num_rows, pa.string()),
                        "value": rest.column("language_score"),
                        "threshold": pa.array(thresholds, pa.float64()),
                    },
                )
            )
    return Parted(files.paths, folder / "removed.parquet")


def part_by_column(paths: Sequence[Path], folder: Path, languages: Iterable[str], threads: int) -> Parted:
    """Write a file for each language that the column `language` names."""
    schema = None
    with contextlib.ExitStack() as stack:
        files = None
        for batch in batches_of(paths):
            if files is None or schema is None:
                schema = batch.schema
                files = stack.enter_context(_Files(folder, tuple(languages), schema, threads))
            files.write(batch, [True] * batch.num_rows)
    return Parted({} if files is None else files.paths)


_WHY = pa.schema(
    [("reason", pa.string()), ("filter", pa.string()), ("value", pa.float64()), ("threshold", pa.float64())]
)


class _Files:
    """A file of parquet for each language that has documents."""

    def __init__(self, folder: Path, languages: Sequence[str], schema: pa.Schema, threads: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._schema, self._threads = folder, schema, threads
        self._languages = sorted(languages)
        self._stack = contextlib.ExitStack()
        self._writers: dict[str, BatchWriter] = {}

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    @property
    def paths(self) -> dict[str, Path]:
        """The files by language."""
        return {name: self._folder / f"{name}.parquet" for name in self._languages if name in self._writers}

    def writer(self, name: str, schema: pa.Schema) -> BatchWriter:
        """Of a file that is whole when the last one is."""
        path = self._folder / f"{name}.parquet"
        return self._stack.enter_context(BatchWriter(path, schema, threads=self._threads))

    def write(self, batch: pa.RecordBatch, stays: Sequence[bool]) -> None:
        """Those rows that stay, each into its language's file."""
        keep = pa.array(stays, pa.bool_())
        for name in self._languages:
            mine = pc.and_(keep, pc.fill_null(pc.equal(batch.column("language"), name), False))
            if not pc.any(mine).as_py():
                continue
            if name not in self._writers:
                self._writers[name] = self.writer(name, self._schema)
            self._writers[name].write(select(batch, np.asarray(mine.to_numpy(zero_copy_only=False), bool)))


def gone(parted: Parted) -> Iterable[pa.RecordBatch]:
    """The documents that went for their language, as `removed/` has them."""
    return staged(batches_of([] if parted.removed is None else [parted.removed]), LANGUAGE)

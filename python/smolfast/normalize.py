"""Normalise the text column of files: any documents in, parquet or JSON lines out, every other column kept."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from smolfast import text
from smolfast.byte_streams import CODECS
from smolfast.documents import BatchWriter, ErrorPolicy, Source, find_sources, read_batches, utf8_bytes
from smolfast.errors import SmolfastError
from smolfast.files import TEMPORARY_SUFFIX, naming, read_json, write_json
from smolfast.json_lines import JsonLinesWriter
from smolfast.progress import ProgressCallback

LINES_SUFFIXES = tuple(f"{lines}{packed}" for lines in (".jsonl", ".ndjson") for packed in ("", *CODECS))
FILE_SUFFIXES = (".parquet", *LINES_SUFFIXES)
COUNTS = ("documents_in", "bytes_in", "documents_out", "bytes_out", "documents_changed")
# The summaries of finished files, kept in the output folder until all are.
FINISHED = ".finished"


def writes_a_file(output: str | os.PathLike[str]) -> bool:
    """Whether `normalize_documents` writes one file there, by its suffix, and not a folder."""
    return Path(output).name.removesuffix(TEMPORARY_SUFFIX).endswith(FILE_SUFFIXES)


def normalize_documents(
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    form: text.Form = "NFC",
    clean: bool = False,
    simplify: bool = False,
    text_column: str = "text",
    types: Mapping[str, str] | None = None,
    errors: ErrorPolicy = "fail",
    strict: bool = False,
    threads: int = 0,
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Write `output` with the text column in Unicode normalisation form `form`, in bounded memory.

    JSON lines become JSON lines in which nothing but the text differs.

    Args:
        inputs: files, folders or URLs, as `smolfast.documents.find_sources` takes them.
        output: with the suffix .parquet or .jsonl (also with .gz, .zst, .bz2 or .xz) one file; else a folder with a
            file for each input file, JSON lines for JSON and parquet for the rest, in the same folders below. In a
            folder, what an earlier call with the same arguments finished before it was killed is kept.
        form: NFC, NFD, NFKC or NFKD (Unicode Standard Annex 15).
        clean: apply `smolfast.text.clean` with its default rules (and `form`).
        simplify: then apply `smolfast.text.simplify`.
        types: of columns of JSON and CSV, as `smolfast.documents.read_batches` takes them; JSON lines that come out of
            JSON keep their values as they stand.
        errors: for bytes that are not UTF-8: "fail", "replace" or "skip" the document.
        strict: raise if a file of a folder is passed over.
        threads: 0 for every CPU this process may use. The result does not depend on it.

    Returns:
        documents_in, bytes_in, documents_out, bytes_out, documents_changed; bytes are UTF-8 bytes of text. With
        `clean`, cleaned_RULE: characters that each of its rules changed (cleaned_form: documents). If files of a folder
        were passed over, passed_over and passed_over_files.

    Raises:
        SmolfastError: as `smolfast.documents.read_batches` and the writers do.
    """
    sources = find_sources(inputs, strict=strict)
    job = _Job(form, clean, simplify, text_column, dict(types or {}), errors, threads)
    output = Path(output)
    counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))

    def report(index: int, note: str) -> None:
        if progress is not None:
            progress(index, len(sources), note)

    if writes_a_file(output):
        with _writer(output) as writer:
            for index, source in enumerate(sources):
                for batch in job.batches(source, counts, templates=isinstance(writer, JsonLinesWriter)):
                    writer.write(batch)
                    report(index, f"{counts['documents_in']:,} documents")
        return {**counts, **sources.summary()}

    names = _names(sources)
    finished = output / FINISHED
    for index, (source, name) in enumerate(zip(sources, names, strict=True)):
        record = finished / f"{name}.json"
        if not (record.exists() and (output / name).exists()):
            of_file = Counter(dict.fromkeys(COUNTS, 0))
            with _writer(output / name, job.empty_schema(source)) as writer:
                for batch in job.batches(source, of_file, templates=isinstance(writer, JsonLinesWriter)):
                    writer.write(batch)
                    report(index, f"{counts['documents_in'] + of_file['documents_in']:,} documents")
            write_json(record, dict(of_file))
        with naming(record, "delete it and run again"):
            counts.update({str(name): int(count) for name, count in read_json(record).items()})
        report(index + 1, f"{counts['documents_in']:,} documents")
    shutil.rmtree(finished, ignore_errors=True)
    return {**counts, **sources.summary()}


class _Job:
    """What is done to each batch."""

    def __init__(
        self,
        form: text.Form,
        clean: bool,
        simplify: bool,
        text_column: str,
        types: Mapping[str, str],
        errors: ErrorPolicy,
        threads: int,
    ) -> None:
        self.form = form
        self.clean = clean
        self.simplify = simplify
        self.text_column = text_column
        self.types = types
        self.errors = errors
        self.threads = threads

    def empty_schema(self, source: Source) -> pa.Schema | None:
        """What to write if the source has no documents: None if it has."""
        if next(read_batches(source, text_column=self.text_column, columns=[], errors=self.errors), None) is not None:
            return None
        return pa.schema([(self.text_column, pa.large_string())])

    def batches(self, source: Source, counts: Counter[str], *, templates: bool) -> Iterator[pa.RecordBatch]:
        for batch in read_batches(
            source, text_column=self.text_column, types=self.types, errors=self.errors, templates=templates
        ):
            before = batch.column(self.text_column)
            after = self.apply(before, counts)
            position = batch.schema.get_field_index(self.text_column)
            counts["documents_in"] += batch.num_rows
            counts["documents_out"] += batch.num_rows
            counts["bytes_in"] += utf8_bytes(before)
            counts["bytes_out"] += utf8_bytes(after)
            if after is not before:
                counts["documents_changed"] += pc.sum(pc.not_equal(before, after)).as_py() or 0
            yield batch.set_column(position, pa.field(self.text_column, after.type), after)

    def apply(self, column: pa.Array, counts: Counter[str]) -> pa.Array:
        if self.clean:
            column, by_rule = text.clean(column, form=self.form, threads=self.threads)
            counts.update({f"cleaned_{rule}": changed for rule, changed in by_rule.items()})
        else:
            column = text.normalize(column, self.form, threads=self.threads)
        if self.simplify:
            column = text.simplify(column, threads=self.threads)
        return column


def _writer(path: Path, schema: pa.Schema | None = None) -> BatchWriter | JsonLinesWriter:
    name = path.name.removesuffix(TEMPORARY_SUFFIX)
    return BatchWriter(path, schema) if name.endswith(".parquet") else JsonLinesWriter(path)


def _names(sources: Sequence[Source]) -> list[str]:
    """For each source the path of its output inside the output folder: its own below the folder common to all."""
    paths = [
        "/" + source.path.split("://", 1)[1].lstrip("/") if "://" in source.path else str(Path(source.path).absolute())
        for source in sources
    ]
    common = os.path.commonpath([Path(path).parent for path in paths])
    names = [os.path.relpath(path, common) for path in paths]
    names = [
        _as_lines(name) if source.kind in ("jsonl", "json") else _as_parquet(name)
        for source, name in zip(sources, names, strict=True)
    ]
    for name, times in Counter(names).items():
        if times > 1:
            raise SmolfastError(f"two inputs would both become {name} in the output folder; rename one")
    return names


def _as_lines(name: str) -> str:
    """A file of JSON's name for JSON lines: .json, which may be a list, becomes .jsonl."""
    path = PurePosixPath(name)
    packed = path.suffix if path.suffix.lower() in CODECS else ""
    plain = PurePosixPath(str(path).removesuffix(packed)) if packed else path
    return str(plain.with_suffix(".jsonl") if plain.suffix.lower() == ".json" else plain) + packed.lower()


def _as_parquet(name: str) -> str:
    return name if name.endswith(".parquet") else f"{name}.parquet"

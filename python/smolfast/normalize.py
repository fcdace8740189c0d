"""Normalise the text column of files: any documents in, parquet or JSON lines out, every other column as it is."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from smolfast import text
from smolfast.boundary import computing
from smolfast.documents import BatchWriter, ErrorPolicy, Source, find_sources, read_batches, stored_schema, utf8_bytes
from smolfast.errors import SmolfastError
from smolfast.files import TEMPORARY_SUFFIX, naming, read_json, write_json
from smolfast.json_lines import JsonLinesWriter
from smolfast.progress import ProgressCallback
from smolfast.schemas import check_json, check_storable
from smolfast.shards import common_schema

FILE_SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst")
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
    errors: ErrorPolicy = "fail",
    threads: int = 0,
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Write `output` with the text column in Unicode normalisation form `form`, in bounded memory.

    Args:
        inputs: files, folders or URLs, as `smolfast.documents.find_sources` takes them.
        output: with the suffix .parquet, .jsonl, .jsonl.gz or .jsonl.zst one file; else a folder with a file for each
            input file, of its kind (parquet for text files) and in the same folders below. In a folder, what an earlier
            call with the same arguments finished before it was killed is kept.
        form: NFC, NFD, NFKC or NFKD (Unicode Standard Annex 15).
        clean: apply `smolfast.text.clean` with its default rules (and `form`).
        simplify: then apply `smolfast.text.simplify`.
        errors: for bytes that are not UTF-8: "fail", "replace" or "skip" the document.
        threads: 0 for every CPU this process may use. The result does not depend on it.

    Returns:
        documents_in, bytes_in, documents_out, bytes_out, documents_changed; bytes are UTF-8 bytes of text. With
        `clean`, cleaned_RULE: characters that each of its rules changed (cleaned_form: documents).

    Raises:
        SmolfastError: as `smolfast.documents.read_batches` and the writers do.
    """
    sources = find_sources(inputs)
    job = _Job(form, clean, simplify, text_column, errors, threads)
    output = Path(output)
    counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))

    def report(index: int, note: str) -> None:
        if progress is not None:
            progress(index, len(sources), note)

    if writes_a_file(output):
        with _writer(output, job.schema(sources, output)) as writer:
            for index, source in enumerate(sources):
                for batch in job.batches(source, counts):
                    writer.write(batch)
                    report(index, f"{counts['documents_in']:,} documents")
        return dict(counts)

    names = _names(sources)
    finished = output / FINISHED
    # What stands against a file is found before the first is written.
    schemas = {
        name: job.schema([source], output / name)
        for source, name in zip(sources, names, strict=True)
        if source.kind == "parquet"
    }
    for index, (source, name) in enumerate(zip(sources, names, strict=True)):
        record = finished / f"{name}.json"
        if not (record.exists() and (output / name).exists()):
            of_file = Counter(dict.fromkeys(COUNTS, 0))
            schema = schemas[name] if name in schemas else job.schema([source], output / name)
            with _writer(output / name, schema) as writer:
                for batch in job.batches(source, of_file):
                    writer.write(batch)
                    report(index, f"{counts['documents_in'] + of_file['documents_in']:,} documents")
            write_json(record, dict(of_file))
        with naming(record, "delete it and run again"):
            counts.update({str(name): int(count) for name, count in read_json(record).items()})
        report(index + 1, f"{counts['documents_in']:,} documents")
    shutil.rmtree(finished, ignore_errors=True)
    return dict(counts)


class _Job:
    """What is done to each batch."""

    def __init__(
        self, form: text.Form, clean: bool, simplify: bool, text_column: str, errors: ErrorPolicy, threads: int
    ) -> None:
        self.form = form
        self.clean = clean
        self.simplify = simplify
        self.text_column = text_column
        self.errors = errors
        self.threads = threads

    def schema(self, sources: Sequence[Source], output: Path) -> pa.Schema | None:
        """The columns of a parquet file made from all of these; None for JSON lines, if they can hold the values."""
        if not _is_parquet(output):
            for source in sources:
                if source.kind == "parquet":
                    stored = stored_schema(source, text_column=self.text_column, errors=self.errors)
                    assert stored is not None
                    check_json(stored.remove(stored.get_field_index(self.text_column)), source.path)
            return None
        schema = common_schema(sources, text_column=self.text_column, errors=self.errors)
        if schema is None:
            return pa.schema([(self.text_column, pa.large_string())])
        check_storable(schema, ", ".join(source.path for source in sources[:3]))
        return schema

    def batches(self, source: Source, counts: Counter[str]) -> Iterator[pa.RecordBatch]:
        row = 0
        for batch in read_batches(source, text_column=self.text_column, errors=self.errors):
            before = batch.column(self.text_column)
            with computing(source.path, row, batch.num_rows):
                after = self.apply(before, counts)
            row += batch.num_rows
            position = batch.schema.get_field_index(self.text_column)
            counts["documents_in"] += batch.num_rows
            counts["documents_out"] += batch.num_rows
            counts["bytes_in"] += utf8_bytes(before)
            counts["bytes_out"] += utf8_bytes(after)
            if after is not before:
                counts["documents_changed"] += pc.sum(pc.not_equal(before, after)).as_py() or 0
            yield batch.set_column(position, batch.schema.field(position).with_type(after.type), after)

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
    return BatchWriter(path, schema) if _is_parquet(path) else JsonLinesWriter(path)


def _is_parquet(path: Path) -> bool:
    return path.name.removesuffix(TEMPORARY_SUFFIX).endswith(".parquet")


def _names(sources: Sequence[Source]) -> list[str]:
    """For each source the path of its output inside the output folder: its own below the folder common to all."""
    paths = [
        "/" + source.path.split("://", 1)[1].lstrip("/") if "://" in source.path else str(Path(source.path).absolute())
        for source in sources
    ]
    common = os.path.commonpath([Path(path).parent for path in paths])
    names = [os.path.relpath(path, common) for path in paths]
    names = [name if name.endswith(FILE_SUFFIXES) else f"{name}.parquet" for name in names]
    for name, times in Counter(names).items():
        if times > 1:
            raise SmolfastError(f"two inputs would both become {name} in the output folder; rename one")
    return names

"""The labels of files' documents: any documents in, parquet or JSON lines out, every other column as it is."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from smolfast.classify.model import Model, Newlines
from smolfast.cluster import Engine, open_engine
from smolfast.errors import SmolfastError
from smolfast.files import final_path
from smolfast.io.boundary import computing
from smolfast.io.documents import BatchWriter, ErrorPolicy, Source, read_batches, stored_schema, utf8_bytes
from smolfast.io.json.lines import TEMPLATE, JsonLinesWriter
from smolfast.io.json.values import has_key
from smolfast.io.keep_apart import find_apart
from smolfast.io.parquet.stretches import Stretch, cut
from smolfast.io.schemas.shards import common_schema
from smolfast.io.schemas.unite import check_json, check_storable
from smolfast.io.stores.output import to_stores
from smolfast.progress import ProgressCallback

SUFFIXES = (".parquet", *(f"{lines}{packed}" for lines in (".jsonl", ".ndjson") for packed in ("", ".gz", ".zst")))
MOST_COUNTED = 20


@to_stores()
def label_documents(
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str],
    column: str = "label",
    probability: bool = False,
    threshold: float = 0.0,
    newlines: Newlines = "space",
    text_column: str = "text",
    types: Mapping[str, str] | None = None,
    errors: ErrorPolicy = "fail",
    strict: bool = False,
    threads: int = 0,
    engine: str | Engine = "local",
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Write `output` with two columns more: each document's best label, and its score. Memory is bounded.

    Args:
        inputs: files, folders or URLs, as `smolfast.io.find_sources` takes them.
        output: a file, .parquet or .jsonl (also with .gz or .zst). JSON lines keep all else of JSON as it stands.
        model: a file of fastText's.
        column: the label's column; the score's has `_score` behind. Both are null where no label was found.
        probability: add a column with `_probability` behind: how probable it is that the document is good, as
            `Model.probabilities` gives it.
        threshold: the least score of a label that is given, from 0 to 1.
        newlines: as `smolfast.classify.Model` takes it.
        types: of columns of JSON and CSV, as `smolfast.io.read_batches` takes them.
        errors: for bytes that are not UTF-8: "fail", "replace" or "skip" the document.
        strict: raise if a file of a folder is passed over.
        threads: 0 for every CPU this process may use. The result does not depend on it.
        engine: "local", or "ray" for a cluster, as `smolfast.cluster.open_engine` takes it; the same bytes.

    Returns:
        documents_in, bytes_in, documents_out, documents_labelled, and label_NAME, documents of each of the most
        frequent labels. Where there are any: documents_replaced and documents_skipped, by `errors`; passed_over and
        passed_over_files, of folders.

    Raises:
        SmolfastError: as `Model`, `smolfast.io.read_batches` and the writers do; a column without a name, or that is
            there already; the output is or contains an input.
    """
    output = Path(output)
    name = final_path(output).name
    if not name.lower().endswith(SUFFIXES):
        raise SmolfastError(f"the output {name} has none of the suffixes {', '.join(SUFFIXES)}; give it one")
    if not column:
        raise SmolfastError("column = '': the label's column needs a name; give one, for example label")
    if not 0 <= threshold <= 1:  # no score lies elsewhere
        raise SmolfastError(f"threshold = {threshold!r}: give a number from 0 to 1, for example 0.5")
    sources, inside = find_apart(inputs, output, strict=strict)
    if inside:
        raise SmolfastError(f"the output {output} is one of the inputs; choose another output")
    names = [column, f"{column}_score", *([f"{column}_probability"] if probability else [])]
    chosen = open_engine(engine)
    opened = Model(model)
    if probability:
        opened.probabilities([])  # or an error
    each = 1 if chosen.spread else threads
    job = _Job(opened, names, threshold, newlines, text_column, dict(types or {}), errors, each)
    parquet = name.lower().endswith(".parquet")
    schema = job.schema(sources) if parquet else None
    if not parquet:
        job.check_lines(sources)
    counts: Counter[str] = Counter(documents_in=0, bytes_in=0, documents_out=0, documents_labelled=0)
    found: Counter[str] = Counter()
    with BatchWriter(output, schema) if parquet else JsonLinesWriter(output) as writer:
        work = partial(_batches, job, not parquet)
        for index, batch, counted, labels in chosen.stream(work, cut(sources, fine=chosen.spread)):
            counts.update(counted)
            found.update(labels)
            if batch is not None:
                writer.write(batch)
            if progress is not None:
                progress(index, len(sources), f"{counts['documents_in']:,} documents")
    return {
        **counts,
        **{f"label_{label}": count for label, count in found.most_common(MOST_COUNTED)},
        **sources.summary(),
    }


def _batches(
    job: _Job, templates: bool, stretch: Stretch
) -> Iterator[tuple[int, pa.RecordBatch | None, Counter[str], Counter[str]]]:
    """The number of the source, a batch, and what was counted since the one before; None at the end."""
    counts: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for batch in job.batches(stretch, counts, found, templates=templates):
        yield stretch.number, batch, Counter(counts), Counter(found)
        counts.clear()
        found.clear()
    yield stretch.number, None, counts, found


class _Job:
    """What is done to each batch."""

    def __init__(
        self,
        model: Model,
        names: Sequence[str],
        threshold: float,
        newlines: Newlines,
        text_column: str,
        types: Mapping[str, str],
        errors: ErrorPolicy,
        threads: int,
    ) -> None:
        self.model = model
        self.names = names
        types_of = (pa.string(), pa.float32(), pa.float64())
        self.fields = [pa.field(name, type_) for name, type_ in zip(names, types_of, strict=False)]
        self.threshold = threshold
        self.newlines = newlines
        self.text_column = text_column
        self.types = types
        self.errors = errors
        self.threads = threads

    def schema(self, sources: Sequence[Source]) -> pa.Schema:
        """The columns of a parquet file made from all of these."""
        schema = common_schema(sources, text_column=self.text_column, types=self.types, errors=self.errors)
        if schema is None:
            schema = pa.schema([(self.text_column, pa.large_string())])
        paths = ", ".join(source.path for source in sources[:3])
        self.check_free(schema.names, [], paths)
        check_storable(schema, paths)
        for field in self.fields:
            schema = schema.append(field)
        return schema

    def check_lines(self, sources: Sequence[Source]) -> None:
        """Raise for columns that JSON lines can't hold, before anything is written."""
        for source in sources:
            if source.kind in ("parquet", "arrow"):
                stored = stored_schema(source, text_column=self.text_column, errors=self.errors)
                assert stored is not None
                check_json(stored.remove(stored.get_field_index(self.text_column)), source.path)

    def batches(
        self, stretch: Stretch, counts: Counter[str], found: Counter[str], *, templates: bool
    ) -> Iterator[pa.RecordBatch]:
        source, row = stretch.source, stretch.row
        repairs: Counter[str] = Counter()
        for batch in read_batches(
            source,
            text_column=self.text_column,
            types=self.types,
            errors=self.errors,
            counts=repairs,
            templates=templates,
            groups=stretch.groups,
        ):
            templates_of = batch.column(TEMPLATE).to_pylist() if TEMPLATE in batch.schema.names else []
            self.check_free(batch.schema.names, templates_of, source.path)
            texts = batch.column(self.text_column)
            with computing(source.path, row, batch.num_rows):
                table = self.model.predict(
                    texts, threshold=self.threshold, newlines=self.newlines, threads=self.threads
                )
                columns = [table["label"].combine_chunks().cast(pa.string()), table["score"].combine_chunks()]
                if len(self.names) == 3:
                    columns.append(self.model.probabilities(texts, newlines=self.newlines, threads=self.threads))
            row += batch.num_rows
            labels = columns[0]
            for value in labels.value_counts().to_pylist():
                if value["values"] is not None:
                    found[value["values"]] += value["counts"]
            counts["documents_in"] += batch.num_rows
            counts["documents_out"] += batch.num_rows
            counts["documents_labelled"] += batch.num_rows - labels.null_count
            counts["bytes_in"] += utf8_bytes(texts)
            for name, values in zip(self.fields, columns, strict=True):
                batch = batch.append_column(name, values)
            yield batch
        counts["documents_in"] += repairs["skipped"]
        counts.update({f"documents_{what}": count for what, count in repairs.items() if count})

    def check_free(self, columns: Sequence[str], lines: Sequence[str], path: str) -> None:
        for name in self.names:
            if name in columns or any(has_key(line, name) for line in lines):
                raise SmolfastError(
                    f"{path} has a column '{name}' already; give the new one another name with --column"
                )

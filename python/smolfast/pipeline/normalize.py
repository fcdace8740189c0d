"""Normalise the text column of files: any documents in, parquet or JSON lines out, every other column as it is."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from smolfast import text
from smolfast.cluster import Engine, open_engine
from smolfast.cluster.places import Made, Place, token_in
from smolfast.errors import SmolfastError
from smolfast.files import final_path, naming, read_json, write_json
from smolfast.io.boundary import computing
from smolfast.io.byte_streams import CODECS
from smolfast.io.documents import (
    BatchWriter,
    ErrorPolicy,
    Source,
    read_batches,
    stored_schema,
    utf8_bytes,
)
from smolfast.io.json.lines import TEMPLATE, JsonLinesWriter
from smolfast.io.json.values import has_key
from smolfast.io.keep_apart import check_apart, check_free, find_apart
from smolfast.io.parquet.stretches import Stretch, cut
from smolfast.io.schemas.shards import common_schema
from smolfast.io.schemas.unite import check_json, check_storable
from smolfast.io.sources import Sources, kind_of
from smolfast.io.stores.output import to_stores
from smolfast.pipeline.text_rules import TextRules
from smolfast.progress import ProgressCallback

LINES_SUFFIXES = tuple(f"{lines}{packed}" for lines in (".jsonl", ".ndjson") for packed in ("", *CODECS))
FILE_SUFFIXES = (".parquet", *LINES_SUFFIXES)
COUNTS = ("documents_in", "bytes_in", "documents_out", "bytes_out", "documents_changed")
WORDS = "words"
WORDS_TYPE = pa.large_list(pa.list_(pa.uint32(), 2))
# The summaries of finished files, kept in the output folder until all are.
FINISHED = ".smolfast-finished"


def writes_a_file(output: str | os.PathLike[str]) -> bool:
    """Whether `normalize_documents` writes one file there, by its suffix, and not a folder.

    Raises:
        SmolfastError: the name of a file of another kind.
    """
    path = final_path(Path(output))
    if path.name.lower().endswith(FILE_SUFFIXES):
        return True
    if kind_of(path.name) is not None and not path.is_dir():
        raise SmolfastError(
            f"normalize writes .parquet and .jsonl (also with .gz, .zst, .bz2 or .xz), not {path.name}; give another "
            "name, or a folder's without such a suffix"
        )
    return False


@to_stores()
def normalize_documents(
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    text_column: str = "text",
    types: Mapping[str, str] | None = None,
    errors: ErrorPolicy = "fail",
    strict: bool = False,
    threads: int = 0,
    engine: str | Engine = "local",
    progress: ProgressCallback | None = None,
    **rules: Any,
) -> dict[str, Any]:
    """Write `output` with the text column as the rules say (in Unicode normalisation form NFC), in bounded memory.

    JSON lines become JSON lines in which nothing but the text differs.

    Args:
        inputs: files, folders or URLs, as `smolfast.io.find_sources` takes them.
        output: with the suffix .parquet or .jsonl (also with .gz, .zst, .bz2 or .xz) one file; else a folder with a
            file for each input file, JSON lines for JSON and parquet for the rest, in the same folders below. In a
            folder, what an earlier call with the same arguments finished before it was killed is kept. It may lie in a
            folder of the inputs, and isn't read then; files of these names there are refused. Elsewhere they are
            replaced, whoever wrote them, as Python's writers do (the command refuses where it has no record of them);
            others stay.
        types: of columns of JSON and CSV, as `smolfast.io.read_batches` takes them; JSON lines that come out of
            JSON keep their values as they stand.
        errors: for bytes that are not UTF-8: "fail", "replace" or "skip" the document.
        strict: raise if a file of a folder is passed over.
        threads: 0 for every CPU this process may use. The result does not depend on it.
        engine: "local", or "ray" for a cluster, as `smolfast.cluster.open_engine` takes it; the same bytes.
        rules: fields of `smolfast.pipeline.text_rules.TextRules`, such as form="NFKC", clean=True, redact=True.

    Returns:
        documents_in, bytes_in, documents_out, bytes_out, documents_changed; bytes are UTF-8 bytes of text. With
        `clean` or some of its rules, cleaned_RULE: characters that each changed (cleaned_form: documents). With
        `words`, words. Where there are any: documents_replaced and documents_skipped, by `errors`; passed_over and
        passed_over_files, of folders.

    Raises:
        SmolfastError: as `smolfast.io.read_batches` and the writers do; the output is or contains an input.
    """
    output = Path(output)
    sources, inside = _sources(inputs, output, strict=strict)
    chosen = open_engine(engine)
    job = _Job(TextRules(**rules), text_column, dict(types or {}), errors, 1 if chosen.spread else threads)
    counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))

    def report(index: int, note: str) -> None:
        if progress is not None:
            progress(index, len(sources), note)

    if writes_a_file(output):
        with _writer(output, job.schema(sources, output)) as writer:
            work = partial(_batches, job, isinstance(writer, JsonLinesWriter))
            for index, batch, found in chosen.stream(work, cut(sources, fine=chosen.spread)):
                counts.update(found)
                if batch is not None:
                    writer.write(batch)
                report(index, f"{counts['documents_in']:,} documents")
        return {**counts, **sources.summary()}

    names = _names(sources)
    check_apart(output, (source.path for source in sources), writes=names)
    finished = output / FINISHED
    if not finished.exists():  # where it does, an earlier call has looked
        check_free(output, names, inside)
    # What stands against a file is found before the first is written, except in the rows of JSON.
    schemas = [job.schema([source], output / name, one_job=False) for source, name in zip(sources, names, strict=True)]
    write_json(finished / "started.json", {})
    records = {name: finished / f"{name}.json" for name in names}
    with token_in(finished, chosen) as token:
        place = Place(output, token)
        todo = [
            (source, place, name, schema)
            for source, name, schema in zip(sources, names, schemas, strict=True)
            if not (records[name].exists() and (output / name).exists())
        ]
        faults: list[str] = []
        done = len(sources) - len(todo)
        for made in chosen.stream(partial(_whole_file, job), todo, lost=_lost):
            if made.fault is not None:  # the other files are made all the same
                faults.append(made.fault)
                continue
            made.take()
            name, said = made.said
            write_json(records[name], said)
            counts.update(said)
            done += 1
            report(done, f"{counts['documents_in']:,} documents")
    if faults:
        more = f" (and {len(faults) - 1} files more can't be read)" if len(faults) > 1 else ""
        raise SmolfastError(faults[0] + more)
    counts = Counter(dict.fromkeys(COUNTS, 0))
    for record in records.values():
        with naming(record, "delete it and run again"):
            counts.update({str(name): int(count) for name, count in read_json(record).items()})
    report(len(sources), f"{counts['documents_in']:,} documents")
    shutil.rmtree(finished, ignore_errors=True)
    return {**counts, **sources.summary()}


def _batches(job: _Job, templates: bool, stretch: Stretch) -> Iterator[tuple[int, pa.RecordBatch | None, Counter[str]]]:
    """The number of the source, a batch, and what was counted since the one before; None at the end."""
    counts: Counter[str] = Counter()
    for batch in job.batches(stretch, counts, templates=templates):
        yield stretch.number, batch, Counter(counts)
        counts.clear()
    yield stretch.number, None, counts


def _lost(task: tuple[Source, Place, str, pa.Schema | None], what: str) -> Made:
    """What stands for a source that nobody could read."""
    source, place, name, _ = task
    return Made(place, (name, {}), f"can't read {source.path}: {what}")


def _whole_file(job: _Job, task: tuple[Source, Place, str, pa.Schema | None]) -> Iterator[Made]:
    """Make the file of a source; says its name and counts."""
    source, place, name, schema = task
    made = Made(place)
    counts = Counter(dict.fromkeys(COUNTS, 0))
    try:
        with made.writing() as folder, _writer(folder / name, schema) as writer:
            for batch in job.batches(Stretch(source, 0), counts, templates=isinstance(writer, JsonLinesWriter)):
                writer.write(batch)
    except SmolfastError as error:
        made.fault = str(error)
    made.said = name, dict(counts)
    yield made


def output_names(inputs: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str]) -> list[str]:
    """What `normalize_documents` writes in a folder, as patterns."""
    names = _names(_sources(inputs, Path(output))[0])
    return [*("".join(f"[{c}]" if c in "*?[" else c for c in name) for name in names), f"{FINISHED}/*"]


def _sources(
    inputs: Sequence[str | os.PathLike[str]], output: Path, *, strict: bool = False
) -> tuple[Sources, Sources]:
    """The sources that don't lie in the output, and those that do.

    Raises:
        SmolfastError: the output is or contains one.
    """
    sources, inside = find_apart(inputs, output, strict=strict)
    if inside and output == final_path(output) and not output.is_dir():
        raise SmolfastError(f"the output {output} is one of the inputs; choose another output")
    return sources, inside


class _Job:
    """What is done to each batch."""

    def __init__(
        self, rules: TextRules, text_column: str, types: Mapping[str, str], errors: ErrorPolicy, threads: int
    ) -> None:
        self.rules = rules
        self.text_column = text_column
        self.types = types
        self.errors = errors
        self.threads = threads

    def schema(self, sources: Sequence[Source], output: Path, *, one_job: bool = True) -> pa.Schema | None:
        """The columns of a parquet file made from all of these; None for JSON lines, if they can hold the values."""
        if not _is_parquet(output):
            for source in sources:
                if source.kind in ("parquet", "arrow"):
                    stored = stored_schema(source, text_column=self.text_column, errors=self.errors)
                    assert stored is not None
                    check_json(stored.remove(stored.get_field_index(self.text_column)), source.path)
            return None
        schema = common_schema(
            sources, text_column=self.text_column, types=self.types, errors=self.errors, one_job=one_job
        )
        if schema is None:
            schema = pa.schema([(self.text_column, pa.large_string())])
        check_storable(schema, ", ".join(source.path for source in sources[:3]))
        if self.rules.words and WORDS not in schema.names:
            schema = schema.append(pa.field(WORDS, WORDS_TYPE))
        return schema

    def batches(self, stretch: Stretch, counts: Counter[str], *, templates: bool) -> Iterator[pa.RecordBatch]:
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
            before = batch.column(self.text_column)
            with computing(source.path, row, batch.num_rows):
                after = self.rules.apply(before, counts, threads=self.threads)
            row += batch.num_rows
            position = batch.schema.get_field_index(self.text_column)
            counts["documents_in"] += batch.num_rows
            counts["documents_out"] += batch.num_rows
            counts["bytes_in"] += utf8_bytes(before)
            counts["bytes_out"] += utf8_bytes(after)
            if after is not before:
                counts["documents_changed"] += pc.sum(pc.not_equal(before, after)).as_py() or 0
            batch = batch.set_column(position, batch.schema.field(position).with_type(after.type), after)
            yield self.with_words(batch, after, source, counts) if self.rules.words else batch
        counts["documents_in"] += repairs["skipped"]
        counts.update({f"documents_{what}": count for what, count in repairs.items() if count})

    def with_words(
        self, batch: pa.RecordBatch, column: pa.Array, source: Source, counts: Counter[str]
    ) -> pa.RecordBatch:
        templates = batch.column(TEMPLATE).to_pylist() if TEMPLATE in batch.schema.names else []
        if WORDS in batch.schema.names or any(has_key(line, WORDS) for line in templates):
            raise SmolfastError(f"{source.path} has a column '{WORDS}' already; rename it, or ask for no words")
        words = text.words(column, threads=self.threads)
        counts["words"] += len(words.flatten())
        return batch.append_column(pa.field(WORDS, WORDS_TYPE), words)


def _writer(path: Path, schema: pa.Schema | None = None) -> BatchWriter | JsonLinesWriter:
    return BatchWriter(path, schema) if _is_parquet(path) else JsonLinesWriter(path)


def _is_parquet(path: Path) -> bool:
    return final_path(path).name.lower().endswith(".parquet")


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
    return name if name.lower().endswith(".parquet") else f"{name}.parquet"

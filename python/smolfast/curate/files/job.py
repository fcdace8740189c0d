"""The job: documents in; those that the rules keep, and those that they don't and why, out; resumable."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from smolfast import __version__
from smolfast.classify import model_path
from smolfast.cluster import Engine, open_engine
from smolfast.curate.files.folder import MANIFEST, OUTPUTS, OutputFolder
from smolfast.curate.files.journal import Journal, Part
from smolfast.curate.files.options import REMOVED_COLUMNS, Options, RulesFor, bad_words_of
from smolfast.curate.files.parts import PartWriter, Piece, Schemas, read_pieces, stored_schemas
from smolfast.curate.files.spread import judge_apart
from smolfast.curate.files.summary import CurateSummary, manifest_of
from smolfast.curate.files.tallies import Tallies
from smolfast.curate.files.verdicts import judge_batch
from smolfast.curate.words import WordsName
from smolfast.errors import SmolfastError
from smolfast.files import check_path, naming
from smolfast.io.amounts import source_rows, source_size
from smolfast.io.documents import ErrorPolicy, Sources
from smolfast.io.keep_apart import find_apart
from smolfast.io.locks import LOCK_FILE, hold
from smolfast.io.schemas.columns import column_names
from smolfast.io.schemas.shards import common_schema
from smolfast.io.schemas.unite import check_storable
from smolfast.io.sources import check_all_read
from smolfast.io.stores.changes import describe_inputs
from smolfast.io.stores.output import to_stores
from smolfast.progress import ProgressCallback


@dataclass
class _Job:
    """One run."""

    sources: Sources
    options: Options
    threads: int
    engine: Engine
    progress: ProgressCallback
    schema: pa.Schema
    """The columns of the input, as they are to be stored."""
    tallies: Tallies = field(default_factory=Tallies)
    parts: list[Part] = field(default_factory=list)
    skipped: int = 0

    def finish(self, part: Part) -> None:
        """Count a part that is on the disk."""
        self.parts.append(part)
        self.tallies.add(part.tallies)


@to_stores(CurateSummary)
def curate_files(
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    rules: str | os.PathLike[str] = "fineweb@0.10",
    language: str | None = None,
    language_column: str | None = None,
    words: WordsName = "spacy",
    bad_words: str | os.PathLike[str] | None = None,
    language_model: str | os.PathLike[str] | None = None,
    language_score: float | None = None,
    quality_model: str | os.PathLike[str] | None = None,
    quality_score: float | None = None,
    quality_label: str | None = None,
    text_column: str = "text",
    id_column: str = "id",
    signals: bool = False,
    types: Mapping[str, str] | None = None,
    errors: ErrorPolicy = "fail",
    strict: bool = False,
    threads: int = 0,
    engine: str | Engine = "local",
    overwrite: bool = False,
    prefix: str = "",
    progress: ProgressCallback | None = None,
) -> CurateSummary:
    """Judge files of documents by rules: write those that stay, and those that go with the number that decided.

    Neither threads nor the instruction set, nor how the rows are cut into files or kept in them, nor how often a run
    was interrupted changes a byte of `kept/` and `removed/`.

    Writes into the folder `output`:
        kept/part-00000.parquet, …: the rows that stay in input order, all columns with their types and metadata. Where
            a filter rewrites text (C4 takes out lines) it is the rewritten one. With `signals` also a column of each
            measured number.
        removed/part-00000.parquet, …: the rows that go, as they came, with `document` (int64, the row's number over
            all inputs, from 0), `reason`, `filter`, `value` and `threshold` (float64): the number that decided, and
            what it was compared with; null where a filter decides by what it finds. A part of one number holds what
            came from the same stretch of the input, some 256 MiB of text.
        curate.json: the rules, options, fingerprints of the inputs, documents and bytes by reason, and how each number
            is spread. A run with the same ones does nothing.

    Args:
        inputs: files, folders or URLs, as `smolfast.io.find_sources` takes them.
        rules: a name ("fineweb@0.10") or a file of rules, as `smolfast.curate.load_rules` takes them.
        language: of all documents, as `smolfast.curate.judge` takes it; the rules' own, or English.
        language_column: a column that holds each document's own.
        words: what a word is, as `smolfast.curate.judge` takes it.
        bad_words: a file of words, one a line: documents that hold one go.
        language_model: a model of fastText's, or `lid.176`, as `smolfast.classify.Model` takes it. Before the rules,
            documents go that it gives too low a score for `language`, with the reason "language".
        language_score: the least score that stays; the rules' own (FineWeb-2's, for GlotLID), or 0.65 as for datatrove.
        quality_model: a model of fastText's, such as `smolfast.classify.train_on_files` makes. Behind the rules, and on
            the text as they left it, documents go that it scores too low, with the reason "quality".
        quality_score: the least score that stays; the threshold in the model's file, if training wrote one.
        quality_label: the label that is scored; `good`, or `hq` as for DCLM, if the model has it.
        text_column, types, errors, strict: as for `smolfast.dedup.deduplicate`.
        id_column: names a document for `explain`; FILE:ROW where there is none.
        signals: keep the measured numbers as columns, for `smolfast.curate.decide`.
        threads: 0 for every CPU this process may use.
        engine: "local", or "ray" for a cluster, as `smolfast.cluster.open_engine` takes it; the same bytes.
        overwrite: replace an output made from other inputs or options. Files that no manifest knows of never are.
        prefix: comes before the names of the columns that are added, for input that has columns of these names.
        progress: called with bytes of input done, bytes in all, and a note.

    Raises:
        SmolfastError: bad rules, options or input; columns that can't be joined or stored or that have the names of
            ours; an output of another run, one that is or contains an input, or that another process writes; a full
            disk. Earlier output stays as it was.
    """
    options = Options(
        rules=RulesFor(os.fspath(rules), bad_words=bad_words_of(bad_words)),
        language=language,
        language_column=language_column,
        words=words,
        signals=signals,
        text_column=text_column,
        id_column=id_column,
        types=dict(types or {}),
        errors=errors,
        prefix=prefix,
        language_model=None if language_model is None else model_path(language_model),
        language_score=language_score,
        quality_model=None if quality_model is None else model_path(quality_model),
        quality_score=quality_score,
        quality_label=quality_label,
    )
    folder = check_path(output)
    sources = _sources(inputs, folder, strict=strict)
    if folder.exists() and not folder.is_dir():
        raise SmolfastError(f"{folder} is a file; give a folder to write kept and removed documents into")
    options.check()
    schema = _schema(sources, options)
    job = _Job(sources, options, threads, open_engine(engine), progress or (lambda done, total, note: None), schema)
    with hold(folder / LOCK_FILE, folder):
        made_from = {
            "smolfast": __version__,
            "parameters": options.parameters(),
            "rules": options.rules_key(),
            "models": options.models_key(),
            "inputs": describe_inputs(source.path for source in sources),
        }
        found = OutputFolder(folder).result(made_from, lambda work: _run(job, work), overwrite=overwrite)
        with naming(folder / MANIFEST, "choose another output or add --overwrite"):
            return CurateSummary.of(found, sources.summary())


def _sources(given: Sequence[str | os.PathLike[str]], output: Path, *, strict: bool) -> Sources:
    """The files to read, without what an earlier run wrote into `output`."""
    sources, inside = find_apart(given, output, writes=OUTPUTS)
    if strict:
        check_all_read(sources.passed_over)
    for source in inside:
        # It may be told from an input by its name alone: replacing it still takes a manifest.
        if Path(os.path.relpath(source.path, output)).parts[0] not in OUTPUTS:
            raise SmolfastError(f"the output {output} contains the input {source.path}; choose another output")
    return sources


def _schema(sources: Sources, options: Options) -> pa.Schema:
    """The columns of the input; whatever stands against them is found before work begins."""
    schema = common_schema(
        sources,
        text_column=options.text_column,
        types=options.types,
        errors=options.errors,
        reserved=[options.prefix + name for name in (*REMOVED_COLUMNS, *options.signal_columns())],
    )
    if schema is None:
        raise _no_documents(sources)
    check_storable(schema, sources[0].path if len(sources) == 1 else "the input")
    if options.language_column is not None and options.language_column not in schema.names:
        raise SmolfastError(
            f"{sources[0].path} has no column '{options.language_column}'; give as --language-column one of those it "
            f"has: {column_names(schema.names)}"
        )
    return schema


def _no_documents(sources: Sources) -> SmolfastError:
    return SmolfastError(f"no documents in {', '.join(source.path for source in sources[:3])}; give other input")


def _run(job: _Job, work: Path) -> dict[str, Any]:
    """Judge and write what isn't finished yet, part by part; gives what the manifest says."""
    journal = Journal(work)
    for part in journal.finished():
        job.finish(part)
    schemas = stored_schemas(job.schema, job.options)
    last = job.parts[-1] if job.parts else None
    counts: Counter[int] = Counter()
    reached = _Reached(job)
    if job.engine.spread:
        for part in judge_apart(job.engine, job.sources, job.schema, job.options, work, last, counts):
            journal.add(part)
            job.finish(part)
            reached.tell(part.source, part.row, part.end)
    else:
        _judge_here(job, work, journal, schemas, last, counts, reached)
    job.skipped = (0 if last is None else last.skipped) + counts.total()
    if not job.parts:
        raise _no_documents(job.sources)
    return manifest_of(job.parts, job.tallies, job.options, job.skipped, len(job.sources))


def _judge_here(
    job: _Job,
    work: Path,
    journal: Journal,
    schemas: Schemas,
    last: Part | None,
    counts: Counter[int],
    reached: _Reached,
) -> None:
    """Judge and write the parts after `last` in this process."""
    pieces = read_pieces(job.sources, job.schema, job.options, last, counts)
    with contextlib.closing(pieces):
        for number, of_part in itertools.groupby(pieces, key=lambda piece: piece.part):
            with PartWriter(work, number, schemas, job.options, job.threads) as writer:
                for piece in of_part:
                    path = job.sources[piece.source].path
                    writer.add(piece, judge_batch(piece.batch, job.options, job.threads, path, piece.row))
                    reached.show(piece)
            part = writer.finished()
            journal.add(part)
            job.finish(part)


class _Reached:
    """How much of the input is done, in bytes of its files."""

    def __init__(self, job: _Job) -> None:
        self._job = job
        self._sizes = [source_size(source) for source in job.sources]
        self._rows = [source_rows(source) for source in job.sources]

    def show(self, piece: Piece) -> None:
        rows = piece.batch.num_rows
        self.tell(piece.source, piece.row + rows, piece.document + rows)

    def tell(self, source: int, row: int, documents: int) -> None:
        rows = self._rows[source]
        share = row / rows if rows else 0.0
        done = sum(self._sizes[:source]) + share * self._sizes[source]
        self._job.progress(done, float(sum(self._sizes)) or 1.0, f"{documents:,} documents judged")

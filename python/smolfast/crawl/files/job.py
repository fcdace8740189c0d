"""The job: files of a crawl in; documents that are kept, and those that aren't and why, out; resumable."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from smolfast import __version__, _native
from smolfast.classify import model_path
from smolfast.cluster import Engine, open_engine
from smolfast.crawl.extraction.extractors import Extractor, extractor_name
from smolfast.crawl.files.finish import Finished, Finisher, batches_of, staged
from smolfast.crawl.files.journal import Counts
from smolfast.crawl.files.languages import COLUMNS, Parted, Wanted, gone, part_by_column, part_by_model
from smolfast.crawl.files.options import Options, url_lists_of
from smolfast.crawl.files.pages import KEPT, REMOVED, read_pages
from smolfast.crawl.files.summary import CrawlSummary, summary_of
from smolfast.crawl.stretch import PAGE_SCHEMA
from smolfast.crawl.stretches import Setup
from smolfast.curate.files.crawls import find_crawls
from smolfast.curate.files.folder import MANIFEST, OUTPUTS, OutputFolder, read_manifest
from smolfast.curate.files.job import curate_files
from smolfast.curate.files.options import Options as Judging
from smolfast.curate.files.options import RulesFor, bad_words_of
from smolfast.curate.words import WordsName
from smolfast.dedup.job import deduplicate
from smolfast.errors import SmolfastError
from smolfast.files import check_path, fingerprint, naming, remove
from smolfast.io.keep_apart import find_apart
from smolfast.io.locks import LOCK_FILE, hold
from smolfast.io.sources import Sources
from smolfast.io.stores.changes import describe_inputs
from smolfast.io.stores.output import to_stores
from smolfast.progress import ProgressCallback


@to_stores(CrawlSummary)
def crawl_files(
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    extract: str | Extractor = "resiliparse",
    url_lists: Mapping[str, str | os.PathLike[str] | None] | None = None,
    dedup: bool = False,
    redact: bool = True,
    page_seconds: float = 60.0,
    rules: str | os.PathLike[str] = "fineweb@0.10",
    language: str | None = None,
    languages: Sequence[str] = (),
    words: WordsName = "spacy",
    bad_words: str | os.PathLike[str] | None = None,
    language_model: str | os.PathLike[str] | None = None,
    language_score: float | None = None,
    quality_model: str | os.PathLike[str] | None = None,
    quality_score: float | None = None,
    quality_label: str | None = None,
    signals: bool = False,
    strict: bool = False,
    threads: int = 0,
    engine: str | Engine = "local",
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
) -> CrawlSummary:
    """From WARC and WET files to documents that are kept, by a published recipe.

    The stages are FineWeb's: pages are read, addresses filtered, text extracted, documents judged by model and rules,
    duplicates removed, and addresses of people replaced. For FineWeb-2's rules duplicates go before the rules, and
    encodings are repaired before addresses are replaced.

    Neither workers nor the order of the inputs, nor how often a run was interrupted changes a byte of what is written:
    files are read in the order of their names. A page that takes `page_seconds` of CPU time, or ends its process, goes
    with that reason, and costs no other page.

    Writes into the folder `output`:
        kept/part-00000.parquet, …: the documents that stay, with `id`, `text`, `url`, `date` (WARC-Date), `title`,
            `published`, `canonical_url`, `charset`, `charset_from`, `html_bytes`, `file`, `offset`, `inner_offset`.
        removed/part-00000.parquet, …: the pages and broken records that went, with the same columns as far as they are
            known, and `stage` (read, url, extract, language, rules, dedup), `reason`, `filter`, `value`, `threshold`,
            `document` and `duplicate_of`.
        curate.json: options, inputs, and documents by stage and reason. A run with the same ones does nothing.

    Args:
        inputs: files, folders or URLs of WARC (.warc, .warc.gz, .warc.zst) or WET.
        extract: "resiliparse", "trafilatura", MODULE:FUNCTION, or a function of a module or script that takes HTML and
            gives text. It runs in worker processes.
        url_lists: files of the URL filter by name: domains, urls, banned_words, soft_banned_words, banned_subwords.
        dedup: remove near-duplicates within the run.
        redact: replace e-mail and public IP addresses.
        page_seconds: CPU time of a page's extraction; ten times as much by the clock.
        languages: keep several languages in one run. `language_model` (without one: lid.176) tells each document's;
            what it gives another language, or too low a score, goes. Duplicates are looked for within a language,
            each language is judged by its own rules, and kept documents lie in kept/LANGUAGE/part-00000.parquet, ….
        rules, language, words, bad_words, language_model, language_score, quality_model, quality_score, quality_label,
            signals, strict, overwrite: as for `smolfast.curate.curate_files`.
        threads: worker processes, and threads of the other stages; 0 for every CPU this process may use.
        engine: "local", or "ray" for a cluster, as `smolfast.cluster.open_engine` takes it; the same bytes.
        progress: called with work done, work in all, and a note.

    Raises:
        SmolfastError: bad options or input; an output of another run, one that is or contains an input, or that another
            process writes; a full disk. Earlier output stays as it was.
    """
    options = Options(
        extract=extractor_name(extract),
        url_lists=url_lists_of(url_lists or {}),
        judging=Judging(
            rules=RulesFor(os.fspath(rules), bad_words=bad_words_of(bad_words)),
            language=language,
            language_column="language" if languages else None,
            words=words,
            signals=signals,
            text_column="text",
            id_column="id",
            types={},
            errors="fail",
            prefix="",
            language_model=None if language_model is None or languages else model_path(language_model),
            language_score=None if languages else language_score,
            quality_model=None if quality_model is None else model_path(quality_model),
            quality_score=quality_score,
            quality_label=quality_label,
        ),
        dedup=dedup,
        redact=redact,
        page_seconds=page_seconds,
        wanted=Wanted(tuple(languages), model_path(language_model or DEFAULT_MODEL), language_score)
        if languages
        else None,
    )
    if languages and language is not None:
        raise SmolfastError(f"language = {language!r} and languages: give one of them")
    folder = check_path(output)
    sources, _ = find_apart(inputs, folder, strict=strict, writes=OUTPUTS, find=find_crawls)
    if folder.exists() and not folder.is_dir():
        raise SmolfastError(f"{folder} is a file; give a folder to write kept and removed documents into")
    options.check()
    ordered = Sources(sorted(sources, key=lambda source: (Path(source.path).name, source.path)), sources.passed_over)
    judging = {
        "rules": rules,
        "language": language,
        "language_column": options.judging.language_column,
        "words": words,
        "bad_words": bad_words,
        "language_model": options.judging.language_model,
        "language_score": options.judging.language_score,
        "quality_model": quality_model,
        "quality_score": quality_score,
        "quality_label": quality_label,
        "signals": signals,
    }
    chosen = open_engine(engine)
    job = _Job(ordered, options, threads, chosen, progress or (lambda done, total, note: None), judging)
    with hold(folder / LOCK_FILE, folder):
        made_from = {
            "smolfast": __version__,
            **options.key(),
            "inputs": describe_inputs(source.path for source in ordered),
        }
        found = OutputFolder(folder).result(made_from, job.run, overwrite=overwrite)
        with naming(folder / MANIFEST, "choose another output or add --overwrite"):
            return CrawlSummary(**found["summary"], **ordered.summary())


DEFAULT_MODEL = "lid.176"


@dataclass
class _Job:
    """One run."""

    sources: Sources
    options: Options
    threads: int
    engine: Engine
    progress: ProgressCallback
    judging: Mapping[str, Any]

    def run(self, work: Path) -> dict[str, Any]:
        """All stages, each in a folder of its own below `work`; what the manifest will say."""
        pages = work / "pages"
        pages.mkdir(parents=True, exist_ok=True)
        setup = Setup(self.options.extract, self.options.url_lists, self.options.page_seconds)
        workers = self.engine.places if self.engine.spread else self.threads or _native.available_threads()
        parts, _ = read_pages(self.sources, pages, setup, workers, self.progress, self.engine)
        counts = Counts()
        for part in parts:
            counts.add(part.counts)
        reached = _Reached(sorted((pages / KEPT).glob("*.parquet")), counts.kept)
        for stage in self.options.order:
            if not reached.left:
                break
            getattr(self, f"_{stage}")(work, reached)
        found, rules = self._finish(work, reached), reached.rules
        said = summary_of(counts, self.options.order, None if rules is None else rules["summary"], found.found)
        return {
            "outputs": {name: fingerprint(work / name) for name in found.found.outputs},
            "summary": said,
            "rules_summary": _NO_RULES if rules is None else rules["summary"],
            **{name: {} if rules is None else rules[name] for name in _OF_RULES},
            **({"rules": {"name": self.options.judging.rules.name, "toml": {}}} if rules is None else {}),
        }

    def _in(self, what: str) -> ProgressCallback:
        return lambda done, total, note: self.progress(done, total, f"{what}: {note}")

    def _language(self, work: Path, reached: _Reached) -> None:
        wanted = self.options.wanted
        assert wanted is not None
        reached.parted = part_by_model(
            reached.stays, work / "languages", wanted, self.options.judging, self.threads, reached.found
        )
        reached.spoken = reached.parted
        reached.stays = reached.parted.kept
        reached.left -= reached.found.languages_gone.total()

    def _rules(self, work: Path, reached: _Reached) -> None:
        reached.left = curate_files(
            reached.stays,
            work / "rules",
            threads=self.threads,
            engine=self.engine,
            progress=self._in("rules"),
            **self.judging,
        ).documents_out
        reached.rules = read_manifest(work / "rules")
        reached.stays = sorted((work / "rules" / KEPT).glob("*.parquet"))
        if self.options.wanted is not None:
            languages = self.options.wanted.languages
            reached.parted = part_by_column(reached.stays, work / "judged", languages, self.threads)
            reached.stays = reached.parted.kept

    def _dedup(self, work: Path, reached: _Reached) -> None:
        languages = {"": reached.stays}
        if reached.parted is not None:
            languages = {name: [path] for name, path in reached.parted.files.items()}
        reached.left, kept = 0, {}
        for name, paths in languages.items():
            folder = work / "dedup" / name
            what = f"duplicates {name}".strip()
            reached.left += deduplicate(
                paths, folder, threads=self.threads, engine=self.engine, progress=self._in(what)
            ).documents_out
            reached.duplicates_of.append((paths, folder / "removed.parquet"))
            kept[name] = folder / "kept.parquet"
        reached.stays = list(kept.values())
        if reached.parted is not None:
            reached.parted = Parted(kept)

    def _finish(self, work: Path, reached: _Reached) -> Finisher:
        for name in (KEPT, REMOVED):
            if (work / name).exists():
                remove(work / name)
            (work / name).mkdir(parents=True)
        finisher = Finisher(
            work, self.threads, reached.found, fix=self.options.is_fineweb_2, redact=self.options.redact
        )
        removed = [] if reached.rules is None else sorted((work / "rules" / REMOVED).glob("*.parquet"))
        # Columns that stages add to a document: numbers that were measured, and clusters.
        known = {*PAGE_SCHEMA.names, "document", "reason", "filter", "value", "threshold"}
        schemas = [pq.read_schema(path) for path in [*removed[:1], *(paths[0] for paths, _ in reached.duplicates_of)]]
        if reached.spoken is not None:
            schemas.insert(0, COLUMNS)
        extra = pa.schema({one.name: one for schema in schemas for one in schema if one.name not in known}.values())
        for path in removed:  # part by part, as the manifest's examples are numbered
            finisher.write_removed(staged(batches_of([path]), "rules"), extra)
        of_pages = sorted((work / "pages" / REMOVED).glob("*.parquet"))
        finisher.write_removed(batches_of(of_pages), extra)
        if reached.spoken is not None:
            finisher.write_removed(gone(reached.spoken), extra)
        for paths, out in reached.duplicates_of:
            finisher.write_removed(finisher.duplicates(paths, out), extra)
        done = 0

        def meanwhile(rows: int) -> None:
            nonlocal done
            done += rows
            self.progress(done, reached.left or 1, f"{done:,} documents written")

        if reached.parted is None:
            finisher.write_kept(reached.stays, meanwhile)
        else:
            for name, path in reached.parted.files.items():
                finisher.write_kept([path], meanwhile, name)
        return finisher


@dataclass
class _Reached:
    """What stands after a stage."""

    stays: list[Path]
    left: int
    """Documents in `stays`."""
    parted: Parted | None = None
    """The same by language, where several are kept."""
    spoken: Parted | None = None
    """What the language stage made."""
    rules: dict[str, Any] | None = None
    """The manifest of that stage."""
    duplicates_of: list[tuple[list[Path], Path]] = field(default_factory=list)
    """What deduplication read, and its file of what went."""
    found: Finished = field(default_factory=Finished)


_NO_RULES = {
    **dict.fromkeys(("documents_in", "bytes_in", "documents_out", "bytes_out", "rewritten", "skipped"), 0),
    "reasons": [],
}
_OF_RULES = ("rules", "checks", "languages", "signals", "nearest")

"""Kinds of stages from text to documents to train on: collect, curate, pdf, convert, normalize, dedup, split."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, create_model

from smolfast.config import Section
from smolfast.pipeline.recipes.kinds.kind import Binding, Kind, Paths, Take
from smolfast.pipeline.stages import Stage
from smolfast.pipeline.text_rules import TextRules
from smolfast.progress import ProgressCallback

Errors = Literal["fail", "replace", "skip"]
_COUNTS = ("documents_in", "bytes_in", "documents_out", "bytes_out")
_DOCUMENTS = {"documents": Take(("documents",), least=0, most=1000)}


class _Reading(Section):
    input: Paths = ()
    text_column: str = "text"
    errors: Errors = "fail"
    strict: bool = False


def _collect(b: Binding) -> Stage:
    from smolfast.pipeline import collect

    sources = collect.list_inputs(b.options.input, without=b.folder, strict=b.options.strict)
    reading = {"text_column": b.options.text_column, "errors": b.options.errors}
    return Stage(
        b.name,
        inputs={},
        output=b.output,
        parameters={**b.section("collect"), "sources": collect.signature(sources), **reading},
        work=lambda path, progress: collect.collect(sources, path, b.config.collect, **reading, progress=progress),
        reads=list(b.options.input) or ["the text of this Python installation"],
    )


COLLECT = Kind(
    "documents of files, up to a size",
    _collect,
    gives={"documents": "documents.parquet"},
    section="collect",
    options=_Reading,
    summary=(*_COUNTS, "full"),
)


class _Curate(_Reading):
    rules: str = "fineweb@0.10"
    language: str | None = None
    language_column: str | None = None
    words: Literal["spacy", "unicode", "whitespace"] = "spacy"
    bad_words: str | None = None
    language_model: str | None = None
    language_score: float | None = None
    quality_model: str | None = None
    quality_score: float | None = None
    quality_label: str | None = None
    id_column: str = "id"
    signals: bool = False
    prefix: str = ""
    extract: str = "resiliparse"
    languages: Paths = ()
    url_lists: dict[str, str] = Field(default_factory=dict)
    dedup: bool = False
    redact: bool = True
    page_seconds: float = Field(60.0, gt=0)


_OF_CRAWLS = ("extract", "languages", "url_lists", "dedup", "redact", "page_seconds")
_OF_DOCUMENTS = ("language_column", "text_column", "id_column", "errors", "prefix")


def _curate(b: Binding) -> Stage:
    from smolfast.curate.files.crawls import find_crawls, holds_crawls

    crawl = bool(b.options.input) and holds_crawls(b.options.input, b.folder)
    sources, inputs, said = b.sources(find_crawls) if crawl else b.sources()
    leave = _OF_DOCUMENTS if crawl else _OF_CRAWLS
    settings = {
        name: value
        for name, value in b.options.model_dump(mode="json").items()
        if name not in ("input", "strict", *leave)
    }
    for name in ("rules", "language_model", "quality_model", "bad_words"):  # files of the user's, if they are files
        path = settings[name]
        if isinstance(path, str) and Path(path).is_file():
            inputs[name] = Path(path)

    def work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
        if crawl:
            from smolfast.crawl.files.job import crawl_files as job
        else:
            from smolfast.curate import curate_files as job  # type: ignore[assignment]
        summary = job(
            sources, path, **settings, strict=b.options.strict, threads=b.threads, overwrite=True, progress=progress
        )
        return summary.as_dict()

    return Stage(b.name, inputs, b.output, {**settings, **said}, work, resumable=True, reads=b.options.input)


CURATE = Kind(
    "documents, or pages of a crawl, that rules keep",
    _curate,
    gives={"documents": "kept"},
    takes=_DOCUMENTS,
    options=_Curate,
    summary=(*_COUNTS,),
)


class _Pdf(Section):
    input: Paths = ()
    bytes_column: str | None = None
    ocr: str = "none"
    ocr_figures: bool = False
    boxes: bool = False
    page_seconds: float = Field(60.0, gt=0)
    memory: int = Field(2 << 30, ge=256 << 20)
    strict: bool = False


def _pdf(b: Binding) -> Stage:
    from smolfast.pdf import extract_pdfs
    from smolfast.pdf.files.sources import find_pdfs

    sources, inputs, said = b.sources(find_pdfs)
    settings = {name: getattr(b.options, name) for name in ("bytes_column", "page_seconds", "memory")}
    reading = {name: getattr(b.options, name) for name in ("ocr", "ocr_figures", "boxes")}
    settings |= {name: value for name, value in reading.items() if value != _Pdf.model_fields[name].default}

    def work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
        summary = extract_pdfs(
            sources, path, **settings, strict=b.options.strict, threads=b.threads, overwrite=True, progress=progress
        )
        return summary.as_dict()

    return Stage(b.name, inputs, b.output, {**settings, **said}, work, resumable=True, reads=b.options.input)


PDF = Kind("the text of PDF files", _pdf, gives={"documents": "kept"}, takes=_DOCUMENTS, options=_Pdf, summary=_COUNTS)


class _Convert(_Reading):
    format: Literal["parquet", "jsonl", "jsonl.gz", "jsonl.zst"] = "parquet"


def _rewrite(b: Binding, rules: Mapping[str, Any], parameters: Mapping[str, Any], name: str) -> Stage:
    from smolfast.pipeline.normalize import normalize_documents

    sources, inputs, said = b.sources()
    reading = {"text_column": b.options.text_column, "errors": b.options.errors}

    def work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
        path.mkdir(parents=True, exist_ok=True)
        # A file of all inputs, so that what comes next need not know how many there were.
        return normalize_documents(
            sources, path / name, **reading, **rules, strict=b.options.strict, threads=b.threads, progress=progress
        )

    return Stage(
        b.name, inputs, b.output, {**parameters, **_unusual(reading, _Reading), **said}, work, reads=b.options.input
    )


def _unusual(settings: Mapping[str, Any], options: type[Section]) -> dict[str, Any]:
    """Settings that aren't the defaults: a recipe without them makes what it always made."""
    default = options()
    return {name: value for name, value in settings.items() if value != getattr(default, name)}


def _convert(b: Binding) -> Stage:
    rules = dataclasses.asdict(TextRules(form=None))
    return _rewrite(b, rules, {"format": b.options.format}, f"documents.{b.options.format}")


CONVERT = Kind(
    "documents of any format as one file",
    _convert,
    gives={"documents": ""},
    takes=_DOCUMENTS,
    options=_Convert,
    summary=_COUNTS,
)

_RULES = {rule.name: rule for rule in dataclasses.fields(TextRules) if rule.name != "form"}
_Normalize = create_model(
    "_Normalize",
    __base__=_Reading,
    **{
        name: (f"{rule.type}".replace("text.Form", "str"), rule.default)  # type: ignore[call-overload]
        for name, rule in _RULES.items()
    },
)


def _normalize(b: Binding) -> Stage:
    rules = {name: getattr(b.options, name) for name in _RULES}
    parameters = {**b.section("normalize"), **_unusual(rules, _Normalize)}
    return _rewrite(b, {**rules, **b.section("normalize")}, parameters, "documents.parquet")


NORMALIZE = Kind(
    "text normalised, cleaned, redacted",
    _normalize,
    gives={"documents": "documents.parquet"},
    takes=_DOCUMENTS,
    section="normalize",
    options=_Normalize,
    summary=(*_COUNTS, "documents_changed"),
)


class _Dedup(_Reading):
    id_column: str = "id"
    tokens: Literal["unicode", "whitespace", "spacy"] = "unicode"
    language: str | None = None
    simplify: bool = False
    exact: Literal["text", "simplified"] = "text"
    lines: int | None = None
    hash: str | None = None
    prefix: str = ""


def _dedup(b: Binding) -> Stage:
    sources, inputs, said = b.sources()
    section = b.section("dedup")
    own = {name: value for name, value in b.options.model_dump().items() if name not in ("input", "strict")}

    def work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
        from smolfast.dedup import deduplicate

        settings = {**section, "threshold": section["threshold"] or None, **own}
        found = deduplicate(
            sources,
            path,
            **settings,
            seed=b.config.seed,
            strict=b.options.strict,
            threads=b.threads,
            progress=progress,
        )
        return found.as_dict()

    parameters = {**section, "seed": b.config.seed, **_unusual(own, _Dedup), **said}
    return Stage(b.name, inputs, b.output, parameters, work, reads=b.options.input)


DEDUP = Kind(
    "documents without duplicates",
    _dedup,
    gives={"documents": "kept.parquet"},
    takes=_DOCUMENTS,
    section="dedup",
    options=_Dedup,
    summary=(*_COUNTS, "exact_duplicates", "near_duplicates"),
    seeded=True,
)


class _Split(Section):
    text_column: str = "text"
    errors: Errors = "fail"


def _split(b: Binding) -> Stage:
    documents = b.one("documents")
    reading = _unusual(b.options.model_dump(), _Split)

    def work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
        from smolfast.pipeline import split

        return split.split_documents(
            documents,
            path,
            held_out_fraction=b.config.split.held_out_fraction,
            seed=b.config.seed,
            **reading,
            progress=progress,
        )

    return Stage(
        b.name, {"documents": documents}, b.output, {**b.section("split"), "seed": b.config.seed, **reading}, work
    )


SPLIT = Kind(
    "documents to train on, and held-out ones",
    _split,
    gives={"train": "train.parquet", "held_out": "held_out.parquet"},
    takes={"documents": Take(("documents",))},
    section="split",
    options=_Split,
    summary=(*_COUNTS, "train_documents", "train_bytes", "held_out_documents", "held_out_bytes"),
    seeded=True,
)

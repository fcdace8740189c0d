"""`smolfast curate IN… -o OUT --rules NAME`, for documents and for files of a crawl; and `curate explain ID -o OUT`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.commands.options import add_column_types, add_engine, add_strict, add_threads, as_words, engine_of
from smolfast.commands.parsers import add_common, add_output, command
from smolfast.curate.explain import explain
from smolfast.curate.files.crawls import holds_crawls
from smolfast.curate.files.folder import KEPT, REMOVED
from smolfast.curate.files.job import curate_files
from smolfast.curate.files.summary import CurateSummary
from smolfast.errors import SmolfastError
from smolfast.progress import Console, describe_end, has_colours

_FORMS = """\
  smolfast curate explain ID -o DIR
      say what each check measured in a document, and mark what decided

It has its own --help. A file or folder called explain is ./explain.
"""

_LISTS = {
    "domains": ("--url-domains", "domains and hosts, one a line: their pages go"),
    "urls": ("--url-list", "whole addresses that go, one a line"),
    "banned_words": ("--url-words", "words: an address with one goes"),
    "soft_banned_words": ("--url-soft-words", "words: an address with two goes"),
    "banned_subwords": ("--url-subwords", "parts of words: an address with one goes"),
}
_OF_DOCUMENTS = {"language_column": None, "text_column": "text", "id_column": "id", "prefix": "", "errors": "fail"}
"""Options that say what columns documents have, and their defaults."""


def add_curate(commands: Any) -> None:
    """Add `smolfast curate` and `curate explain`."""
    parser = command(commands, "curate", _run, after=_after)
    parser.epilog = f"further commands:\n\n{_FORMS}"
    parser.add_argument("input", nargs="+", metavar="IN", help="files, folders or URLs of documents, or of a crawl")
    parser.set_defaults(goes_on=True)
    _add_judging(parser.add_argument_group("what is judged, and how"))
    _add_crawl(parser.add_argument_group("where the input is a crawl (WARC, WET)"))
    _add_machine(parser.add_argument_group("input, output and machine"))

    of_explain = parser.add_verb("explain", "Say what each check measured in a document, and mark what decided.")
    of_explain.add_argument("id", metavar="ID", help="the document's id, FILE:ROW where it has none, or a page's URL")
    of_explain.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder that curate wrote")
    of_explain.add_argument("--check", metavar="REASON", help="mark what this check looks at, not the one that decided")
    add_common(of_explain, _explain)


def _add_judging(group: Any) -> None:
    group.add_argument(
        "--rules",
        default="fineweb@0.10",
        metavar="NAME",
        help="rules by name, or a file of them: TOML, or FineWeb-2's YAML (default: fineweb@0.10)",
    )
    group.add_argument("--text-column", default="text", metavar="NAME", help="column of text (default: text)")
    languages = group.add_mutually_exclusive_group()
    languages.add_argument(
        "--language",
        metavar="CODE",
        help="of all documents, such as en, sk or slk_Latn (default: the rules' own, or en)",
    )
    languages.add_argument("--language-column", metavar="NAME", help="column that names each document's language")
    group.add_argument(
        "--words",
        choices=("spacy", "unicode", "whitespace"),
        default="spacy",
        help="what a word is: spaCy's token, as for datatrove; Unicode's, for every language; or what stands between "
        "white space (default: spacy)",
    )
    group.add_argument("--bad-words", type=Path, metavar="FILE", help="words, one a line: documents with one go")
    group.add_argument(
        "--language-model", type=Path, metavar="FILE", help="fastText's, or lid.176: other languages go first"
    )
    group.add_argument(
        "--language-score",
        type=float,
        metavar="X",
        help="the language's least score (default: the rules' own, or 0.65)",
    )
    group.add_argument(
        "--quality-model", type=Path, metavar="FILE", help="fastText's model: what it scores low goes last"
    )
    group.add_argument(
        "--quality-score", type=float, metavar="X", help="the least score for quality (default: that of the model)"
    )
    group.add_argument("--quality-label", metavar="NAME", help="the label that is scored (default: good, or hq)")
    group.add_argument("--signals", action="store_true", help="keep every measured number as a column")


def _add_machine(group: Any) -> None:
    add_output(group, "folder for kept, removed and curate.json")
    group.add_argument("--id-column", default="id", metavar="NAME", help="column that names a document (default: id)")
    group.add_argument("--prefix", default="", metavar="TEXT", help="before the names of added columns, if taken")
    group.add_argument(
        "--errors",
        choices=("fail", "replace", "skip"),
        default="fail",
        help="for text that is not UTF-8 (default: fail)",
    )
    add_column_types(group)
    add_strict(group)
    add_threads(group)
    add_engine(group)


def _run(arguments: argparse.Namespace) -> Mapping[str, Any]:
    if holds_crawls(arguments.input, arguments.output):
        return _run_crawl(arguments)
    _refuse_crawl_options(arguments)
    console = Console(quiet=arguments.quiet)
    with console.watch("curate") as watch:
        summary = curate_files(
            arguments.input,
            arguments.output,
            rules=arguments.rules,
            language=arguments.language,
            language_column=arguments.language_column,
            words=arguments.words,
            bad_words=arguments.bad_words,
            language_model=arguments.language_model,
            language_score=arguments.language_score,
            quality_model=arguments.quality_model,
            quality_score=arguments.quality_score,
            quality_label=arguments.quality_label,
            text_column=arguments.text_column,
            id_column=arguments.id_column,
            signals=arguments.signals,
            types=dict(arguments.column_type),
            errors=arguments.errors,
            strict=arguments.strict,
            threads=arguments.threads,
            engine=engine_of(arguments),
            overwrite=arguments.overwrite,
            prefix=arguments.prefix,
            progress=watch,
        )
    console.line(_report(summary, arguments.output, watch.seconds))
    return summary.as_dict()


def _report(summary: CurateSummary, output: Path, seconds: float | None) -> str:
    """What was done, in how long, and where it lies; `seconds` is None if it was done already."""
    if seconds is None:
        return f"{'curate':<11} unchanged, skipped; {output} holds the result"
    return f"{'curate':<11} {describe_end(summary.as_dict(), seconds)}; {output / KEPT}, {output / REMOVED}"


def _after(arguments: argparse.Namespace, result: Mapping[str, Any]) -> list[str]:
    lines = [f"{as_words('smolfast', 'report', arguments.output)}  (a page of what went, and why)"]
    if result["reasons"]:
        lines.append(f"{as_words('smolfast', 'curate', 'explain')} ID {as_words('-o', arguments.output)}")
    if result["documents_out"] and arguments.dedup:
        lines.append(as_words("smolfast", "quickstart", "--input", arguments.output / KEPT))
    elif result["documents_out"]:
        lines.append(as_words("smolfast", "dedup", arguments.output / KEPT, "-o", "unique"))
    return lines


def _explain(arguments: argparse.Namespace) -> Mapping[str, Any] | None:
    explanation = explain(arguments.output, arguments.id, check=arguments.check)
    if arguments.json:
        return explanation.as_dict()
    print(explanation.report(colours=has_colours(sys.stdout)))
    return None


def _add_crawl(group: Any) -> None:
    """The options for crawls."""
    group.add_argument(
        "--extract",
        metavar="NAME",
        help="resiliparse, trafilatura, or MODULE:FUNCTION from HTML to text (default: resiliparse)",
    )
    group.add_argument(
        "--languages",
        type=lambda text: [name for name in text.split(",") if name],
        default=[],
        metavar="A,B",
        help="keep several languages, each by its own rules in a folder of its own; --language-model tells them "
        "(default: lid.176)",
    )
    for name, (option, what) in _LISTS.items():
        group.add_argument(option, dest=f"url_{name}", type=Path, metavar="FILE", help=what)
    group.add_argument(
        "--dedup", action="store_true", help="remove near-duplicates, at the rules' own place in the order"
    )
    group.add_argument("--keep-addresses", action="store_true", help="don't replace e-mail and IP addresses")
    group.add_argument(
        "--page-seconds",
        type=float,
        metavar="S",
        help="CPU time after which a page's extraction is ended (default: 60)",
    )


def _refuse_crawl_options(arguments: argparse.Namespace) -> None:
    """Raise SmolfastError for options that documents have no use for."""
    given = [option for name, (option, _) in _LISTS.items() if getattr(arguments, f"url_{name}") is not None]
    given += [
        option
        for option, name in (("--extract", "extract"), ("--page-seconds", "page_seconds"))
        if getattr(arguments, name) is not None
    ]
    given += (
        ["--languages"] * bool(arguments.languages)
        + ["--dedup"] * arguments.dedup
        + ["--keep-addresses"] * arguments.keep_addresses
    )
    if "--dedup" in given:
        raise SmolfastError("--dedup is for files of a crawl; of documents run smolfast dedup on what curate kept")
    if given:
        raise SmolfastError(f"{given[0]} is for files of a crawl (WARC, WET), which the input isn't; leave it out")


def _run_crawl(arguments: argparse.Namespace) -> Mapping[str, Any]:
    """Run the command on a crawl."""
    from smolfast.crawl.files.job import crawl_files

    for name, default in _OF_DOCUMENTS.items():
        if getattr(arguments, name) != default:
            option = f"--{name.replace('_', '-')}"
            raise SmolfastError(f"{option} is for documents, and the input is a crawl; leave {option} out")
    if arguments.column_type:
        raise SmolfastError("--column-type is for documents, and the input is a crawl; leave --column-type out")
    console = Console(quiet=arguments.quiet)
    with console.watch("crawl") as watch:
        summary = crawl_files(
            arguments.input,
            arguments.output,
            extract=arguments.extract or "resiliparse",
            url_lists={name: getattr(arguments, f"url_{name}") for name in _LISTS},
            dedup=arguments.dedup,
            redact=not arguments.keep_addresses,
            page_seconds=60.0 if arguments.page_seconds is None else arguments.page_seconds,
            rules=arguments.rules,
            language=arguments.language,
            languages=arguments.languages,
            words=arguments.words,
            bad_words=arguments.bad_words,
            language_model=arguments.language_model,
            language_score=arguments.language_score,
            quality_model=arguments.quality_model,
            quality_score=arguments.quality_score,
            quality_label=arguments.quality_label,
            signals=arguments.signals,
            strict=arguments.strict,
            threads=arguments.threads,
            engine=engine_of(arguments),
            overwrite=arguments.overwrite,
            progress=watch,
        )
    said = summary.as_dict()
    if (seconds := watch.seconds) is not None:
        pages = summary.documents_in / max(seconds, 1e-3)
        console.line(f"{'crawl':<11} {describe_end(said, seconds)}; {pages:,.0f} pages/s")
        for line in _funnel(said):
            console.line(f"{'':<11} {line}")
    else:
        console.line(f"{'crawl':<11} unchanged, skipped; {arguments.output} holds the result")
    return said


def _funnel(said: Mapping[str, Any]) -> list[str]:
    """A line for each stage that took pages: how many, and for what most."""
    lines = []
    left = said["documents_in"] + sum(one["documents"] for one in said["reasons"] if one["stage"] == "broken")
    for stage in dict.fromkeys(one["stage"] for one in said["reasons"]):
        of_stage = [one for one in said["reasons"] if one["stage"] == stage]
        went = sum(one["documents"] for one in of_stage)
        left -= went
        most = sorted(of_stage, key=lambda one: -one["documents"])[:3]
        named = ", ".join(f"{one['reason']} {one['documents']:,}" for one in most)
        more = f" and {len(of_stage) - 3} more reasons" if len(of_stage) > 3 else ""
        lines.append(f"{stage:<8} {went:>9,} went: {named}{more}")
    return lines

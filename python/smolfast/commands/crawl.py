"""The part of `smolfast curate` for files of a crawl: its options, and the run."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.errors import SmolfastError
from smolfast.progress import Console, describe_end

_LISTS = {
    "domains": ("--url-domains", "domains and hosts, one a line: their pages go"),
    "urls": ("--url-list", "whole addresses that go, one a line"),
    "banned_words": ("--url-words", "words: an address with one goes"),
    "soft_banned_words": ("--url-soft-words", "words: an address with two goes"),
    "banned_subwords": ("--url-subwords", "parts of words: an address with one goes"),
}
_OF_DOCUMENTS = {"language_column": None, "text_column": "text", "id_column": "id", "prefix": "", "errors": "fail"}
"""Options that say what columns documents have, and their defaults."""


def add_crawl(group: Any) -> None:
    """The options for crawls."""
    group.add_argument(
        "--extract",
        metavar="NAME",
        help="resiliparse, trafilatura, or MODULE:FUNCTION from HTML to text (default: resiliparse)",
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


def refuse_crawl_options(arguments: argparse.Namespace) -> None:
    """Raise SmolfastError for options that documents have no use for."""
    given = [option for name, (option, _) in _LISTS.items() if getattr(arguments, f"url_{name}") is not None]
    given += [
        option
        for option, name in (("--extract", "extract"), ("--page-seconds", "page_seconds"))
        if getattr(arguments, name) is not None
    ]
    given += ["--dedup"] * arguments.dedup + ["--keep-addresses"] * arguments.keep_addresses
    if "--dedup" in given:
        raise SmolfastError("--dedup is for files of a crawl; of documents run smolfast dedup on what curate kept")
    if given:
        raise SmolfastError(f"{given[0]} is for files of a crawl (WARC, WET), which the input isn't; leave it out")


def run_crawl(arguments: argparse.Namespace) -> Mapping[str, Any]:
    """Run the command on a crawl."""
    from smolfast.crawl.files.job import crawl_files

    for name, default in _OF_DOCUMENTS.items():
        if getattr(arguments, name) != default:
            option = f"--{name.replace('_', '-')}"
            raise SmolfastError(f"{option} is for documents, and the input is a crawl; leave {option} out")
    if arguments.column_type:
        raise SmolfastError("--column-type is for documents, and the input is a crawl; leave --column-type out")
    console = Console(quiet=arguments.quiet)
    show = console.progress("crawl")
    began, worked = time.monotonic(), False

    def progress(done: float, total: float, note: str) -> None:
        nonlocal worked
        worked = True
        show(done, total, note)

    try:
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
            overwrite=arguments.overwrite,
            progress=progress,
        )
    finally:
        console.clear()
    said = summary.as_dict()
    if worked:
        pages = summary.documents_in / max(time.monotonic() - began, 1e-3)
        console.line(f"{'crawl':<11} {describe_end(said, time.monotonic() - began)}; {pages:,.0f} pages/s")
        for line in funnel(said):
            console.line(f"{'':<11} {line}")
    else:
        console.line(f"{'crawl':<11} unchanged, skipped; {arguments.output} holds the result")
    return said


def funnel(said: Mapping[str, Any]) -> list[str]:
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

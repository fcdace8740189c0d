"""`smolfast dedup IN… -o OUT`, `dedup explain ID -o OUT` and `dedup index build|add|query IN…`."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.commands.options import add_column_types, add_engine, add_strict, as_words, engine_of
from smolfast.commands.parsers import add_common, add_output, command, local_path
from smolfast.dedup.explain import explain
from smolfast.dedup.index import INDEX
from smolfast.dedup.job import KEPT, REMOVED, deduplicate
from smolfast.dedup.minhash import SCHEMES, TOKENS
from smolfast.dedup.output import DedupSummary
from smolfast.errors import SmolfastError
from smolfast.progress import Console, describe_end

_FORMS = """\
  smolfast dedup explain ID -o DIR
      say why a document went, with the two texts
  smolfast dedup index build IN… --index INDEX -o DIR
      deduplicate and start an index of what was kept
  smolfast dedup index add IN… --index INDEX -o DIR
      drop what is like the index or itself; add the rest to it
  smolfast dedup index query IN… --index INDEX -o DIR
      the same, but leave the index as it is

Each has its own --help. A file or folder called explain or index is ./explain
or ./index.
"""

_INDEX_VERBS = {
    "build": "Deduplicate documents and start an index of what was kept.",
    "add": "Drop documents that are like one of an index or of the input; add the rest to the index.",
    "query": "Drop documents that are like one of an index or of the input; leave the index as it is.",
}

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def add_dedup(commands: Any) -> None:
    """Add `smolfast dedup`, `dedup explain` and `dedup index build|add|query`."""
    parser = command(commands, "dedup", run, after=_after)
    parser.epilog = f"further commands:\n\n{_FORMS}"
    add_arguments(parser)

    parser_of_explain = parser.add_verb("explain", "Say why a document was removed, with the two texts.")
    parser_of_explain.add_argument("id", metavar="ID", help="the document's id, or FILE:ROW where it has none")
    parser_of_explain.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder that dedup wrote"
    )
    add_common(parser_of_explain, _explain)

    index = parser.add_verb("index", "Deduplicate against an index of documents on disk.")
    index.epilog = "To deduplicate a file or folder called index, write ./index."
    verbs = index.add_subparsers(title="commands", required=True, metavar="build|add|query")
    for verb, help_text in _INDEX_VERBS.items():
        of_verb = command(verbs, verb, functools.partial(_run_index, verb), help_text, _after)
        add_arguments(of_verb, index_required=True)


def add_arguments(parser: argparse.ArgumentParser, *, index_required: bool = False) -> None:
    """Add what `smolfast dedup` and `dedup index` have in common."""
    parser.add_argument("input", nargs="+", metavar="IN", help="files, folders or URLs")
    parser.set_defaults(goes_on=True)
    _add_compared(parser.add_argument_group("what is compared"), index_required)
    _add_duplicate(parser.add_argument_group("what is a duplicate"))
    _add_stays(parser.add_argument_group("which one stays"))
    _add_machine(parser.add_argument_group("input, output and machine"))


def _add_compared(group: Any, index_required: bool) -> None:
    group.add_argument("--text-column", default="text", metavar="NAME", help="column of text (default: text)")
    group.add_argument("--against", nargs="+", default=[], metavar="PATH", help="documents to compare with, that stay")
    index_help = "folder of the index" if index_required else "folder of an index to compare with"
    group.add_argument("--index", type=local_path, required=index_required, metavar="INDEX", help=index_help)
    group.add_argument("--simplify", action="store_true", help="compare lower-case text without punctuation or marks")
    group.add_argument("--tokens", choices=TOKENS, default="unicode", help="what a token is (default: unicode)")
    group.add_argument("--language", metavar="CODE", help="language of the tokens spacy (default: en)")
    group.add_argument(
        "--ngram", type=int, default=5, metavar="N", help="compare runs of so many tokens, called shingles (default: 5)"
    )


def _add_duplicate(group: Any) -> None:
    group.add_argument(
        "--threshold",
        type=float,
        metavar="T",
        help="Jaccard similarity of near-duplicates (default: where the bands find them)",
    )
    group.add_argument(
        "--verify",
        choices=("none", "signature", "exact"),
        default="signature",
        help="what has to reach the threshold: the signatures' estimate, the similarity itself, or nothing "
        "(default: signature)",
    )
    group.add_argument(
        "--exact",
        choices=("text", "simplified"),
        default="text",
        help="exact duplicates share their text, or their simplified text (default: text)",
    )
    group.add_argument("--num-perm", type=int, default=112, metavar="K", help="hashes per signature (default: 112)")
    group.add_argument("--bands", type=int, metavar="B", help="bands (default: 14, or by the threshold)")
    group.add_argument("--rows", type=int, metavar="R", help="hashes per band (default: 8, or by the threshold)")
    group.add_argument("--scheme", choices=SCHEMES, default="fast", help="how documents are signed (default: fast)")
    group.add_argument("--hash", metavar="NAME", help="digest of the schemes datasketch and datatrove")
    group.add_argument("--seed", type=int, default=1, metavar="S", help="seed of the hashes (default: 1)")
    group.add_argument(
        "--lines",
        type=int,
        metavar="BYTES",
        help="also take out lines of so many bytes that stood in an earlier document",
    )


def _add_stays(group: Any) -> None:
    group.add_argument(
        "--keep",
        default="first",
        metavar="RULE",
        help="first, longest, or a column whose highest value wins (default: first)",
    )
    group.add_argument(
        "--chains",
        action="store_true",
        help="keep one document of a cluster, even where others are like it only through others between "
        "(FineWeb's way, with --verify none)",
    )


def _add_machine(group: Any) -> None:
    add_output(group, "folder for kept.parquet and removed.parquet")
    group.add_argument("--id-column", default="id", metavar="NAME", help="column that names a document (default: id)")
    group.add_argument(
        "--prefix", default="", metavar="TEXT", help="before the names cluster_id and cluster_size, if they are taken"
    )
    group.add_argument(
        "--errors",
        choices=("fail", "replace", "skip"),
        default="fail",
        help="for text that is not UTF-8 (default: fail)",
    )
    add_column_types(group)
    add_strict(group)
    group.add_argument("--threads", type=int, default=0, metavar="N", help="CPUs to use; 0 for all (default: 0)")
    add_engine(group)
    group.add_argument(
        "--memory",
        type=parse_size,
        metavar="SIZE",
        help="such as 1g; the rest goes to disk (default: half of the machine's)",
    )


def run(arguments: argparse.Namespace, *, update_index: bool = False) -> Mapping[str, Any]:
    """Run `smolfast dedup` as its options say; returns the summary."""
    console = Console(quiet=arguments.quiet)
    with console.watch("dedup") as watch:
        summary = deduplicate(
            arguments.input,
            arguments.output,
            text_column=arguments.text_column,
            id_column=arguments.id_column,
            num_perm=arguments.num_perm,
            ngram=arguments.ngram,
            bands=arguments.bands,
            rows=arguments.rows,
            threshold=arguments.threshold,
            verify=arguments.verify,
            chains=arguments.chains,
            keep=arguments.keep,
            tokens=arguments.tokens,
            scheme=arguments.scheme,
            hash=arguments.hash,
            seed=arguments.seed,
            simplify=arguments.simplify,
            language=arguments.language,
            exact=arguments.exact,
            lines=arguments.lines,
            types=dict(arguments.column_type),
            errors=arguments.errors,
            strict=arguments.strict,
            threads=arguments.threads,
            engine=engine_of(arguments),
            memory=arguments.memory,
            against=arguments.against,
            index=arguments.index,
            update_index=update_index,
            overwrite=arguments.overwrite,
            prefix=arguments.prefix,
            progress=watch,
        )
    console.line(_report(summary, arguments.output, watch.seconds))
    return summary.as_dict()


def _report(summary: DedupSummary, output: Path, seconds: float | None) -> str:
    """What was done, in how long, and where it lies; `seconds` is None if it was done already."""
    if seconds is None:
        return f"{'dedup':<11} unchanged, skipped; {output} holds the result"
    return f"{'dedup':<11} {describe_end(summary.as_dict(), seconds)}; {output / KEPT}, {output / REMOVED}"


def _after(arguments: argparse.Namespace, result: Mapping[str, Any]) -> list[str]:
    lines = [as_words("smolfast", "split", arguments.output / KEPT, "-o", "split")] if result["documents_out"] else []
    if result["exact_duplicates"] + result["near_duplicates"]:
        lines.insert(
            0, f"{as_words('smolfast', 'dedup', 'explain')} ID {as_words('-o', arguments.output)}  (why it went)"
        )
    return lines


def _explain(arguments: argparse.Namespace) -> Mapping[str, Any] | None:
    explanation = explain(arguments.output, arguments.id)
    if arguments.json:
        return explanation.as_dict()
    print(explanation.report())
    return None


def _run_index(verb: str, arguments: argparse.Namespace) -> Mapping[str, Any]:
    there = (arguments.index / INDEX).exists()
    if verb == "build" and there:
        raise SmolfastError(f"{arguments.index} is an index already; use add, or choose another folder")
    if verb != "build" and not there:
        raise SmolfastError(f"there is no index in {arguments.index}; build one with smolfast dedup index build")
    return run(arguments, update_index=verb != "query")


def parse_size(text: str) -> int:
    """Bytes from `512m`, `1g`, `1.5GiB` or a plain number."""
    number = text.strip().lower().removesuffix("b").removesuffix("i")
    unit = number[-1:] if number[-1:] in _UNITS else ""
    try:
        return int(float(number.removesuffix(unit)) * _UNITS[unit])
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; give bytes, or a number with k, m, g or t") from None

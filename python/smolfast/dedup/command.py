"""`smolfast dedup IN… -o OUT`, `dedup explain ID -o OUT` and `dedup index build|add|query IN…`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.dedup.explain import explain
from smolfast.dedup.index import INDEX
from smolfast.dedup.job import deduplicate
from smolfast.dedup.minhash import SCHEMES, TOKENS
from smolfast.errors import SmolfastError
from smolfast.progress import Console

_FORMS = """\
smolfast dedup IN… -o DIR                            keep one document of each cluster
smolfast dedup IN… -o DIR --against PATH             and drop what is like a document of PATH
smolfast dedup explain ID -o DIR                     say why a document went, with the two texts
smolfast dedup index build IN… --index INDEX -o DIR  deduplicate and start an index of what was kept
smolfast dedup index add   IN… --index INDEX -o DIR  drop what is like the index or itself; add the rest to it
smolfast dedup index query IN… --index INDEX -o DIR  the same, but leave the index as it is
"""

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `smolfast dedup` to its parser."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = f"{parser.description}\n\n{_FORMS}"
    parser.add_argument("input", nargs="+", metavar="IN", help="files, folders or URLs")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder for kept.parquet and removed.parquet"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an output made from other input or settings")
    parser.add_argument("--against", nargs="+", default=[], metavar="PATH", help="documents to compare with, that stay")
    parser.add_argument("--index", type=Path, metavar="INDEX", help="folder of an index of documents to compare with")
    parser.add_argument("--text-column", default="text", metavar="NAME", help="column of text (text)")
    parser.add_argument("--id-column", default="id", metavar="NAME", help="column that names a document (id)")
    parser.add_argument("--num-perm", type=int, default=112, metavar="K", help="hashes per signature (112)")
    parser.add_argument("--ngram", type=int, default=5, metavar="N", help="tokens per shingle (5)")
    parser.add_argument("--tokens", choices=TOKENS, default="unicode", help="what a token is (unicode)")
    parser.add_argument("--scheme", choices=SCHEMES, default="fast", help="how documents are signed (fast)")
    parser.add_argument("--hash", metavar="NAME", help="digest of the schemes datasketch and datatrove")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="seed of the hashes (1)")
    parser.add_argument("--simplify", action="store_true", help="compare lower-case text without punctuation or marks")
    parser.add_argument(
        "--exact", choices=("text", "simplified"), default="text", help="what exact duplicates share (text)"
    )
    parser.add_argument(
        "--lines",
        type=int,
        metavar="BYTES",
        help="also take out lines of so many bytes that stood in an earlier document",
    )
    parser.add_argument("--bands", type=int, metavar="B", help="bands (14, or by the threshold)")
    parser.add_argument("--rows", type=int, metavar="R", help="hashes per band (8, or by the threshold)")
    parser.add_argument("--threshold", type=float, metavar="T", help="Jaccard similarity of near-duplicates; verifies")
    parser.add_argument(
        "--verify", choices=("none", "signature", "exact"), help="test candidate pairs (signature with a threshold)"
    )
    parser.add_argument(
        "--keep", default="first", metavar="RULE", help="first, longest, or a column whose highest value wins (first)"
    )
    parser.add_argument(
        "--errors", choices=("fail", "replace", "skip"), default="fail", help="for text that is not UTF-8 (fail)"
    )
    parser.add_argument(
        "--prefix", default="", metavar="TEXT", help="before the names cluster_id and cluster_size, if they are taken"
    )
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPUs to use; 0 for all (0)")
    parser.add_argument(
        "--memory", type=parse_size, metavar="SIZE", help="such as 1g; the rest goes to disk (half of the machine's)"
    )


def run(arguments: argparse.Namespace) -> Mapping[str, Any] | None:
    """Run `smolfast dedup` as its options say; returns the summary."""
    words = list(arguments.input)
    verb = words[0] if words[0] in ("explain", "index") and not Path(words[0]).exists() else None
    if verb == "explain":
        return _explain(arguments, words[1:])
    update = False
    if verb == "index":
        words, update = _index_words(arguments, words[1:])
    console = Console(quiet=arguments.quiet)
    try:
        return deduplicate(
            words,
            arguments.output,
            text_column=arguments.text_column,
            id_column=arguments.id_column,
            num_perm=arguments.num_perm,
            ngram=arguments.ngram,
            bands=arguments.bands,
            rows=arguments.rows,
            threshold=arguments.threshold,
            verify=arguments.verify,
            keep=arguments.keep,
            tokens=arguments.tokens,
            scheme=arguments.scheme,
            hash=arguments.hash,
            seed=arguments.seed,
            simplify=arguments.simplify,
            exact=arguments.exact,
            lines=arguments.lines,
            errors=arguments.errors,
            threads=arguments.threads,
            memory=arguments.memory,
            against=arguments.against,
            index=arguments.index,
            update_index=update,
            overwrite=arguments.overwrite,
            prefix=arguments.prefix,
            progress=console.progress("dedup"),
        ).as_dict()
    finally:
        console.clear()


def _explain(arguments: argparse.Namespace, words: list[str]) -> Mapping[str, Any] | None:
    if len(words) != 1:
        raise SmolfastError("explain takes one id, as in: smolfast dedup explain ID -o DIR")
    explanation = explain(arguments.output, words[0])
    if arguments.json:
        return explanation.as_dict()
    print(explanation.report())
    return None


def _index_words(arguments: argparse.Namespace, words: list[str]) -> tuple[list[str], bool]:
    """The inputs of an index command, and whether it changes the index."""
    verbs = ("build", "add", "query")
    if len(words) < 2 or words[0] not in verbs or arguments.index is None:
        raise SmolfastError("as in: smolfast dedup index build|add|query IN… --index INDEX -o DIR")
    there = (arguments.index / INDEX).exists()
    if words[0] == "build" and there:
        raise SmolfastError(f"{arguments.index} is an index already; use add, or choose another folder")
    if words[0] != "build" and not there:
        raise SmolfastError(f"there is no index in {arguments.index}; build one with smolfast dedup index build")
    return words[1:], words[0] != "query"


def parse_size(text: str) -> int:
    """Bytes from `512m`, `1g`, `1.5GiB` or a plain number."""
    number = text.strip().lower().removesuffix("b").removesuffix("i")
    unit = number[-1:] if number[-1:] in _UNITS else ""
    try:
        return int(float(number.removesuffix(unit)) * _UNITS[unit])
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; give bytes, or a number with k, m, g or t") from None

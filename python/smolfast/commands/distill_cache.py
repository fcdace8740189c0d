"""`smolfast distill-cache`: draws from a teacher, stored."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.commands.options import as_words, run_stage
from smolfast.commands.parsers import at_least, command, output_path
from smolfast.files import check_path


def add_distill_cache(commands: Any) -> None:
    """The parser of `smolfast distill-cache`."""
    parser = command(
        commands,
        "distill-cache",
        _distill_cache,
        after=_after,
    )
    parser.set_defaults(goes_on=True)
    parser.add_argument("teacher", metavar="TEACHER", help="folder or hub name of a transformers causal language model")
    parser.add_argument("--tokens", type=Path, required=True, metavar="DIR", help="folder that tokenize wrote")
    parser.add_argument("--name", default="train", metavar="NAME", help="which token file (default: train)")
    parser.add_argument(
        "-o",
        "--output",
        type=output_path,
        metavar="DIR",
        help="folder for the parquet parts (default: the tokens' name with -teacher, beside them)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an output made from other input or settings")
    parser.add_argument(
        "--samples", type=at_least(1), default=50, metavar="N", help="draws for each token (default: 50)"
    )
    parser.add_argument(
        "--temperature", type=float, default=1.0, metavar="T", help="temperature of the teacher (default: 1)"
    )
    parser.add_argument(
        "--context",
        type=at_least(0),
        default=0,
        metavar="N",
        help="tokens of a window; 0 for the teacher's own (default: 0)",
    )
    parser.add_argument(
        "--layers",
        type=_numbers,
        default=(),
        metavar="N,…",
        help="the teacher's layers, from 1, whose outputs are stored too, for distill.layer_weight",
    )
    parser.add_argument(
        "--features", type=at_least(1), default=64, metavar="N", help="numbers stored of each (default: 64)"
    )
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="seed of the draws (default: 0)")


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of layers, such as 4,8") from None


def _after(arguments: argparse.Namespace, result: Mapping[str, Any]) -> list[str]:
    return [as_words("smolfast", "train", arguments.tokens, "-o", "student", "--teacher-cache", arguments.output)]


def _distill_cache(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.train.distillation.cache import INDEX_FILE, write_cache

    if arguments.output is None:
        tokens = check_path(arguments.tokens)
        arguments.output = tokens.with_name(tokens.name + "-teacher")
    options = {name: getattr(arguments, name) for name in ("name", "samples", "temperature", "context", "seed")}
    if arguments.layers:
        options |= {"layers": list(arguments.layers), "features": arguments.features}
    return run_stage(
        arguments,
        "distill-cache",
        inputs={"tokens": arguments.tokens},
        files=[arguments.teacher] if Path(arguments.teacher).exists() else [],
        parameters={"teacher": arguments.teacher, **options},
        work=lambda path, progress: write_cache(
            arguments.teacher, arguments.tokens, path, **options, progress=progress
        ),
        resumable=True,
        writes=(INDEX_FILE, f"{arguments.name}.*.parquet"),
    )

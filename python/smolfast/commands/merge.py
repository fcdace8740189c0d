"""`smolfast merge`: one model of several, or of a run's last checkpoints."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.commands.options import as_words, holds, run_stage
from smolfast.commands.parsers import add_output, at_least, command
from smolfast.errors import SmolfastError


def add_merge(commands: Any) -> None:
    """The parser of `smolfast merge`."""
    parser = command(commands, "merge", _merge, after=_after)
    parser.add_argument(
        "models",
        type=Path,
        nargs="+",
        metavar="MODEL",
        help="model folders of one shape; with --last the folder of a run",
    )
    add_output(parser, "folder to write")
    parser.add_argument(
        "--method",
        choices=("linear", "slerp", "ties", "model-stock"),
        default="linear",
        help="mean; arc between two; largest differences from a base; between base and mean (default: linear)",
    )
    parser.add_argument(
        "--base", type=Path, metavar="DIR", help="what the models were trained from, for ties and model-stock"
    )
    parser.add_argument(
        "--weights", type=_numbers, metavar="W,W", help="one for each model, for linear and ties (default: equal ones)"
    )
    parser.add_argument(
        "--t", type=float, default=0.5, metavar="T", help="for slerp, from 0, the first, to 1 (default: 0.5)"
    )
    parser.add_argument(
        "--density",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="for ties, the share of each tensor's differences that is kept (default: 0.2)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="how weights are stored (default: as in the first model)",
    )
    parser.add_argument(
        "--last", type=at_least(1), metavar="N", help="the mean of the last N checkpoints of a run, instead of models"
    )


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers, as in 1,0.5") from None


def _after(arguments: argparse.Namespace, result: Mapping[str, Any]) -> list[str]:
    if holds(arguments.output, "tokenizer.json"):
        return [as_words("smolfast", "generate", arguments.output, "--prompt", "Once upon a time")]
    return [as_words("smolfast", "export", arguments.output, "--tokenizer", "DIR", "-o", "DIR")]


def _merge(arguments: argparse.Namespace) -> Mapping[str, Any]:
    if arguments.last is not None:
        return _average(arguments)
    from smolfast.merge import merge

    inputs = {f"model_{at}": path for at, path in enumerate(arguments.models)}
    if arguments.base is not None:
        inputs["base"] = arguments.base
    names = ("method", "weights", "t", "density", "dtype")
    settings = {name: getattr(arguments, name) for name in names}
    return run_stage(
        arguments,
        "merge",
        inputs=inputs,
        parameters=settings,
        work=lambda path, progress: merge(arguments.models, path, base=arguments.base, **settings, progress=progress),
    )


def _average(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.merge import average_checkpoints

    given = [name for name in ("base", "weights", "dtype") if getattr(arguments, name) is not None]
    if len(arguments.models) != 1 or given or arguments.method != "linear":
        what = f"; leave out --{given[0]}" if given else ""
        raise SmolfastError(f"--last takes the folder of one run and its plain mean{what}")
    (run,) = arguments.models
    return run_stage(
        arguments,
        "merge",
        inputs={"checkpoints": run / "checkpoints", "run": run / "run.json"},
        parameters={"last": arguments.last},
        work=lambda path, progress: average_checkpoints(run, path, last=arguments.last, progress=progress),
    )

"""What the subcommands share: options, their values, and stages on files."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from smolfast.json_values import TYPES
from smolfast.progress import Console
from smolfast.stages import Runner, Stage, Work


def command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], Any], help_text: str
) -> argparse.ArgumentParser:
    """A subcommand's parser, with the options that all have."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help_text, description=help_text)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.set_defaults(run=run)
    return parser


def add_reading(parser: argparse.ArgumentParser) -> None:
    """`--text-column`, `--errors` and `--strict`."""
    parser.add_argument("--text-column", default="text", metavar="NAME", help="column or JSON key with the text (text)")
    parser.add_argument(
        "--errors",
        choices=("fail", "replace", "skip"),
        default="fail",
        help="documents that are not UTF-8: stop, replace the bad bytes by U+FFFD, or leave the document out (fail)",
    )
    add_strict(parser)


def add_strict(parser: argparse.ArgumentParser) -> None:
    """`--strict`."""
    parser.add_argument(
        "--strict", action="store_true", help="fail if a file of a given folder is passed over; else they are listed"
    )


def add_column_types(parser: argparse.ArgumentParser) -> None:
    """`--column-type`, a list of names and types."""
    parser.add_argument(
        "--column-type",
        action="append",
        type=_column_type,
        default=[],
        metavar="NAME=TYPE",
        help="of a column of CSV (string) or JSON (what fits its values): string, int64, uint64, float64 or bool",
    )


def _column_type(text: str) -> tuple[str, str]:
    name, equals, type_ = text.rpartition("=")
    if not equals or type_ not in TYPES:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=TYPE with a TYPE of {', '.join(TYPES)}")
    return name, type_


def add_threads(parser: argparse.ArgumentParser) -> None:
    """`--threads`."""
    parser.add_argument(
        "--threads",
        type=at_least(0),
        default=0,
        metavar="N",
        help="CPUs to use; 0 for all (0); results do not depend on it",
    )


def add_output(parser: argparse.ArgumentParser, what: str, *, required: bool = True) -> None:
    """`-o` and `--overwrite`."""
    parser.add_argument("-o", "--output", type=Path, required=required, metavar="PATH", help=what)
    parser.add_argument("--overwrite", action="store_true", help="replace an output made from other input or settings")


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """`--config`, `--set` and `--seed`."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="TOML file, or a preset's name; `smolfast config` prints one to start from",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, for example --set train.steps=100"
    )
    parser.add_argument("--seed", type=at_least(0), metavar="N", help="seed of everything random (0)")


def at_least(least: int) -> Callable[[str], int]:
    """The type of an option that takes whole numbers from `least` on."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    return number


def minutes(text: str) -> float:
    """The type of an option in minutes."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes") from None
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("give a number of minutes above 0")
    return value


def load_config(arguments: argparse.Namespace) -> Any:
    """The configuration that `add_config_options` asks for."""
    from smolfast.config import load_config

    overrides = list(arguments.set)
    if arguments.seed is not None:
        overrides.append(f"seed={arguments.seed}")
    return load_config(arguments.config, overrides)


def run_stage(
    arguments: argparse.Namespace,
    name: str,
    *,
    inputs: Mapping[str, Path],
    parameters: Mapping[str, Any],
    work: Work,
    resumable: bool = False,
) -> Mapping[str, Any]:
    """One stage on files: skipped when its output stands and nothing changed, refused when it stands in the way."""
    output: Path = arguments.output
    runner = Runner(
        output.absolute().parent / ".smolfast",
        Console(quiet=arguments.quiet),
        on_change="redo" if arguments.overwrite else "refuse",
    )
    stage = Stage(
        name, inputs=inputs, output=output, parameters=parameters, work=work, resumable=resumable, manifest=output.name
    )
    return runner.run(stage)


def local_inputs(paths: Sequence[str]) -> dict[str, Path]:
    """Inputs that the stage engine can fingerprint: everything but URLs."""
    return {path: Path(path) for path in paths if "://" not in path}

"""What the stages' commands share: reading, configuration, and stages on files."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smolfast.cluster import Engine, open_engine
from smolfast.cluster.engine import ENGINES
from smolfast.commands.parsers import at_least
from smolfast.errors import SmolfastError
from smolfast.files import RECORDS, check_path, record_name
from smolfast.io.json.values import TYPES
from smolfast.io.keep_apart import find_apart
from smolfast.io.sources import Sources, is_url
from smolfast.io.stores.changes import describe_inputs
from smolfast.pipeline.stages import Runner, Stage, Work
from smolfast.progress import Console


def add_reading(
    parser: argparse.ArgumentParser, *, text_column: str | None = "text", errors: str | None = "fail", note: str = ""
) -> None:
    """`--text-column`, `--errors` and `--strict`; `note` says in words what a default of None is."""
    parser.add_argument(
        "--text-column",
        default=text_column,
        metavar="NAME",
        help=f"column or JSON key with the text (default: {text_column or note})",
    )
    parser.add_argument(
        "--errors",
        choices=("fail", "replace", "skip"),
        default=errors,
        help="documents that are not UTF-8: stop, replace the bad bytes by U+FFFD, or leave the document out "
        f"(default: {errors or note})",
    )
    add_strict(parser)


def add_strict(parser: Any) -> None:
    """`--strict`."""
    parser.add_argument(
        "--strict", action="store_true", help="fail if a file of a given folder is passed over; else they are listed"
    )


def add_column_types(parser: Any) -> None:
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


def reading_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `add_reading` asks for, as arguments of the functions that read documents."""
    return {"text_column": arguments.text_column, "errors": arguments.errors}


def add_threads(parser: argparse.ArgumentParser) -> None:
    """`--threads`."""
    parser.add_argument(
        "--threads",
        type=at_least(0),
        default=0,
        metavar="N",
        help="CPUs to use; 0 for all (default: 0); results do not depend on it",
    )


def add_engine(parser: Any) -> None:
    """`--engine` and `--address`."""
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="local",
        help="local: this machine; ray: a Ray cluster, with the same output (default: local)",
    )
    parser.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="of the cluster's head, or auto for that of this machine (default: RAY_ADDRESS, or a cluster of this "
        "machine alone)",
    )


def engine_of(arguments: argparse.Namespace) -> Engine:
    """The engine that `add_engine` asks for.

    Raises:
        SmolfastError: an address without a cluster, Ray isn't installed, or no cluster answers.
    """
    if arguments.engine == "local":
        if arguments.address is not None:
            raise SmolfastError("--address is a Ray cluster's; add --engine ray")
        return open_engine("local")
    return open_engine(arguments.engine, arguments.address)


def holds(folder: Path, name: str) -> bool:
    """Whether a file is there, and the way to it too."""
    try:
        return (folder / name).is_file()
    except (OSError, ValueError):  # a name that is too long, or with a zero byte
        return False


def check_exists(path: Path, remedy: str) -> None:
    """Raise SmolfastError where there is nothing; what can't be looked at is left to those who open it."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise SmolfastError(f"{path} does not exist; {remedy}") from None
    except PermissionError:
        return


def check_model(path: Path) -> None:
    """Raise SmolfastError for a run's folder, which has the model in a folder of its own."""
    if not holds(path, "config.json") and holds(path, "model/config.json"):
        raise SmolfastError(f"{path} is the folder of a run; give {path / 'model'}")


def as_words(*words: object) -> str:
    """A command that can be pasted into a shell."""
    return shlex.join(map(str, words))


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
    parser.add_argument("--seed", type=at_least(0), metavar="N", help="seed of everything random (default: 0)")


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
    inputs: Mapping[str, Path] | None = None,
    files: Sequence[str] = (),
    parameters: Mapping[str, Any],
    work: Work,
    resumable: bool = False,
    writes: Sequence[str] = ("*",),
) -> Mapping[str, Any]:
    """One stage on files: skipped when its output stands and nothing changed, refused when it stands in the way.

    Args:
        inputs: files and folders by name.
        files: paths and URLs of documents, which need no names.
    """
    output = check_path(arguments.output)
    place = Path(os.path.realpath(output))
    console = Console(quiet=arguments.quiet)
    runner = Runner(
        place.parent / RECORDS,
        console,
        on_change="redo" if arguments.overwrite else "refuse",
    )
    inputs = {**(inputs or {}), **{path: Path(path) for path in files if not is_url(path)}}
    if stores := [path for path in files if is_url(path)]:
        parameters = {**parameters, "stores": {one["path"]: one["xxh3_128"] for one in describe_inputs(stores)}}
    stage = Stage(name, inputs, output, parameters, work, resumable, record_name(place), writes)
    summary = runner.run(stage)
    console.line(f"{'written to':<11} {output}")
    return summary


def local_sources(arguments: argparse.Namespace, paths: Sequence[str]) -> Sources:
    """The files that inputs name, without those of the output.

    Raises:
        SmolfastError: as `find_sources`; or the output is or contains an input.
    """
    output = check_path(arguments.output)
    sources, inside = find_apart(paths, output, strict=arguments.strict)
    if inside:
        note = f"{output} lies in the input; what it holds is not read"
        Console(quiet=arguments.quiet).line(note)
    return sources


def passed_over(arguments: argparse.Namespace, *paths: Path) -> dict[str, Any]:
    """What a summary says of files of these folders that aren't read.

    Raises:
        SmolfastError: there are some, and `--strict` was given.
    """
    sources, _ = find_apart(paths, check_path(arguments.output), strict=arguments.strict)
    return sources.summary()

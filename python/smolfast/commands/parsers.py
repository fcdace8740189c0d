"""Parsers of commands, the options that all have, and the types of their values."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


class CommandParser(argparse.ArgumentParser):
    """A command's parser. Some first words may have parsers of their own, beside the command's arguments."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.verbs: dict[str, CommandParser] = {}

    def add_verb(self, name: str, help_text: str) -> CommandParser:
        """The parser of what follows the word `name`, where that stands first."""
        self.verbs[name] = CommandParser(prog=f"{self.prog} {name}", description=help_text)
        return self.verbs[name]

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does; after one of the verbs, by the verb's parser."""
        if args and args[0] in self.verbs:
            return self.verbs[args[0]].parse_known_args(args[1:], namespace)
        return super().parse_known_args(args, namespace)


def command(commands: Any, name: str, run: Callable[[argparse.Namespace], Any], help_text: str) -> CommandParser:
    """A subcommand's parser, with the options that all have."""
    parser: CommandParser = commands.add_parser(name, help=help_text, description=help_text)
    add_common(parser, run)
    return parser


def add_common(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], Any]) -> None:
    """`--json` and `--quiet`, what to run, and whether a run that was stopped goes on (`goes_on`)."""
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.set_defaults(run=run, goes_on=False)


def add_output(parser: argparse.ArgumentParser, what: str, *, required: bool = True) -> None:
    """`-o` and `--overwrite`."""
    parser.add_argument("-o", "--output", type=output_path, required=required, metavar="PATH", help=what)
    parser.add_argument("--overwrite", action="store_true", help="replace an output made from other input or settings")


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


def output_path(text: str) -> Path:
    """The type of an option that names a file or folder to write."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty; name a file or folder")
    if "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} holds a zero byte; name another file or folder")
    return Path(os.fspath(text))

"""`smolfast --print-completion SHELL`: a script with which a shell completes commands, options and file names."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from smolfast.commands.parsers import output_path
from smolfast.errors import SmolfastError
from smolfast.machine import install_command

SHELLS = ("bash", "zsh", "tcsh")
_FILES = {"IN", "DIR", "FILE", "PATH"}


def add_completion(parser: argparse.ArgumentParser) -> None:
    """Add `--print-completion`."""
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=SHELLS,
        metavar="SHELL",
        help=f"print a script that completes commands and options in {', '.join(SHELLS)}",
    )


class _PrintCompletion(argparse.Action):
    """Prints the script and ends, as `--help` does."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: Any = None) -> None:
        try:
            import shtab
        except ModuleNotFoundError:
            raise SmolfastError(
                f"--print-completion needs shtab; install it with: {install_command('completion')}"
            ) from None
        for action in _actions(parser):
            if action.type in (Path, output_path) or action.metavar in _FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        print(shtab.complete(parser, values))
        parser.exit()


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """What a parser and those of its commands take."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _actions(inner)

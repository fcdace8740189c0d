"""The command line's first page: the commands, grouped by what one wants to do."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from smolfast import __version__
from smolfast.commands.completion import add_completion
from smolfast.commands.parsers import CommandParser

Groups = Sequence[tuple[str, Sequence[Callable[[Any], None]]]]
"""Titles, and the functions that add the commands of each."""

_NAME_WIDTH = 16


class Overview(CommandParser):
    """The parser of `smolfast` itself."""

    def __init__(self, groups: Groups) -> None:
        super().__init__(
            prog="smolfast", description="From raw text to a trained, exported small language model; or one step of it."
        )
        self.add_argument("--version", action="version", version=f"smolfast {__version__}")
        add_completion(self)
        self.commands: Any = self.add_subparsers(required=True, metavar="COMMAND", parser_class=CommandParser)
        self.groups: list[tuple[str, list[str]]] = []
        for title, adders in groups:
            there = len(self.commands.choices)
            for add in adders:
                add(self.commands)
            self.groups.append((title, list(self.commands.choices)[there:]))

    def format_help(self) -> str:
        """Usage, the groups of commands, and the options."""
        formatter = self._get_formatter()
        formatter.add_usage(self._usage_line(), (), ())
        formatter.add_text(self.description)
        formatter.add_text("\n\n".join(f"{title}:\n{self._rows(names)}" for title, names in self.groups))
        formatter.start_section("options")
        formatter.add_arguments([action for action in self._actions if action.option_strings])
        formatter.end_section()
        formatter.add_text("New here? Begin with: smolfast demo\nA command's options: smolfast COMMAND --help")
        return formatter.format_help()

    def _rows(self, names: Sequence[str]) -> str:
        width = max(40, shutil.get_terminal_size().columns - 2)
        return "\n".join(
            textwrap.fill(
                self.commands.choices[name].description,
                width,
                initial_indent=f"    {name:<{_NAME_WIDTH}}",
                subsequent_indent=" " * (4 + _NAME_WIDTH),
            )
            for name in names
        )

"""The command line's first page: the commands, grouped by what one wants to do."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Any

from smolfast import __version__
from smolfast.commands.completion import add_completion
from smolfast.commands.parsers import CommandParser, add_named

Groups = Mapping[str, Mapping[str, str]]
"""Titles, and under each the commands by name with what they do."""

_NAME_WIDTH = 16


class Overview(CommandParser):
    """The parser of `smolfast` itself.

    Args:
        groups: all commands.
        wanted: words that may name commands: only these get their options, and their files are read. None for all.
    """

    def __init__(self, groups: Groups, wanted: Collection[str] | None = None) -> None:
        super().__init__(
            prog="smolfast", description="From raw text to a trained, exported small language model; or one step of it."
        )
        self.groups = groups
        self.add_argument("--version", action="version", version=f"smolfast {__version__}")
        add_completion(self)
        commands: Any = self.add_subparsers(required=True, metavar="COMMAND", parser_class=CommandParser)
        does = {name: what for group in groups.values() for name, what in group.items()}
        commands.does = does
        self.commands = commands
        for name in does:
            if wanted is None or name in wanted:
                module = import_module(f"smolfast.commands.{name.replace('-', '_')}")
                getattr(module, f"add_{name.replace('-', '_')}")(self.commands)
            else:
                add_named(self.commands, name)

    def format_help(self) -> str:
        """Usage, the groups of commands, and the options."""
        formatter = self._get_formatter()
        formatter.add_usage(self._usage_line(), (), ())
        formatter.add_text(self.description)
        formatter.add_text("\n\n".join(f"{title}:\n{self._rows(does)}" for title, does in self.groups.items()))
        formatter.start_section("options")
        formatter.add_arguments([action for action in self._actions if action.option_strings])
        formatter.end_section()
        formatter.add_text("New here? Begin with: smolfast demo\nA command's options: smolfast COMMAND --help")
        return formatter.format_help()

    def _rows(self, does: Mapping[str, str]) -> str:
        width = max(40, shutil.get_terminal_size().columns - 2)
        return "\n".join(
            textwrap.fill(
                what,
                width,
                initial_indent=f"    {name:<{_NAME_WIDTH}}",
                subsequent_indent=" " * (4 + _NAME_WIDTH),
            )
            for name, what in does.items()
        )

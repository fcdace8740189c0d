"""Parsers of commands, the options that all have, and the types of their values."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from smolfast.errors import SmolfastError
from smolfast.progress import red

if TYPE_CHECKING:
    from smolfast.io.stores.address import StoreUrl

After = Callable[[argparse.Namespace, Mapping[str, Any]], Iterable[str]]
"""What to do after a command, line by line, from its options and its result."""


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Each option on a line of its own names its value once, as Python does from 3.13 on."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, max_help_position=30, **options)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        value = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {value}"

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        return f"{action.metavar}…" if action.nargs == "+" else super()._format_args(action, default_metavar)


class CommandParser(argparse.ArgumentParser):
    """A command's parser. Some first words may have parsers of their own, beside the command's arguments.

    Its usage is one line, and so is an error, which names the nearest command, option or value there is.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"formatter_class": HelpFormatter, **options})
        self._positionals.title = "arguments"
        self.verbs: dict[str, CommandParser] = {}
        self._words: list[str] = []

    def add_verb(self, name: str, help_text: str) -> CommandParser:
        """The parser of what follows the word `name`, where that stands first."""
        self.verbs[name] = CommandParser(prog=f"{self.prog} {name}", description=help_text)
        return self.verbs[name]

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, but nothing stays unknown; after one of the verbs, by the verb's parser."""
        if args and args[0] in self.verbs:
            return self.verbs[args[0]].parse_known_args(args[1:], namespace)
        self._words = list(args or ())
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(self._unknown(unknown))
        return found, unknown

    def format_help(self) -> str:
        """The help, with a usage of one line."""
        self.usage = self._usage_line().replace("%", "%%")
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Exit with 2 and one line. A mistyped option explains more than what is missing then."""
        mistyped = [word for word in self._words if word.startswith("--") and not self._is_option(word)]
        if "arguments are required" in message and mistyped:
            message = self._unknown(mistyped)
        start = red(f"{self.prog}: error:", sys.stderr)
        self.exit(2, f"{start} {' '.join(message.split())}; see {self.prog} --help\n")

    def _usage_line(self) -> str:
        words, required = [], []
        for action in self._actions:
            name = str(action.metavar or action.dest)
            if not action.option_strings:
                several = {"+": f"{name}…", "*": f"[{name}…]", argparse.PARSER: f"{name} …"}
                words.append(several.get(str(action.nargs), name))
            elif action.required:
                required.append(f"{action.option_strings[0]} {name}")
        return " ".join([self.prog, *words, *required, "[options]"])

    def _is_option(self, word: str) -> bool:
        return any(option.startswith(word.partition("=")[0]) for option in self._option_string_actions)

    def _unknown(self, words: list[str]) -> str:
        option = next((word for word in words if word.startswith("-")), None)
        if option is None:
            return f"{words[0]!r} is one argument too many"
        return f"there is no option {option}{nearest(option.partition('=')[0], self._option_string_actions)}"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """A command or a value that is none of those to choose from."""
        if action.choices is None or value in action.choices:
            return
        choices = list(map(str, action.choices))
        if isinstance(action, argparse._SubParsersAction):
            raise argparse.ArgumentError(None, f"there is no command {value!r}{nearest(value, choices)}")
        raise argparse.ArgumentError(action, f"{value!r} is not one of {', '.join(choices)}")


def nearest(word: str, names: Iterable[str]) -> str:
    """`; did you mean NAME?` for the name that is most like a word, or nothing."""
    import difflib  # takes as long to load as all the rest here

    found = difflib.get_close_matches(word, list(names), 1)
    return f"; did you mean {found[0]}?" if found else ""


def command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], Any],
    help_text: str | None = None,
    after: After | None = None,
) -> CommandParser:
    """A subcommand's parser, with the options that all have; `after` says what one may want to do next.

    A command of the first page is described there, one of another command by `help_text`.
    """
    parser = add_named(commands, name, help_text)
    add_common(parser, run, after)
    return parser


def add_named(commands: Any, name: str, help_text: str | None = None) -> CommandParser:
    """A subcommand's parser without options; without `help_text` it is described as on the first page."""
    does: str = commands.does[name] if help_text is None else help_text
    parser: CommandParser = commands.add_parser(name, help=does, description=does)
    return parser


def add_common(
    parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], Any], after: After | None = None
) -> None:
    """`--json` and `--quiet`, what to run, and whether a run that was stopped goes on (`goes_on`)."""
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress and no advice on stderr")
    parser.set_defaults(run=run, after=after, goes_on=False)


def add_output(parser: Any, what: str, *, required: bool = True, metavar: str = "DIR") -> None:
    """`-o` and `--overwrite`."""
    parser.add_argument("-o", "--output", type=output_path, required=required, metavar=metavar, help=what)
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


def output_path(text: str) -> Path | StoreUrl:
    """The type of an option that names a file or folder to write, on disk or in a store."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty; name a file or folder")
    if "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} holds a zero byte; name another file or folder")
    if "://" not in text:
        return Path(text)
    from smolfast.io.stores.address import place

    try:
        return place(text)
    except SmolfastError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def local_path(text: str) -> Path:
    """The type of an option that names a file or folder to write, on disk alone."""
    found = output_path(text)
    if isinstance(found, str):
        raise argparse.ArgumentTypeError(f"{text} is a store's; name a folder on disk")
    return found

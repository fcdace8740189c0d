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


def blank_lines(text: str) -> int | str:
    """The type of an option that takes a whole number or `all`."""
    return "all" if text == "all" else at_least(0)(text)


def add_text_rules(parser: argparse.ArgumentParser) -> None:
    """What `smolfast.text_rules.TextRules` can do, an option for each field; they are applied in this order."""
    group = parser.add_argument_group("what is done to the text, in this order")
    switch = argparse.BooleanOptionalAction
    group.add_argument(
        "--fix-mojibake", action="store_true", help="read back UTF-8 that was read as Windows-1252 or Latin-1"
    )
    group.add_argument(
        "--clean",
        action="store_true",
        help="line ends, control and invisible characters, spaces, blank lines; prints what each rule changed. The "
        "next six turn one of its rules on alone, or off",
    )
    for name, help_text in (
        ("line-endings", "CR LF, CR, U+0085, U+2028 and U+2029 become LF"),
        ("control-characters", "take out all but tab and LF"),
        ("zero-width", "take out U+00AD, U+200B, U+2060 and U+FEFF"),
        ("spaces", "the other spaces of Unicode become U+0020"),
        ("trailing-whitespace", "take it out at the ends of lines and of the text"),
    ):
        group.add_argument(f"--{name}", action=switch, default=None, help=help_text)
    group.add_argument(
        "--blank-lines", type=blank_lines, metavar="N", help="at most N after each other, or all (1 with --clean)"
    )
    forms = ("NFC", "NFD", "NFKC", "NFKD", "none")
    group.add_argument("--form", choices=forms, default="NFC", help="normalisation form (NFC)")
    group.add_argument("--stream-safe", action="store_true", help="no more than 30 marks after each other")
    group.add_argument(
        "--redact",
        action="store_true",
        help="replace e-mail and public IPv4 addresses; the next two turn one kind on alone, or off",
    )
    group.add_argument("--emails", action=switch, default=None, help="replace e-mail addresses")
    group.add_argument("--ips", action=switch, default=None, help="replace IPv4 addresses")
    group.add_argument(
        "--public-only", action=switch, default=True, help="leave private and reserved addresses (the default)"
    )
    for kind in ("email", "ip"):
        group.add_argument(
            f"--{kind}-replacements",
            nargs="+",
            action="extend",
            default=[],
            metavar="TEXT",
            help=f"what stands for {kind} addresses, in turn",
        )
    group.add_argument("--lower", action="store_true", help="lower case")
    group.add_argument("--casefold", action="store_true", help="case folding")
    group.add_argument("--simplify", action="store_true", help="then the text that near-duplicates are compared by")
    group.add_argument(
        "--words", action="store_true", help="add a column `words`: where each word begins and ends, in bytes"
    )


def output_path(text: str) -> Path:
    """The type of an option that names a file or folder to write."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty; name a file or folder")
    if "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} holds a zero byte; name another file or folder")
    return Path(os.fspath(text))

"""`smolfast normalize`: the text column of files, normalised, cleaned, redacted."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.commands.options import (
    add_column_types,
    add_engine,
    add_reading,
    add_threads,
    as_words,
    engine_of,
    local_sources,
    reading_of,
    run_stage,
)
from smolfast.commands.parsers import at_least, command, output_path
from smolfast.errors import SmolfastError


def add_normalize(commands: Any) -> None:
    """The parser of `smolfast normalize`."""
    parser = command(
        commands,
        "normalize",
        _normalize,
        after=_after,
    )
    parser.add_argument(
        "input", nargs="+", metavar="IN", help="files, folders or URLs; without -o, the last one is the output"
    )
    output_help = (
        "a .parquet or .jsonl[.gz|.zst] file, or a folder: a file for each input file, where a killed run goes on"
    )
    parser.add_argument("-o", "--output", type=output_path, metavar="PATH", help=output_help)
    parser.add_argument("--overwrite", action="store_true", help="replace an output made from other input or settings")
    add_text_rules(parser)
    add_reading(parser)
    add_column_types(parser)
    add_threads(parser)
    add_engine(parser)


def add_text_rules(parser: argparse.ArgumentParser) -> None:
    """An option for each field of `smolfast.pipeline.text_rules.TextRules`, in the order in which they are applied."""
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
    group.add_argument("--form", choices=forms, default="NFC", help="normalisation form (default: NFC)")
    group.add_argument("--stream-safe", action="store_true", help="no more than 30 marks after each other")
    group.add_argument(
        "--redact",
        action="store_true",
        help="replace e-mail and public IPv4 addresses; the next two turn one kind on alone, or off",
    )
    group.add_argument("--emails", action=switch, default=None, help="replace e-mail addresses")
    group.add_argument("--ips", action=switch, default=None, help="replace IPv4 addresses")
    public = group.add_argument("--public-only", action=switch, default=True)
    public.help = "leave private and reserved addresses (the default)"  # set late: before 3.13 Python adds a default
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


def blank_lines(text: str) -> int | str:
    """The type of an option that takes a whole number or `all`."""
    return "all" if text == "all" else at_least(0)(text)


def _after(arguments: argparse.Namespace, result: Mapping[str, Any]) -> list[str]:
    return [as_words("smolfast", "dedup", arguments.output, "-o", "unique")]


def _rules(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `add_text_rules` asks for, as fields of TextRules."""
    from smolfast.pipeline.text_rules import TextRules

    rules: dict[str, Any] = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(TextRules)}
    rules["form"] = None if rules["form"] == "none" else rules["form"]
    for name in ("email_replacements", "ip_replacements"):
        rules[name] = tuple(rules[name])
    return dataclasses.asdict(TextRules(**rules))


def _normalize(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.pipeline.normalize import normalize_documents, output_names, writes_a_file

    inputs = list(arguments.input)
    if arguments.output is None:
        if len(inputs) < 2:
            raise SmolfastError("normalize: no output given; name it last, or with -o")
        if "://" in inputs[-1]:
            raise SmolfastError(f"normalize: is {inputs[-1]} the output? name it with -o")
        arguments.output = Path(inputs.pop())
    resumable = arguments.goes_on = not writes_a_file(arguments.output)
    options = {**_rules(arguments), **reading_of(arguments)}
    types = dict(arguments.column_type)
    sources = local_sources(arguments, inputs)
    return run_stage(
        arguments,
        "normalize",
        # Each file: a folder's fingerprint would leave out what links lead to.
        files=[source.path for source in sources],
        parameters={"input": inputs, **options, "types": types, **sources.summary()},
        work=lambda path, progress: normalize_documents(
            inputs,
            path,
            **options,
            types=types,
            strict=arguments.strict,
            threads=arguments.threads,
            engine=engine_of(arguments),
            progress=progress,
        ),
        resumable=resumable,
        writes=output_names(inputs, arguments.output) if resumable else (),
    )

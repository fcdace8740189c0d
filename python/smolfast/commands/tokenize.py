"""`smolfast tokenize`: token files, and a tokenizer if none is given."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from smolfast.commands.options import (
    add_config_options,
    add_engine,
    add_reading,
    as_words,
    engine_of,
    load_config,
    passed_over,
    run_stage,
)
from smolfast.commands.parsers import add_output, command
from smolfast.errors import SmolfastError
from smolfast.files import check_path
from smolfast.io.keep_apart import check_apart


def add_tokenize(commands: Any) -> None:
    """The parser of `smolfast tokenize`."""
    parser = command(
        commands,
        "tokenize",
        _tokenize,
        after=_after,
    )
    parser.add_argument("train", type=Path, metavar="TRAIN.parquet", help="training documents")
    parser.add_argument("--held-out", type=Path, required=True, metavar="FILE", help="held-out documents (parquet)")
    parser.add_argument(
        "--tokenizer", type=Path, metavar="DIR", help="an existing tokenizer folder; trained when not given"
    )
    parser.add_argument(
        "--chat",
        action="store_true",
        help="the files hold conversations (lists of role and content under `messages`, or --text-column); only what "
        "the assistant says will be learned; needs --tokenizer",
    )
    add_output(parser, "folder for the token files; a tokenizer that is trained goes to DIR-tokenizer")
    add_reading(parser, text_column=None, note="text, or with --chat messages")
    add_config_options(parser)
    add_engine(parser)


def _after(arguments: argparse.Namespace, result: Mapping[str, Any]) -> list[str]:
    return [as_words("smolfast", "train", arguments.output, "-o", "trained")]


def _tokenize(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.tokens import files as tokens
    from smolfast.tokens import tokenizer

    folder: Path | None = arguments.tokenizer
    # Of the configuration only a tokenizer's training needs anything; but what is given is checked.
    config = load_config(arguments) if folder is None or arguments.config or arguments.set else None
    encode: Callable[..., Mapping[str, Any]]
    if arguments.chat:
        from smolfast.tokens import conversations

        if arguments.engine != "local":
            raise SmolfastError("tokenize --chat encodes on one machine; leave out --engine ray")
        column, encode = conversations.COLUMN, conversations.tokenize_conversations
    else:
        column, encode = "text", partial(tokens.tokenize, engine=engine_of(arguments))
    column = arguments.text_column or column
    reading = {"text_column": column, "errors": arguments.errors}
    if arguments.chat and folder is None:
        raise SmolfastError("tokenize --chat: give the --tokenizer of the model that is to learn")
    not_read = passed_over(arguments, arguments.train, arguments.held_out)
    if folder is None:
        assert config is not None
        output = check_path(arguments.output)
        check_apart(output, [arguments.train, arguments.held_out])
        folder = output.with_name(output.name + "-tokenizer")
        trained = argparse.Namespace(**{**vars(arguments), "output": folder})
        run_stage(
            trained,
            "tokenizer",
            inputs={"train": arguments.train},
            parameters={**config.tokenizer.model_dump(), **reading},
            work=lambda path, progress: tokenizer.train_tokenizer(
                [arguments.train], path, config.tokenizer, **reading, progress=progress
            ),
        )
    tokenizer_folder = folder
    documents = {"train": arguments.train, "held_out": arguments.held_out}
    summary = run_stage(
        arguments,
        "tokenize",
        inputs={**documents, "tokenizer": tokenizer_folder},
        parameters={**({"chat": True} if arguments.chat else {}), **reading},
        work=lambda path, progress: encode(documents, tokenizer_folder, path, **reading, progress=progress),
    )
    return {**summary, **not_read}

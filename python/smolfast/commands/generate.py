"""`smolfast generate`: text from an exported model, or from a model folder and its tokenizer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.commands.options import add_config_options, check_exists, check_model, holds, load_config
from smolfast.commands.parsers import at_least, command
from smolfast.errors import SmolfastError


def add_generate(commands: Any) -> None:
    """The parser of `smolfast generate`."""
    parser = command(commands, "generate", _generate)
    parser.add_argument("model", type=Path, metavar="EXPORT", help="the folder that `smolfast export` wrote")
    parser.add_argument(
        "--tokenizer", type=Path, metavar="DIR", help="its tokenizer folder, of a model that isn't exported"
    )
    parser.add_argument("--prompt", metavar="TEXT", help="where the text starts")
    parser.add_argument("--max-new-tokens", type=at_least(1), metavar="N", help="tokens to add")
    parser.add_argument(
        "--chat", action="store_true", help="the prompt is a user's message; with /no_think at its end, answer at once"
    )
    parser.add_argument("--temperature", type=float, metavar="T", help="0 takes the likeliest token each time")
    add_config_options(parser)


def _generate(arguments: argparse.Namespace) -> Mapping[str, Any] | None:
    from smolfast.model.generate import complete

    remedy = "give a folder that `smolfast export` wrote"
    check_exists(arguments.model, remedy)
    check_model(arguments.model)
    if arguments.tokenizer is None and not holds(arguments.model, "tokenizer.json"):
        remedy += ", or the model's tokenizer with --tokenizer"
        raise SmolfastError(f"{arguments.model} holds no tokenizer.json, so it is no export; {remedy}")
    config = load_config(arguments)
    chosen = {
        name: value
        for name in ("prompt", "max_new_tokens", "temperature")
        if (value := getattr(arguments, name)) is not None
    }
    sample = complete(
        arguments.model,
        config.generate.model_copy(update=chosen),
        seed=config.seed,
        chat=arguments.chat,
        tokenizer=arguments.tokenizer,
    )
    if arguments.json:
        return sample
    print(sample["text"])
    if not arguments.quiet:
        print(f"{sample['tokens']} tokens, {sample['tokens_per_second']:,.1f} tokens/s", file=sys.stderr)
    return None

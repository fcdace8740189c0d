"""`smolfast chat`: talk with an exported model, in the terminal or on a page of this machine."""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path
from typing import Any

from smolfast.commands.options import check_exists, holds
from smolfast.commands.parsers import at_least, command
from smolfast.errors import SmolfastError
from smolfast.progress import Console

_ENGINES = "for a look; to serve it: llama.cpp (smolfast export --format gguf), vLLM or transformers serve"


def add_chat(commands: Any) -> None:
    """The parser of `smolfast chat`."""
    parser = command(commands, "chat", _chat)
    parser.add_argument("model", type=Path, metavar="EXPORT", help="the folder that `smolfast export` wrote")
    parser.add_argument("--system", metavar="TEXT", help="the system's message")
    parser.add_argument("--no-think", action="store_true", help="answers without a thought before; /think in the chat")
    parser.add_argument("--show-thoughts", action="store_true", help="thoughts as they come, not folded to a line")
    parser.add_argument(
        "--temperature",
        type=float,
        default=0.7,
        metavar="T",
        help="0 takes the likeliest token each time (default: 0.7)",
    )
    parser.add_argument(
        "--max-new-tokens", type=at_least(1), default=512, metavar="N", help="tokens of an answer (default: 512)"
    )
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="seed of what is drawn (default: 0)")
    parser.add_argument("--web", action="store_true", help="a page of this machine, at an address with a secret")
    parser.add_argument(
        "--port", type=at_least(0), default=0, metavar="N", help="of --web; 0 for a free one (default: 0)"
    )


def _chat(arguments: argparse.Namespace) -> None:
    remedy = "give a folder that `smolfast export` wrote"
    check_exists(arguments.model, remedy)
    if not holds(arguments.model, "tokenizer.json"):
        raise SmolfastError(f"{arguments.model} holds no tokenizer.json, so it is no export; {remedy}")
    if not 0 <= arguments.temperature < float("inf"):
        raise SmolfastError(f"--temperature {arguments.temperature} is no temperature; give 0 or more")
    from smolfast.chat.session import Session

    console = Console(quiet=arguments.quiet)
    session = Session(
        arguments.model,
        temperature=arguments.temperature,
        seed=arguments.seed,
        max_new_tokens=arguments.max_new_tokens,
    )
    console.line(f"{'chat':<11} {session.parameters:,} parameters; {_ENGINES}")
    if arguments.web:
        _serve(arguments, session, console)
    else:
        _talk(arguments, session, console)


def _talk(arguments: argparse.Namespace, session: Any, console: Console) -> None:
    from smolfast.chat.terminal import HELP, Terminal

    if sys.stdin.isatty():
        console.line(f"{'':<11} {HELP}")
    Terminal(
        session,
        sys.stdin,
        sys.stdout,
        system=arguments.system,
        thinking=not arguments.no_think,
        show_thoughts=arguments.show_thoughts,
        as_json=arguments.json,
        quiet=arguments.quiet,
    ).run()


def _serve(arguments: argparse.Namespace, session: Any, console: Console) -> None:
    from smolfast.chat.web import serve

    for option, given in (("--system", arguments.system is not None), ("--json", arguments.json)):
        if given:
            raise SmolfastError(f"{option} has no use on a page; leave it out, or leave out --web")
    name = arguments.model.absolute().name
    with serve(session, name, secrets.token_urlsafe(16), port=arguments.port) as server:
        print(server.address, flush=True)
        console.line(f"{'':<11} open it in a browser of this machine; Ctrl-C ends it")
        server.serve_forever()

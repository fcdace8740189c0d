"""`smolfast config`: every setting with its default."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from smolfast.commands.parsers import command


def add_config(commands: Any) -> None:
    """The parser of `smolfast config`."""
    parser = command(commands, "config", _config)
    parser.set_defaults(extra="config")


def _config(arguments: argparse.Namespace) -> Mapping[str, Any] | None:
    from smolfast.config import Config, default_toml

    if arguments.json:
        return Config().model_dump(mode="json")
    print(default_toml(), end="")
    return None

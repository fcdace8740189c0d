"""The path by which the command line was known first: `smolfast.cli.main`. It lives in `smolfast.commands`."""

from __future__ import annotations

from smolfast.commands.main import main

__all__ = ["main"]

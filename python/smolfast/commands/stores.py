"""Commands whose output is a URL of a store."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from smolfast import progress
from smolfast.errors import SmolfastError
from smolfast.io.stores.output import describe, store_output


def run_to_store(
    arguments: argparse.Namespace, run: Callable[[argparse.Namespace], Mapping[str, Any] | None], url: str
) -> Mapping[str, Any] | None:
    """Run a command with a local output, and upload what it made.

    Raises:
        SmolfastError: as the command does, and `store_output`.
    """
    if getattr(arguments, "update_index", False):
        raise SmolfastError("an index lies on disk; give --index a folder")
    named = " ".join(word for word in (run.__module__, getattr(run, "__name__", "")) if word)
    made_from = {"command": named, **describe(vars(arguments))}
    arguments.after = None  # advice is on what lies on disk
    console = progress.Console(quiet=arguments.quiet)
    with store_output(url, made_from, overwrite=getattr(arguments, "overwrite", False)) as made:
        if made.done:
            console.line(f"{'unchanged':<11} skipped; {url} holds the result")
            return dict(made.result) if made.result is not None else None
        arguments.output = made.local
        with progress.names_as(made.renames):
            made.result = run(arguments)
        console.line(f"{'uploading':<11} to {url}")
    return made.result  # type: ignore[no-any-return]

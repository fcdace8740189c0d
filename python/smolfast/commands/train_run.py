"""`smolfast train`, alone or as one of torchrun's processes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from smolfast.checkpoint import RUN_FILES
from smolfast.config import Config
from smolfast.errors import SmolfastError
from smolfast.progress import ProgressCallback
from smolfast.ranks import Ranks
from smolfast.train import train


def train_command(
    arguments: argparse.Namespace, config: Config, run_stage: Callable[..., Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """Train as the command line says; the summary on the first rank, None on the others.

    Args:
        run_stage: runs a piece of work unless its output is there already. Only the first rank calls it, and tells the
            others whether there is anything to do.
    """
    sources = named_folders(arguments.tokens)
    teachers = {name: path for name in ("teacher", "teacher_cache") if (path := getattr(arguments, name)) is not None}
    init = {} if arguments.init is None else {"init": arguments.init}
    with Ranks(arguments.parallel) as ranks:

        def run(path: Path, progress: ProgressCallback | None) -> Mapping[str, Any]:
            return train(
                sources if len(sources) > 1 else next(iter(sources.values())),
                path,
                model=config.model,
                config=config.train,
                seed=config.seed,
                threads=arguments.threads,
                time_budget_seconds=None if arguments.minutes is None else arguments.minutes * 60,
                distill=config.distill,
                **teachers,
                **init,
                ranks=ranks,
                progress=progress,
            )

        if not ranks.first:
            if ranks.tell(False):
                run(arguments.output, None)
            return None
        told = False

        def work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
            nonlocal told
            told = ranks.tell(True)
            return run(path, progress)

        try:
            return run_stage(
                arguments,
                "train",
                inputs={**sources, **teachers, **init},
                parameters={
                    "model": config.model.model_dump(mode="json"),
                    "train": config.train.model_dump(mode="json"),
                    **({"distill": config.distill.model_dump(mode="json")} if teachers else {}),
                    "seed": config.seed,
                    "minutes": arguments.minutes,
                },
                work=work,
                resumable=True,
                writes=RUN_FILES,
            )
        finally:
            if not told:
                ranks.tell(False)


def named_folders(arguments: Sequence[str]) -> dict[str, Path]:
    """`NAME=FOLDER` each, or one folder alone, as a source called `tokens`.

    Raises:
        SmolfastError: several folders without a name each.
    """
    if len(arguments) == 1 and "=" not in arguments[0]:
        return {"tokens": Path(arguments[0])}
    folders: dict[str, Path] = {}
    for argument in arguments:
        name, equals, folder = argument.partition("=")
        if not equals or not name or not folder or name in folders:
            raise SmolfastError(f"{argument}: several folders of tokens need a name each, as in web=DIR code=DIR")
        folders[name] = Path(folder)
    return folders

"""`smolfast train`, alone or as one of torchrun's processes; `--dry-run` says what it would take.

`--coordinate-check` looks at a parametrisation instead.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smolfast.commands.options import add_config_options, add_threads, as_words, load_config, run_stage
from smolfast.commands.parsers import add_output, at_least, command, minutes
from smolfast.commands.training.coordinate_check import add_coordinate_check, check_coordinates
from smolfast.commands.training.preferences import (
    add_preferences,
    align_on_pairs,
    check_preferences,
    note_of_preferences,
    preference_inputs,
)
from smolfast.errors import SmolfastError
from smolfast.io.keep_apart import check_apart
from smolfast.machine import GPUS
from smolfast.progress import Console, ProgressCallback

if TYPE_CHECKING:
    from smolfast.config import Config


def add_train(commands: Any) -> None:
    """The parser of `smolfast train`."""
    parser = command(commands, "train", _train, after=_after)
    parser.set_defaults(goes_on=True)
    parser.add_argument(
        "tokens",
        nargs="*",
        metavar="[NAME=]TOKENS",
        help="folder that `smolfast tokenize` wrote; several need a name each, by which train.mixture gives weights",
    )
    add_output(parser, "folder for checkpoints, metrics.jsonl and the final model", required=False)
    parser.add_argument(
        "--parallel",
        choices=("ddp", "fsdp"),
        default="ddp",
        help="under torchrun: every process has the whole model (ddp), or a shard of it (fsdp) (default: ddp)",
    )
    parser.add_argument(
        "--shards",
        type=at_least(1),
        default=0,
        metavar="N",
        help="with fsdp: groups of N neighbouring ranks, each with the whole model in shards (default: one group)",
    )
    parser.add_argument(
        "--context-parallel",
        type=at_least(1),
        default=1,
        metavar="N",
        help="groups of N neighbouring ranks share the tokens of each micro-batch, for sequences too long for one "
        "(default: 1)",
    )
    _add_dry_run(parser)
    add_coordinate_check(parser)
    parser.add_argument("--minutes", type=minutes, metavar="M", help="train for about M minutes")
    parser.add_argument(
        "--init",
        type=Path,
        metavar="DIR",
        help="go on from this model: a folder of export or train, or a local SmolLM3- or Llama-shaped one; its shape "
        "goes before the configuration's",
    )
    parser.add_argument(
        "--teacher", type=Path, metavar="DIR", help="model folder to learn from, run beside the student"
    )
    parser.add_argument("--teacher-cache", type=Path, metavar="DIR", help="what distill-cache wrote for these tokens")
    add_preferences(parser)
    add_threads(parser)
    add_config_options(parser)


def _after(arguments: argparse.Namespace, result: Mapping[str, Any]) -> list[str]:
    if arguments.dry_run or arguments.coordinate_check:
        return []
    model = arguments.output / "model"
    if arguments.preferences is not None:
        return [as_words("smolfast", "export", model, "--tokenizer", arguments.tokenizer, "-o", "export")]
    tokens = next(iter(named_folders(arguments.tokens).values()))
    tokenizer = tokens.parent / f"{tokens.name}-tokenizer"
    found = tokenizer if tokenizer.is_dir() else "TOKENIZER"
    if load_config(arguments).model.beyond_transformers():
        return [as_words("smolfast", "generate", model, "--tokenizer", found, "--prompt", "Once upon a time")]
    return [as_words("smolfast", "export", model, "--tokenizer", found, "-o", "export")]


def _add_dry_run(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("dry run, without TOKENS")
    group.add_argument(
        "--dry-run", action="store_true", help="check the configuration, say what the run would take, and train nothing"
    )
    group.add_argument("--gpus", type=at_least(1), default=1, metavar="N", help="GPUs, one rank each (default: 1)")
    group.add_argument("--gpu", choices=tuple(GPUS), default="h100", help="which kind of them (default: h100)")
    group.add_argument(
        "--mfu",
        type=float,
        default=0.3,
        metavar="SHARE",
        help="share of the GPUs' bf16 peak to reckon with (default: 0.3)",
    )


def _train(arguments: argparse.Namespace) -> Mapping[str, Any] | None:
    if arguments.init is not None:
        if arguments.output is not None:
            check_apart(arguments.output, [arguments.init])
        from smolfast.model.pretrained import shape_settings

        arguments.set = [*shape_settings(arguments.init), *check_preferences(arguments), *arguments.set]
    else:
        check_preferences(arguments)
    config = load_config(arguments)
    if arguments.dry_run:
        from smolfast.train.dry_run import run

        return run(arguments, config)
    if arguments.coordinate_check:
        return check_coordinates(arguments, config)
    if arguments.output is None or (not arguments.tokens and arguments.preferences is None):
        raise SmolfastError("train: give TOKENS and -o DIR, or --dry-run, or --coordinate-check")
    return _on_ranks(arguments, config)


def _on_ranks(arguments: argparse.Namespace, config: Config) -> Mapping[str, Any] | None:
    """Train, alone or as one of torchrun's processes; the summary on the first rank, None on the others.

    Only the first rank looks whether there is anything to do, and tells the others.
    """
    from smolfast.train.process.ranks import Ranks
    from smolfast.train.run.files import RUN_FILES

    sources = named_folders(arguments.tokens) if arguments.tokens else {}
    teachers = {name: path for name in ("teacher", "teacher_cache") if (path := getattr(arguments, name)) is not None}
    init = {} if arguments.init is None else {"init": arguments.init}
    pairs = preference_inputs(arguments)
    with Ranks(arguments.parallel, shards=arguments.shards, context=arguments.context_parallel) as ranks:

        def run(path: Path, progress: ProgressCallback | None) -> Mapping[str, Any]:
            common: dict[str, Any] = {
                "model": config.model,
                "config": config.train,
                "seed": config.seed,
                "threads": arguments.threads,
                "time_budget_seconds": None if arguments.minutes is None else arguments.minutes * 60,
                "ranks": ranks,
                "progress": progress,
            }
            if pairs:
                return align_on_pairs(path, pairs, sources, config.align, {**common, **init})
            from smolfast.train.loop import train

            tokens = sources if len(sources) > 1 else next(iter(sources.values()))
            return train(tokens, path, distill=config.distill, **teachers, **init, **common)

        if not ranks.first:
            if ranks.tell(False):
                run(arguments.output, None)
            return None
        if reason := config.model.beyond_transformers():
            Console(quiet=arguments.quiet).line(f"note: the model can't be exported: {reason}")
        if note := note_of_preferences(arguments, config):
            Console(quiet=arguments.quiet).line(f"note: {note}")
        told = False

        def work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
            nonlocal told
            told = ranks.tell(True)
            return run(path, progress)

        try:
            return run_stage(
                arguments,
                "train",
                inputs={**sources, **teachers, **init, **pairs},
                parameters={
                    "model": config.model.model_dump(mode="json"),
                    "train": config.train.deciding().model_dump(mode="json"),
                    **({"distill": config.distill.model_dump(mode="json")} if teachers else {}),
                    **({"align": config.align.model_dump(mode="json")} if pairs else {}),
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

"""What `smolfast train` asks for where it learns from pairs of answers."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smolfast.commands.options import holds
from smolfast.errors import SmolfastError

if TYPE_CHECKING:
    from smolfast.config import AlignConfig, Config


def add_preferences(parser: Any) -> None:
    """`--preferences` and what goes with it."""
    group = parser.add_argument_group("preferences, with --init; TOKENS are then the text that held_out_loss is about")
    group.add_argument(
        "--preferences",
        type=Path,
        metavar="PAIRS",
        help=".jsonl or .parquet, or a folder, with prompt, chosen and rejected: learn from these (DPO, APO) by the "
        "settings under [align]; `--config align` has rates for it",
    )
    group.add_argument(
        "--tokenizer", type=Path, metavar="DIR", help="the model's tokenizer (default: the folder of --init)"
    )
    group.add_argument(
        "--reference", type=Path, metavar="DIR", help="model that answers are compared with (default: that of --init)"
    )
    group.add_argument(
        "--reference-cache",
        type=Path,
        metavar="DIR",
        help="where what the reference says is kept, for several runs (default: in the output)",
    )


def check_preferences(arguments: argparse.Namespace) -> list[str]:
    """Complete the options, and refuse those that don't fit together.

    Returns:
        settings that go before the user's own.

    Raises:
        SmolfastError: what is missing or too much.
    """
    names = ("tokenizer", "reference", "reference_cache")
    if arguments.preferences is None:
        if given := [name for name in names if getattr(arguments, name) is not None]:
            raise SmolfastError(f"--{given[0].replace('_', '-')} goes with --preferences; give both or neither")
        return []
    for name in ("teacher", "teacher_cache"):
        if getattr(arguments, name) is not None:
            raise SmolfastError(f"--{name.replace('_', '-')} doesn't go with --preferences; leave one of them out")
    if arguments.init is None:
        raise SmolfastError("--preferences needs the model to go on from; add --init DIR")
    if len(arguments.tokens) > 1:
        raise SmolfastError("with --preferences, TOKENS are one folder, or none; its held-out text is looked at")
    if arguments.tokenizer is None:
        if not holds(arguments.init, "tokenizer.json"):
            raise SmolfastError(f"{arguments.init} holds no tokenizer.json; add --tokenizer DIR")
        arguments.tokenizer = arguments.init
    # Only the next token's head learns from pairs.
    return ["model.mtp_heads=1", "train.mtp_weights=[1.0]"]


def preference_inputs(arguments: argparse.Namespace) -> dict[str, Path]:
    """The inputs of a training on pairs by their names; none without pairs. The cache of the reference is no input."""
    if arguments.preferences is None:
        return {}
    names = ("preferences", "tokenizer", "reference")
    found = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if found["tokenizer"] == arguments.init:
        del found["tokenizer"]
    return {**found}


def align_on_pairs(
    output: Path, inputs: Mapping[str, Path], text: Mapping[str, Path], settings: AlignConfig, common: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Train on pairs; the summary."""
    from smolfast.train.preferences.align import align

    given = {"tokenizer": common["init"], **inputs}
    return align(
        given.pop("preferences"), output, settings=settings, text=next(iter(text.values()), None), **given, **common
    )


def note_of_preferences(arguments: argparse.Namespace, config: Config) -> str:
    """What a person should know before: the rates are those of training from nothing, or heads are left out."""
    if arguments.preferences is None:
        return ""
    from smolfast.config import TrainConfig

    default = TrainConfig()
    names = [
        name
        for name in ("muon_learning_rate", "adamw_learning_rate")
        if getattr(config.train, name) == getattr(default, name)
    ]
    if not names:
        return ""
    rate = getattr(default, names[0])
    return f"train.{names[0]} = {rate} is a rate to train from nothing; --config align has lower ones"

"""From real text to a trained, exported small model: `smolfast quickstart`, which runs the recipe of that name."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smolfast.config import Config, changed_settings
from smolfast.io.keep_apart import find_apart
from smolfast.pipeline.recipes.graph import Graph, build
from smolfast.pipeline.recipes.reading import read_recipe
from smolfast.pipeline.recipes.running import run
from smolfast.progress import Console

# What the stages after training take of a time budget: evaluation, export, sample and report on two cores.
_SECONDS_AFTER_TRAINING = 30.0


@dataclass(frozen=True)
class Options:
    """What a run is asked to do, beside its configuration.

    Attributes:
        inputs: files, folders, globs or URLs; empty for the documentation and sources of this Python installation.
        strict: raise if a file of a folder is passed over.
        minutes: wall-clock budget of the whole run; None trains `train.steps` steps however long they take.
        threads: CPUs to use; 0 for all this process may use. Nothing that comes out depends on it.
    """

    out: Path
    inputs: Sequence[str] = ()
    text_column: str = "text"
    errors: str = "fail"
    strict: bool = False
    minutes: float | None = None
    threads: int = 0
    overwrite: bool = False


def quickstart(config: Config, options: Options, console: Console) -> dict[str, Any]:
    """Run every stage that is not finished; return the headline figures.

    Raises:
        SmolfastError: bad input, too little text, an output folder of another run, a full disk.
    """
    started = time.monotonic()
    _check_inputs(options, console)
    identity = {
        "config": config.model_dump(mode="json"),
        "input": [str(path) for path in options.inputs],
        "text_column": options.text_column,
        "errors": options.errors,
        "minutes": options.minutes,
    }

    def budget() -> float | None:
        if options.minutes is None:
            return None
        return max(1.0, options.minutes * 60 - (time.monotonic() - started) - _SECONDS_AFTER_TRAINING)

    outcome = run(
        _graph(config, options),
        options.out,
        console,
        threads=options.threads,
        minutes=options.minutes,
        budget=budget,
        overwrite=options.overwrite,
        identity=identity,
        notes={"seed": config.seed, "threads": options.threads, "changed": changed_settings(config)},
    )
    for error in outcome.failed.values():
        raise error
    summaries = outcome.summaries
    found = summaries["evaluate"]
    return {
        "documents": summaries["dedup"]["documents_out"],
        "parameters": summaries["train"]["parameters"],
        "training_tokens": summaries["train"]["tokens"],
        "held_out_bytes": found["bytes"],
        "bits_per_byte": found["bits_per_byte"],
        "xz_bits_per_byte": found["xz_bits_per_byte"],
        "zlib_bits_per_byte": found["zlib_bits_per_byte"],
        "unigram_bits_per_byte": found["unigram_bits_per_byte"],
        "seconds": round(time.monotonic() - started, 1),
        "export": str(options.out / "export"),
        "report": str(options.out / "report.html"),
        **{name: value for name, value in summaries["collect"].items() if name.startswith("passed_over")},
    }


def _check_inputs(options: Options, console: Console) -> None:
    """Refuse a run folder that is or contains an input; name it if it lies in one and so isn't read."""
    if options.inputs:
        _, inside = find_apart(options.inputs, options.out, strict=options.strict)
        if inside:
            console.line(f"{options.out} lies in the input; its {len(inside)} files are not read")


def _graph(config: Config, options: Options) -> Graph:
    """The shipped recipe with this configuration and input."""
    recipe = read_recipe("quickstart")
    sections = config.model_dump(mode="json")
    recipe.preset, recipe.seed = None, sections.pop("seed")
    recipe.sections = sections
    recipe.stages["collect"] |= {
        "input": [str(path) for path in options.inputs],
        "text_column": options.text_column,
        "errors": options.errors,
        "strict": options.strict,
    }
    return build(recipe)

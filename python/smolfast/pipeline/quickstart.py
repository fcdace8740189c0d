"""From real text to a trained, exported small model: the stages of `smolfast quickstart`, in order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smolfast.config import Config, changed_settings
from smolfast.io.keep_apart import find_apart
from smolfast.pipeline.run_folder import STAGES, open_run
from smolfast.pipeline.stages import Runner, Stage
from smolfast.progress import Console, ProgressCallback

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
    notes = {"seed": config.seed, "threads": options.threads, "changed": changed_settings(config)}
    with open_run(options.out, identity, notes, overwrite=options.overwrite):
        runner = Runner(options.out / STAGES, console, own_folder=True)
        summaries = {stage.name: runner.run(stage) for stage in _stages(config, options, started)}
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


def _stages(config: Config, options: Options, started: float) -> Iterator[Stage]:
    """The stages, made one at a time: each is made when those before it have run."""
    from smolfast.pipeline import collect, normalize, split
    from smolfast.tokens import files as tokens
    from smolfast.tokens import tokenizer

    out = options.out
    section = {
        name: getattr(config, name).model_dump(mode="json") for name in type(config).model_fields if name != "seed"
    }

    sources = collect.list_inputs(options.inputs, without=out, strict=options.strict)
    yield Stage(
        "collect",
        inputs={},
        output=out / "collect",
        parameters={
            **section["collect"],
            "sources": collect.signature(sources),
            "text_column": options.text_column,
            "errors": options.errors,
        },
        work=lambda path, progress: collect.collect(
            sources, path, config.collect, errors=options.errors, text_column=options.text_column, progress=progress
        ),
    )
    documents = out / "collect" / "documents.parquet"

    def normalize_work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
        return normalize.normalize_documents(
            [documents],
            path / "documents.parquet",
            form=config.normalize.form,
            threads=options.threads,
            progress=progress,
        )

    yield Stage(
        "normalize",
        inputs={"documents": documents},
        output=out / "normalize",
        parameters=section["normalize"],
        work=normalize_work,
    )
    normalized = out / "normalize" / "documents.parquet"

    def dedup_work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
        from smolfast.dedup import deduplicate

        settings = {**section["dedup"], "threshold": section["dedup"]["threshold"] or None}
        return deduplicate(
            [normalized], path, **settings, seed=config.seed, threads=options.threads, progress=progress
        ).as_dict()

    yield Stage(
        "dedup",
        inputs={"documents": normalized},
        output=out / "dedup",
        parameters={**section["dedup"], "seed": config.seed},
        work=dedup_work,
    )
    yield Stage(
        "split",
        inputs={"documents": out / "dedup" / "kept.parquet"},
        output=out / "split",
        parameters={**section["split"], "seed": config.seed},
        work=lambda path, progress: split.split_documents(
            out / "dedup" / "kept.parquet",
            path,
            held_out_fraction=config.split.held_out_fraction,
            seed=config.seed,
            progress=progress,
        ),
    )
    train_documents, held_out_documents = out / "split" / "train.parquet", out / "split" / "held_out.parquet"
    yield Stage(
        "tokenizer",
        inputs={"train": train_documents},
        output=out / "tokenizer",
        parameters=section["tokenizer"],
        work=lambda path, progress: tokenizer.train_tokenizer(
            [train_documents], path, config.tokenizer, progress=progress
        ),
    )
    yield Stage(
        "tokenize",
        inputs={"train": train_documents, "held_out": held_out_documents, "tokenizer": out / "tokenizer"},
        output=out / "tokens",
        parameters={},
        work=lambda path, progress: tokens.tokenize(
            {"train": train_documents, "held_out": held_out_documents}, out / "tokenizer", path, progress=progress
        ),
    )
    yield from _model_stages(config, options, started, section, held_out_documents)


def _model_stages(
    config: Config,
    options: Options,
    started: float,
    section: Mapping[str, Any],
    held_out_documents: Path,
) -> Iterator[Stage]:
    from smolfast.evaluate import bits_per_byte as evaluate
    from smolfast.model import export, generate
    from smolfast.report import write_report
    from smolfast.train import loop as train
    from smolfast.train.run import checkpoint

    out = options.out

    def train_work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
        budget = None
        if options.minutes is not None:
            budget = max(1.0, options.minutes * 60 - (time.monotonic() - started) - _SECONDS_AFTER_TRAINING)
        return train.train(
            out / "tokens",
            path,
            model=config.model,
            config=config.train,
            seed=config.seed,
            threads=options.threads,
            time_budget_seconds=budget,
            progress=progress,
        )

    yield Stage(
        "train",
        inputs={"tokens": out / "tokens"},
        output=out / "train",
        parameters={
            "model": section["model"],
            "train": section["train"],
            "seed": config.seed,
            "minutes": options.minutes,
        },
        work=train_work,
        resumable=True,
        writes=checkpoint.RUN_FILES,
    )
    model = out / "train" / "model"
    yield Stage(
        "evaluate",
        inputs={"model": model, "tokens": out / "tokens", "held_out": held_out_documents},
        output=out / "evaluate",
        parameters=section["evaluate"],
        work=lambda path, progress: evaluate.evaluate(
            model,
            out / "tokens",
            path,
            config.evaluate,
            held_out_documents=held_out_documents,
            threads=options.threads,
            progress=progress,
        ),
    )
    yield Stage(
        "export",
        inputs={"model": model, "tokenizer": out / "tokenizer"},
        output=out / "export",
        parameters={},
        work=lambda path, progress: export.export(model, out / "tokenizer", path),
    )
    yield Stage(
        "generate",
        inputs={"export": out / "export"},
        output=out / "generate",
        parameters={**section["generate"], "seed": config.seed},
        work=lambda path, progress: generate.generate(out / "export", path, config.generate, seed=config.seed),
    )
    yield Stage(
        "report",
        inputs={"stages": out / "evaluate", "sample": out / "generate", "metrics": out / "train" / "metrics.jsonl"},
        output=out / "report.html",
        parameters={},
        work=lambda path, progress: write_report(out, path, progress=progress),
    )

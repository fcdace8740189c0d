"""Kinds of stages on models: train, evaluate, export, generate, report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from smolfast.config import Section
from smolfast.errors import SmolfastError
from smolfast.pipeline.recipes.kinds.kind import PORTS, Binding, Kind, Take
from smolfast.pipeline.recipes.kinds.tokens import mixture_of
from smolfast.pipeline.stages import Stage
from smolfast.progress import ProgressCallback
from smolfast.train.run.files import RUN_FILES


class _Train(Section):
    minutes: float | None = Field(None, gt=0)
    teacher: str | None = None
    teacher_cache: str | None = None
    init: str | None = None
    preferences: str | None = None
    reference: str | None = None


def _train(b: Binding) -> Stage:
    if b.options.preferences is not None:
        return _align(b)
    if b.options.reference is not None or b.maybe("tokenizer") is not None:
        raise SmolfastError(f"{b.name}: a reference and a tokenizer go with preferences; leave them out")
    sources, mixture = b.labelled("tokens"), b.maybe("mixture")
    extra: dict[str, Any] = {
        name: Path(path) for name in ("teacher", "teacher_cache", "init") if (path := getattr(b.options, name))
    }
    if cache := b.maybe("teacher_cache"):
        extra["teacher_cache"] = cache
    minutes = b.minutes if b.options.minutes is None else b.options.minutes

    def work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
        from smolfast.train.loop import train

        config = b.config.train
        if mixture is not None:
            config = config.model_copy(update={"mixture": mixture_of(mixture)})
        return train(
            sources if len(sources) > 1 else next(iter(sources.values())),
            path,
            model=b.config.model,
            config=config,
            seed=b.config.seed,
            threads=b.threads,
            time_budget_seconds=b.budget() if b.options.minutes is None else b.options.minutes * 60,
            distill=b.config.distill,
            **extra,
            progress=progress,
        )

    inputs = sources if len(sources) > 1 else {"tokens": b.one("tokens")}
    return Stage(
        b.name,
        {**inputs, **({} if mixture is None else {"mixture": mixture}), **extra},
        b.output,
        {
            "model": b.section("model"),
            "train": b.config.train.deciding().model_dump(mode="json"),
            **({"distill": b.section("distill")} if extra.keys() & {"teacher", "teacher_cache"} else {}),
            "seed": b.config.seed,
            "minutes": minutes,
        },
        work,
        resumable=True,
        writes=RUN_FILES,
    )


def _align(b: Binding) -> Stage:
    """Training on pairs of answers; its tokens are the text that the held-out loss is about."""
    tokenizer, teachers = b.maybe("tokenizer"), ("teacher", "teacher_cache")
    if b.options.init is None or tokenizer is None:
        raise SmolfastError(f"{b.name}: preferences need init = a model, and a stage that gives its tokenizer in needs")
    if any(getattr(b.options, name) for name in teachers) or b.maybe("teacher_cache") or b.maybe("mixture"):
        raise SmolfastError(f"{b.name}: a teacher and a mixture don't go with preferences; leave them out")
    names = ("preferences", "init", "reference")
    given = {name: Path(path) for name in names if (path := getattr(b.options, name))}

    def work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
        from smolfast.train.preferences.align import align

        return align(
            given["preferences"],
            path,
            init=given["init"],
            reference=given.get("reference"),
            tokenizer=tokenizer,
            text=b.one("tokens"),
            model=b.config.model,
            config=b.config.train,
            settings=b.config.align,
            seed=b.config.seed,
            threads=b.threads,
            time_budget_seconds=b.budget() if b.options.minutes is None else b.options.minutes * 60,
            progress=progress,
        )

    return Stage(
        b.name,
        {"tokens": b.one("tokens"), "tokenizer": tokenizer, **given},
        b.output,
        {
            "model": b.section("model"),
            "train": b.config.train.deciding().model_dump(mode="json"),
            "align": b.section("align"),
            "seed": b.config.seed,
            "minutes": b.minutes if b.options.minutes is None else b.options.minutes,
        },
        work,
        resumable=True,
        writes=RUN_FILES,
    )


TRAIN = Kind(
    "a model trained on token files",
    _train,
    gives={"model": "model"},
    takes={
        "tokens": Take(("tokens",), most=1000),
        "mixture": Take(("mixture",), least=0),
        "teacher_cache": Take(("teacher_cache",), least=0),
        "tokenizer": Take(("tokenizer",), least=0),
    },
    section="train",
    sections=("model", "distill", "align"),
    options=_Train,
    summary=("parameters", "steps", "tokens", "loss", "held_out_loss", "effective_rank", "dead_units", "seconds"),
    seeded=True,
)


class _Evaluate(Section):
    source_column: str | None = None
    language_column: str | None = None
    by_position: bool = False
    text_column: str | None = None
    errors: Literal["fail", "replace", "skip"] | None = None


def _evaluate(b: Binding) -> Stage:
    model, tokens, held_out = b.one("model"), b.one("tokens"), b.one("held_out")
    given = {name: value for name, value in b.options.model_dump().items() if value not in (None, False)}
    reading = {name: value for name, value in given.items() if name != "by_position"}
    tokenizer = b.maybe("tokenizer")
    if b.options.by_position and tokenizer is None:
        raise SmolfastError(f"{b.name}: by_position needs the tokenizer; let it need the stage that makes it")
    by_position: dict[str, Any] = {"tokenizer": tokenizer} if b.options.by_position and tokenizer is not None else {}

    def work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
        from smolfast.evaluate.bits_per_byte import evaluate

        return evaluate(
            model,
            tokens,
            path,
            b.config.evaluate,
            held_out_documents=held_out,
            **reading,
            **by_position,
            threads=b.threads,
            progress=progress,
        )

    inputs = {"model": model, "tokens": tokens, "held_out": held_out, **by_position}
    return Stage(b.name, inputs, b.output, {**b.section("evaluate"), **given}, work)


EVALUATE = Kind(
    "bits per byte on held-out documents",
    _evaluate,
    gives={"evaluation": ""},
    takes={
        "model": Take(("model",)),
        "tokens": Take(("tokens",)),
        "held_out": Take(("held_out",)),
        "tokenizer": Take(("tokenizer",), least=0),
    },
    section="evaluate",
    options=_Evaluate,
    summary=("bytes", "bits_per_byte", "unigram_bits_per_byte", "zlib_bits_per_byte", "xz_bits_per_byte"),
)


class _Needles(Section):
    text_column: str = "text"
    errors: Literal["fail", "replace", "skip"] = "fail"


def _needles(b: Binding) -> Stage:
    model, tokenizer, haystack = b.one("model"), b.one("tokenizer"), b.maybe("held_out")
    reading = {name: value for name, value in b.options.model_dump().items() if value != getattr(_Needles(), name)}
    given: dict[str, Any] = {} if haystack is None else {"haystack": haystack}

    def work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
        from smolfast.evaluate.needles.scoring import evaluate_needles

        result = evaluate_needles(
            model,
            path,
            b.config.needles,
            tokenizer=tokenizer,
            **given,
            **reading,
            seed=b.config.seed,
            threads=b.threads,
            progress=progress,
        )
        return {
            "tokens": result["tokens"],
            "right": sum(found["accuracy"] for found in result["tasks"].values()) / len(result["tasks"]),
            **{f"{task}_right": found["accuracy"] for task, found in result["tasks"].items()},
        }

    inputs = {"model": model, "tokenizer": tokenizer, **given}
    return Stage(b.name, inputs, b.output, {**b.section("needles"), "seed": b.config.seed, **reading}, work)


NEEDLES = Kind(
    "needles found in long prompts",
    _needles,
    gives={"evaluation": ""},
    takes={"model": Take(("model",)), "tokenizer": Take(("tokenizer",)), "held_out": Take(("held_out",), least=0)},
    section="needles",
    options=_Needles,
    summary=("tokens", "right"),
    seeded=True,
)


def _export(b: Binding) -> Stage:
    model, tokenizer = b.one("model"), b.one("tokenizer")

    def work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
        from smolfast.model.export import export

        return export(model, tokenizer, path)

    return Stage(b.name, {"model": model, "tokenizer": tokenizer}, b.output, {}, work)


EXPORT = Kind(
    "a folder that transformers loads",
    _export,
    gives={"export": ""},
    takes={"model": Take(("model",)), "tokenizer": Take(("tokenizer",))},
    summary=(),
)


def _generate(b: Binding) -> Stage:
    export = b.one("export")

    def work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
        from smolfast.model.generate import generate

        return generate(export, path, b.config.generate, seed=b.config.seed)

    return Stage(b.name, {"export": export}, b.output, {**b.section("generate"), "seed": b.config.seed}, work)


GENERATE = Kind(
    "a sample of an exported model",
    _generate,
    gives={"sample": ""},
    takes={"export": Take(("export",))},
    section="generate",
    summary=("tokens",),
    seeded=True,
)


def _report(b: Binding) -> Stage:
    if b.output.suffix != ".html":
        raise SmolfastError(f'{b.name}: a page\'s name ends in .html; give output = "{b.name}.html"')
    if len(b.trained) != 1:
        raise SmolfastError(f"{b.name}: it is about one training; let it need one stage of the kind train")
    (trained,) = b.trained.values()
    # The page of the whole run where its stages have the usual names; else of this training alone.
    folder = b.folder if trained == b.folder / "train" else trained
    inputs = {name: path for name, path in b.needed.items() if name not in b.trained}
    inputs["metrics"] = trained / "metrics.jsonl"

    def work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
        from smolfast.report import write_report

        return write_report(folder, path, progress=progress)

    return Stage(b.name, inputs, b.output, {}, work)


REPORT = Kind(
    "a page about a training",
    _report,
    gives={"report": ""},
    takes={name: Take((name,), least=0, most=1000) for name in PORTS},
    summary=("bytes",),
    free=True,
)

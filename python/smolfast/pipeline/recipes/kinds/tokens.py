"""Kinds of stages on tokens: tokenizer, tokenize, mix, distill-cache."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from smolfast.config import Section
from smolfast.errors import SmolfastError
from smolfast.files import read_json, write_json
from smolfast.pipeline.recipes.kinds.kind import Binding, Kind, Take
from smolfast.pipeline.stages import Stage
from smolfast.progress import ProgressCallback

MIXTURE_FILE = "mixture.json"


class _Reading(Section):
    text_column: str = "text"
    errors: Literal["fail", "replace", "skip"] = "fail"


def _unusual(options: Section) -> dict[str, Any]:
    default = type(options)().model_dump()
    return {name: value for name, value in options.model_dump().items() if value != default[name]}


def _tokenizer(b: Binding) -> Stage:
    given = b.inputs["train"]
    reading = _unusual(b.options)

    def work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
        from smolfast.tokens import tokenizer

        return tokenizer.train_tokenizer(list(given.values()), path, b.config.tokenizer, **reading, progress=progress)

    inputs = {"train": b.one("train")} if len(given) == 1 else dict(given)
    return Stage(b.name, inputs, b.output, {**b.section("tokenizer"), **reading}, work)


TOKENIZER = Kind(
    "a tokenizer trained on documents",
    _tokenizer,
    gives={"tokenizer": ""},
    takes={"train": Take(("train", "documents"), most=1000)},
    section="tokenizer",
    options=_Reading,
    summary=("vocab_size",),
)


class _Tokenize(Section):
    text_column: str | None = None
    errors: Literal["fail", "replace", "skip"] = "fail"
    chat: bool = False
    tokenizer: str | None = None
    input: str | None = None
    held_out: str | None = None


def _tokenize(b: Binding) -> Stage:
    given = {"train": b.options.input, "held_out": b.options.held_out}
    documents = {name: Path(path) if path else b.one(name) for name, path in given.items()}
    made = b.maybe("tokenizer")
    if (made is None) == (b.options.tokenizer is None):
        raise SmolfastError(f"{b.name}: give it one tokenizer, of a stage that it needs or as tokenizer = FOLDER")
    folder = made or Path(b.options.tokenizer)
    places = ("tokenizer", "input", "held_out")
    parameters = {name: value for name, value in _unusual(b.options).items() if name not in places}
    reading = {name: value for name, value in parameters.items() if name != "chat"}

    def work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
        from smolfast.tokens import conversations, files

        if b.options.chat:
            return conversations.tokenize_conversations(documents, folder, path, **reading, progress=progress)
        return files.tokenize(documents, folder, path, **reading, progress=progress)

    return Stage(b.name, {**documents, "tokenizer": folder}, b.output, parameters, work)


TOKENIZE = Kind(
    "documents as token files",
    _tokenize,
    gives={"tokens": ""},
    takes={
        "train": Take(("train",), setting="input"),
        "held_out": Take(("held_out",), setting="held_out"),
        "tokenizer": Take(("tokenizer",), least=0),
    },
    options=_Tokenize,
    summary=("vocab_size", "train_tokens", "held_out_tokens", "documents_out"),
)


class _Mix(Section):
    weights: dict[str, float] = Field(default_factory=dict)
    temperature: float = Field(1.0, gt=0)


def _mix(b: Binding) -> Stage:
    sources = b.labelled("tokens")
    weights = dict(b.options.weights)
    if weights and set(weights) != set(sources):
        raise SmolfastError(f"{b.name}: weights name {_listed(weights)}, and its sources are {_listed(sources)}")
    if weights and (min(weights.values()) < 0 or sum(weights.values()) <= 0):
        raise SmolfastError(f"{b.name}: weights are 0 or more, and not all of them 0")

    def work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
        tokens = {
            name: read_json(folder / "tokens.json")["files"]["train"]["tokens"] for name, folder in sources.items()
        }
        # As they come, or flatter: shares to the power of 1 / temperature (Conneau and others, arXiv 1911.02116).
        raw = weights or {name: count ** (1 / b.options.temperature) for name, count in tokens.items()}
        total = sum(raw.values())
        found = {name: raw[name] / total for name in sources}
        path.mkdir(parents=True, exist_ok=True)
        write_json(path / MIXTURE_FILE, {"weights": found, "tokens": tokens})
        return {"sources": len(found), "tokens": sum(tokens.values()), **{f"weight_{n}": w for n, w in found.items()}}

    return Stage(b.name, dict(sources), b.output, b.options.model_dump(), work)


def mixture_of(path: Path) -> dict[str, float]:
    """The weights that a stage of the kind mix wrote."""
    return {str(name): float(weight) for name, weight in read_json(path / MIXTURE_FILE)["weights"].items()}


def _listed(names: Any) -> str:
    return ", ".join(sorted(names))


MIX = Kind(
    "weights of token files, for training on several",
    _mix,
    gives={"mixture": ""},
    takes={"tokens": Take(("tokens",), least=1, most=1000)},
    options=_Mix,
    summary=("sources", "tokens"),
)


class _DistillCache(Section):
    teacher: str | None = None
    split: str = "train"
    samples: int = Field(50, ge=1, le=255)
    temperature: float = Field(1.0, gt=0)
    context: int = Field(0, ge=0)
    layers: tuple[int, ...] = ()
    features: int = Field(64, ge=1)


def _distill_cache(b: Binding) -> Stage:
    teacher = b.maybe("teacher") or b.options.teacher
    if teacher is None:
        raise SmolfastError(f"{b.name}: give it a teacher, an export that it needs or teacher = FOLDER")
    options = {name: getattr(b.options, name) for name in ("samples", "temperature", "context")}
    options |= {"name": b.options.split, "seed": b.config.seed}
    if b.options.layers:
        options |= {"layers": list(b.options.layers), "features": b.options.features}
    local = {"teacher": Path(teacher)} if b.maybe("teacher") or Path(teacher).exists() else {}

    def work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
        from smolfast.train.distillation.cache import write_cache

        return write_cache(str(teacher), b.one("tokens"), path, **options, progress=progress)

    return Stage(
        b.name,
        {"tokens": b.one("tokens"), **local},
        b.output,
        {**options, **({} if local else {"teacher": str(teacher)})},
        work,
        resumable=True,
    )


DISTILL_CACHE = Kind(
    "what a teacher predicts for token files",
    _distill_cache,
    gives={"teacher_cache": ""},
    takes={"tokens": Take(("tokens",)), "teacher": Take(("export",), least=0)},
    options=_DistillCache,
    summary=("tokens", "pairs_per_token", "bytes"),
    seeded=True,
)

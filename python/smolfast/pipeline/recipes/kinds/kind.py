"""What a kind of stage is: what it takes and gives, which settings it has, and how its work is made."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import xxhash
from pydantic import BeforeValidator

from smolfast.config import Config, Section
from smolfast.errors import SmolfastError
from smolfast.io.documents import find_sources
from smolfast.io.keep_apart import find_apart
from smolfast.io.sources import Sources
from smolfast.io.stores.changes import stat_source
from smolfast.pipeline.stages import Stage

PathLike = str | os.PathLike[str]
PORTS = {
    "documents": "documents",
    "train": "documents to train on",
    "held_out": "held-out documents",
    "tokenizer": "a tokenizer",
    "tokens": "token files",
    "mixture": "weights of token files",
    "teacher_cache": "what a teacher predicts",
    "model": "a trained model",
    "export": "an exported model",
    "evaluation": "an evaluation",
    "sample": "a sample",
    "report": "a page",
}
"""What goes from stage to stage, and in words."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Paths = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""Files, folders, globs or URLs: a list, or one alone."""


@dataclass(frozen=True)
class Take:
    """An input: `ports` that serve, the first that is there; how many stages may give it.

    Attributes:
        setting: the one that may name a file in its place.
    """

    ports: tuple[str, ...]
    least: int = 1
    most: int = 1
    setting: str = ""


@dataclass(frozen=True)
class Binding:
    """A stage of a recipe in a folder: everything its work is made of.

    Attributes:
        inputs: of each input of the kind, the stages that give it, and where it lies.
        needed: of each stage that it needs, where its output lies, in order. trained: of those, trainings.
        labels: what the stages that it needs are called as sources of a mixture.
        settings: what a stage of the user's own gives its function.
        threads: CPUs to use; 0 for all.
        log: the file for what a command prints.
        budget: seconds that are left for training, asked when it begins; None for as long as it takes.
    """

    name: str
    folder: Path
    output: Path
    config: Config
    options: Any
    inputs: Mapping[str, Mapping[str, Path]]
    needed: Mapping[str, Path]
    trained: Mapping[str, Path] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 0
    minutes: float | None = None
    budget: Callable[[], float | None] = lambda: None
    log: Path | None = None

    def one(self, what: str) -> Path:
        """The only input of that name."""
        return next(iter(self.inputs[what].values()))

    def maybe(self, what: str) -> Path | None:
        """The input of that name, if some stage gives it."""
        return next(iter(self.inputs[what].values()), None)

    def all(self, what: str) -> list[Path]:
        """Every input of that name, in order."""
        return list(self.inputs[what].values())

    def labelled(self, what: str) -> dict[str, Path]:
        """The inputs of that name as sources: by the values of their lists, where that tells them apart."""
        found = self.inputs[what]
        labels = [self.labels[name] for name in found]
        return dict(zip(labels if len(set(labels)) == len(labels) else found, found.values(), strict=True))

    def section(self, name: str) -> dict[str, Any]:
        """A section of the configuration as plain values."""
        found: dict[str, Any] = getattr(self.config, name).model_dump(mode="json")
        return found

    def sources(
        self, find: Callable[[Sequence[PathLike]], Sources] = find_sources
    ) -> tuple[list[str], dict[str, Path], dict[str, Any]]:
        """What is read: files of the user's, and what other stages made; and how they go into the stage's key.

        Args:
            find: what finds the user's files.

        Raises:
            SmolfastError: files that can't be found, or neither files nor stages.
        """
        given = [str(path) for path in self.options.input]
        made = self.inputs.get("documents", {})
        if not given and not made:
            raise SmolfastError(f"{self.name}: nothing to read; give input = […], or a stage that it needs")
        if not given:
            return [str(path) for path in made.values()], dict(made), {}
        files, _ = find_apart(given, self.folder, strict=getattr(self.options, "strict", False), find=find)
        digest = xxhash.xxh3_128()
        for file in files:
            name = "\0".join([file.path, *map(str, stat_source(file.path))])
            digest.update(name.encode("utf-8", "surrogateescape") + b"\n")
        return [*given, *map(str, made.values())], dict(made), {"sources": digest.hexdigest()}


@dataclass(frozen=True)
class Kind:
    """A kind of stage.

    Attributes:
        does: in words.
        gives: what it makes, and where in its output ("" for the output itself).
        takes: its inputs by name.
        section: the configuration's section that is its own, whose keys stand in its table.
        sections: further ones it reads, tables in its table.
        options: settings that the configuration doesn't have.
        summary: the numbers it tells, to which others may refer; None if that isn't known.
        free: it may need any stage, of which nothing is taken.
        seeded: what it makes depends on the seed.
    """

    does: str
    make: Callable[[Binding], Stage]
    gives: Mapping[str, str] = field(default_factory=dict)
    takes: Mapping[str, Take] = field(default_factory=dict)
    section: str | None = None
    sections: Sequence[str] = ()
    options: type[Section] = Section
    summary: Sequence[str] | None = None
    free: bool = False
    seeded: bool = False

    def setting_names(self) -> list[str]:
        """The settings that a stage of it has."""
        own = [] if self.section is None else list(type(getattr(Config(), self.section)).model_fields)
        return [*own, *self.options.model_fields, *self.sections]

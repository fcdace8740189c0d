"""What decides a run's output beside its input, as `crawl_files` takes it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smolfast.crawl.extraction.extractors import NAMES, load_extractor
from smolfast.crawl.files.languages import Wanted
from smolfast.crawl.urls import read_url_filter
from smolfast.curate.files.options import Options as Judging
from smolfast.errors import SmolfastError
from smolfast.files import fingerprint

URL_LISTS = ("domains", "urls", "banned_words", "soft_banned_words", "banned_subwords")

DEDUP_FIRST = ("fineweb-2",)
"""Rules that come behind deduplication, and before repairs of encodings: the order of FineWeb-2."""


@dataclass(frozen=True)
class Options:
    """Options of `crawl_files`, each as it says there."""

    extract: str
    """As `extractor_name` gives it."""
    url_lists: Mapping[str, str | None]
    judging: Judging
    dedup: bool
    redact: bool
    page_seconds: float
    wanted: Wanted | None = None
    """Several languages, where they are asked for."""

    @property
    def is_fineweb_2(self) -> bool:
        """Whether the rules are FineWeb-2's, by name or by one of its files."""
        name = self.judging.rules.name
        return name.startswith(DEDUP_FIRST) or name.endswith((".yml", ".yaml"))

    @property
    def order(self) -> tuple[str, ...]:
        """The stages behind the pages, in the order of the rules' own pipeline."""
        stages = ("dedup", "rules") if self.is_fineweb_2 else ("rules", "dedup")
        first = ("language",) if self.wanted is not None else ()
        return (*first, *(stage for stage in stages if stage != "dedup" or self.dedup))

    def check(self) -> None:
        """Refuse what can't be done before any work begins.

        Raises:
            SmolfastError: a library that isn't installed, an extractor or a list that can't be loaded, bad rules.
        """
        if not self.page_seconds > 0:
            raise SmolfastError(f"page_seconds = {self.page_seconds!r}: give seconds, for example 60")
        load_extractor(self.extract)
        read_url_filter(**self.url_lists)
        self.judging.check()
        if self.wanted is not None:
            self.wanted.check(self.judging)

    def parameters(self) -> dict[str, Any]:
        """The options beside those of the rules, as JSON has them."""
        return {
            "extract": self.extract,
            "url_lists": {name: path for name, path in self.url_lists.items() if path is not None},
            "dedup": self.dedup,
            "redact": self.redact,
            "page_seconds": self.page_seconds,
            **({} if self.wanted is None else {"languages": dataclasses.asdict(self.wanted)}),
        }

    def key(self) -> dict[str, Any]:
        """What the options stand for: the content of files, and the versions of libraries."""
        return {
            "parameters": self.judging.parameters(),
            "crawl": {"stages": ["read", "url", "extract", *self.order], **self.parameters()},
            "rules": self.judging.rules_key(),
            "models": {
                **self.judging.models_key(),
                **({} if self.wanted is None else {self.wanted.model: fingerprint(self.wanted.model)}),
            },
            "lists": {name: fingerprint(path) for name, path in self.url_lists.items() if path is not None},
            "libraries": _versions(self.extract),
        }


def _versions(extract: str) -> dict[str, str]:
    names = ["fastwarc", "resiliparse", *(["trafilatura"] if extract == "trafilatura" else [])]
    found = {name: importlib.metadata.version(name) for name in names}
    if extract not in NAMES:
        place = extract.rpartition(":")[0]
        spec = None if place.endswith(".py") else importlib.util.find_spec(place)
        file = place if spec is None else spec.origin
        if file and Path(file).is_file():
            found[place] = fingerprint(file)
    return found


def url_lists_of(given: Mapping[str, str | os.PathLike[str] | None]) -> dict[str, str | None]:
    """The lists by name, those that aren't given as None.

    Raises:
        SmolfastError: a name that is none of URL_LISTS.
    """
    for name in given:
        if name not in URL_LISTS:
            raise SmolfastError(f"there is no list {name!r} of addresses; choose from {', '.join(URL_LISTS)}")
    return {name: None if given.get(name) is None else os.fspath(given[name]) for name in URL_LISTS}  # type: ignore[arg-type]

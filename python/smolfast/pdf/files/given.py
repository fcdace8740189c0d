"""What a run is given to read: files, and addresses that are fetched before; cut files are fetched again."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error
from smolfast.io.json.journal import append_entry, finished_entries
from smolfast.io.sources import Sources, is_crawl
from smolfast.pdf.cut import is_cut
from smolfast.pdf.fetch.fetcher import Fetcher
from smolfast.pdf.fetch.limits import Limits
from smolfast.pdf.fetch.outcome import FETCHED, Outcome
from smolfast.pdf.fetch.store import Store
from smolfast.pdf.files.sources import read_pdfs
from smolfast.pdf.input import Pdf
from smolfast.progress import ProgressCallback

STORE = ".fetched"
"""The folder in the output where fetched files stay, for the next run."""
JOURNAL = "fetched.jsonl"
NO_BETTER = "fetched, and no longer"
"""What was fetched again is cut as well."""


def is_address(given: str) -> bool:
    """Whether an input is an address that is fetched."""
    return given.lower().startswith(("http://", "https://")) and not is_crawl(given)


def read_addresses(path: Path) -> list[str]:
    """The addresses of a list, one a line; blank lines and those that begin with `#` are passed over.

    Raises:
        SmolfastError: the file can't be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise SmolfastError(f"can't read the list {path}: {describe_os_error(error)}") from error
    except ValueError as error:
        raise SmolfastError(f"can't read the list {path} ({error}); give UTF-8") from error
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


@dataclass(frozen=True)
class Given:
    """The input of a run."""

    sources: Sources
    urls: Sequence[str]
    column: str | None
    """Of parquet."""
    workers: int
    limits: Limits
    refetch: bool
    store: Path

    def fetch(self, work: Path, progress: ProgressCallback) -> Mapping[str, Outcome]:
        """Fetch what is to be fetched, and what came of each address. What an earlier run did stays."""
        if not self.urls and not self.refetch:
            return {}
        store = Store(self.store)
        outcomes = dict(finished_entries(work / JOURNAL, lambda found, number: _entry(found, store)))
        again = [pdf.url for pdf in self._read(Counter()) if _is_cut(pdf)] if self.refetch else []
        wanted = [url for url in dict.fromkeys([*self.urls, *again]) if url is not None and url not in outcomes]

        def done(url: str, outcome: Outcome) -> None:
            append_entry(work / JOURNAL, {"url": url, **vars(outcome)})
            outcomes[url] = outcome
            came = sum(1 for one in outcomes.values() if one.reason == FETCHED)
            progress(float(len(outcomes)), float(len(wanted)) or 1.0, f"fetching: {came:,} of {len(outcomes):,} came")

        if wanted:
            Fetcher(store, self.limits).fetch(wanted, done)
        return outcomes

    def documents(self, outcomes: Mapping[str, Outcome], others: Counter[str]) -> Generator[Pdf, None, None]:
        """The documents in order, as `read_pdfs` gives them, then those of the addresses."""
        for pdf in self._read(others):
            outcome = outcomes.get(pdf.url) if self.refetch and pdf.url and _is_cut(pdf) else None
            yield pdf if outcome is None else self._replaced(pdf, outcome)
        for url in dict.fromkeys(self.urls):
            outcome = outcomes[url]
            if outcome.reason != FETCHED:
                yield Pdf(url, url, url=url, fetch=outcome.reason, reason=f"not fetched: {outcome.reason}")
            else:
                file = str(self.store / outcome.file)
                yield Pdf(url, url, outcome.size, outcome.hash, file=file, url=url, fetch=FETCHED)

    def _read(self, others: Counter[str]) -> Iterator[Pdf]:
        return read_pdfs(self.sources, self.column, self.workers, others)

    def _replaced(self, pdf: Pdf, outcome: Outcome) -> Pdf:
        """The document as it was fetched again, if that is whole, or longer at least."""
        if outcome.reason != FETCHED:
            return dataclasses.replace(pdf, fetch=outcome.reason)
        file = self.store / outcome.file
        try:
            still_cut = is_cut(file.read_bytes())
        except OSError as error:
            raise SmolfastError(f"can't read {file}: {describe_os_error(error)}") from error
        if still_cut and outcome.size <= pdf.size:
            return dataclasses.replace(pdf, fetch=NO_BETTER)
        new: dict[str, Any] = {"size": outcome.size, "hash": outcome.hash, "file": str(file), "fetch": FETCHED}
        return dataclasses.replace(pdf, content=None, truncated=False, **new)


def _is_cut(pdf: Pdf) -> bool:
    """Whether fetching it again may help."""
    if pdf.reason or pdf.url is None or not is_address(pdf.url):
        return False
    return pdf.truncated or (pdf.content is not None and is_cut(pdf.content))


def _entry(found: Any, store: Store) -> tuple[str, Outcome] | None:
    url, outcome = str(found.pop("url")), Outcome(**found)
    return (url, outcome) if store.is_there(outcome) else None

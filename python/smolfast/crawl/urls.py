"""The URL filter of FineWeb: lists of domains, hosts, addresses and words; datatrove 0.10.1's decisions."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error
from smolfast.machine import install_command

_NOT_WORD = re.compile(r"[^a-zA-Z0-9]+")

REASONS = ("domain", "subdomain", "url", "hard_blacklisted", "soft_blacklisted", "blacklisted_subword")


@dataclass(frozen=True)
class UrlFilter:
    """Which addresses go. A line of a list that begins with `#` is a remark.

    The suffix of a host is one of the Public Suffix List that tldextract holds; nothing is fetched.
    """

    domains: frozenset[str] = frozenset()
    """Registered domains (`example.co.uk`), whose every host goes, or single hosts (`www.example.com`)."""
    urls: frozenset[str] = frozenset()
    """Whole addresses, as they stand in the crawl."""
    banned_words: frozenset[str] = frozenset()
    """Lower case. One of them in an address, between other characters than letters and digits, is enough."""
    soft_banned_words: frozenset[str] = frozenset()
    """As many different ones as `soft_word_threshold` are enough."""
    banned_subwords: frozenset[str] = frozenset()
    """Enough wherever they stand in the address without all but its letters and digits, in lower case."""
    soft_word_threshold: int = 2
    _subwords: Any = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        pattern = "|".join(map(re.escape, sorted(self.banned_subwords, key=len)))
        object.__setattr__(self, "_subwords", re.compile(pattern) if pattern else None)

    def __bool__(self) -> bool:
        return bool(self.domains or self.urls or self.banned_words or self.soft_banned_words or self.banned_subwords)

    def reason(self, url: str) -> str | None:
        """Why an address goes, in datatrove's word; None where it stays.

        Words of the address are compared as they are written, though the lists are in lower case: so has datatrove it.
        """
        if self.domains:
            found = _suffixes()(url)
            if found.top_domain_under_public_suffix in self.domains:
                return "domain"
            if found.fqdn in self.domains:
                return "subdomain"
        if url in self.urls:
            return "url"
        words = set(_NOT_WORD.split(url))
        if not self.banned_words.isdisjoint(words):
            return "hard_blacklisted"
        if self.soft_banned_words and len(self.soft_banned_words & words) >= self.soft_word_threshold:
            return "soft_blacklisted"
        if self._subwords is not None and self._subwords.search(_normalized(url)):
            return "blacklisted_subword"
        return None


def _normalized(text: str) -> str:
    return _NOT_WORD.sub("", text).lower()


def words_of(lines: Iterable[str]) -> frozenset[str]:
    """Words of a list as addresses are compared with them."""
    return frozenset(_normalized(line) for line in _said(lines)) - {""}


def names_of(lines: Iterable[str]) -> frozenset[str]:
    """Domains or addresses of a list."""
    return frozenset(line.strip() for line in _said(lines)) - {""}


def _said(lines: Iterable[str]) -> Iterable[str]:
    return (line for line in lines if not line.startswith("#"))


def read_url_filter(
    *,
    domains: str | os.PathLike[str] | None = None,
    urls: str | os.PathLike[str] | None = None,
    banned_words: str | os.PathLike[str] | None = None,
    soft_banned_words: str | os.PathLike[str] | None = None,
    banned_subwords: str | os.PathLike[str] | None = None,
) -> UrlFilter:
    """A filter by files of one entry a line; without any it lets all pass.

    Raises:
        SmolfastError: a file that can't be read.
    """
    return UrlFilter(
        names_of(_lines(domains)),
        names_of(_lines(urls)),
        words_of(_lines(banned_words)),
        words_of(_lines(soft_banned_words)),
        words_of(_lines(banned_subwords)),
    )


def _lines(path: str | os.PathLike[str] | None) -> list[str]:
    if path is None:
        return []
    try:
        return Path(path).read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise SmolfastError(f"can't read the list {path}: {describe_os_error(error)}") from error
    except ValueError as error:
        raise SmolfastError(f"can't read the list {path} ({' '.join(str(error).split())}); give UTF-8") from error


@functools.cache
def _suffixes() -> Any:
    """tldextract by its bundled list alone."""
    try:
        from tldextract import TLDExtract
    except ImportError as error:
        raise SmolfastError(f"lists of domains need tldextract; install it with: {install_command('web')}") from error
    return TLDExtract(suffix_list_urls=(), cache_dir=None)

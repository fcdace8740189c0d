"""The URL filter: datatrove's decisions."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

pytest.importorskip("tldextract")

from smolfast import SmolfastError
from smolfast.crawl.urls import UrlFilter, names_of, read_url_filter, words_of

FILTER = UrlFilter(
    domains=frozenset({"bad.co.uk", "www.worse.org"}),
    urls=frozenset({"http://fine.org/page?x=1"}),
    banned_words=words_of(["Casino\n", "# a remark", "two words"]),
    soft_banned_words=words_of(["free", "chat", "girls"]),
    banned_subwords=words_of(["xxx", "ab-c"]),
)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://fine.org/", None),
        ("http://bad.co.uk/", "domain"),
        ("http://deep.www.bad.co.uk:8080/a", "domain"),
        ("http://notbad.co.uk/", None),
        ("https://www.worse.org/a", "subdomain"),
        ("https://worse.org/a", None),
        ("https://deep.www.worse.org/a", None),
        ("http://fine.org/page?x=1", "url"),
        ("http://fine.org/page?x=2", None),
        ("http://fine.org/casino", "hard_blacklisted"),
        ("http://fine.org/Casino", None),  # words of the address aren't lower-cased
        ("http://fine.org/casinos", None),
        ("http://fine.org/free/a", None),
        ("http://fine.org/free-chat", "soft_blacklisted"),
        ("http://fine.org/free-free", None),
        ("http://fine.org/X-x-X", "blacklisted_subword"),
        ("http://fine.org/cab/c", "blacklisted_subword"),
        ("", None),
        ("no address", None),
        ("http://[", None),
        ("http://xn--/", None),
    ],
)
def test_decisions(url: str, expected: str | None) -> None:
    assert FILTER.reason(url) == expected


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert UrlFilter(domains=frozenset({"example.com"})).reason("http://www.example.com/") == "domain"


def test_lists_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "domains").write_text("# remark\nbad.org\n\n")
    (tmp_path / "words").write_text("Bad Word\n")
    found = read_url_filter(domains=tmp_path / "domains", banned_words=tmp_path / "words")
    assert (found.domains, found.banned_words) == ({"bad.org"}, {"badword"})
    assert names_of(["a\n", "#b\n", "\n"]) == {"a"}
    assert not UrlFilter()
    with pytest.raises(SmolfastError, match="can't read the list"):
        read_url_filter(urls=tmp_path / "none")

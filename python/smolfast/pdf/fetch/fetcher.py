"""Many addresses fetched at once: each host one at a time, with pauses; tries again where that may help."""

from __future__ import annotations

import email.utils
import heapq
import random
import threading
import time
import urllib.parse
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import xxhash

from smolfast.pdf.cut import HEAD
from smolfast.pdf.fetch.limits import Limits
from smolfast.pdf.fetch.outcome import (
    BAD_ADDRESS,
    BROKEN,
    CIRCLE,
    GIVEN_UP,
    LONG_WAIT,
    NOT_A_PDF,
    REDIRECTS,
    ROBOTS,
    TOO_LARGE,
    Failed,
    Outcome,
)
from smolfast.pdf.fetch.request import Answer, ask, parts_of
from smolfast.pdf.fetch.robots import MOST_BYTES, Robots
from smolfast.pdf.fetch.store import Store

_MOVED = (301, 302, 303, 307, 308)
_BUSY = (429, 503)
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_MOST_FAILURES = 5
"""Addresses of a host in a row that can't be had for reasons of the host: the others aren't tried."""


@dataclass
class _Host:
    """Whom to be polite to: a scheme, a host and a port."""

    waiting: deque[tuple[str, int]] = field(default_factory=deque)
    """Addresses, and how often each was tried."""
    ready: float = 0.0
    """When it may be asked again."""
    robots: Robots | None = None
    failures: int = 0
    busy: threading.Lock = field(default_factory=threading.Lock)


class Fetcher:
    """Fetches into a store, by several threads."""

    def __init__(self, store: Store, limits: Limits, *, seed: int | None = None) -> None:
        """`seed` of the random share of waits."""
        self._store, self._limits = store, limits
        self._random = random.Random(seed)
        self._hosts: dict[tuple[str, str, int], _Host] = {}
        self._changed = threading.Condition()
        self._queue: list[tuple[float, int, _Host]] = []
        """Hosts with work that nobody is at, by when they may be asked."""
        self._open = 0
        self._entries = 0
        self._stopped = False
        self._error: BaseException | None = None

    def fetch(self, urls: Iterable[str], done: Callable[[str, Outcome], None]) -> None:
        """Fetch addresses; `done` is told what came of each, one at a time.

        Raises:
            SmolfastError: the store can't be written.
        """
        for url in dict.fromkeys(urls):
            try:
                host = self._host(url)
            except Failed as failed:
                done(url, Outcome(failed.reason))
                continue
            if not host.waiting:
                self._push(host, 0.0)
            host.waiting.append((url, 1))
            self._open += 1
        threads = [
            threading.Thread(target=self._work, args=(done,), daemon=True)
            for _ in range(min(self._limits.parallel, len(self._queue)))
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        finally:
            with self._changed:
                self._stopped = True
                self._changed.notify_all()
        if self._error is not None:
            raise self._error

    def _host(self, url: str) -> _Host:
        scheme, host, port, _ = parts_of(url)
        with self._changed:
            return self._hosts.setdefault((scheme, host.lower().rstrip("."), port), _Host())

    def _push(self, host: _Host, ready: float) -> None:
        self._entries += 1
        heapq.heappush(self._queue, (ready, self._entries, host))

    def _next(self) -> _Host | None:
        """The host whose turn it is; None when all is done."""
        with self._changed:
            while self._open and not self._stopped:
                wait = self._queue[0][0] - time.monotonic() if self._queue else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._queue)[2]
                self._changed.wait(wait)
            return None

    def _work(self, done: Callable[[str, Outcome], None]) -> None:
        try:
            while (host := self._next()) is not None:
                url, tried = host.waiting.popleft()
                outcome = self._try(host, url, tried)
                with self._changed:
                    if outcome is None:
                        host.waiting.appendleft((url, tried + 1))
                    else:
                        self._open -= 1
                        done(url, outcome)
                    if host.waiting:
                        self._push(host, host.ready)
                    self._changed.notify_all()
        except BaseException as error:
            with self._changed:
                self._error, self._stopped = self._error or error, True
                self._changed.notify_all()

    def _try(self, host: _Host, url: str, tried: int) -> Outcome | None:
        """What came of a try; None if another one may help."""
        way = [host]
        try:
            outcome = self._get(url, way)
        except Failed as failed:
            culprit = way[-1]
            if not failed.again:
                if failed.reason != GIVEN_UP:
                    culprit.failures = 0
                return Outcome(failed.reason)
            wait = self._limits.back_off * 2 ** (tried - 1) * self._random.uniform(0.5, 1.0)
            too_long = failed.wait is not None and failed.wait > self._limits.longest_wait
            if not too_long:
                culprit.ready = max(culprit.ready, time.monotonic() + max(wait, failed.wait or 0.0))
                if tried < self._limits.tries:
                    return None
            culprit.failures += 1
            return Outcome(LONG_WAIT if too_long else failed.reason)
        way[-1].failures = 0
        return outcome

    def _get(self, url: str, way: list[_Host]) -> Outcome:
        """Fetch an address, over its redirects; `way` grows by the hosts that are asked."""
        deadline = time.monotonic() + self._limits.total_seconds
        known = self._store.known(url)
        at, seen = url, {url}
        for _ in range(self._limits.redirects + 1):
            host = self._host(at)
            way.append(host)
            if host.failures >= _MOST_FAILURES:
                raise Failed(GIVEN_UP)
            with host.busy:
                self._check_robots(host, at, deadline)
                with self._turn(host), ask(at, self._headers(known), self._limits, deadline) as answer:
                    if answer.status == 304 and known is not None:
                        return known[0]
                    if answer.status not in _MOVED:
                        return self._take(url, at, answer)
                    where = answer.header("Location")
            at = _joined(at, where)
            if at in seen:
                raise Failed(CIRCLE)
            seen.add(at)
        raise Failed(REDIRECTS)

    def _headers(self, known: tuple[Outcome, Mapping[str, str]] | None) -> dict[str, str]:
        about = {"User-Agent": self._limits.agent, "Accept": "application/pdf, */*;q=0.5"}
        return about | dict(known[1]) if known is not None else about

    def _turn(self, host: _Host) -> _Turn:
        asked = 0.0 if host.robots is None else host.robots.delay
        return _Turn(host, max(self._limits.host_seconds, min(asked, self._limits.longest_wait)))

    def _take(self, url: str, at: str, answer: Answer) -> Outcome:
        """Write an answer's bytes into the store, if they are a PDF's."""
        if answer.status != 200:
            wait = _seconds(answer.header("Retry-After")) if answer.status in _BUSY else None
            raise Failed(f"HTTP {answer.status}", again=answer.status in _AGAIN, wait=wait)
        if answer.header("Content-Encoding").lower() not in ("", "identity"):  # nobody asked for one
            raise Failed(BROKEN)
        announced = answer.header("Content-Length")
        if announced.isdecimal() and int(announced) > self._limits.most_bytes:
            raise Failed(TOO_LARGE)
        digest, size, head = xxhash.xxh3_128(), 0, b""
        with self._store.writing(url) as file:
            for piece in answer.pieces():
                if len(head) < HEAD:
                    head += piece[: HEAD - len(head)]
                    if len(head) == HEAD:
                        _check_type(head)
                size += len(piece)
                if size > self._limits.most_bytes:
                    raise Failed(TOO_LARGE)
                digest.update(piece)
                file.write(piece)
            _check_type(head)
        etag, changed = answer.header("ETag"), answer.header("Last-Modified")
        return self._store.finish(url, at, size, digest.hexdigest(), etag, changed)

    def _check_robots(self, host: _Host, url: str, deadline: float) -> None:
        if host.robots is None:
            host.robots = self._robots(url, deadline)
        if not host.robots.allows(url):
            raise Failed(ROBOTS)

    def _robots(self, url: str, deadline: float) -> Robots:
        """A host's robots.txt: none is none, and a host that fails to say is asked again and else left alone."""
        agent = self._limits.agent.partition("/")[0].strip()
        at = urllib.parse.urljoin(url, "/robots.txt")
        for _ in range(self._limits.redirects + 1):
            headers = {"User-Agent": self._limits.agent}
            with ask(at, headers, self._limits, deadline) as answer:
                if answer.status == 200:
                    text = b""
                    for piece in answer.pieces():
                        text += piece
                        if len(text) >= MOST_BYTES:
                            break
                    return Robots(text[:MOST_BYTES].decode("utf-8", "replace"), agent)
                if answer.status in _MOVED:
                    at = _joined(at, answer.header("Location"))
                elif answer.status == 429 or answer.status >= 500:
                    wait = _seconds(answer.header("Retry-After"))
                    raise Failed(f"robots.txt: HTTP {answer.status}", again=True, wait=wait)
                else:
                    return Robots("", agent)
        return Robots("", agent)


class _Turn:
    """A request to a host: not before it may be asked, and the next one only after a pause."""

    def __init__(self, host: _Host, pause: float) -> None:
        self._host, self._pause = host, pause

    def __enter__(self) -> None:
        wait = self._host.ready - time.monotonic()
        if wait > 0:
            time.sleep(wait)

    def __exit__(self, *error: object) -> None:
        self._host.ready = max(self._host.ready, time.monotonic() + self._pause)


def _check_type(head: bytes) -> None:
    """By the first bytes, since hosts call PDFs, and what isn't one, as they like."""
    if b"%PDF-" not in head:
        raise Failed(NOT_A_PDF)


def _joined(url: str, where: str) -> str:
    if not where:
        raise Failed(BROKEN)
    try:
        return urllib.parse.urldefrag(urllib.parse.urljoin(url, where)).url
    except ValueError as error:
        raise Failed(BAD_ADDRESS) from error


def _seconds(value: str) -> float | None:
    """What Retry-After says: seconds, or a date."""
    if value.isdecimal() and value.isascii():
        return float(value[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, OSError):
        return None

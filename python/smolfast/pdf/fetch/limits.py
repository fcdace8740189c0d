"""How much fetching may cost, and how polite it is."""

from __future__ import annotations

from dataclasses import dataclass

from smolfast import __version__
from smolfast.errors import SmolfastError

_MOST_SECONDS = 86400
"""Timers take no endless waits."""


@dataclass(frozen=True)
class Limits:
    """Of a run's fetching. Times are in seconds."""

    parallel: int = 8
    """Hosts that are asked at the same time; each one thing at a time."""
    tries: int = 3
    connect_seconds: float = 60.0
    """To connect, and between any two pieces of an answer."""
    total_seconds: float = 600.0
    """Of one try, with its redirects."""
    most_bytes: int = 256 << 20
    """Of a file."""
    host_seconds: float = 1.0
    """Between two requests to a host; what its robots.txt asks for, up to `longest_wait`, if that is more."""
    back_off: float = 2.0
    """The first wait before another try; doubled each time, and a random share of that."""
    longest_wait: float = 120.0
    """Which a host may ask for by Retry-After."""
    redirects: int = 5
    allow_private: bool = False
    """Whether addresses of private networks, of this machine and of links are connected to."""
    agent: str = f"smolfast/{__version__}"
    """User-Agent; what stands before the first slash is looked for in robots.txt."""

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            SmolfastError: names the limit.
        """
        for name in ("parallel", "tries", "most_bytes"):
            if not getattr(self, name) > 0:
                raise SmolfastError(f"{name} = {getattr(self, name)!r}: give a number above 0")
        for name in ("connect_seconds", "total_seconds"):
            if not 0 < getattr(self, name) <= _MOST_SECONDS:
                raise SmolfastError(f"{name} = {getattr(self, name)!r}: give a number above 0, and a day at most")
        for name in ("host_seconds", "back_off", "longest_wait", "redirects"):
            if not 0 <= getattr(self, name) <= _MOST_SECONDS:
                raise SmolfastError(f"{name} = {getattr(self, name)!r}: give 0 or more, and a day at most")
        if not self.agent.isascii() or not self.agent.isprintable() or not self.agent.partition("/")[0].strip():
            raise SmolfastError(f"agent = {self.agent!r}: give printable ASCII, for example smolfast/1.0")

"""Tell thoughts from speech while a text comes in: what stands between <think> and </think>."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

OPEN, CLOSE = "<think>", "</think>"


class Part(NamedTuple):
    """A piece of text, and whether it is thought."""

    text: str
    thought: bool


class Thoughts:
    """Splits a text that comes in pieces; marks that are cut over pieces wait for their end."""

    def __init__(self) -> None:
        self._thinking = False
        self._waiting = ""
        self._fresh = True  # after a mark, and before the first letter: breaks there belong to the mark

    def feed(self, piece: str) -> Iterator[Part]:
        """What can be told by now."""
        text = self._waiting + piece
        while True:
            mark = CLOSE if self._thinking else OPEN
            before, found, after = text.partition(mark)
            if not found:
                break
            yield from self._part(before)
            self._thinking, self._fresh, text = not self._thinking, True, after
        held = max((size for size in range(1, len(mark)) if text.endswith(mark[:size])), default=0)
        self._waiting = text[len(text) - held :]
        yield from self._part(text[: len(text) - held])

    def end(self) -> Iterator[Part]:
        """What was waiting for a mark that didn't come."""
        yield from self._part(self._waiting)
        self._waiting = ""

    def _part(self, text: str) -> Iterator[Part]:
        if self._fresh:
            text = text.lstrip("\n")
        if text:
            self._fresh = False
            yield Part(text, self._thinking)

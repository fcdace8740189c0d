"""Extractors of PDFs as users write them, which workers find by their names."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator


def shouted(data: bytes) -> list[str]:
    """Two pages, whatever the file."""
    assert data.startswith(b"%PDF-")
    return [f"ONE OF {len(data)} BYTES", "TWO\n  with a second line\n\nand a paragraph"]


def one_by_one(data: bytes) -> Iterator[str]:
    """Pages as they come."""
    yield from ("first", "", "third")


class Deadly:
    """Whose second page ends the process."""

    def __init__(self, data: bytes) -> None:
        self._size = 3

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, page: int) -> str:
        if page == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return f"page {page + 1}"


def refuses(data: bytes) -> list[str]:
    """Opens nothing."""
    raise ValueError("not for me")


class Patchy:
    """Whose second page can't be read."""

    def __init__(self, data: bytes) -> None:
        pass

    def __len__(self) -> int:
        return 2

    def __getitem__(self, page: int) -> str:
        if page == 1:
            raise KeyError(page)
        return "page one"

"""A file of a store as a stream that can seek: in blocks, read ahead, and each asked for again after a fault."""

from __future__ import annotations

import io
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from smolfast.io.stores.retries import persistently

BLOCK = 4 << 20
AHEAD = 2
"""Blocks that are asked for before they are wanted, once reading goes forward."""
_KEPT = 8
"""Blocks held: parquet's columns are read side by side."""


class StoreFile(io.RawIOBase):
    """Bytes of one file; raises OSError where the store doesn't give them."""

    def __init__(self, filesystem: Any, path: str, size: int) -> None:
        self._filesystem, self._path, self._size = filesystem, path, size
        self._at = 0
        self._last = -2
        self._blocks: OrderedDict[int, Future[bytes]] = OrderedDict()
        self._pool = ThreadPoolExecutor(AHEAD, "smolfast-store")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def size(self) -> int:
        return self._size

    def readinto(self, buffer: Any) -> int:
        left = max(0, min(len(buffer), self._size - self._at))
        done = 0
        while done < left:
            number, inner = divmod(self._at, BLOCK)
            part = self._block(number)[inner : inner + left - done]
            buffer[done : done + len(part)] = part
            done += len(part)
            self._at += len(part)
        return done

    def close(self) -> None:
        if not self.closed:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._blocks.clear()
        super().close()

    def _block(self, number: int) -> memoryview:
        found = self._ask(number)
        if number == self._last + 1:
            for next_ in range(number + 1, number + 1 + AHEAD):
                if next_ * BLOCK < self._size:
                    self._ask(next_)
        self._last = number
        try:
            return memoryview(found.result())
        except Exception:
            self._blocks.pop(number, None)  # another read asks again
            raise

    def _ask(self, number: int) -> Future[bytes]:
        if number not in self._blocks:
            self._blocks[number] = self._pool.submit(self._fetch, number)
            while len(self._blocks) > _KEPT:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _fetch(self, number: int) -> bytes:
        start = number * BLOCK
        stop = min(self._size, start + BLOCK)

        def once() -> bytes:
            found: bytes = self._filesystem.cat_file(self._path, start=start, end=stop)
            if len(found) != stop - start:
                raise OSError(f"{self._path}: {len(found)} bytes came of {stop - start} at {start}")
            return found

        return persistently(once)

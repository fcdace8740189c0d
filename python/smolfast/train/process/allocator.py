"""Freed memory stays with the process that trains: a step asks for the same sizes as the one before it.

glibc gives freed memory of worker threads back to the system at once, and the next step faults it in again, page by
page: 5,000 to 17,000 faults a step of the compact model, 4 to 8 % of its time on two threads.
"""

from __future__ import annotations

import ctypes
import sys

# mallopt(3): how much free memory at the end of a heap is given back, how much more than needed is asked for (and
# kept) at a time, and from which size on a block is mapped by itself, which is at most this.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_SETTINGS = {_TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 64 << 20, _MMAP_THRESHOLD: 32 << 20}


def keep_freed_memory() -> None:
    """Set it for the whole process; does nothing where the C library has no mallopt (musl, macOS, Windows)."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, value in _SETTINGS.items():
            mallopt(name, value)

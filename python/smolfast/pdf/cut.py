"""Whether a PDF's end is missing: crawlers cut what is long, and downloads break off."""

from __future__ import annotations

import re
from typing import Any

TAIL = 2048
"""Bytes in which a PDF says that it ends."""
HEAD = 1024
"""Bytes in which it says that it begins, and, if it is made for the web, how long it is."""
_TABLE = re.compile(rb"startxref[\x00\t\n\f\r ]+(\d{1,19})")
_LENGTH = re.compile(rb"/L[\x00\t\n\f\r ]+(\d{1,19})")


def is_cut(data: Any) -> bool:
    """Whether some of a PDF's end is missing: no %%EOF there, or it says to be longer than it is.

    Args:
        data: the file's bytes, as a buffer with slices.
    """
    size = len(data)
    tail = bytes(data[max(0, size - TAIL) :])
    if b"%%EOF" not in tail:
        return True
    places = _TABLE.findall(tail)
    if places and int(places[-1]) >= size:
        return True
    head = bytes(data[:HEAD])
    length = _LENGTH.search(head) if b"/Linearized" in head else None
    return length is not None and int(length[1]) > size

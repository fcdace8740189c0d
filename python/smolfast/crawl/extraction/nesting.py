"""How deep tags are nested, found without building a tree: extractors take cubic time in that depth."""

from __future__ import annotations

import re

import numpy as np

MOST_NESTED = 1_000
"""Browsers stop at 512. With so many the slowest extraction takes 0.04 s, with ten times as many 7 s."""

_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)([^<>]*)")
# What has no end tag, or ends where the next begins.
_NO_DEPTH = re.compile(
    r"area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr|p|li|dt|dd|td|th|tr|thead|tbody|tfoot|option"
    r"|optgroup|colgroup|caption|rp|rt|html|head|body"
)
# What a drawing or a formula closes with "/>", which is nothing to other tags.
_CLOSES_ITSELF = re.compile(r"path|rect|circle|ellipse|line|polyline|polygon|use|stop|mspace|mprescripts|none")


def is_nested_too_deep(html: str) -> bool:
    """Whether more than MOST_NESTED tags are open at once somewhere."""
    if html.count("<") <= MOST_NESTED:
        return False
    codes = np.frombuffer(html.encode("utf-8", "replace"), np.uint8)
    places = np.flatnonzero(codes[:-1] == ord("<"))
    ends = codes[places + 1] == ord("/")
    # An end tag that matches nothing closes nothing: so depth is counted from the lowest point before.
    depth = np.cumsum(np.where(ends, -1, 1))
    if int((depth - np.minimum.accumulate(np.minimum(depth, 0))).max(initial=0)) <= MOST_NESTED:
        return False
    open_tags = 0
    for found in _TAG.finditer(html):
        name = found[2].lower()
        if _NO_DEPTH.fullmatch(name) or (found[3].endswith("/") and _CLOSES_ITSELF.fullmatch(name)):
            continue
        open_tags = max(0, open_tags - 1) if found[1] else open_tags + 1
        if open_tags > MOST_NESTED:
            return True
    return False

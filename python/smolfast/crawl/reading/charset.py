"""The charset of a page: by its bytes where they tell, else as the header or the page says, else as it looks."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_META = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_XML = re.compile(rb"^\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_HEAD = 4096
"""Bytes in which a page says its charset; HTML asks for 1,024."""
_SHIFTED = ("iso2022",)
"""Charsets whose bytes all are ASCII."""


class Decoded(NamedTuple):
    """A page's text, its charset by Python's name, and how that was found."""

    text: str
    charset: str
    found_by: str
    """bom, bytes (well-formed UTF-8), header, page, detection, or guess: with U+FFFD for what doesn't fit."""


def decode(body: bytes, header: str | None) -> Decoded:
    """The text of a page, which never fails.

    Bytes that are well-formed UTF-8 and not ASCII are UTF-8 whatever is said of them: other text seldom is. A charset
    that is said counts if all bytes fit it. A character that the end cuts off is left out.

    Args:
        header: the charset that the HTTP header names.
    """
    for mark, of_mark in _MARKS:
        if body.startswith(mark):
            return Decoded(body[len(mark) :].decode(_marked(mark, of_mark), "replace"), of_mark, "bom")
    said = [("header", header), ("page", _of_page(body))]
    names = [(how, _known(name)) for how, name in said if name]
    if not any(name and name.startswith(_SHIFTED) for _, name in names):
        text = _strictly(body, "utf-8")
        if text is not None:
            return Decoded(text, "utf-8", "bytes")
    for how, name in names:
        text = _strictly(body, name) if name else None
        if text is not None and name:
            return Decoded(text, name, how)
    detected = _known(_detected(body))
    text = _strictly(body, detected) if detected else None
    if text is not None and detected:
        return Decoded(text, detected, "detection")
    # The first that was said is likelier than a guess at bytes that nothing fits.
    guess = next((name for _, name in names if name), None) or detected or "utf-8"
    return Decoded(body.decode(guess, "replace"), guess, "guess")


def _marked(mark: bytes, name: str) -> str:
    """The codec for what follows a byte-order mark."""
    return name if name == "utf-8" else f"{name}-{'le' if mark[:1] == codecs.BOM_UTF16_LE[:1] else 'be'}"


def _of_page(body: bytes) -> str | None:
    head = body[:_HEAD]
    found = _META.search(head) or _XML.search(head)
    name = found[1].decode("ascii") if found else None
    # A page whose `<meta>` could be read isn't UTF-16, whatever it says.
    return None if name and name.lower().replace("-", "").startswith(("utf16", "utf32")) else name


def _known(name: str | None) -> str | None:
    """Python's name for what browsers take a label for; None for what they don't know."""
    if not name:
        return None
    from resiliparse.parse.encoding import map_encoding_to_html5

    label = map_encoding_to_html5(name.strip().strip("\"'"), fallback_utf8=False)
    try:
        return codecs.lookup(label).name if label else None
    except LookupError:  # one that browsers know and Python doesn't
        return None


def _strictly(body: bytes, name: str) -> str | None:
    """The text if all bytes fit, but for a last character that is cut off."""
    try:
        return codecs.getincrementaldecoder(name)("strict").decode(body)
    except (UnicodeError, LookupError, ValueError):
        return None


def _detected(body: bytes) -> str | None:
    from resiliparse.parse.encoding import detect_encoding

    found: str | None = detect_encoding(body)
    return found

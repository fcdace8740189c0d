"""HTML and SVG as nested calls: every string is escaped unless it was made here."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterable, Sequence


class Markup(str):
    """Text that is HTML already. Only this module's functions and constants of the package make it."""

    __slots__ = ()


# Characters that would act on the page or hide in it (controls, direction marks, invisible ones) are shown by number. A
# lone surrogate can't be encoded.
_INVISIBLE = itertools.chain(
    (code for code in range(0x20) if chr(code) not in "\t\n"),
    range(0x7F, 0xA0),
    (0x61C, 0xFEFF),
    range(0x200B, 0x2010),
    range(0x2028, 0x202F),
    range(0x2060, 0x2070),
)
_SHOWN: dict[int, int | str] = {code: f"⟨U+{code:04X}⟩" for code in _INVISIBLE} | dict.fromkeys(
    range(0xD800, 0xE000), 0xFFFD
)
_VOID = frozenset({"meta", "br", "col"})


def escape(text: str) -> Markup:
    """`text` as HTML that shows it and does nothing else, in content and in quoted attributes."""
    return Markup(html.escape(text.translate(_SHOWN), quote=True))


def markup(child: object) -> Markup:
    """HTML of a child: markup as it is, None as nothing, the items of an iterable one after another, text escaped."""
    if isinstance(child, Markup):
        return child
    if child is None:
        return Markup()
    if isinstance(child, Iterable) and not isinstance(child, str):
        return Markup("".join(markup(item) for item in child))
    return escape(str(child))


def tag(element: str, /, *children: object, **attributes: object) -> Markup:
    """`<element …>children</element>`.

    In attribute names `_` stands for `-` and a trailing `_` goes (`class_`); attributes of None or False are left out.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Markup(
        f"<{element}{written}>" if element in _VOID else f"<{element}{written}>{markup(children)}</{element}>"
    )


def table(
    caption: str,
    headers: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    numeric: Iterable[int] = (),
    class_: str = "scroll",
) -> Markup:
    """A table whose first column holds row headers; columns in `numeric` are set right. It scrolls when too wide."""
    right = set(numeric)

    def kind(column: int) -> str | None:
        return "number" if column in right else None

    head = tag("tr", (tag("th", cell, scope="col", class_=kind(column)) for column, cell in enumerate(headers)))
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row"),
            (tag("td", cell, class_=kind(column)) for column, cell in enumerate(row) if column),
        )
        for row in rows
    ]
    grid = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", body))
    return tag("div", grid, class_=class_, tabindex=0, role="region", aria_label=caption)


def pairs(caption: str, entries: Iterable[tuple[str, object]]) -> Markup:
    """A table of names and values."""
    return table(caption, ("Name", "Value"), entries, class_="scroll pairs")


def folded(summary: str, *children: object) -> Markup:
    """Something the reader opens."""
    return tag("details", tag("summary", summary), children)


def command(text: str) -> Markup:
    """A command to copy; the button appears where scripts run."""
    button = tag("button", "Copy", type="button", class_="copy", hidden=True)
    return tag("div", tag("pre", tag("code", text), tabindex=0), button, class_="command")


def missing(text: str) -> Markup:
    """A note that a part of the run isn't there."""
    return tag("p", text, class_="missing")

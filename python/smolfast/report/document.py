"""A whole self-contained page: head, sections, foot."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from smolfast import __version__
from smolfast.errors import SmolfastError
from smolfast.files import check_path, write_text
from smolfast.report.markup import Markup, markup, missing, tag
from smolfast.report.section import Section


def save_page(path: str | os.PathLike[str], page: str) -> None:
    """Write a page, in the place of an earlier one but of no other file.

    Raises:
        SmolfastError: another file stands there, or the page can't be written.
    """
    found = check_path(path)
    if found.exists() and not is_page(found):
        raise SmolfastError(f"{path} exists, and is no page of smolfast's; choose another output, or move it")
    write_text(path, page)


def is_page(path: Path) -> bool:
    """Whether a file is such a page already, and may be replaced."""
    try:
        with path.open("rb") as file:
            return b'<meta name="generator" content="smolfast ' in file.read(4096)
    except OSError:
        return False


def document(
    title: str, sections: Sequence[Section], source: str, subtitle: str = "", *, pictures: bool = False
) -> str:
    """A whole self-contained page; `source` says what it was made from, `subtitle` when and with what.

    With `pictures` it may hold some in itself, and has the style of pages of PDFs.
    """
    # The policy lets nothing load and no script run but the one below: text from documents stays text.
    # What page.css says of narrow screens and paper stands last.
    style = _asset("charts.css") + (_asset("pdf.css") if pictures else "") + _asset("page.css")
    script = _asset("page.js")
    sources = {"default": "'none'", "style": f"'{_hash(style)}'", "script": f"'{_hash(script)}'"}
    if pictures:
        sources["img"] = "data:"
    policy = (
        "".join(f"{kind}-src {source}; " for kind, source in sources.items()) + "base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="generator", content=f"smolfast {__version__}"),
        tag("title", title),
        tag("style", Markup(style)),
    )
    contents = tag(
        "nav", tag("ul", (tag("li", tag("a", s.title, href=f"#{s.key}")) for s in sections)), aria_label="Contents"
    )
    body = tag(
        "body",
        tag("header", tag("h1", title), tag("p", subtitle, class_="muted") if subtitle else None, contents),
        tag("main", (_section(section) for section in sections)),
        tag(
            "footer",
            f"Written by smolfast {__version__} from {source}. 1 MB is 10⁶ bytes.",
        ),
        tag("script", Markup(script)),
    )
    return "<!doctype html>\n" + tag("html", head, "\n", body, lang="en") + "\n"


def _section(section: Section) -> Markup:
    notes = [missing(note) for note in section.missing]
    return markup(("\n", tag("section", tag("h2", section.title), notes, section.body, id=section.key)))


def _asset(name: str) -> str:
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

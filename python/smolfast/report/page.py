"""The page put together: head, sections in reading order, foot."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from smolfast import __version__
from smolfast.errors import SmolfastError
from smolfast.files import check_path, write_text
from smolfast.progress import ProgressCallback
from smolfast.report.beside import beside
from smolfast.report.data_sections import funnel, near_duplicates
from smolfast.report.headline import headline
from smolfast.report.markup import Markup, markup, missing, tag
from smolfast.report.next_steps import next_steps
from smolfast.report.provenance import provenance
from smolfast.report.run import Run, read_run
from smolfast.report.section import Section
from smolfast.report.training_sections import model, sample, stages, training


def write_report(
    run_folder: str | os.PathLike[str],
    output_html: str | os.PathLike[str],
    progress: ProgressCallback | None = None,
    *,
    others: Sequence[str | os.PathLike[str]] = (),
) -> dict[str, Any]:
    """Write one self-contained HTML page about a run, from the files of its folder.

    The same files give the same bytes. Parts of the run that aren't there are said on the page.

    Args:
        run_folder: the output folder of `smolfast quickstart`, or of `smolfast train`.
        output_html: where the page goes; an earlier page is replaced, no other file.
        progress: called with sections done, sections in all and a note.
        others: folders of up to four other runs, which are laid over this one.

    Returns:
        `bytes` of the page, `near_duplicate_examples` shown, and `missing`: titles of the sections that lack something.

    Raises:
        SmolfastError: the folder is missing, holds no run or has a broken file, or the page can't be written.
    """
    run = read_run(run_folder)
    makers: list[Callable[[Run], Section]] = [headline, sample, next_steps, funnel, near_duplicates, training, stages]
    makers += [model, provenance]
    if not run.whole:
        makers = [headline, next_steps, training, model, provenance]
    if others:
        runs = [run, *map(read_run, others)]

        def beside_others(_: Run) -> Section:
            return beside(runs)

        makers.insert(1, beside_others)
    sections: list[Section] = []
    for index, make in enumerate(makers):
        if progress is not None:
            progress(index, len(makers), make.__name__.replace("_", " "))
        sections.append(make(run))
    name = run.folder.resolve().name
    made = [str(run.about["begun"])[:10]] if run.about.get("begun") else []
    made += [f"smolfast at commit {str(run.about['commit'])[:12]}"] if run.about.get("commit") else []
    page = document(f"smolfast run {name}", sections, "the files of the run folder", subtitle=", ".join(made))
    save_page(output_html, page)
    if progress is not None:
        progress(len(makers), len(makers), "")
    return {
        "bytes": len(page.encode()),
        "near_duplicate_examples": sum(section.examples for section in sections),
        "missing": [section.title for section in sections if section.missing],
    }


def save_page(path: str | os.PathLike[str], page: str) -> None:
    """Write a page, in the place of an earlier one but of no other file.

    Raises:
        SmolfastError: another file stands there, or the page can't be written.
    """
    found = check_path(path)
    if found.exists() and not _is_page(found):
        raise SmolfastError(f"{path} exists, and is no page of smolfast's; choose another output, or move it")
    write_text(path, page)


def _is_page(path: Path) -> bool:
    """Whether a file is such a page already, and may be replaced."""
    try:
        with path.open("rb") as file:
            return b'<meta name="generator" content="smolfast ' in file.read(4096)
    except OSError:
        return False


def document(title: str, sections: Sequence[Section], source: str, subtitle: str = "") -> str:
    """A whole self-contained page; `source` says what it was made from, `subtitle` when and with what."""
    # The policy lets nothing load and no script run but the one below: text from documents stays text.
    # What page.css says of narrow screens and paper stands last.
    style = _asset("charts.css") + _asset("page.css")
    script = _asset("page.js")
    sources = {"default": "none", "style": _hash(style), "script": _hash(script)}
    policy = (
        "".join(f"{kind}-src '{source}'; " for kind, source in sources.items()) + "base-uri 'none'; form-action 'none'"
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

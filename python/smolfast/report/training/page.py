"""The page of a run: its sections in reading order."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from smolfast.progress import ProgressCallback
from smolfast.report.document import document, save_page
from smolfast.report.section import Section
from smolfast.report.training.beside import beside
from smolfast.report.training.data_sections import funnel, near_duplicates
from smolfast.report.training.headline import headline
from smolfast.report.training.next_steps import next_steps
from smolfast.report.training.provenance import provenance
from smolfast.report.training.run import Run, read_run
from smolfast.report.training.training_sections import model, sample, stages, training


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

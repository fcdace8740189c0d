"""What makes text of HTML: Resiliparse, Trafilatura, or a function of the user's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from smolfast.errors import SmolfastError
from smolfast.machine import install_command
from smolfast.processes.functions import function_name, is_name, load_function

Extractor = Callable[[str], str | None]
"""Takes a page's HTML and gives its text, or nothing."""

NAMES = ("resiliparse", "trafilatura")


def extractor_name(extract: str | Extractor) -> str:
    """How a worker process finds an extractor: one of NAMES, MODULE:FUNCTION, or FILE.py:FUNCTION.

    Raises:
        SmolfastError: a function that another process can't find by a name.
    """
    if not isinstance(extract, str):
        return function_name(extract, "extract")
    if extract in NAMES or is_name(extract):
        return extract
    raise SmolfastError(f"extract = {extract!r}: give one of {', '.join(NAMES)}, or MODULE:FUNCTION")


def load_extractor(name: str) -> Extractor:
    """The extractor of a name that `extractor_name` gave.

    Raises:
        SmolfastError: a library that isn't installed, a module or function that isn't there.
    """
    if name == "resiliparse":
        return resiliparse()
    if name == "trafilatura":
        return trafilatura()
    return load_function(name, "extract", "takes HTML and gives text")


def resiliparse() -> Callable[[Any], str]:
    """Resiliparse's main content, as plain text; of HTML, or of the tree that Resiliparse made of it.

    Raises:
        SmolfastError: it isn't installed.
    """
    try:
        from resiliparse.extract.html2text import extract_plain_text
    except ImportError as error:
        raise SmolfastError(f"resiliparse isn't here; install it with: {install_command('web')}") from error

    def extract(html: Any) -> str:
        text: str = extract_plain_text(html, main_content=True, alt_texts=False, list_bullets=False, comments=False)
        return text

    return extract


def trafilatura() -> Extractor:
    """Trafilatura with FineWeb's settings, but for its memory of what came in documents before.

    Raises:
        SmolfastError: it isn't installed.
    """
    try:
        from trafilatura import extract as extract_text
    except ImportError as error:
        raise SmolfastError(f"trafilatura isn't here; install it with: {install_command('web')}") from error

    def extract(html: str) -> str | None:
        return extract_text(  # type: ignore[no-any-return]
            html, favor_precision=True, include_comments=False, deduplicate=False, with_metadata=False
        )

    return extract

"""What makes text of HTML: Resiliparse, Trafilatura, or a function of the user's."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from smolfast.errors import SmolfastError
from smolfast.machine import install_command

Extractor = Callable[[str], str | None]
"""Takes a page's HTML and gives its text, or nothing."""

NAMES = ("resiliparse", "trafilatura")
_SCRIPT = "__smolfast_script__"


def extractor_name(extract: str | Extractor) -> str:
    """How a worker process finds an extractor: one of NAMES, MODULE:FUNCTION, or FILE.py:FUNCTION.

    Raises:
        SmolfastError: a function that another process can't find by a name.
    """
    if isinstance(extract, str):
        if extract in NAMES or (":" in extract and all(extract.rsplit(":", 1))):
            return extract
        raise SmolfastError(f"extract = {extract!r}: give one of {', '.join(NAMES)}, or MODULE:FUNCTION")
    module, name = getattr(extract, "__module__", None), getattr(extract, "__qualname__", "")
    if module == "__main__":
        module = getattr(sys.modules["__main__"], "__file__", None)
    if not module or not name.isidentifier():
        raise SmolfastError(
            f"extract = {extract!r}: workers are processes of their own and find a function by its name; define it "
            "with def at the top of a module or script"
        )
    return f"{module}:{name}"


def load_extractor(name: str) -> Extractor:
    """The extractor of a name that `extractor_name` gave.

    Raises:
        SmolfastError: a library that isn't installed, a module or function that isn't there.
    """
    if name == "resiliparse":
        return resiliparse()
    if name == "trafilatura":
        return trafilatura()
    place, _, function = name.rpartition(":")
    try:
        found: Any = getattr(_module(place), function)
    except (ImportError, AttributeError, OSError) as error:
        raise SmolfastError(f"extract = {name!r}: {' '.join(str(error).split())}; correct the name") from error
    if not callable(found):
        raise SmolfastError(f"extract = {name!r}: {function} is no function; name one that takes HTML and gives text")
    return found  # type: ignore[no-any-return]


def _module(place: str) -> ModuleType:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    spec = importlib.util.spec_from_file_location(_SCRIPT, Path(place))
    if spec is None or spec.loader is None:
        raise ImportError(f"can't load {place}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_SCRIPT] = module
    spec.loader.exec_module(module)
    return module


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

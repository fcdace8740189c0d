"""Where PDFium is: inside the wheel of pypdfium2."""

from __future__ import annotations

import importlib.metadata
from importlib.util import find_spec
from pathlib import Path

from smolfast.errors import SmolfastError
from smolfast.machine import install_command


def pdfium_path() -> str:
    """The library's file.

    Raises:
        SmolfastError: pypdfium2 isn't installed, or was built without a library of its own.
    """
    spec = find_spec("pypdfium2_raw")
    if spec is None or spec.origin is None:
        raise SmolfastError(f"PDF files are read by PDFium; install it with: {install_command('pdf')}")
    for name in ("libpdfium.so", "libpdfium.dylib"):
        if (path := Path(spec.origin).with_name(name)).is_file():
            return str(path)
    raise SmolfastError(f"pypdfium2 has no PDFium beside {spec.origin}; install its wheel: {install_command('pdf')}")


def pdfium_version() -> str:
    """As rows name the extractor."""
    return f"pypdfium2 {importlib.metadata.version('pypdfium2')}"

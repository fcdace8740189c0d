"""A worker process: reads PDF files and gives their text."""

from __future__ import annotations

import mmap
import os
from typing import Any

from smolfast.processes.serving import Serving, run


def serve(serving: Serving) -> None:
    """Read documents one after the other."""
    from smolfast.pdf.readers.extractors import load_extractor
    from smolfast.pdf.readers.ocr import recognizer
    from smolfast.pdf.reading import OPENING, Document, Options, read_pdf
    from smolfast.pdf.signals.measures import measures_of
    from smolfast.pdf.text import text_of

    setup = serving.setup
    options = Options(
        load_extractor(setup["extractor"]), recognizer(setup["ocr"]), setup["ocr_figures"], 8 * setup["cpu_seconds"]
    )
    serving.ready()
    while (task := serving.next()) is not None:
        asked, content = task
        lost = {int(piece): str(how) for piece, how in asked["lost"]}
        try:
            data = _data(asked["path"], content)
            found = read_pdf(
                data,
                setup["library"],
                lost=lost,
                options=options,
                seconds=setup["document_seconds"],
                at=lambda piece: serving.at(piece, 0),
            )
            serving.at(OPENING, 0)  # no page is to blame for what is done with all of them
            text = text_of(found.pages)
            encoded = text.text.encode()
            measures = measures_of(text.text, text.starts, found.guessed)
        except (MemoryError, SystemError):  # the second where there is no room for the first
            serving.give_up()
        except Exception as error:  # costs this document alone
            found, text, encoded = Document(f"error: {type(error).__name__}"), text_of([]), b""
            measures = measures_of("", [], {})
        if not found.reason and not text.text:
            found.reason = "no text" if len(found.failed) < len(found.pages) else "no readable page"
        serving.frame(encoded)
        serving.done(
            {
                "reason": found.reason,
                "pages": len(found.pages),
                "starts": text.starts,
                "empty": text.empty,
                "failed": list(found.failed.items()),
                "truncated": found.truncated,
                "running": text.running,
                "ocr": list(found.ocr.items()),
                "needs_ocr": found.needs_ocr,
                "garbled": measures.garbled,
                "page_garbled": measures.by_page,
                "key": measures.key,
                "figures": found.figures,
                "failed_figures": list(found.failed_figures.items()),
                "blocks": text.blocks if setup["boxes"] else [],
                "sizes": found.sizes if setup["boxes"] else [],
            }
        )


def _data(path: str | None, content: bytes) -> Any:
    """The bytes that were sent, or those of a file."""
    if path is None:
        return content
    with open(bytes.fromhex(path), "rb") as file:  # noqa: PTH123 - names need not be UTF-8
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if os.fstat(file.fileno()).st_size else b""


if __name__ == "__main__":
    run(serve)

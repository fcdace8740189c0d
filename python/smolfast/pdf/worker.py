"""A worker process: reads PDF files and gives their text."""

from __future__ import annotations

import mmap
import os
from typing import Any

from smolfast.processes.serving import Serving, run


def serve(serving: Serving) -> None:
    """Read documents one after the other."""
    from smolfast.pdf.reading import Document, read_pdf
    from smolfast.pdf.text import text_of

    serving.ready()
    while (task := serving.next()) is not None:
        asked, content = task
        lost = {int(piece): str(how) for piece, how in asked["lost"]}
        try:
            data = _data(asked["path"], content)
            found = read_pdf(data, serving.setup["library"], lost=lost, at=lambda piece: serving.at(piece, 0))
            text = text_of(found.pages)
            encoded = text.text.encode()
        except (MemoryError, SystemError):
            found, text, encoded = Document("out of memory"), text_of([]), b""
        except Exception as error:  # costs this document alone
            found, text, encoded = Document(f"error: {type(error).__name__}"), text_of([]), b""
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

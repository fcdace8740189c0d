"""The chat as a page of this machine: one address with a secret, answers streamed as lines of JSON."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

from smolfast.chat.session import Session
from smolfast.chat.thoughts import Thoughts
from smolfast.errors import SmolfastError
from smolfast.processes.loopback import LocalHandler, LocalServer, listen

_PAGE = Path(__file__).with_name("page.html")
_MOST_BYTES = 1 << 20
_BUSY_SECONDS = 10.0
# Nothing but the page's own script and style, and no address but this one.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


class ChatServer(LocalServer):
    """Serves one model until it is shut down; conversations live in the page, and one answer is made at a time."""

    def __init__(self, session: Session, name: str, token: str, port: int) -> None:
        self.session, self.name, self.turn = session, name, threading.Lock()
        super().__init__(token, port, _Handler)


def serve(session: Session, name: str, token: str, *, port: int = 0) -> ChatServer:
    """A server of the page; call `serve_forever`.

    Args:
        name: of the model, for the page. token: the first part of every path. port: 0 for a free one.

    Raises:
        SmolfastError: the port is taken.
    """
    return listen(lambda: ChatServer(session, name, token, port), port)


class _Handler(LocalHandler):
    server: ChatServer

    def do_GET(self) -> None:
        """The page."""
        rest = self.allowed_path()
        if rest is None:
            return
        if rest:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        title = json.dumps(self.server.name).replace("<", "\\u003c")
        body = _PAGE.read_text(encoding="utf-8").replace("/*NAME*/", title).encode("utf-8", "replace")
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_safety_headers()
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        """An answer to `{"messages": […], "thinking": true}`, as lines of JSON: parts of it, then how it ended."""
        rest = self.allowed_path()
        if rest is None:
            self.close_connection = True
            return
        asked = self._asked() if rest == "answer" else HTTPStatus.NOT_FOUND
        if isinstance(asked, HTTPStatus):
            self.close_connection = True  # what else was sent isn't read
            self.send_error(asked)
            return
        if not self.server.turn.acquire(timeout=_BUSY_SECONDS):
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        try:
            self._stream(*asked)
        finally:
            self.server.turn.release()

    def _asked(self) -> tuple[list[Any], bool] | HTTPStatus:
        # Forms of other pages can't send this type without asking first, which is never allowed.
        if self.headers.get_content_type() != "application/json":
            return HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdecimal():
            return HTTPStatus.LENGTH_REQUIRED
        if int(length) > _MOST_BYTES:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        try:
            asked = json.loads(self.rfile.read(int(length)))
            messages, thinking = asked["messages"], asked.get("thinking", True)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return HTTPStatus.BAD_REQUEST
        if not isinstance(messages, list) or not messages or not isinstance(thinking, bool):
            return HTTPStatus.BAD_REQUEST
        return messages, thinking

    def _stream(self, messages: list[Any], thinking: bool) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/x-ndjson; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_safety_headers()
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the page was closed, or stopped it
            for values in self._lines(messages, thinking):
                line = (json.dumps(values) + "\n").encode()
                self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
            return
        self.close_connection = True

    def _lines(self, messages: list[Any], thinking: bool) -> Iterator[dict[str, Any]]:
        told, session = Thoughts(), self.server.session
        try:
            for piece in session.answer(messages, thinking=thinking):
                for part in told.feed(piece):
                    yield {"said": piece, "text": part.text, "thought": part.thought}
                    piece = ""
                if piece:
                    yield {"said": piece}
        except SmolfastError as error:
            yield {"error": str(error)}
            return
        for part in told.end():
            yield {"text": part.text, "thought": part.thought}
        last = session.last
        if last is not None:
            rate = round(last.tokens / max(last.seconds, 1e-9), 1)
            yield {"why": last.why, "tokens": last.tokens, "rate": rate, "forgotten": last.forgotten}

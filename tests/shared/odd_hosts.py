"""A web server on this machine that answers as badly as asked."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Host:
    """What it answers, by path; and what it was asked."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: dict[str, Callable[[Asked], None]] = {}
        self.asked: list[tuple[float, str, dict[str, str]]] = []
        self.count: Counter[str] = Counter()
        self.ended = threading.Event()

    def url(self, path: str, address: str = "127.0.0.1") -> str:
        return f"http://{address}:{self.port}{path}"


class Asked(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    host: Host

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.close_connection = True
        path = self.path
        self.host.asked.append((time.monotonic(), path, {name.lower(): text for name, text in self.headers.items()}))
        self.host.count[path] += 1
        answer = self.host.answers.get(path)
        with contextlib.suppress(OSError):
            (answer or (lambda asked: asked.give(404)))(self)

    def give(self, status: int, body: bytes = b"", *, length: int | None = None, **headers: str) -> None:
        """An answer; `length` is what it says of itself, nothing if below 0."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length is None or length >= 0:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    @property
    def times(self) -> int:
        """How often this path was asked for."""
        return self.host.count[self.path]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who asks hangs up as it likes."""


@contextlib.contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Host]:
    """A host on a free port of every address of this machine."""
    handler = type("Handler", (Asked,), {})
    server = _Server(("0.0.0.0", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    host = Host(server.server_address[1])
    handler.host = host
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield host
    finally:
        host.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()

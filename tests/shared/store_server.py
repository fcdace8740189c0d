"""A real S3 server (moto's) on loopback that can throttle, break off in the middle, and answer slowly."""

from __future__ import annotations

import importlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.'
    b"</Message></Error>"
)


class FaultyServer:
    """Give `fault(method, path, number)` one of "", "slow down", "break" and "slow" for each request."""

    def __init__(self) -> None:
        moto = importlib.import_module("moto.server")
        make_server = importlib.import_module("werkzeug.serving").make_server

        self.fault: Callable[[str, str, int], str] = lambda method, path, number: ""
        self.seen: Counter[str] = Counter()
        self._number = 0
        self._lock = threading.Lock()
        self._app = moto.DomainDispatcherApplication(moto.create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FaultyServer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        with self._lock:
            self._number += 1
            kind = self.fault(environ["REQUEST_METHOD"], environ["PATH_INFO"], self._number)
            self.seen[kind] += 1
        if kind == "slow down":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(SLOW_DOWN)))])
            return [SLOW_DOWN]
        if kind == "slow":
            time.sleep(0.3)
        answer = self._app(environ, start)
        return _half(answer) if kind == "break" else answer


def _half(answer: Iterable[bytes]) -> Iterator[bytes]:
    """The first half of an answer; then the connection ends."""
    content = b"".join(answer)
    yield content[: len(content) // 2]
    raise ConnectionResetError("broken off")

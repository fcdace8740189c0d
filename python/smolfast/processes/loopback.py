"""What servers for the person at this machine share: the loopback address, a secret first in every path, one Host."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error


class LocalServer(ThreadingHTTPServer):
    """Answers on 127.0.0.1 until it is shut down.

    Args:
        token: the first part of every path; whoever doesn't know it gets nothing.
        port: 0 for a free one.
        handler: of requests.
    """

    daemon_threads = True

    def __init__(self, token: str, port: int, handler: type[LocalHandler]) -> None:
        self.token = token
        super().__init__(("127.0.0.1", port), handler)

    @property
    def address(self) -> str:
        """The URL to open."""
        return f"http://127.0.0.1:{self.server_address[1]}/{self.token}/"


Made = TypeVar("Made", bound=LocalServer)


def listen(make: Callable[[], Made], port: int) -> Made:
    """The server that `make` makes.

    Raises:
        SmolfastError: the port is taken.
    """
    try:
        return make()
    except (OSError, OverflowError) as error:
        why = describe_os_error(error) if isinstance(error, OSError) else "there is no such port"
        raise SmolfastError(f"can't serve on port {port}: {why}; choose another --port, or 0") from error


class LocalHandler(BaseHTTPRequestHandler):
    """Refuses what doesn't come from a page of this server."""

    server: LocalServer
    protocol_version = "HTTP/1.1"

    def allowed_path(self) -> str | None:
        """What follows the secret in the path; None where the request was refused, which is answered then."""
        # A page elsewhere may lead a browser here by a name of its own that points to this machine.
        port = self.server.server_address[1]
        if self.headers.get("Host") not in (f"127.0.0.1:{port}", f"localhost:{port}"):
            self.send_error(HTTPStatus.FORBIDDEN)
            return None
        first, _, rest = self.path.partition("?")[0].lstrip("/").partition("/")
        if not secrets.compare_digest(first.encode(), self.server.token.encode()):
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return rest

    def send_safety_headers(self) -> None:
        """Nothing is kept, and the address goes to no other page."""
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: the terminal is for the address."""

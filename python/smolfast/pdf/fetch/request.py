"""One request on a connection of its own, which ends when its time is over whatever the host does."""

from __future__ import annotations

import contextlib
import functools
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from smolfast.pdf.fetch.addresses import connected
from smolfast.pdf.fetch.limits import Limits
from smolfast.pdf.fetch.outcome import BAD_ADDRESS, BROKEN, CUT_OFF, TIMED_OUT, UNREACHABLE, Failed

_PIECE = 64 << 10


class Answer:
    """What a host answers: its status and headers, and then its bytes."""

    def __init__(self, response: http.client.HTTPResponse, cord: _Cord) -> None:
        self._response = response
        self._cord = cord
        self.status = response.status

    def header(self, name: str) -> str:
        """The value of a header; empty where there is none."""
        return str(self._response.headers.get(name) or "").strip()

    def pieces(self) -> Iterator[bytes]:
        """The bytes, in order.

        Raises:
            Failed: fewer than were announced, or the time is over.
        """
        announced, found = self._response.length, 0
        with self._cord.naming():
            while piece := self._response.read(_PIECE):
                found += len(piece)
                yield piece
            if self._cord.is_pulled:
                raise Failed(TIMED_OUT, again=True)
            if announced is not None and found < announced:
                raise Failed(CUT_OFF, again=True)


class _Cord:
    """What ends a connection from outside: no read outlasts it, however slowly bytes drip."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._socket: socket.socket | None = None
        self._timer: threading.Timer | None = None
        self.is_pulled = False

    def hold(self, connection: socket.socket) -> None:
        self._socket = connection.dup()
        self._timer = threading.Timer(max(0.0, self._deadline - time.monotonic()), self._pull)
        self._timer.daemon = True
        self._timer.start()

    def _pull(self) -> None:
        self.is_pulled = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def let_go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._socket.close()

    @contextlib.contextmanager
    def naming(self) -> Iterator[None]:
        """Errors of a connection in our words."""
        try:
            yield
        except Failed as failed:
            raise (Failed(TIMED_OUT, again=True) if self.is_pulled else failed) from failed
        except TimeoutError as error:
            raise Failed(TIMED_OUT, again=True) from error
        except (http.client.IncompleteRead, ConnectionError, ssl.SSLEOFError) as error:
            raise Failed(TIMED_OUT if self.is_pulled else CUT_OFF, again=True) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Failed(TIMED_OUT if self.is_pulled else BROKEN, again=True) from error


def parts_of(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and what is asked for.

    Raises:
        Failed: not http or https, no host, a name or password in it, or none that can be read.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        if parts.scheme not in _PORTS or not host or parts.username is not None or parts.password is not None:
            raise Failed(BAD_ADDRESS)
        if not host.isascii():
            host = host.encode("idna").decode()
    except (ValueError, UnicodeError) as error:
        raise Failed(BAD_ADDRESS) from error
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.scheme, host, port or _PORTS[parts.scheme], quote(path, safe="/?%:=&@!$'()*+,;~[]|-._")


_PORTS = {"http": 80, "https": 443}


@contextlib.contextmanager
def ask(url: str, headers: Mapping[str, str], limits: Limits, deadline: float) -> Iterator[Answer]:
    """A host's answer to GET; no redirect is followed.

    Args:
        deadline: by time.monotonic, when this ends.

    Raises:
        Failed: no answer, or a host that isn't to be asked.
    """
    scheme, host, port, target = parts_of(url)
    cord = _Cord(deadline)
    left = deadline - time.monotonic()
    if left <= 0:
        raise Failed(TIMED_OUT, again=True)
    wait = min(limits.connect_seconds, left)
    connection: Any = http.client.HTTPConnection(host, port, timeout=wait)
    try:
        try:
            plain = connected(host, port, wait, allow_private=limits.allow_private)
        except TimeoutError as error:
            raise Failed(TIMED_OUT, again=True) from error
        except (OSError, UnicodeError) as error:
            raise Failed(UNREACHABLE, again=True) from error
        connection.sock = plain
        cord.hold(plain)
        with cord.naming():
            if scheme == "https":
                try:
                    connection.sock = _trusted().wrap_socket(plain, server_hostname=host)
                except ssl.SSLCertVerificationError as error:
                    raise Failed("bad certificate") from error
            connection.putrequest("GET", target, skip_host=True, skip_accept_encoding=True)
            for name, value in {"Host": _host(scheme, host, port), **_ALWAYS, **headers}.items():
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
        yield Answer(response, cord)
    finally:
        cord.let_go()
        connection.close()


@functools.cache
def _trusted() -> ssl.SSLContext:
    """What the system trusts; reading it takes milliseconds."""
    return ssl.create_default_context()


_ALWAYS = {"Accept-Encoding": "identity", "Connection": "close"}


def _host(scheme: str, host: str, port: int) -> str:
    name = f"[{host}]" if ":" in host else host
    return name if port == _PORTS[scheme] else f"{name}:{port}"

"""The page: who may ask, what is streamed, and what a closed page leaves behind."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smolfast.chat.session import Session
from smolfast.chat.web import ChatServer, serve
from smolfast.errors import SmolfastError

ASKED = {"messages": [{"role": "user", "content": "heap"}]}


@pytest.fixture
def server(talker: Path) -> Iterator[ChatServer]:
    session = Session(talker, temperature=0, max_new_tokens=15)
    with serve(session, 'a <b> "model"', "secret") as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(
    server: ChatServer, method: str, path: str, body: Any = None, **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=30)
    sent = body if isinstance(body, bytes | type(None)) else json.dumps(body).encode()
    if sent is not None:
        headers.setdefault("Content_Type", "application/json")
    connection.request(method, path, sent, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    found = response.read()
    connection.close()
    return response, found


def test_the_page_names_the_model_and_loads_nothing(server: ChatServer) -> None:
    response, page = ask(server, "GET", "/secret/")
    text = page.decode()
    assert response.status == 200 and "http" not in text.replace("http-equiv", "")
    assert '"a \\u003cb> \\"model\\""' in text
    assert "default-src 'none'" in str(response.headers["Content-Security-Policy"])
    assert server.address.endswith("/secret/") and server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("path", "headers", "body", "status"),
    [
        ("/secret/answer", {"Host": "evil.example"}, ASKED, 403),
        ("/guess/answer", {}, ASKED, 404),
        ("/secret/other", {}, ASKED, 404),
        ("/secret/answer", {"Content_Type": "text/plain"}, ASKED, 415),
        ("/secret/answer", {"Content_Length": "9999999"}, b"{}", 413),
        ("/secret/answer", {"Content_Length": "-1"}, b"{}", 411),
        ("/secret/answer", {}, b"[", 400),
        ("/secret/answer", {}, {"messages": []}, 400),
        ("/secret/answer", {}, {"messages": [], "thinking": 3}, 400),
        ("/secret/answer", {}, ["messages"], 400),
    ],
)
def test_whom_it_doesnt_answer(server: ChatServer, path: str, headers: dict[str, str], body: Any, status: int) -> None:
    assert ask(server, "POST", path, body, **headers)[0].status == status


def test_an_answer_is_streamed(server: ChatServer, talker: Path) -> None:
    response, body = ask(server, "POST", "/secret/answer", ASKED)
    lines = [json.loads(line) for line in body.splitlines()]
    assert response.status == 200 and response.headers["Transfer-Encoding"] == "chunked"
    expected = "".join(Session(talker, temperature=0, max_new_tokens=15).answer(ASKED["messages"]))
    assert "".join(line.get("said", "") for line in lines) == expected
    assert lines[-1]["tokens"] <= 15 and lines[-1]["why"] in ("limit", "end")
    for messages, reason in (
        ([{"role": "judge", "content": "x"}], "its role is none of system, user, assistant, tool"),
        (["x"], "message 1 is no object"),
        ([{"role": "user"}, 3], "message 2 is no object"),
    ):
        error = ask(server, "POST", "/secret/answer", {"messages": messages})[1]
        assert reason in json.loads(error)["error"]


def test_a_page_that_is_closed_frees_the_turn(server: ChatServer) -> None:
    server.session._most = 100_000
    server.session._ends = set()
    server.session._context = 1 << 40  # goes on until nobody reads
    served = server.session._next
    server.session._next = lambda pending: 50  # type: ignore[method-assign]
    body = json.dumps(ASKED).encode()
    head = f"POST /secret/answer HTTP/1.1\r\nHost: 127.0.0.1:{server.server_address[1]}\r\n"
    with socket.create_connection(server.server_address[:2]) as connection:  # type: ignore[arg-type]
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    server.session._next, server.session._most = served, 2  # type: ignore[method-assign]
    server.session._context = 160
    assert ask(server, "POST", "/secret/answer", ASKED)[0].status == 200


def test_a_port_that_is_taken(server: ChatServer) -> None:
    with pytest.raises(SmolfastError, match="choose another --port"):
        serve(server.session, "x", "secret", port=server.server_address[1])

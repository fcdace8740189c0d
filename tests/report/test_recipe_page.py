"""The page of a recipe's run, and its server."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from smolfast.errors import SmolfastError
from smolfast.report.recipe.page import recipe_page, write_recipe_report
from smolfast.report.recipe.serving import Server, serve

STAGES = [
    {"name": "a<b>", "kind": "collect", "needs": [], "output": "a", "state": "done", "seconds": 61.0},
    {
        "name": "c",
        "kind": "train",
        "needs": ["a<b>"],
        "output": "c",
        "state": "running",
        "done": 3,
        "total": 4,
        "note": "n",
    },
    {"name": "d", "kind": "python", "needs": ["a<b>"], "output": "d", "state": "failed", "note": "ValueError: <no>"},
    {"name": "e", "kind": "report", "needs": ["d"], "output": "e.html", "state": "blocked"},
    {"name": "f", "kind": "split", "needs": ["c", "gone"], "output": "f", "state": "unheard of"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "running", STAGES)
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "d.log").write_bytes(b"first\nlast \xff words\n")
    record = {"seconds": 61.0, "peak_rss_bytes": 5_000_000, "output": {"bytes": 1_500_000}}
    (tmp_path / "stages" / "a<b>.json").write_text(json.dumps(record))
    return tmp_path


def write(folder: Path, state: str, stages: list[dict[str, object]]) -> None:
    said = {"recipe": "r", "state": state, "begun": "2026-01-02T03:04:05+00:00", "updated": "2026-01-02T03:05:05+00:00"}
    (folder / "recipe.json").write_text(json.dumps({**said, "stages": stages}))


def test_the_page(folder: Path) -> None:
    page = recipe_page(folder)
    assert "1 of 5 stages done, 1 running, 1 failed, 1 not run" in page
    assert "a&lt;b&gt;" in page and "a<b>" not in page
    assert "1:01 · 1.5 MB" in page and "running, 75%" in page and "5.0 MB" in page
    assert "ValueError: &lt;no&gt;" in page and "last � words" in page
    assert page.count('class="need"') == 4  # a need that isn't a stage has no line
    write_recipe_report(folder, folder / "page.html")
    assert (folder / "page.html").read_text() == page


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(SmolfastError, match="holds no run of a recipe; give the output folder of smolfast run"):
        recipe_page(tmp_path)
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(SmolfastError, match="damaged"):
        recipe_page(tmp_path)


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    (folder / "e.html").write_text('<!doctype html><meta name="generator" content="smolfast 0">')
    (folder / "secret.html").write_text("secret")
    with serve(folder, "token") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read().decode()
    connection.close()
    return found


def test_it_serves_the_page_and_pages_that_the_run_made(server: Server, folder: Path) -> None:
    status, headers, body = ask(server, "/token/")
    assert status == 200 and body == recipe_page(folder) and headers["Refresh"] == "2"
    assert headers["Cache-Control"] == "no-store" and headers["Referrer-Policy"] == "no-referrer"
    assert ask(server, "/token/e.html")[0] == 200
    assert ask(server, "/token/", "HEAD")[2] == ""
    write(folder, "done", STAGES)
    assert "Refresh" not in ask(server, "/token/")[1]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/toke/",
        "/token2/",
        "/token/secret.html",
        "/token/../secret.html",
        "/token/recipe.json",
        "//token/e.html/x",
    ],
)
def test_it_serves_nothing_else(server: Server, path: str) -> None:
    assert ask(server, path)[0] == 404


def test_it_takes_nothing_and_answers_this_machine_alone(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert ask(server, "/token/", "POST")[0] == 501
    assert ask(server, "/token/", "DELETE")[0] == 501
    assert ask(server, "/token/", Host="evil.example")[0] == 403


def test_while_a_file_is_between_two_states(server: Server, folder: Path) -> None:
    (folder / "recipe.json").write_text("{")
    status, headers, body = ask(server, "/token/")
    assert status == 503 and headers["Refresh"] and "is not valid JSON" in body


def test_a_port_that_is_taken(server: Server, folder: Path) -> None:
    with pytest.raises(SmolfastError, match=r"can't serve on port .*; choose another --port, or 0"):
        serve(folder, "token", port=server.server_address[1])
    with pytest.raises(SmolfastError, match="no such port"):
        serve(folder, "token", port=70000)

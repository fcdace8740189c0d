"""Programs and URLs are told without anybody waiting: not for one that hangs, nor for one that fails."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from smolfast.config import TrainConfig
from smolfast.monitors.outside import Outside
from smolfast.train.loop import train
from tiny_models import least


@pytest.fixture
def server() -> Iterator[tuple[str, list[Any]]]:
    """A URL, and what was posted to it; /bad answers 500."""
    got: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            got.append((self.path, self.headers["Content-Type"], body))
            self.send_response(500 if self.path == "/bad" else 204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", got
        http.shutdown()
        thread.join()


@pytest.fixture
def hanging() -> Iterator[str]:
    """A URL that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/secret"


def failures(outside: Outside, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + 10
    while len(found) < count and time.monotonic() < deadline:
        found += outside.failures()
        time.sleep(0.01)
    return found


def test_a_webhook_gets_json(server: tuple[str, list[Any]]) -> None:
    outside = Outside()
    outside.webhook(f"{server[0]}/x", {"step": 3, "value": float("nan")}, 5)
    outside.close()
    assert server[1] == [("/x", "application/json", {"step": 3, "value": None})]
    assert outside.failures() == []


def test_failures_are_told_when_asked_and_name_no_secret(server: tuple[str, list[Any]], hanging: str) -> None:
    outside = Outside()
    began = time.monotonic()
    outside.webhook(f"{server[0]}/bad", {}, 5)
    outside.webhook(hanging, {}, 0.1)
    outside.command(["/no/such/program"], {}, 5)
    outside.command([sys.executable, "-c", "import sys; sys.exit('sorry')"], {}, 5)
    outside.command([sys.executable, "-c", "import time; time.sleep(60)"], {}, 0.1)
    assert time.monotonic() - began < 1
    found = failures(outside, 5)
    assert sorted(one["error"] for one in found) == sorted(
        [
            "it answered 500",
            "it took longer than 0.1 s",
            "[Errno 2] No such file or directory: '/no/such/program'",
            "it ended with exit code 1: sorry",
            "it took longer than 0.1 s",
        ]
    )
    assert "secret" not in json.dumps(found)
    outside.close()


def test_messages_do_not_pile_up(hanging: str) -> None:
    outside = Outside()
    for _ in range(10):
        outside.webhook(hanging, {}, 2)
    assert [one["error"] for one in outside.failures()] == ["not sent: 8 before it haven't ended"] * 2
    began = time.monotonic()
    outside.close()
    assert time.monotonic() - began < 2


def test_a_run_goes_on_beside_a_webhook_that_hangs(
    tmp_path: Path, write_tokens: Any, hanging: str, server: tuple[str, list[Any]]
) -> None:
    tokens = write_tokens(tmp_path / "tokens")
    told = tmp_path / "told"
    program = [sys.executable, "-c", f"import sys; open({str(told)!r}, 'a').write(sys.stdin.read())"]
    when = {"metric": "loss", "above": 1e-3, "after": 4, "rest": 1000}

    def go(name: str, *monitors: dict[str, Any]) -> tuple[list[dict[str, Any]], bytes]:
        config = TrainConfig.model_validate(
            {
                "steps": 20, "sequence_length": 32, "batch_size": 4, "micro_batch_size": 4, "evaluate_every": 0,
                "monitor_every": 0, "monitors": monitors,
            }
        )  # fmt: skip
        train(tokens, tmp_path / name, model=least(), config=config, device="cpu", threads=1)
        path = tmp_path / name / "events.jsonl"
        events = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return events, (tmp_path / name / "model" / "model.safetensors").read_bytes()

    plain = go("plain")
    events, weights = go(
        "watched",
        when | {"reaction": "webhook", "webhook": hanging, "seconds": 60},
        when | {"reaction": "webhook", "webhook": f"{server[0]}/y"},
        when | {"reaction": "command", "command": program},
        when | {"reaction": "command", "command": ["/no/such/program"], "every": 3},
    )
    assert weights == plain[1]
    assert [(one["step"], one["event"], one["reaction"]) for one in events] == [
        (5, "monitor", "webhook"), (5, "monitor", "webhook"), (5, "monitor", "command"), (6, "monitor", "command"),
        (events[-1]["step"], "monitor failed", "command"),
    ]  # fmt: skip
    (path, _, message) = server[1][0]
    assert path == "/y" and message | {"reaction": "command"} == json.loads(told.read_text())
    assert message["step"] == 5 and message["metric"] == "loss" and message["run"] == str(tmp_path / "watched")

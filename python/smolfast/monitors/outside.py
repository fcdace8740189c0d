"""Who outside is told: programs that get an event on standard input, and URLs that it is sent to.

Both run in threads that nobody waits for. What becomes of them is asked for later. So a URL that hangs, or a program
that fails, delays nothing and stops nothing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from smolfast.files import finite
from smolfast.monitors.rule import Rule

_MOST = 8
"""Messages under way at once; a URL that never answers may not pile them up."""
_LAST_SECONDS = 1.0
"""How long a run that ends stays for what is under way."""


class Outside:
    """Sends messages, and remembers what went wrong until it is asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: list[dict[str, Any]] = []
        self._threads: list[threading.Thread] = []

    def tell(self, rule: Rule, message: Mapping[str, Any]) -> None:
        """Send a message where a rule says; nothing where it names neither a program nor a URL."""
        if rule.command:
            self.command(rule.command, message, rule.seconds)
        if rule.webhook:
            self.webhook(rule.webhook, message, rule.seconds)

    def command(self, words: Sequence[str], message: Mapping[str, Any], seconds: float) -> None:
        """Start a program, without a shell, and give it the message as JSON on standard input."""
        self._start("command", words[0], lambda: _run(words, message, seconds))

    def webhook(self, url: str, message: Mapping[str, Any], seconds: float) -> None:
        """POST the message as JSON."""
        # The path of such a URL is often its password.
        self._start("webhook", urllib.parse.urlsplit(url).hostname or url, lambda: _post(url, message, seconds))

    def failures(self) -> list[dict[str, Any]]:
        """What went wrong since this was asked last: `reaction`, `to` and `error` of each."""
        with self._lock:
            found, self._failures = self._failures, []
        return found

    def close(self) -> None:
        """Give what is under way a last moment."""
        deadline = time.monotonic() + _LAST_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _start(self, reaction: str, to: str, work: Callable[[], None]) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if len(self._threads) >= _MOST:
            self._fail(reaction, to, f"not sent: {_MOST} before it haven't ended")
            return

        def guarded() -> None:
            try:
                work()
            except Exception as error:
                self._fail(reaction, to, " ".join(str(error).split())[:300] or type(error).__name__)

        thread = threading.Thread(target=guarded, name=f"smolfast-{reaction}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _fail(self, reaction: str, to: str, error: str) -> None:
        with self._lock:
            self._failures.append({"reaction": reaction, "to": to, "error": error})


def _run(words: Sequence[str], message: Mapping[str, Any], seconds: float) -> None:
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # with what it starts it can be ended, and Ctrl-C isn't meant for it
    )
    try:
        _, said = process.communicate(json.dumps(finite(dict(message))).encode() + b"\n", timeout=seconds)
    except subprocess.TimeoutExpired:
        _end(process)
        raise RuntimeError(f"it took longer than {seconds:g} s") from None
    if process.returncode:
        last = said.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise RuntimeError(": ".join([f"it ended with exit code {process.returncode}", *last]))


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (AttributeError, OSError):  # no process groups on this system
        process.kill()
    process.wait()
    for stream in (process.stdin, process.stderr):
        if stream is not None:
            stream.close()


def _post(url: str, message: Mapping[str, Any], seconds: float) -> None:
    request = urllib.request.Request(
        url,
        json.dumps(finite(dict(message))).encode(),
        {"Content-Type": "application/json", "User-Agent": "smolfast"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=seconds):
            pass
    except urllib.error.HTTPError as error:
        with error:
            raise RuntimeError(f"it answered {error.code}") from None
    except urllib.error.URLError as error:
        raise RuntimeError(f"it can't be reached: {error.reason}") from None
    except TimeoutError:
        raise RuntimeError(f"it took longer than {seconds:g} s") from None

"""One process at a time on an output, which says who has it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from smolfast import SmolfastError
from smolfast.commands.main import main
from smolfast.io.locks import LOCK_FILE, hold

pytest.importorskip("fcntl", reason="no file locks on this system")

HOLDER = """
import sys, time
from pathlib import Path
from smolfast.io.locks import hold
with hold(Path(sys.argv[1]), "out"):
    print("held", flush=True)
    time.sleep(600)
"""


def holder(lock: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    return process


def test_the_second_is_told_who_has_it_and_a_kill_lets_go(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    process = holder(lock)
    with pytest.raises(SmolfastError) as error, hold(lock, "out"):
        pass
    assert f"out is in use by another smolfast process ({process.pid} on " in str(error.value)
    assert " since 2" in str(error.value) and "wait for it or choose another output" in str(error.value)
    assert "\n" not in str(error.value)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert lock.exists()
    with hold(lock, "out"):
        assert json.loads(lock.read_text())["process"] == os.getpid()
    assert not lock.exists()


@pytest.mark.parametrize("left", [b"", b"{", b"[1]", b'{"process": 1}', b"\xff"])
def test_a_lock_with_anything_in_it(tmp_path: Path, left: bytes) -> None:
    lock = tmp_path / "lock"
    with hold(lock, "out"):
        lock.write_bytes(left)
        with pytest.raises(SmolfastError, match="another smolfast process; wait"), hold(lock, "out"):
            pass
    lock.write_bytes(left)
    with hold(lock, "out"):
        pass


def test_a_disk_without_locks_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import fcntl

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with hold(tmp_path / "lock", "out"), hold(tmp_path / "lock", "out"):
        pass
    assert not (tmp_path / "lock").exists()


@pytest.mark.parametrize(
    ("command", "lock"),
    [
        ("normalize IN -o out", ".smolfast/out.lock"),
        ("normalize IN -o out.jsonl", ".smolfast/out.jsonl.lock"),
        ("split IN -o out", ".smolfast/out.lock"),
        ("collect IN -o out", ".smolfast/out.lock"),
        ("tokenize IN --held-out IN --tokenizer IN -o out", ".smolfast/out.lock"),
        ("export IN --tokenizer IN -o out", ".smolfast/out.lock"),
        ("evaluate IN --tokens IN --held-out IN -o out", ".smolfast/out.lock"),
        ("train IN -o out", ".smolfast/out.lock"),
        ("distill-cache IN --tokens IN -o out", ".smolfast/out.lock"),
        ("dedup IN -o out", f"out/{LOCK_FILE}"),
        ("dedup index build IN --index index -o out", f"index/{LOCK_FILE}"),
        ("quickstart --input IN --out out", "out/.lock"),
    ],
)
def test_every_command_that_writes(
    command: str, lock: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if command.split()[0] not in ("normalize", "dedup"):
        pytest.importorskip("tokenizers")
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_text('{"text": "one"}\n')
    with hold(Path(lock), "out"):
        assert main(command.replace("IN", "in.jsonl").split()) == 2
    error = capsys.readouterr().err
    assert f"in use by another smolfast process ({os.getpid()} on" in error
    assert not Path("out.jsonl").exists() and {path.name for path in Path().rglob("*")} <= {
        "in.jsonl", "out", "index", ".smolfast"
    }  # fmt: skip

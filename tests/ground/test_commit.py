"""What a run says of where it came from."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from smolfast import machine


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.invalid"]
    done = subprocess.run(["git", "-C", str(folder), *who, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "package"
    folder.mkdir()
    shutil.copy(machine.__file__, folder / "machine.py")
    monkeypatch.setattr(machine, "__file__", str(folder / "machine.py"))
    return folder


def test_the_commit_is_the_checkouts_with_a_sign_where_files_changed(checkout: Path) -> None:
    git(checkout, "init", "-q")
    git(checkout, "add", "machine.py")
    git(checkout, "commit", "-qm", "first")
    head = git(checkout, "rev-parse", "HEAD")
    assert machine.commit() == head and len(head) == 40
    (checkout / "untracked.py").write_text("")
    assert machine.commit() == head
    (checkout / "machine.py").write_text("changed")
    assert machine.commit() == head + "+"


def test_outside_a_checkout_there_is_none(checkout: Path) -> None:
    assert machine.commit() is None
    git(checkout, "init", "-q")  # somebody else's repository around an installed copy
    assert machine.commit() is None


def test_without_git_there_is_none(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(checkout))
    assert machine.commit() is None

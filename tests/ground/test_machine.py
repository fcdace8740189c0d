"""How to install an extra is said by one function, with a command that works from where smolfast came from."""

from __future__ import annotations

import json
import re
import shlex
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from smolfast.machine import install_command

PACKAGE = Path(__file__).resolve().parents[2] / "python" / "smolfast"
IN_A_CLONE = "pip install '.[train]' (in a clone of smolfast's repository)"


@pytest.fixture
def came_from(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets pip's record of the installation say something."""

    def record(origin: dict[str, Any] | None) -> None:
        class Distribution:
            @staticmethod
            def read_text(name: str) -> str | None:
                assert name == "direct_url.json"
                return None if origin is None else json.dumps(origin)

        monkeypatch.setattr(metadata, "distribution", lambda name: Distribution())

    return record


def test_from_a_clone_with_its_pins(came_from: Any, tmp_path: Path) -> None:
    clone = tmp_path / "a clone"
    clone.mkdir()
    came_from({"url": clone.as_uri(), "dir_info": {}})
    assert shlex.split(install_command("train")) == ["pip", "install", f"{clone}[train]"]
    (clone / "constraints.txt").write_text("")
    pinned = ["pip", "install", "-c", f"{clone}/constraints.txt"]
    assert shlex.split(install_command("train")) == [*pinned, f"{clone}[train]"]
    came_from({"url": clone.as_uri(), "dir_info": {"editable": True}})
    assert shlex.split(install_command("watch")) == [*pinned, "-e", f"{clone}[watch]"]


def test_from_a_wheel_or_an_address(came_from: Any, tmp_path: Path) -> None:
    wheel = tmp_path / "smolfast-0.1.0-cp311-cp311-linux_x86_64.whl"
    wheel.write_bytes(b"")
    came_from({"url": wheel.as_uri(), "archive_info": {}})
    assert install_command("train") == f"pip install '{wheel}[train]'"
    wheel.unlink()
    assert install_command("train") == IN_A_CLONE
    came_from({"url": "https://there/smolfast.whl", "archive_info": {}})
    assert install_command("train") == "pip install 'smolfast[train] @ https://there/smolfast.whl'"
    came_from({"url": "https://there/smolfast", "vcs_info": {"vcs": "git", "commit_id": "abc"}})
    assert install_command("train") == "pip install 'smolfast[train] @ git+https://there/smolfast@abc'"


def test_from_an_index(came_from: Any) -> None:
    came_from(None)
    assert install_command("train") == IN_A_CLONE


def test_run_from_its_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:

    def not_installed(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", not_installed)
    monkeypatch.setattr("smolfast.machine.__file__", str(tmp_path / "python" / "smolfast" / "machine.py"))
    assert install_command("train") == IN_A_CLONE
    (tmp_path / "pyproject.toml").write_text("")
    assert install_command("train") == f"pip install '{tmp_path}[train]'"


def test_no_message_words_it_by_itself() -> None:
    said = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"smolfast\[\w+\]", line)
    ]
    assert said == [], "smolfast is on no index: let smolfast.machine.install_command say how to install it"

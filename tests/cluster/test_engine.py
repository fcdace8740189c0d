"""An engine that can't be had is one line with a remedy."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from smolfast.cluster import open_engine
from smolfast.commands.main import main
from smolfast.errors import SmolfastError


def test_ray_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else found(name, *rest))
    with pytest.raises(SmolfastError, match=r"the engine ray needs Ray; install it with: pip install .*ray"):
        open_engine("ray")
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "a few words"}\n')
    for command in ("dedup", "curate", "normalize"):
        assert main([command, str(file), "-o", str(tmp_path / f"out-{command}"), "--engine", "ray"]) == 2
        said = capsys.readouterr().err
        assert "needs Ray; install it with" in said and "Traceback" not in said


def test_what_is_no_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SmolfastError, match="engine = 'dask': choose one of local, ray"):
        open_engine("dask")
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "a few words"}\n')
    assert main(["dedup", str(file), "-o", str(tmp_path / "out"), "--address", "localhost:1"]) == 2
    assert "add --engine ray" in capsys.readouterr().err

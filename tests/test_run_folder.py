"""Who may use a run folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from smolfast import SmolfastError
from smolfast.files import read_json
from smolfast.run_folder import open_run

IDENTITY = {"config": {"train": {"steps": 100}, "weights": [1.0, 0.5]}, "input": ["a"]}


def test_equal_identities_share_a_folder_and_it_describes_itself(tmp_path: Path) -> None:
    for _ in range(2):
        with open_run(tmp_path / "run", IDENTITY, {"seed": 0}, overwrite=False):
            pass
    told = read_json(tmp_path / "run" / "run.json")
    assert told["identity"] == IDENTITY
    assert {"python", "pyarrow", "unicode", "smolfast"} <= told["versions"].keys()
    assert told["hardware"]["threads"] >= 1


def test_another_configuration_is_refused_by_name_and_nothing_is_touched(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with open_run(folder, IDENTITY, {}, overwrite=False):
        (folder / "result").write_text("precious")
    other = {"config": {"train": {"steps": 200}, "weights": [1.0, 0.5]}, "input": ["a"]}
    with (
        pytest.raises(SmolfastError, match=r"holds a run with train\.steps = 100, not 200; choose another --out"),
        open_run(folder, other, {}, overwrite=False),
    ):
        pass
    assert (folder / "result").read_text() == "precious"
    with open_run(folder, other, {}, overwrite=True):
        assert (folder / "result").read_text() == "precious"


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with (
        pytest.raises(SmolfastError, match="not empty and holds no smolfast run"),
        open_run(tmp_path, IDENTITY, {}, overwrite=True),
    ):
        pass
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with (
        pytest.raises(SmolfastError, match="is a file; choose a folder"),
        open_run(tmp_path / "run", IDENTITY, {}, overwrite=False),
    ):
        pass


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="no file locks on this system")
    with (
        open_run(tmp_path / "run", IDENTITY, {}, overwrite=False),
        pytest.raises(SmolfastError, match="in use by another smolfast process"),
        open_run(tmp_path / "run", IDENTITY, {}, overwrite=False),
    ):
        pass

"""Who may use a run folder."""

from __future__ import annotations

import datetime
import io
from pathlib import Path

import pytest

from smolfast import SmolfastError
from smolfast.files import read_json, write_json
from smolfast.pipeline.run_folder import open_run
from smolfast.pipeline.stages import Runner, Stage
from smolfast.progress import Console

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
        pytest.raises(SmolfastError, match=r"holds a run with train\.steps = 100, not 200; choose another -o"),
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


def test_overwriting_removes_what_stages_made_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def work(path: Path, progress: object) -> dict[str, object]:
        path.mkdir(exist_ok=True)
        (path / "made").write_text("made")
        if stop:
            raise KeyboardInterrupt
        return {}

    with open_run(folder, IDENTITY, {}, overwrite=False):
        runner = Runner(folder / "stages", Console(io.StringIO()), own_folder=True)
        stop = False
        runner.run(Stage("split", {}, folder / "split", {}, work))
        (folder / "split" / "notes").write_text("precious")
        stop = True
        with pytest.raises(KeyboardInterrupt):
            runner.run(Stage("train", {}, folder / "train", {}, work, resumable=True, writes=("made",)))
        (folder / "train" / "notes").write_text("precious")
        (folder / "notes").write_text("precious")
    with open_run(folder, {"config": {}}, {}, overwrite=True):
        left = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert left == {"run.json", ".lock", "notes", "split/notes", "train/notes"}
        stop = False
        for name in ("split", "train"):  # and the new run may use these folders
            runner.run(Stage(name, {}, folder / name, {}, work))
    assert (folder / "split" / "made").exists() and (folder / "split" / "notes").read_text() == "precious"


def test_a_run_keeps_the_time_at_which_it_was_begun(tmp_path: Path) -> None:
    folder, begun = tmp_path / "run", []
    for identity in (IDENTITY, IDENTITY, {**IDENTITY, "input": ["b"]}):
        with open_run(folder, identity, {}, overwrite=True):
            told = read_json(folder / "run.json")
        begun.append(datetime.datetime.fromisoformat(told["begun"]))
        write_json(folder / "run.json", told | {"begun": "2001-01-01T00:00:00+00:00"} if len(begun) == 1 else told)
    assert begun[0].tzinfo is not None and begun[0].year > 2001
    assert begun[1].year == 2001 < begun[2].year
    assert told["commit"] is None or len(told["commit"].rstrip("+")) == 40

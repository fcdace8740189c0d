"""The stage engine: skip, redo, refuse, resume."""

from __future__ import annotations

import functools
import io
import json
from pathlib import Path
from typing import Any

import pytest

from smolfast import SmolfastError
from smolfast.pipeline.stages import Runner, Stage
from smolfast.progress import Console


class Copy:
    """A stage that copies its input upper-cased, and counts how often it ran."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = folder / "in.txt"
        self.source.write_text("abc")
        self.log = io.StringIO()
        self.runs = 0

    def run(self, on_change: str = "redo", fail: bool = False, **parameters: object) -> dict[str, object]:
        def work(path: Path, progress: object) -> dict[str, object]:
            self.runs += 1
            path.write_text(self.source.read_text().upper())
            if fail:
                raise SmolfastError("failed halfway")
            return {"runs": self.runs}

        stage = Stage("copy", {"source": self.source}, self.folder / "out.txt", parameters, work)
        return Runner(self.folder / "stages", Console(self.log), on_change).run(stage)  # type: ignore[arg-type]


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def test_unchanged_is_skipped_with_the_same_summary(copy: Copy) -> None:
    assert copy.run() == copy.run() == {"runs": 1}
    assert "unchanged, skipped" in copy.log.getvalue()


def test_changed_input_parameter_or_output_runs_again(copy: Copy) -> None:
    copy.run()
    copy.source.write_text("new")
    copy.run()
    assert (copy.folder / "out.txt").read_text() == "NEW"
    copy.run(width=3)
    (copy.folder / "out.txt").write_text("altered")
    copy.run(width=3)
    assert copy.runs == 4
    assert (copy.folder / "out.txt").read_text() == "NEW"


def test_refuse_keeps_an_output_made_otherwise(copy: Copy) -> None:
    copy.run()
    copy.source.write_text("new")
    with pytest.raises(SmolfastError, match=r"out\.txt exists and was made from other input .* --overwrite"):
        copy.run("refuse")
    assert (copy.folder / "out.txt").read_text() == "ABC"


@pytest.mark.parametrize("on_change", ["refuse", "redo"])
def test_a_file_of_unknown_origin_stays_whatever_is_asked(copy: Copy, on_change: str) -> None:
    (copy.folder / "out.txt").write_text("precious")
    with pytest.raises(SmolfastError, match="no record of having written it; choose another output, or move it"):
        copy.run(on_change)
    assert (copy.folder / "out.txt").read_text() == "precious"
    (copy.folder / "out.txt").rename(copy.folder / "moved.txt")  # the remedy
    copy.run(on_change)
    assert (copy.folder / "out.txt").read_text() == "ABC"


def test_an_altered_output_is_made_again_only_when_asked(copy: Copy) -> None:
    copy.run("refuse")
    (copy.folder / "out.txt").write_text("by hand")
    with pytest.raises(SmolfastError, match=r"out\.txt was altered since it was made; .* or add --overwrite"):
        copy.run("refuse")
    assert (copy.folder / "out.txt").read_text() == "by hand"
    copy.run("redo")
    assert (copy.folder / "out.txt").read_text() == "ABC"


def test_failure_leaves_the_old_output_and_no_manifest_for_it(copy: Copy) -> None:
    copy.run()
    copy.source.write_text("new")
    with pytest.raises(SmolfastError, match="halfway"):
        copy.run(fail=True)
    assert (copy.folder / "out.txt").read_text() == "ABC"
    copy.run()
    assert (copy.folder / "out.txt").read_text() == "NEW"


def test_missing_input_is_named(copy: Copy) -> None:
    copy.source.unlink()
    with pytest.raises(SmolfastError, match=r"copy: .*in\.txt does not exist"):
        copy.run()


def test_manifest_tells_time_memory_and_contents(copy: Copy) -> None:
    copy.run()
    manifest = json.loads((copy.folder / "stages" / "copy.json").read_text())
    assert manifest["seconds"] >= 0
    assert manifest["peak_rss_bytes"] > 1_000_000
    assert manifest["inputs"].keys() == {"source"}
    assert len(manifest["output"]["xxh3_128"]) == 32


def test_resumable_goes_on_after_a_kill_but_not_with_other_settings(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.write_text("x")

    def run(stop_at: int | None = None, **parameters: object) -> None:
        def work(path: Path, progress: object) -> dict[str, object]:
            path.mkdir(exist_ok=True)
            for part in range(4):
                if part == stop_at:
                    raise KeyboardInterrupt
                file = path / str(part)
                file.write_text((file.read_text() if file.exists() else "") + "+")
            return {}

        stage = Stage("train", {"in": source}, tmp_path / "out", parameters, work, resumable=True)
        Runner(tmp_path / "stages", Console(io.StringIO())).run(stage)

    with pytest.raises(KeyboardInterrupt):
        run(stop_at=2)
    run()
    assert [(tmp_path / "out" / str(part)).read_text() for part in range(4)] == ["++", "++", "+", "+"]
    run(rate=2)
    assert [(tmp_path / "out" / str(part)).read_text() for part in range(4)] == ["+"] * 4


def make(folder: Path, files: dict[str, str], on_change: str = "redo", **options: Any) -> None:
    """A stage that writes these files into `out`."""

    def work(path: Path, progress: object) -> dict[str, object]:
        for name, text in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(text)
        if options.get("then"):
            options["then"]()
        return {}

    resumable = options.get("resumable", False)
    writes = ("?", "deep/b")
    stage = Stage("make", {}, folder / "out", {"files": files}, work, resumable=resumable, writes=writes)
    Runner(folder / "stages", Console(io.StringIO()), on_change).run(stage)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("resumable", [False, True])
def test_of_a_folder_only_what_was_made_is_replaced(tmp_path: Path, resumable: bool) -> None:
    make(tmp_path, {"a": "1", "deep/b": "1"}, resumable=resumable)
    out = tmp_path / "out"
    (out / "deep" / "notes").write_text("precious")
    with pytest.raises(SmolfastError, match="made from other input or settings; choose another output or add"):
        make(tmp_path, {"a": "2", "c": "2"}, "refuse", resumable=resumable)
    make(tmp_path, {"a": "2", "c": "2"}, resumable=resumable)
    assert contents(out) == {"a": "2", "c": "2", "deep/notes": "precious"}
    make(tmp_path, {"a": "2", "c": "2"}, "refuse", resumable=resumable)  # what is beside doesn't count as altered
    if not resumable:
        for _ in range(2):  # a refusal gives no claim on what was in the way
            with pytest.raises(SmolfastError, match=r"deep/notes is in the way.* move it, or choose another output"):
                make(tmp_path, {"deep/notes": "3"})
    assert contents(out) == {"a": "2", "c": "2", "deep/notes": "precious"}


@pytest.mark.parametrize("on_change", ["refuse", "redo"])
@pytest.mark.parametrize("resumable", [False, True])
def test_a_folder_of_unknown_origin_stays(tmp_path: Path, on_change: str, resumable: bool) -> None:
    (tmp_path / "out").mkdir()
    make(tmp_path, {"a": "1"}, on_change, resumable=resumable)  # an empty one is taken
    for path in (tmp_path / "stages").iterdir():
        path.unlink()
    with pytest.raises(SmolfastError, match=r"no record of having written \(a\); choose another output, or move"):
        make(tmp_path, {"a": "2"}, on_change, resumable=resumable)
    assert contents(tmp_path / "out") == {"a": "1"}


def test_a_kill_at_any_rename_leaves_what_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops before each rename and each removal in turn; what others keep in the folder is there all the time."""
    for beside in (False, True):
        for stop in range(100):
            folder = tmp_path / f"{beside}-{stop}"
            make(folder, {"a": "1", "b": "1"})
            if beside:
                (folder / "out" / "notes").write_text("precious")
            calls = 0

            def counted(path: Path, *rest: Any, do: Any, **options: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls > stop:  # noqa: B023
                    raise KeyboardInterrupt
                return do(path, *rest, **options)

            with monkeypatch.context() as patch:
                for name in ("replace", "rename", "unlink"):
                    patch.setattr(Path, name, functools.partialmethod(counted, do=getattr(Path, name)))
                try:
                    make(folder, {"b": "2", "c": "2"})
                    done = True
                except KeyboardInterrupt:
                    done = False
            make(folder, {"b": "2", "c": "2"}, "redo")
            assert contents(folder / "out") == {"b": "2", "c": "2", **({"notes": "precious"} if beside else {})}
            assert {path.name for path in folder.iterdir()} == {"out", "stages"}
            if done:
                assert stop > 4
                break


def test_a_file_that_came_after_a_kill_is_not_ours(tmp_path: Path, copy: Copy) -> None:
    with pytest.raises(KeyboardInterrupt):

        def stop() -> None:
            raise KeyboardInterrupt

        make(tmp_path, {"a": "1"}, then=stop)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("precious")
    with pytest.raises(SmolfastError, match="no record"):
        make(tmp_path, {"a": "1"})
    assert contents(tmp_path / "out") == {"a": "precious"}


def test_a_record_of_an_earlier_layout_says_what_to_do(copy: Copy) -> None:
    copy.run()
    record = copy.folder / "stages" / "copy.json"
    manifest = json.loads(record.read_text())
    del manifest["output"]["files"]
    record.write_text(json.dumps(manifest))
    with pytest.raises(SmolfastError, match=r"copy\.json is the record of an earlier version.*; move it and out\.txt"):
        copy.run()
    for path in (record, copy.folder / "out.txt"):  # the remedy
        path.rename(path.with_suffix(".moved"))
    copy.run()
    assert (copy.folder / "out.txt").read_text() == "ABC"


def test_names_of_what_is_under_way_are_taken(tmp_path: Path) -> None:
    stage = Stage("copy", {}, tmp_path / "out.started", {}, lambda path, progress: {}, manifest="out.started")
    with pytest.raises(SmolfastError, match=r"a name that ends in \.started is smolfast's own; choose another output"):
        Runner(tmp_path / "stages", Console(io.StringIO())).run(stage)

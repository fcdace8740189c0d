"""Files are whole or absent."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Collection
from pathlib import Path

import pytest
import xxhash

from smolfast import SmolfastError
from smolfast.files import (
    atomic_path,
    describe_os_error,
    fingerprint,
    names_below,
    read_json,
    remove_names,
    write_json,
    write_text,
)


def test_write_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    write_text(target, "one")
    write_text(target, "two é")
    assert target.read_text(encoding="utf-8") == "two é"
    assert [p.name for p in target.parent.iterdir()] == ["a.txt"]


def test_json_has_no_word_for_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"loss": float("nan"), "losses": {"a": (1.5, float("-inf"))}, "n": 2})
    text = (tmp_path / "a.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert read_json(tmp_path / "a.json") == {"loss": None, "losses": {"a": [1.5, None]}, "n": 2}


def test_error_in_the_block_keeps_what_stood(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def make(target: Path, *names: str, replaces: Collection[str] | None = None) -> None:
    with atomic_path(target, replaces) as temporary:
        for name in names:
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).write_text("new")


def contents(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in names_below(folder)}


def test_of_a_folder_goes_only_what_may_be_replaced(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    make(target, "first", "deep/first")
    make(target, "second", "deep/second", replaces=["first", "deep/first"])
    assert contents(target) == {"second": "new", "deep/second": "new"}
    (target / "deep" / "notes").write_text("precious")
    make(target, "third", replaces=["second", "deep/second"])
    assert contents(target) == {"third": "new", "deep/notes": "precious"}
    make(target, "fourth")
    assert contents(target) == {"third": "new", "fourth": "new", "deep/notes": "precious"}
    for name in ("deep", "deep/notes", "deep/notes/below"):
        with pytest.raises(SmolfastError, match=r"deep/notes is in the way.*move it, or choose another output"):
            make(target, "third", name, replaces=["third", "fourth"])
    assert contents(target) == {"third": "new", "fourth": "new", "deep/notes": "precious"}
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_folder_that_became_a_link_leads_to_nothing_that_is_deleted(tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    make(target, "model/weights")
    (target / "model").rename(elsewhere)
    (target / "model").symlink_to(elsewhere)
    remove_names(target, ["model/weights"])
    with pytest.raises(SmolfastError, match="model is in the way"):
        make(target, "model/weights", "config", replaces=["model/weights"])
    assert (elsewhere / "weights").read_text() == "new"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    for name in ("file", "folder"):
        (tmp_path / name).symlink_to(tmp_path / "disk" / name)
    write_text(tmp_path / "file", "one")
    make(tmp_path / "folder", "a")
    make(tmp_path / "folder", "b", replaces=["a"])
    assert contents(tmp_path / "disk") == {"file": "one", "folder/b": "new"}
    assert (tmp_path / "file").is_symlink() and (tmp_path / "folder").is_symlink()


def test_folder_killed_between_the_renames_comes_back(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    old = tmp_path / ".folder.smolfast-old"
    old.mkdir()
    (old / "kept").write_text("kept")
    with pytest.raises(RuntimeError), atomic_path(target):
        raise RuntimeError
    assert (target / "kept").read_text() == "kept"


def test_names_of_others_that_look_like_temporary_ones_are_left_alone(tmp_path: Path) -> None:
    for name in ("folder.old", "folder.partial", "folder.old.old"):
        make(tmp_path / name, "precious")
    make(tmp_path / "folder", "a")
    make(tmp_path / "folder", "b", replaces=["a"])
    assert names_below(tmp_path) == {
        "folder/b", "folder.old/precious", "folder.partial/precious", "folder.old.old/precious"
    }  # fmt: skip


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "x" * 243 + ".jsonl.gz"])
def test_names_as_long_as_the_system_allows(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "text")
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("name", "what"), [("x" * 256, "the name is too long; choose a shorter one"), ("a\0b", "choose another path")]
)
def test_names_that_no_file_can_have(tmp_path: Path, name: str, what: str) -> None:
    with pytest.raises(SmolfastError, match=what) as error:
        write_text(tmp_path / name, "text")
    assert "\n" not in str(error.value) and "partial" not in str(error.value)


def test_disk_full_names_file_and_remedy_and_keeps_the_old(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(SmolfastError, match=r"can't write .*a\.txt: the disk is full; free space"), atomic_path(target):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert target.read_text() == "old"


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SmolfastError, match="choose another path"):
        write_text(tmp_path / "file" / "a.txt", "")


def test_fingerprint_is_xxh3_of_the_bytes(tmp_path: Path) -> None:
    data = hashlib.sha256(b"seed").digest() * 100_000
    (tmp_path / "a").write_bytes(data)
    assert fingerprint(tmp_path / "a") == xxhash.xxh3_128_hexdigest(data)


def test_folder_fingerprint_sees_names_and_contents(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    (folder / "x").mkdir(parents=True)
    (folder / "x" / "a").write_text("1")
    seen = {fingerprint(folder)}
    (folder / "x" / "a").write_text("2")
    seen.add(fingerprint(folder))
    (folder / "x" / "a").rename(folder / "x" / "b")
    seen.add(fingerprint(folder))
    assert len(seen) == 3


def test_json_round_trip_and_errors(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"é": [1, None]})
    assert read_json(tmp_path / "a.json") == {"é": [1, None]}
    with pytest.raises(SmolfastError, match="no such file"):
        read_json(tmp_path / "missing.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(SmolfastError, match="delete it and run again"):
        read_json(tmp_path / "bad.json")


def test_folder_fingerprint_follows_links_as_reading_does(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "a").write_text("1")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to("../far")
    (folder / "loop").symlink_to(".")
    (folder / "above").symlink_to("..")
    first = fingerprint(folder)
    (tmp_path / "far" / "a").write_text("2")
    assert fingerprint(folder) != first
    (tmp_path / "far" / "a").write_text("1")
    assert fingerprint(folder) == first


def test_where_nothing_can_be_moved_to_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mounted").mkdir()
    monkeypatch.setattr("os.path.ismount", lambda path: Path(path).name == "mounted")
    with (
        pytest.raises(SmolfastError, match="mounted: it is the root of another disk; choose a folder in it"),
        atomic_path(tmp_path / "mounted"),
    ):
        raise AssertionError("the block ran")
    write_text(tmp_path / "mounted" / "a", "fine")


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EFBIG, errno.ENOSPC, errno.EROFS, errno.ENAMETOOLONG])
def test_errors_of_disks_have_a_remedy(number: int) -> None:
    assert "; " in describe_os_error(OSError(number, "x"))

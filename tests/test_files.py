"""Files are whole or absent."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import pytest
import xxhash

from smolfast import SmolfastError
from smolfast.files import atomic_path, fingerprint, read_json, write_json, write_text


def test_write_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    write_text(target, "one")
    write_text(target, "two é")
    assert target.read_text(encoding="utf-8") == "two é"
    assert [p.name for p in target.parent.iterdir()] == ["a.txt"]


def test_error_in_the_block_keeps_what_stood(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    for name in ("first", "second"):
        with atomic_path(target) as temporary:
            (temporary / "deep").mkdir(parents=True)
            (temporary / "deep" / name).write_text(name)
    assert [p.name for p in (target / "deep").iterdir()] == ["second"]
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_folder_killed_between_the_renames_comes_back(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    old = tmp_path / "folder.old"
    old.mkdir()
    (old / "kept").write_text("kept")
    with pytest.raises(RuntimeError), atomic_path(target):
        raise RuntimeError
    assert (target / "kept").read_text() == "kept"


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

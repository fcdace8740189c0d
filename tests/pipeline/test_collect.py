"""collect.py: the user's files, and an even, repeatable sample of a Python installation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("pydantic")

from smolfast.config import CollectConfig
from smolfast.errors import SmolfastError
from smolfast.io.stores.changes import stat_source
from smolfast.pipeline.collect import SCHEMA, collect, list_inputs, signature

EVERYTHING = CollectConfig(max_bytes=1 << 40, min_document_bytes=0, max_document_bytes=1 << 40)
NO_SKIPS = {
    "skipped_not_utf8": 0,
    "skipped_too_short": 0,
    "skipped_too_long": 0,
    "skipped_table": 0,
    "skipped_unreadable": 0,
    "skipped_package_cap": 0,
}


def read(folder: Path) -> dict[str, str]:
    table = pq.read_table(folder / "documents.parquet")
    assert table.schema == SCHEMA
    ids = table.column("id").to_pylist()
    assert len(set(ids)) == len(ids)
    return dict(zip(ids, table.column("text").to_pylist(), strict=True))


def prose(words: int, seed: int = 0) -> str:
    return " ".join(f"word{(seed + 1) * (index + 3) % 97}" for index in range(words))


# The user's files


def test_files_of_every_kind(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one é")
    (tmp_path / "b.jsonl").write_text('{"text": "two"}\n{"text": "three"}\n')
    pq.write_table(pa.table({"id": [7, 8], "text": ["four", "five"], "n": [1, 2]}), tmp_path / "c.parquet")
    (tmp_path / "d.jsonl").write_text('{"id": "x", "text": "six"}\n{"id": null, "text": "seven"}\n')
    notes: list[tuple[float, float, str]] = []
    summary = collect(list_inputs([tmp_path]), tmp_path / "out", EVERYTHING, progress=lambda *note: notes.append(note))
    table = pq.read_table(tmp_path / "out" / "documents.parquet")
    assert table.schema == SCHEMA
    assert table.to_pylist() == [
        {"id": str(tmp_path / "a.txt"), "text": "one é"},
        {"id": str(tmp_path / "b.jsonl") + ":0", "text": "two"},
        {"id": str(tmp_path / "b.jsonl") + ":1", "text": "three"},
        {"id": "7", "text": "four"},
        {"id": "8", "text": "five"},
        {"id": "x", "text": "six"},
        {"id": str(tmp_path / "d.jsonl") + ":1", "text": "seven"},
    ]
    size = len("one étwothreefourfivesixseven".encode())
    counts = {"documents_in": 7, "bytes_in": size, "documents_out": 7, "bytes_out": size}
    assert summary == {**counts, "full": False, **NO_SKIPS}
    assert notes[-1] == (size, 1 << 40, "7 documents")


def test_ids_that_are_none(tmp_path: Path) -> None:
    for number, ids in enumerate([[b"\xff"], [["a"]], [1.5]]):
        pq.write_table(pa.table({"id": ids, "text": ["t"]}), tmp_path / f"{number}.parquet")
        collect(list_inputs([tmp_path / f"{number}.parquet"]), tmp_path / "out", EVERYTHING)
        assert read(tmp_path / "out") == {str(tmp_path / f"{number}.parquet:0"): "t"}


def test_file_name_that_is_not_utf8(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "in")
    os.mkdir(folder)  # noqa: PTH102
    with open(folder + b"/caf\xe9.txt", "w") as file:  # noqa: PTH123
        file.write("hi")
    with open(folder + b"/d\xe9.jsonl", "w") as file:  # noqa: PTH123
        file.write('{"text": "ho"}')
    inputs = list_inputs([tmp_path / "in"])
    assert signature(inputs)
    collect(inputs, tmp_path / "out", EVERYTHING)
    assert list(read(tmp_path / "out")) == [
        str(tmp_path / "in" / "caf\ufffd.txt"),
        str(tmp_path / "in" / "d\ufffd.jsonl:0"),
    ]


def test_another_text_column(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "the text", "text": "no"}\n')
    collect(list_inputs([tmp_path / "a.jsonl"]), tmp_path / "out", EVERYTHING, text_column="id")
    assert list(read(tmp_path / "out").values()) == ["the text"]


@pytest.mark.parametrize("kind", ["one file", "a file each"])
def test_sizes(tmp_path: Path, kind: str) -> None:
    sizes = [5, 100, 10, 300, 9, 50, 60, 70, 20, 11]
    texts = ["x" * size for size in sizes]
    folder = tmp_path / "in"
    folder.mkdir()
    if kind == "one file":
        (folder / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    else:
        for index, text in enumerate(texts):
            (folder / f"{index}.txt").write_text(text)
    config = CollectConfig(max_bytes=290, min_document_bytes=10, max_document_bytes=100)
    summary = collect(list_inputs([folder]), tmp_path / "out", config)
    # 5 and 9 are too short, 300 too long; 100 + 10 + 50 + 60 + 70 reach 290 exactly, so that 20 ends it.
    assert [len(text) for text in read(tmp_path / "out").values()] == [100, 10, 50, 60, 70]
    assert summary == {
        **NO_SKIPS,
        "documents_in": 8,
        "bytes_in": sum(sizes[:8]),
        "documents_out": 5,
        "bytes_out": 290,
        "full": True,
        "skipped_too_short": 2,
        "skipped_too_long": 1,
    }


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    (tmp_path / "b.txt").write_bytes(b"fine")
    inputs = list_inputs([tmp_path / "a.txt", tmp_path / "b.txt"])
    with pytest.raises(SmolfastError, match=r"a\.txt: not UTF-8 at byte 3"):
        collect(inputs, tmp_path / "out", EVERYTHING)
    assert list((tmp_path / "out").iterdir()) == []
    assert collect(inputs, tmp_path / "out", EVERYTHING, errors="skip")["skipped_not_utf8"] == 1
    assert list(read(tmp_path / "out").values()) == ["fine"]
    assert collect(inputs, tmp_path / "out", EVERYTHING, errors="replace")["skipped_not_utf8"] == 0
    assert list(read(tmp_path / "out").values()) == ["caf\ufffd", "fine"]


def test_nothing_left(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("short")
    with pytest.raises(SmolfastError, match="no documents to collect: 1 looked at") as error:
        collect(list_inputs([tmp_path / "a.txt"]), tmp_path / "out", CollectConfig())
    assert "change collect.min_document_bytes" in str(error.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_signature_follows_the_files(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one")
    seen = {signature(list_inputs([tmp_path]))}
    assert signature(list_inputs([tmp_path])) in seen
    file.write_text("longer")
    seen.add(signature(list_inputs([tmp_path])))
    (tmp_path / "b.txt").write_text("two")
    seen.add(signature(list_inputs([tmp_path])))
    file.unlink()
    seen.add(signature(list_inputs([tmp_path])))
    assert len(seen) == 4


def test_signature_of_a_file_that_went_away(tmp_path: Path) -> None:
    with pytest.raises(SmolfastError, match=r"gone\.txt: no such file"):
        stat_source(str(tmp_path / "gone.txt"))


def test_signature_of_urls() -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pipe("/x/a.txt", b"one")
    before = signature(list_inputs(["memory://x"]))
    memory.pipe("/x/a.txt", b"other")
    assert signature(list_inputs(["memory://x"])) != before


# A made-up installation


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten small packages and a giant one beside a standard library; the packages' folder lies below the library's."""
    library = tmp_path / "lib"
    packages = library / "site-packages"
    monkeypatch.setattr(
        sysconfig, "get_paths", lambda: {"stdlib": str(library), "purelib": str(packages), "platlib": str(packages)}
    )
    for module in range(30):
        put(library / "json" / f"m{module}.py", prose(40, module))
    for package in range(10):
        for module in range(20):
            put(packages / f"p{package}" / "sub" / f"p{package}m{module}.py", prose(40, package * 100 + module))
            put(packages / f"p{package}" / "_vendor" / f"v{module}.py", prose(40, module) + f"\n# p{package}\n")
    for module in range(2000):
        put(packages / "giant" / f"g{module}.py", prose(40, module))
    return tmp_path


def put(path: Path, data: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def test_installation_whole(installation: Path) -> None:
    packages = installation / "lib" / "site-packages"
    for name, data in {
        "a/README.md": prose(40),
        "a/notes.rst": prose(41),
        "a/words.txt": prose(42),
        "a/latin.py": b"# caf\xe9 " + prose(40).encode(),
        "a/bom.py": b"\xef\xbb\xbf# with a mark " + prose(40).encode(),
        "a/table.py": "TABLE = [" + ", ".join(str(index) for index in range(500)) + "]",
        "a/short.py": "x = 1\n",
        "a/long.py": prose(50_000),
        "a/module.pyc": prose(40),
        "a/data.json": prose(40),
        "a/__pycache__/cached.py": prose(40),
        "a-1.0.dist-info/RECORD": prose(40),
        "__editable___a_finder.py": prose(40),
        "_smolfast_editable.py": prose(40),
        "smolfast/cli.py": prose(40),
        "smolfast-0.1.dist-info/LICENSE.txt": prose(40),
        "../_sysconfigdata__linux.py": prose(40),
    }.items():
        put(packages / name, data)
    (packages / "a" / "gone.py").symlink_to(packages / "nowhere.py")
    config = CollectConfig(max_bytes=1 << 40)
    summary = collect(None, installation / "out", config)
    documents = read(installation / "out")
    new = {name for name in documents if name.startswith("site-packages/a/")}
    assert new == {f"site-packages/a/{name}" for name in ("README.md", "notes.rst", "words.txt", "bom.py")}
    assert len(documents) == 30 + 400 + 2000 + 4
    assert documents["site-packages/a/bom.py"].startswith("# with a mark")
    assert documents["stdlib/json/m0.py"] == prose(40)
    assert not [name for name in documents if str(installation) in name or "\\" in name]
    assert summary == {
        **NO_SKIPS,
        "documents_in": len(documents) + 4,
        "bytes_in": summary["bytes_in"],
        "documents_out": len(documents),
        "bytes_out": sum(len(text.encode()) for text in documents.values()),
        "full": False,
        "skipped_not_utf8": 1,
        "skipped_table": 1,
        "skipped_too_short": 1,
        "skipped_too_long": 1,
    }


def test_installation_sample(installation: Path) -> None:
    size = len(prose(40))
    config = CollectConfig(max_bytes=160 * size)
    summary = collect(list_inputs([]), installation / "out", config)
    documents = read(installation / "out")
    assert summary["full"] and 155 * size < summary["bytes_out"] <= 160 * size
    packages = Counter("/".join(name.split("/")[:2]) for name in documents)
    assert set(packages) == {"stdlib/json", "site-packages/giant", *(f"site-packages/p{i}" for i in range(10))}
    # Four of five files are the giant's, but an eighth of the bytes is what it gets.
    assert packages["site-packages/giant"] <= 20
    assert summary["skipped_package_cap"] > 200
    # Copies of a file come together: near-duplicates survive the sampling.
    copies = defaultdict(set)
    for name in documents:
        if "_vendor" in name:
            copies[name.rsplit("/", 1)[1]].add(name.split("/")[1])
    complete = [module for module, where in copies.items() if len(where) == 10]
    assert len(complete) >= max(4, len(copies) - 1)  # all but the one at which the sample ends


def test_installation_sample_repeats(installation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = CollectConfig(max_bytes=20_000)
    collect(None, installation / "one", config)
    before = signature(list_inputs([]))
    collect(None, installation / "two", config)
    assert signature(list_inputs([])) == before
    # Elsewhere on the disk, listed by the file system in another order: the same bytes.
    moved = installation / "elsewhere"
    (installation / "lib").rename(moved)
    paths = {"stdlib": str(moved), "purelib": str(moved / "site-packages"), "platlib": str(moved / "site-packages")}
    monkeypatch.setattr(sysconfig, "get_paths", lambda: paths)
    walk = os.walk

    def backwards(*arguments: Any) -> Any:
        for folder, subfolders, files in walk(*arguments):
            subfolders.reverse()
            yield folder, subfolders, files[::-1]

    monkeypatch.setattr(os, "walk", backwards)
    collect(None, installation / "three", config)
    made = [(installation / name / "documents.parquet").read_bytes() for name in ("one", "two", "three")]
    assert made[0] == made[1] == made[2]


def test_installation_file_that_can_not_be_read(installation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = list_inputs([])
    Path(inputs[0].source.path).unlink()
    summary = collect(inputs, installation / "out", EVERYTHING)
    assert summary["skipped_unreadable"] == 1
    assert summary["documents_out"] == len(inputs) - 1


def test_no_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = str(tmp_path / "nowhere")
    monkeypatch.setattr(sysconfig, "get_paths", lambda: dict.fromkeys(("stdlib", "purelib", "platlib"), nowhere))
    with pytest.raises(SmolfastError, match="holds no source files or documentation; name files to read"):
        list_inputs([])


# This installation


def test_this_installation(tmp_path: Path) -> None:
    config = CollectConfig(max_bytes=3_000_000)
    summary = collect(None, tmp_path / "out", config)
    documents = read(tmp_path / "out")
    assert 2_500_000 < summary["bytes_out"] <= 3_000_000
    assert summary["bytes_out"] == sum(len(text.encode()) for text in documents.values())
    assert {name.split("/")[0] for name in documents} == {"stdlib", "site-packages"}
    library = Path(sysconfig.get_paths()["stdlib"])
    name = next(name for name in documents if name.startswith("stdlib/") and name.endswith(".py"))
    assert documents[name] == (library / name.removeprefix("stdlib/")).read_bytes().decode("utf-8-sig")
    # Another process finds the same.
    code = (
        "import sys; from smolfast.pipeline.collect import collect; from smolfast.config import CollectConfig; "
        "collect(None, sys.argv[1], CollectConfig(max_bytes=3_000_000))"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "again"], check=True)
    again = (tmp_path / "again" / "documents.parquet").read_bytes()
    assert again == (tmp_path / "out" / "documents.parquet").read_bytes()

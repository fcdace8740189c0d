"""sources.py: what is found in folders and by globs, and what is passed over and said so."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolfast.commands.main import main
from smolfast.dedup import deduplicate
from smolfast.errors import SmolfastError
from smolfast.io.documents import find_sources, read_batches

LINE = '{"text": "a document of some length, long enough to be kept by each of the stages that there are"}\n'


def tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(LINE)
    return root


def found(*inputs: Path | str, root: Path, strict: bool = False) -> tuple[list[str], dict[str, str]]:
    sources = find_sources(inputs, strict=strict)

    def inner(path: str) -> str:
        return str(Path(path).relative_to(root))

    return [inner(source.path) for source in sources], {inner(p.path): p.reason for p in sources.passed_over}


def test_every_kind_with_every_compression(tmp_path: Path) -> None:
    plain = ("txt", "jsonl", "ndjson", "json", "csv", "tsv", "md", "rst", "py")
    for suffix in plain:
        for packed in ("", ".gz", ".zst", ".zstd", ".bz2", ".xz"):
            name = tmp_path / f"A.{suffix.upper()}{packed}"
            name.touch()
            (source,) = find_sources([name])
            kinds = {"jsonl": "jsonl", "ndjson": "jsonl", "json": "json", "csv": "csv", "tsv": "tsv"}
            assert source.kind == kinds.get(suffix, "text")


def test_a_hub_snapshot(tmp_path: Path) -> None:
    """Links into blobs whose names have no suffix; the card, the licence and the settings aren't documents."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    (snapshot / "data").mkdir(parents=True)
    blobs.mkdir()
    pq.write_table(pa.table({"text": ["one"]}), blobs / "1f")
    (snapshot / "data" / "train-00000-of-00001.parquet").symlink_to("../../../blobs/1f")
    tree(snapshot, "README.md", ".gitattributes", "dataset_infos.json", "LICENSE", "data.py", ".cache/x.jsonl")
    sources = find_sources([snapshot])
    assert [row for batch in read_batches(sources[0]) for row in batch.to_pylist()] == [{"text": "one"}]
    assert found(snapshot, root=snapshot) == (
        ["data/train-00000-of-00001.parquet"],
        {
            ".cache": "hidden",
            ".gitattributes": "hidden",
            "LICENSE": "of an unknown kind",
            "dataset_infos.json": "about data",
            "README.md": "text beside files of data",
            "data.py": "text beside files of data",
        },
    )


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (("README.md", "a.md", "b/c.py"), ("README.md", "a.md", "b/c.py")),
        (("README.md", "a.csv"), ("a.csv",)),
        (("a.txt", "metadata.csv", "more/notes.tsv"), ("a.txt",)),
        (("books/a.md", "web/b.jsonl"), ("books/a.md", "web/b.jsonl")),
        (("a.txt", "README.txt", "b.jsonl"), ("a.txt", "b.jsonl")),
        (
            ("c4.00000.json.gz", "c4.00001.json.gz", "x.jsonl.gz"),
            ("c4.00000.json.gz", "c4.00001.json.gz", "x.jsonl.gz"),
        ),
        (("rows.json",), ("rows.json",)),
    ],
)
def test_what_is_documents(tmp_path: Path, names: tuple[str, ...], read: tuple[str, ...]) -> None:
    tree(tmp_path, *names)
    files, passed = found(tmp_path, root=tmp_path)
    assert tuple(files) == read
    assert set(files) | set(passed) == set(names)
    # What is named is read all the same.
    assert len(find_sources([tmp_path / name for name in names])) == len(names)


def test_json_that_is_no_rows(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{\n  "a": 1\n}\n')
    (tmp_path / "numbers.json").write_text("[1, 2]")
    (tmp_path / "list.json").write_text('\n [\n {"text": "a"}]')
    (tmp_path / "wide.json").write_bytes(b"\xff\xfe" + '{"text": "a"}'.encode("utf-16-le"))
    assert found(tmp_path, root=tmp_path) == (
        ["list.json", "wide.json"],
        {"numbers.json": "JSON without rows", "settings.json": "JSON without rows"},
    )


def test_links(tmp_path: Path) -> None:
    """Folders are entered through links, each once; neither a loop nor a link upwards leads anywhere."""
    root, elsewhere = tree(tmp_path / "root", "a/x.jsonl"), tree(tmp_path / "elsewhere", "y.jsonl", "deep/z.jsonl")
    (root / "b").symlink_to(elsewhere)
    (root / "c").symlink_to(elsewhere)
    (root / "a" / "loop").symlink_to(root)
    (elsewhere / "deep" / "loop").symlink_to(elsewhere)
    (root / "up").symlink_to(tmp_path)
    (root / "broken.jsonl").symlink_to("nowhere")
    want = ["a/x.jsonl", "b/deep/z.jsonl", "b/y.jsonl"]
    passed = {"up": "a link to a folder above", "broken.jsonl": "a broken link or no file"}
    assert found(root, root=root) == (want, passed)
    for pattern in ("**", "**/*.jsonl", "**/*"):
        assert found(f"{root}/{pattern}", root=root)[0] == want


def test_globs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "a.jsonl", "b.jsonl", "[a].jsonl", "*.jsonl", "d/e.jsonl", "d/README.md", ".h.jsonl", "d/f/g.ndjson")
    monkeypatch.chdir(tmp_path)
    assert [s.path for s in find_sources(["*.jsonl"])] == ["*.jsonl"]  # a file has just that name
    assert [s.path for s in find_sources(["[a].jsonl"])] == ["[a].jsonl"]
    assert [s.path for s in find_sources(["[ab].jsonl"])] == ["a.jsonl", "b.jsonl"]
    assert [s.path for s in find_sources(["?.jsonl", "a.jsonl"])] == ["*.jsonl", "a.jsonl", "b.jsonl"]
    assert [s.path for s in find_sources(["d/*"])] == ["d/e.jsonl", "d/f/g.ndjson"]
    assert [s.path for s in find_sources(["d/*.md"])] == ["d/README.md"]
    assert [s.path for s in find_sources(["**/*.ndjson"])] == ["d/f/g.ndjson"]
    assert [s.path for s in find_sources(["d/**/*.jsonl"])] == ["d/e.jsonl"]
    assert [s.path for s in find_sources(["**/[!e]*.jsonl"])] == ["*.jsonl", "[a].jsonl", "a.jsonl", "b.jsonl"]
    for pattern in ("d/*.parquet", "nowhere/**", "[z]*"):
        with pytest.raises(SmolfastError, match=r"no file matches .*; check the pattern"):
            find_sources([pattern])


def test_globs_of_urls() -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    for name in ("a.jsonl", "b.jsonl", "README.md", "sub/c.jsonl", ".x.smolfast-partial"):
        memory.pipe(f"/globs/{name}", LINE.encode())
    assert [s.path for s in find_sources(["memory://globs/*.jsonl"])] == [
        "memory:///globs/a.jsonl",
        "memory:///globs/b.jsonl",
    ]
    (batch,) = read_batches(find_sources(["memory://globs/**/c.jsonl"])[0])
    assert batch.num_rows == 1
    with pytest.raises(SmolfastError, match="no file matches memory://globs/"):
        find_sources(["memory://globs/*.parquet"])
    passed = {p.path: p.reason for p in find_sources(["memory://globs"]).passed_over}
    assert passed == {
        "memory://globs/README.md": "text beside files of data",
        "memory://globs/.x.smolfast-partial": "unfinished",
    }


def test_unfinished_output_is_never_read(tmp_path: Path) -> None:
    tree(tmp_path, "a.jsonl", ".out.smolfast-partial/documents.jsonl", ".b.jsonl.smolfast-partial", ".smolfast/x.jsonl")
    passed = {".out.smolfast-partial": "unfinished", ".b.jsonl.smolfast-partial": "unfinished"}
    assert found(tmp_path, root=tmp_path) == (["a.jsonl"], passed)
    assert [s.path for s in find_sources([f"{tmp_path}/*"])] == [str(tmp_path / "a.jsonl")]


def test_strict_and_what_commands_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tree(tmp_path / "in", "a.jsonl", "old.doc", "b.jsonl")
    (folder / "b.jsonl").write_text(LINE.replace("document", "second file"))
    commands = [
        ["normalize", str(folder), "-o", str(tmp_path / "n")],
        ["dedup", str(folder), "-o", str(tmp_path / "d")],
        ["collect", str(folder), "-o", str(tmp_path / "c")],
    ]
    for command in commands:
        assert main([*command, "--json", "--quiet"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["passed_over"] == 1
        assert result["passed_over_files"] == f"1 of an unknown kind ({folder / 'old.doc'})"
        # Finished or not, and whether or not there is nothing to do.
        assert main([*command, "--quiet", "--strict"]) == 2
        error = capsys.readouterr().err
        assert "--strict: not all files are read: 1 of an unknown kind" in error and "old.doc" in error
    assert main(["quickstart", "--input", str(folder), "--out", str(tmp_path / "q"), "--strict", "--quiet"]) == 2
    assert "old.doc" in capsys.readouterr().err
    (folder / "old.doc").rename(folder / ".old.doc")
    assert main([*commands[0], "--quiet", "--strict"]) == 2  # the output is of another input
    assert main([*commands[0], "--quiet", "--strict", "--overwrite"]) == 0
    assert deduplicate([folder], tmp_path / "e", strict=True).passed_over == 1


def test_globs_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tree(tmp_path / "in", "a.jsonl", "b/c.jsonl")
    assert main(["normalize", f"{folder}/**/*.jsonl", "-o", str(tmp_path / "n"), "--quiet"]) == 0
    assert sorted(path.name for path in (tmp_path / "n").rglob("*.jsonl")) == ["a.jsonl", "c.jsonl"]
    assert main(["dedup", f"{folder}/*.jsonl", "-o", str(tmp_path / "d"), "--quiet"]) == 0
    assert main(["normalize", f"{folder}/*.parquet", "-o", str(tmp_path / "m"), "--quiet"]) == 2
    assert "no file matches" in capsys.readouterr().err


def test_many_are_counted_and_a_few_named(tmp_path: Path) -> None:
    folder = tree(tmp_path, "a.jsonl", *(f"{n}.doc" for n in range(9)), "x\n.pdf")
    said = find_sources([folder]).summary()
    assert said["passed_over"] == 10
    assert said["passed_over_files"].endswith("and 5 more)") and "\n" not in said["passed_over_files"]

"""documents.py: every format in, every kind of broken input."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smolfast.errors import SmolfastError
from smolfast.io.documents import BatchWriter, Source, find_sources, read_batches

TEXTS = ["plain", "", "naïve 日本語 😀", "two\nlines\r\n", "\u2028 separators \x00 kept"]


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


def rows(source: Source | Path, **options: Any) -> list[dict[str, Any]]:
    if isinstance(source, Path):
        (source,) = find_sources([source])
    return [row for batch in read_batches(source, **options) for row in batch.to_pylist()]


def write_parquet(path: Path, table: pa.Table, **options: Any) -> Path:
    pq.write_table(table, path, **options)
    return path


def raw_strings(values: list[bytes | None], type_: pa.DataType) -> pa.Array:
    """Strings whose bytes need not be UTF-8, as a careless writer makes them."""
    binary = pa.array(values, pa.large_binary() if type_ == pa.large_string() else pa.binary())
    return pa.Array.from_buffers(type_, len(binary), binary.buffers(), binary.null_count)


def one_line(error: pytest.ExceptionInfo[SmolfastError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


# Finding files


def test_folders_are_walked_in_order_and_hidden_files_passed_over(tmp_path: Path) -> None:
    for name in ["b.txt", "a/z.md", "a/b/c.jsonl.gz", "a-b.py", "c.parquet", "d.rst", "e.jsonl", "f.jsonl.zst"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in [".git/x.txt", "a/.hidden.txt", "image.png", "a/noise"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    sources = find_sources([tmp_path])
    assert [(str(Path(s.path).relative_to(tmp_path)), s.kind) for s in sources] == [
        ("a/b/c.jsonl.gz", "jsonl"),
        ("b.txt", "text"),
        ("c.parquet", "parquet"),
        ("e.jsonl", "jsonl"),
        ("f.jsonl.zst", "jsonl"),
    ]
    assert {str(Path(p.path).relative_to(tmp_path)): p.reason for p in sources.passed_over} == {
        ".git": "hidden",
        "a/.hidden.txt": "hidden",
        "image.png": "of an unknown kind",
        "a/noise": "of an unknown kind",
        "a/z.md": "text beside files of data",
        "a-b.py": "text beside files of data",
        "d.rst": "text beside files of data",
    }


def test_inputs_keep_their_order_and_repeats_are_read_once(tmp_path: Path) -> None:
    for name in ["a.txt", "b.txt"]:
        (tmp_path / name).touch()
    found = find_sources([tmp_path / "b.txt", tmp_path, str(tmp_path / "b.txt")])
    assert [Path(s.path).name for s in found] == ["b.txt", "a.txt"]


def test_relative_paths_stay_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("hi")
    monkeypatch.chdir(tmp_path)
    assert find_sources(["docs"]) == [Source("docs/a.txt", "text")]
    assert rows(Source("docs/a.txt", "text")) == [{"id": "docs/a.txt", "text": "hi"}]


def test_missing_path(tmp_path: Path) -> None:
    with pytest.raises(SmolfastError, match=r"nowhere\.txt.*no such file") as error:
        find_sources([tmp_path / "nowhere.txt"])
    assert "check the path" in one_line(error)


@pytest.mark.parametrize("name", ["a\0b.txt", "x" * 5000 + ".txt"])
def test_impossible_path(name: str) -> None:
    with pytest.raises(SmolfastError, match="can't read") as error:
        find_sources([name])
    one_line(error)


def test_no_input() -> None:
    with pytest.raises(SmolfastError, match="no input given"):
        find_sources([])


def test_one_path_instead_of_a_list() -> None:
    with pytest.raises(TypeError, match="list of paths"):
        find_sources("abc.txt")


@pytest.mark.parametrize("file", [None, "picture.png", ".txt"])
def test_folder_without_documents(tmp_path: Path, file: str | None) -> None:
    if file:
        (tmp_path / file).touch()
    with pytest.raises(SmolfastError, match=r"holds no file that ends in one of \.txt"):
        find_sources([tmp_path])


def test_unknown_suffix(tmp_path: Path) -> None:
    (tmp_path / "a.docx").touch()
    with pytest.raises(SmolfastError, match=r"a\.docx.*rename it to one of \.txt"):
        find_sources([tmp_path / "a.docx"])


def test_unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scandir(path: str) -> Iterator[Any]:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.scandir", scandir)
    with pytest.raises(SmolfastError, match="permission denied"):
        find_sources([tmp_path])


# URLs


def test_memory_urls(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pipe("/bucket/b.txt", b"one")
    memory.pipe("/bucket/sub/a.jsonl.gz", gzip.compress(b'{"text": "two"}\n'))
    memory.pipe("/bucket/.hidden/a.txt", b"no")
    memory.pipe("/bucket/picture.png", b"no")
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": ["three"]}), buffer)
    memory.pipe("/bucket/c.parquet", buffer.getvalue())
    found = find_sources(["memory://bucket"])
    assert [s.path for s in found] == [
        "memory://bucket/b.txt",
        "memory://bucket/c.parquet",
        "memory://bucket/sub/a.jsonl.gz",
    ]
    assert [row["text"] for source in found for row in rows(source)] == ["one", "three", "two"]
    assert find_sources(["memory://bucket/b.txt"]) == [Source("memory://bucket/b.txt", "text")]
    with pytest.raises(SmolfastError, match=r"memory://nowhere.*no such file"):
        find_sources(["memory://nowhere"])
    (tmp_path / "local.txt").write_text("four")
    assert [r["text"] for s in find_sources([f"file://{tmp_path}/local.txt"]) for r in rows(s)] == ["four"]


def test_url_of_an_unknown_protocol() -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(SmolfastError, match="nonsense://x") as error:
        find_sources(["nonsense://x"])
    one_line(error)


def test_url_without_fsspec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(SmolfastError, match="needs fsspec; pip install fsspec"):
        find_sources(["s3://bucket/a.txt"])


def test_url_whose_backend_fails_in_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec")

    def info(self: Any, path: str, **options: Any) -> Any:
        raise RuntimeError("no\ncredentials")

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "info", info)
    with pytest.raises(SmolfastError, match="RuntimeError: no credentials"):
        find_sources(["memory://bucket/a.txt"])


# Text files


@pytest.mark.parametrize("text", TEXTS)
def test_text_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(text.encode())
    (batch,) = read_batches(Source(str(file), "text"), text_column="body")
    assert batch.schema == pa.schema([("id", pa.string()), ("body", pa.large_string())])
    assert batch.to_pylist() == [{"id": str(file), "body": text}]


def test_text_file_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"\xef\xbb\xbfhi")
    assert rows(file)[0]["text"] == "hi"


def test_text_file_not_utf8(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"caf\xe9 au lait")
    with pytest.raises(SmolfastError, match=r"a\.txt: not UTF-8 at byte 3 \(0xe9\)") as error:
        rows(file)
    assert "give --errors replace or --errors skip" in one_line(error)
    counts = Counter[str]()
    assert rows(file, errors="replace", counts=counts)[0]["text"] == "caf\ufffd au lait"
    assert rows(file, errors="skip", counts=counts) == []
    assert counts == {"replaced": 1, "skipped": 1}


def test_unknown_error_rule(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(SmolfastError, match="choose one of fail, replace, skip"):
        rows(tmp_path / "a.txt", errors="ignore")


def test_file_that_goes_away(tmp_path: Path) -> None:
    for kind in ("text", "jsonl", "parquet"):
        with pytest.raises(SmolfastError, match="no such file or folder"):
            rows(Source(str(tmp_path / "gone"), kind))  # type: ignore[arg-type]


# JSON lines

PACKERS: dict[str, Callable[[bytes], bytes]] = {".jsonl": bytes, ".jsonl.gz": gzip.compress, ".jsonl.zst": zstd}


def write_lines(path: Path, lines: list[str | bytes]) -> Path:
    data = b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines)
    path.write_bytes(PACKERS["".join(path.suffixes)](data))
    return path


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("batch_bytes", [1, 50, 1 << 20])
def test_json_lines(tmp_path: Path, suffix: str, batch_bytes: int) -> None:
    want = [{"id": str(i), "text": text, "n": i} for i, text in enumerate(TEXTS)]
    file = write_lines(tmp_path / f"a{suffix}", [json.dumps(row) for row in want])
    (source,) = find_sources([file])
    batches = list(read_batches(source, batch_bytes=batch_bytes))
    assert [row for batch in batches for row in batch.to_pylist()] == want
    assert {batch.schema for batch in batches} == {
        pa.schema([("id", pa.string()), ("text", pa.large_string()), ("n", pa.int64())])
    }
    assert (len(batches) > 1) == (batch_bytes < 100)


def test_json_lines_in_many_members(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"{i}"}).encode() + b"\n" for i in range(3)]
    (tmp_path / "a.jsonl.gz").write_bytes(b"".join(map(gzip.compress, lines)))
    (tmp_path / "a.jsonl.zst").write_bytes(b"".join(map(zstd, lines)))
    for suffix in (".jsonl.gz", ".jsonl.zst"):
        assert [r["text"] for r in rows(tmp_path / f"a{suffix}")] == ["0", "1", "2"]


def test_json_lines_layout(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n\r\n  \n{"text": "b"}')
    assert [r["text"] for r in rows(file)] == ["a", "b"]
    file.write_bytes(b"")
    assert rows(file) == []


def test_json_columns_get_one_type(tmp_path: Path) -> None:
    lines = [
        '{"text": "a", "i": 1, "f": 1, "b": true, "mixed": 1, "nested": {"k": ["é"]}, "nothing": null, "late": null}',
        '{"text": "b", "i": 2, "f": 0.5, "b": null, "mixed": "one", "nested": null, "late": "x"}',
    ]
    (batch,) = read_batches(Source(str(write_lines(tmp_path / "a.jsonl", lines)), "jsonl"))
    types = {field.name: str(field.type) for field in batch.schema}
    assert types == {
        "text": "large_string",
        "i": "int64",
        "f": "double",
        "b": "bool",
        "mixed": "string",
        "nested": "string",
        "nothing": "null",
        "late": "string",
    }
    assert batch.column("mixed").to_pylist() == ["1", "one"]
    assert batch.column("nested").to_pylist() == ['{"k": ["é"]}', None]
    assert batch.column("f").to_pylist() == [1.0, 0.5]


def test_json_some_columns(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", ['{"u": 1, "text": "a", "v": 2}', '{"text": "b", "w": 3}'])
    assert rows(file, columns=["v", "absent"], batch_bytes=1) == [{"text": "a", "v": 2}, {"text": "b", "v": None}]


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("errors", ["fail", "skip"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ('{"text": "b"', "line 2: not JSON"),
        ("nonsense", "line 2: not JSON"),
        ('{"text": "b"} x', "line 2: not JSON"),
        ('["b"]', "line 2: not a JSON object"),
        ('{"text": 7}', "line 2: 'text' is a int, not a string"),
        ("[" * 100_000, "line 2: "),
        ('{"text": "b", "n": ' + "9" * 5000 + "}", "line 2: "),
    ],
)
def test_json_broken_line(tmp_path: Path, suffix: str, errors: str, bad: str, message: str) -> None:
    file = write_lines(tmp_path / f"a{suffix}", ['{"text": "a"}', bad, '{"text": "c"}'])
    with pytest.raises(SmolfastError, match=message) as error:
        rows(file, errors=errors)
    assert file.name in one_line(error)


@pytest.mark.parametrize("bad", [b'{"text": "caf\xe9"}', b'{"text": "caf\\ud800"}'])
def test_json_not_utf8(tmp_path: Path, bad: bytes) -> None:
    file = write_lines(tmp_path / "a.jsonl", ['{"text": "a"}', "", bad, '{"text": "\\ud83d\\ude00"}'])
    with pytest.raises(SmolfastError, match=r"a\.jsonl, line 3: .*UTF-8.*give --errors replace"):
        rows(file)
    counts = Counter[str]()
    assert [r["text"] for r in rows(file, errors="replace", counts=counts)] == ["a", "caf\ufffd", "😀"]
    assert [r["text"] for r in rows(file, errors="skip", counts=counts)] == ["a", "😀"]
    assert counts == {"replaced": 1, "skipped": 1}


@pytest.mark.parametrize("bad", ['{"text": null}', '{"other": "x"}'])
def test_json_missing_text(tmp_path: Path, bad: str) -> None:
    file = write_lines(tmp_path / "a.jsonl", ['{"text": "a", "other": "y"}', bad])
    with pytest.raises(SmolfastError, match="line 2: the text is missing"):
        rows(file)
    assert [r["text"] for r in rows(file, errors="replace")] == ["a", ""]
    assert [r["text"] for r in rows(file, errors="skip")] == ["a"]


def test_json_no_text_column(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", ['{"body": "a", "title": "t"}'])
    with pytest.raises(SmolfastError, match=r"no column 'text'; give as --text-column one of .*: body, title"):
        rows(file)
    assert rows(file, text_column="body")[0]["body"] == "a"


def test_json_column_that_changes(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", ['{"text": "a", "n": 1}', '{"text": "b", "n": "one"}'])
    assert [r["n"] for r in rows(file)] == ["1", "one"]  # seen together: a string column
    assert [r["n"] for r in rows(file, batch_bytes=1)] == ["1", "one"]
    file = write_lines(tmp_path / "b.jsonl", ['{"text": "a"}', '{"text": "b", "n": 1}'])
    assert [r["n"] for r in rows(file, batch_bytes=1)] == [None, 1]


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst"])
def test_truncated_compression(tmp_path: Path, suffix: str) -> None:
    lines: list[str | bytes] = [json.dumps({"text": f"document {i} {i * 0x9E3779B97F4A7C15}"}) for i in range(200)]
    file = write_lines(tmp_path / f"a{suffix}", lines)
    whole = file.read_bytes()
    for length in (0, 1, 10, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(SmolfastError, match="make or download it again") as error:
            rows(file)
        assert file.name in one_line(error)
    # Past its header, a zstd frame without a checksum hides a flipped bit: gzip always has a checksum.
    for position in (0, len(whole) // 2) if suffix == ".jsonl.gz" else (0,):
        file.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        with pytest.raises(SmolfastError, match=file.name):
            rows(file)


# Parquet


@pytest.mark.parametrize(
    "type_",
    [pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
@pytest.mark.parametrize("batch_bytes", [1, 1 << 20])
def test_parquet(tmp_path: Path, type_: pa.DataType, batch_bytes: int) -> None:
    values = pa.array([t.encode() for t in TEXTS]) if "binary" in str(type_) else pa.array(TEXTS)
    table = pa.table({"n": range(len(TEXTS)), "text": values.cast(type_), "tags": [["x"]] * len(TEXTS)})
    file = write_parquet(tmp_path / "a.parquet", table, row_group_size=3)
    batches = list(read_batches(Source(str(file), "parquet"), batch_bytes=batch_bytes))
    assert all(batch.schema.field("text").type == pa.large_string() for batch in batches)
    got = [row for batch in batches for row in batch.to_pylist()]
    assert got == [{"n": i, "text": text, "tags": ["x"]} for i, text in enumerate(TEXTS)]
    assert len(batches) == (5 if batch_bytes == 1 else 2)
    assert rows(file, columns=["n"])[1] == {"n": 1, "text": ""}


@pytest.mark.parametrize("type_", [pa.string(), pa.large_string()], ids=str)
@pytest.mark.parametrize("batch_bytes", [1, 1 << 20])
def test_parquet_not_utf8(tmp_path: Path, type_: pa.DataType, batch_bytes: int) -> None:
    values = [b"a", b"b", b"caf\xe9", "é".encode(), b"\xed\xa0\x80"]
    table = pa.table({"n": range(5), "text": raw_strings(list(values), type_)})
    file = write_parquet(tmp_path / "a.parquet", table, row_group_size=2)
    with pytest.raises(SmolfastError, match=r"a\.parquet, row 2, column 'text': not UTF-8 at byte 3 \(0xe9\)"):
        rows(file, batch_bytes=batch_bytes)
    counts = Counter[str]()
    replaced = rows(file, errors="replace", batch_bytes=batch_bytes, counts=counts)
    assert [r["text"] for r in replaced] == [raw.decode("utf-8", "replace") for raw in values]
    kept = rows(file, errors="skip", batch_bytes=batch_bytes, counts=counts)
    assert kept == [{"n": 0, "text": "a"}, {"n": 1, "text": "b"}, {"n": 3, "text": "é"}]
    assert counts == {"replaced": 2, "skipped": 2}


def test_parquet_other_columns_follow_the_rule(tmp_path: Path) -> None:
    table = pa.table({"id": raw_strings([b"ok", None, b"\xff"], pa.string()), "text": ["a", "b", "c"]})
    file = write_parquet(tmp_path / "a.parquet", table)
    with pytest.raises(SmolfastError, match="row 2, column 'id': not UTF-8"):
        rows(file)
    assert [r["id"] for r in rows(file, errors="replace")] == ["ok", None, "\ufffd"]
    assert [r["text"] for r in rows(file, errors="skip")] == ["a", "b"]
    assert [r["text"] for r in rows(file, columns=[])] == ["a", "b", "c"]


def test_parquet_missing_text(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "a.parquet", pa.table({"text": ["a", None, "c"]}))
    with pytest.raises(SmolfastError, match="row 1, column 'text': the text is missing"):
        rows(file)
    assert [r["text"] for r in rows(file, errors="replace")] == ["a", "", "c"]
    assert [r["text"] for r in rows(file, errors="skip")] == ["a", "c"]


def test_parquet_text_column(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "a.parquet", pa.table({"body": ["a"], "n": [1]}))
    with pytest.raises(SmolfastError, match=r"no column 'text'; give as --text-column one of .*: body, n"):
        rows(file)
    with pytest.raises(SmolfastError, match="column 'n' holds int64, not strings"):
        rows(file, text_column="n")
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array([1]), pa.array([2])], ["text", "n", "n"])
    with pytest.raises(SmolfastError, match="two columns named 'n'"):
        rows(write_parquet(tmp_path / "b.parquet", twice))


def test_empty_parquet(tmp_path: Path) -> None:
    empty = pa.table({"text": pa.array([], pa.string())})
    assert rows(write_parquet(tmp_path / "a.parquet", empty)) == []


@pytest.mark.parametrize("length", [0, 3, 100, -1, -8])
def test_truncated_parquet(tmp_path: Path, length: int) -> None:
    file = write_parquet(tmp_path / "a.parquet", pa.table({"text": [str(i) for i in range(1000)]}))
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(SmolfastError, match=r"a\.parquet is corrupt or truncated") as error:
        rows(file)
    one_line(error)


def test_corrupt_parquet_page(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    with BatchWriter(file) as writer:
        writer.write(pa.RecordBatch.from_pydict({"text": [f"document {i}" for i in range(1000)]}))
    data = bytearray(file.read_bytes())
    data[200] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(SmolfastError, match="corrupt or truncated"):
        rows(file)


def test_a_large_row_group_is_streamed(tmp_path: Path) -> None:
    """64 MB of text that hardly compresses, in one row group, read in a process of its own for its memory's peak."""
    numbers = random.Random(0)
    file = tmp_path / "a.parquet"
    write_parquet(
        file, pa.table({"text": [numbers.randbytes(2_000).hex() for _ in range(16_000)]}), use_dictionary=False
    )
    code = (
        "import sys, pyarrow; from smolfast.io.documents import Source, read_batches; "
        "print(sum(batch.num_rows for batch in read_batches(Source(sys.argv[1], 'parquet'), batch_bytes=1 << 20)), "
        "pyarrow.default_memory_pool().max_memory())"
    )
    out = subprocess.run([sys.executable, "-c", code, file], check=True, capture_output=True, text=True).stdout
    rows_read, peak = map(int, out.split())
    assert rows_read == 16_000
    assert peak < 20_000_000


@given(st.binary(max_size=200), st.sampled_from(["a.parquet", "a.jsonl", "a.jsonl.gz", "a.jsonl.zst"]))
def test_garbage_never_escapes_as_another_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    file = tmp_path_factory.mktemp("garbage") / name
    file.write_bytes(data)
    try:
        got = rows(file)
    except SmolfastError as error:
        assert name in str(error)
    else:
        assert not data.strip() or got


@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=4))
@example([(-7, 0xFF)])
def test_altered_parquet_never_escapes_as_another_error(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    file = tmp_path_factory.mktemp("altered") / "a.parquet"
    table = pa.table({"n": range(20), "text": [f"document {i % 5}" for i in range(20)], "tags": [["x"]] * 20})
    pq.write_table(table, file, row_group_size=8)
    data = bytearray(file.read_bytes())
    for position, value in changes:
        data[position % len(data)] = value
    file.write_bytes(data)
    with contextlib.suppress(SmolfastError):
        rows(file)


def test_parquet_column_name_that_is_not_utf8(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "a.parquet", pa.table({"text": ["a"], "name": ["b"]}))
    file.write_bytes(file.read_bytes().replace(b"name", b"nam\xff"))
    with pytest.raises(SmolfastError, match=r"a\.parquet is corrupt"):
        rows(file)

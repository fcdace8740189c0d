"""Formats and encodings: JSON in any layout, CSV, Arrow files, compressions and their damage, UTF-16."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import shutil
import subprocess
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolfast.errors import SmolfastError
from smolfast.io.documents import find_sources, read_batches
from smolfast.io.json.lines import JsonLinesWriter

ROWS = [{"text": "naïve 日本語 😀", "n": 1}, {"text": 'a "quoted"\nline, and more', "n": None}, {"text": "", "n": 2}]


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstd,
    ".zstd": zstd,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def read(path: Path, data: bytes | None = None, **options: Any) -> list[dict[str, Any]]:
    if data is not None:
        path.write_bytes(data)
    (source,) = find_sources([path])
    return [row for batch in read_batches(source, **options) for row in batch.to_pylist()]


def as_csv(delimiter: str) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerows([["text", "n"], *([row["text"], row["n"]] for row in ROWS)])
    return out.getvalue().encode()


LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
FORMS: dict[str, list[bytes]] = {
    ".jsonl": [LINES],
    ".ndjson": [LINES],
    ".json": [
        LINES,
        json.dumps(ROWS).encode(),
        json.dumps(ROWS, indent=2, ensure_ascii=False).encode(),
        "\n\n".join(json.dumps(row, indent=1) for row in ROWS).encode(),
    ],
}


@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize("batch_bytes", [1, 1 << 20])
def test_every_form_in_every_compression(tmp_path: Path, packed: str, batch_bytes: int) -> None:
    pack = PACKERS[packed]
    for suffix, forms in FORMS.items():
        for data in forms:
            half = data.index(b"\n") + 1 if b"\n" in data else 0
            members = pack(data[:half]) + pack(data[half:])  # two members, as `cat a.gz b.gz` makes
            assert read(tmp_path / f"a{suffix}{packed}", members, batch_bytes=batch_bytes) == ROWS
    cells = [{name: "" if value is None else str(value) for name, value in row.items()} for row in ROWS]
    for suffix, delimiter in ((".csv", ","), (".tsv", "\t")):
        data = pack(b"\xef\xbb\xbf" + as_csv(delimiter))
        assert read(tmp_path / f"a{suffix}{packed}", data, batch_bytes=batch_bytes) == cells
    path = tmp_path / f"a.txt{packed}"
    assert read(path, pack("one\né".encode())) == [{"id": str(path), "text": "one\né"}]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_marks_tell_the_encoding(tmp_path: Path, encoding: str, packed: str) -> None:
    def encoded(data: bytes) -> bytes:
        text = data.decode()
        return PACKERS[packed]((text if encoding[-2:] != "be" else "\ufeff" + text).encode(encoding))

    assert read(tmp_path / f"a.jsonl{packed}", encoded(LINES)) == ROWS
    assert read(tmp_path / f"a.json{packed}", encoded(FORMS[".json"][2])) == ROWS
    assert [row["text"] for row in read(tmp_path / f"a.csv{packed}", encoded(as_csv(",")))] == [r["text"] for r in ROWS]
    assert read(tmp_path / f"a.txt{packed}", encoded("é 😀\r\n".encode()))[0]["text"] == "é 😀\r\n"


def test_utf16_that_is_broken_or_has_no_mark(tmp_path: Path) -> None:
    for encoding in ("UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE"):
        for name, text in (("a.txt", "plain letters, enough of them"), ("a.jsonl", LINES.decode())):
            with pytest.raises(SmolfastError, match=f"is {encoding} without a byte-order mark; convert it: iconv -f"):
                read(tmp_path / name, text.encode(encoding), errors="replace")
    assert read(tmp_path / "a.txt", b"\0a\0b\0c\0 some zeros are text\0")[0]["text"].startswith("\0a")
    lone = b"\xff\xfe" + "caf\ud800".encode("utf-16-le", "surrogatepass")
    with pytest.raises(SmolfastError, match="not UTF-8 at byte 3"):
        read(tmp_path / "a.txt", lone)
    assert read(tmp_path / "a.txt", lone, errors="replace")[0]["text"].startswith("caf\ufffd")
    with pytest.raises(SmolfastError, match=r"a\.txt is corrupt or truncated"):
        read(tmp_path / "a.txt", lone[:-1])


@pytest.mark.parametrize("packed", [".gz", ".zst", ".bz2", ".xz"])
def test_damaged_compression(tmp_path: Path, packed: str) -> None:
    data = PACKERS[packed](b"".join(json.dumps({"text": f"{i * 7919 % 10007}"}).encode() + b"\n" for i in range(999)))
    for suffix in (".jsonl", ".txt", ".csv", ".json"):
        for cut in (0, 3, len(data) // 2, len(data) - 1):
            with pytest.raises(SmolfastError, match=f"a{suffix}{packed} is .*; make or download it again"):
                read(tmp_path / f"a{suffix}{packed}", data[:cut])
    with pytest.raises(SmolfastError, match="corrupt or truncated"):
        read(tmp_path / f"b.jsonl{packed}", LINES)


def test_zeros_after_gzip(tmp_path: Path) -> None:
    whole = gzip.compress(LINES)
    assert read(tmp_path / "a.jsonl.gz", whole + bytes(10_000)) == ROWS
    assert read(tmp_path / "a.jsonl.gz", whole + bytes(512) + whole) == ROWS + ROWS


@pytest.mark.skipif(shutil.which("zstd") is None, reason="needs zstd")
def test_long_windows_of_zstd(tmp_path: Path) -> None:
    """Read where Python has a library that can; else the message tells what it is and how to pack it again."""
    for options, data in ((["--long=31"], LINES), (["--long=31", "--stream-size=200000000"], LINES)):
        made = subprocess.run(["zstd", "-q", "-c", *options[:1]], input=data, capture_output=True, check=True).stdout
        path = tmp_path / "a.jsonl.zst"
        try:
            assert read(path, made) == ROWS
        except SmolfastError as error:
            assert "is zstd with a window of more than 128 MiB (zstd --long=28 or more)" in str(error)
            assert f"zstd -d --long=31 -c {path} | zstd" in str(error)


@pytest.mark.parametrize("packed", ["", ".gz", ".zst", ".bz2", ".xz"])
def test_lines_are_written_packed(tmp_path: Path, packed: str) -> None:
    with JsonLinesWriter(tmp_path / f"a.jsonl{packed}") as writer:
        writer.write(pa.RecordBatch.from_pylist(ROWS))
    assert read(tmp_path / f"a.jsonl{packed}") == ROWS


# JSON that isn't lines


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[{"text": "a"},\n {"text": "b"', 2),
        ('[{"text": "a"},\n\n {"text" "b"}]', 3),
        ('[{"text": "a"}\n {"text": "b"}]', 2),
        ('[{"text": "a"}, ]', 1),
        ('[{"text": "a"}]\n\nx', 3),
        ("[\n7]", 2),
        ('[{"text": "a"},\n{"text": 7}]', 2),
        ("[" + "[" * 100_000, 1),
        ('[{"text": "a", "n": ' + "9" * 5000 + "}]", 1),
        ('{\n"text": "a"\n}\n{\n"text": 7 8}', 5),
    ],
)
def test_broken_lists(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(SmolfastError, match=rf"a\.json, line {line}: "):
        read(tmp_path / "a.json", text.encode())


def test_empty_json(tmp_path: Path) -> None:
    for text in (b"", b"  \n", b"[]", b" [ ]\n"):
        assert read(tmp_path / "a.json", text) == []


def test_a_list_longer_than_what_is_read_at_once(tmp_path: Path) -> None:
    rows = [{"text": f"{i} " + "é" * (i % 7) * 9_999} for i in range(100)]
    assert read(tmp_path / "a.json", json.dumps(rows, ensure_ascii=False).encode()) == rows


# CSV


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), st.text(',"\n\r\t x', max_size=6))
    ),
    st.sampled_from(["csv", "tsv"]),
    st.sampled_from(["\r\n", "\n"]),
)
def test_any_cells_survive(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]], suffix: str, end: str
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter="," if suffix == "csv" else "\t", lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([("text", "other"), *cells])
    path = tmp_path_factory.mktemp("csv") / f"a.{suffix}"
    got = read(path, out.getvalue().encode(), batch_bytes=9)
    assert [(row["text"], row["other"]) for row in got] == cells


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"text,a\nx\n", "line 2: 1 cells where the first line has 2"),
        (b'text,a\n"x\ny",1\nz,1,2\n', "line 4: 3 cells"),
        (b'text\n"open\n\n', "line 2: not CSV"),
        (b'text\n"a"b\n', "line 2: not CSV"),
        (b"text,a,a\n", "two columns of the same name"),
        (b"body,b\nx,y\n", "no column 'text'; give as --text-column one of those it has: body, b"),
        (b"text\na\ncaf\xe9\n", r"line 3: not UTF-8 at byte 3 \(0xe9\); give --errors"),
    ],
)
def test_broken_csv(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(SmolfastError, match=message):
        read(tmp_path / "a.csv", data)


def test_csv_not_utf8(tmp_path: Path) -> None:
    data = b"text,n\na,1\ncaf\xe9,\xff\n"
    assert read(tmp_path / "a.csv", data, errors="skip") == [{"text": "a", "n": "1"}]
    assert read(tmp_path / "a.csv", data, errors="replace")[1] == {"text": "caf\ufffd", "n": "\ufffd"}
    long = "x" * 300_000
    assert read(tmp_path / "a.csv", f"text\n{long}\n\n\n".encode()) == [{"text": long}]


# Arrow's files


def arrow_files(folder: Path, table: pa.Table) -> list[Path]:
    paths = [folder / name for name in ("file.arrow", "stream.arrow", "two.feather", "one.feather", "packed.ipc")]
    with pa.ipc.new_file(paths[0], table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    with pa.ipc.new_stream(paths[1], table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    pa.feather.write_feather(table, paths[2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pa.feather.write_feather(table, paths[3], version=1)
    with pa.ipc.new_file(paths[4], table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table)
    return paths


@pytest.mark.parametrize("batch_bytes", [1, 1 << 20])
def test_arrow_files(tmp_path: Path, batch_bytes: int) -> None:
    for path in arrow_files(tmp_path, pa.Table.from_pylist(ROWS)):
        assert read(path, batch_bytes=batch_bytes) == ROWS
        assert read(path, columns=[]) == [{"text": row["text"]} for row in ROWS]
        with pytest.raises(SmolfastError, match="no column 'body'"):
            read(path, text_column="body")


def test_damaged_arrow_files(tmp_path: Path) -> None:
    for path in arrow_files(tmp_path, pa.Table.from_pylist(ROWS)):
        whole = path.read_bytes()
        for data in (b"", whole[: len(whole) // 3], b"nonsense" * 9):
            with pytest.raises(SmolfastError, match="corrupt or truncated"):
                read(path, data)
        for place in range(8, len(whole), 11 if path.stem != "one" else len(whole) // 3):
            changed = bytearray(whole)
            changed[place] ^= 0xFF
            try:
                got = read(path, bytes(changed))
            except SmolfastError as error:
                assert "\n" not in str(error)
            else:
                assert all(isinstance(row["text"], str) for row in got)


def test_arrow_text_that_is_not_utf8(tmp_path: Path) -> None:
    binary = pa.array([b"a", b"caf\xe9"])
    text = pa.Array.from_buffers(pa.string(), 2, binary.buffers())
    (path, *_) = arrow_files(tmp_path, pa.table({"text": text}))
    with pytest.raises(SmolfastError, match="row 1, column 'text': not UTF-8 at byte 3"):
        read(path)
    assert read(path, errors="replace")[1] == {"text": "caf\ufffd"}


# Conversations


def test_conversations(tmp_path: Path) -> None:
    from smolfast.tokens.conversations import _conversations

    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    table = pa.table({"messages": [talk]})
    pa.feather.write_feather(table, tmp_path / "a.feather")
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": talk}), encoding="utf-16")
    (tmp_path / "a.json").write_text(json.dumps([{"messages": talk}], indent=1))
    for path in (tmp_path / f"a.{suffix}" for suffix in ("feather", "parquet", "jsonl", "json")):
        assert [found.messages for _, found in _conversations(path, "messages", "fail", Counter())] == [talk]
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe("/talk/a.parquet", (tmp_path / "a.parquet").read_bytes())
    found = [each.messages for _, each in _conversations("memory://talk/a.parquet", "messages", "fail", Counter())]
    assert found == [talk]
    memory.pipe("/talk/a.parquet", (tmp_path / "a.parquet").read_bytes()[:-9])
    with pytest.raises(SmolfastError, match=r"memory://talk/a\.parquet is corrupt"):
        list(_conversations("memory://talk/a.parquet", "messages", "fail", Counter()))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (rb'{"messages": [{"role": "user", "content": "\ud83d"}]}', "row 1: not UTF-8, or a lone surrogate"),
        (b'{"messages": [{"role": "user", "content": "caf\xe9"}]}', "row 1: not UTF-8, or a lone surrogate"),
        (b'{"messages": [', "line 1: not valid JSON"),
    ],
)
def test_bad_conversations(tmp_path: Path, line: bytes, message: str) -> None:
    from smolfast.tokens.conversations import _conversations

    (tmp_path / "a.jsonl").write_bytes(line + b"\n")
    with pytest.raises(SmolfastError, match=message):
        list(_conversations(tmp_path / "a.jsonl", "messages", "fail", Counter()))

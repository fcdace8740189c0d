"""Damaged and hostile files: flipped bits, cut ends, lying headers, and little files that unpack into large ones."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolfast.errors import SmolfastError
from smolfast.io.documents import find_sources, read_batches

ROWS = [f"Row {number} says é {number * number % 97}, and goes on for a while." for number in range(200)]


def zstd(data: bytes) -> bytes:
    return pa.Codec("zstd").compress(data, asbytes=True)


def damaged(whole: bytes, flips: int, cuts: int, seed: int = 3) -> Iterator[bytes]:
    """Copies with one bit flipped, with a run of bytes made random, and cut short."""
    generator = random.Random(seed)
    for flip in range(flips):
        data = bytearray(whole)
        place = generator.randrange(len(data))
        data[place] ^= 1 << generator.randrange(8)
        if flip % 3 == 0:
            data[place : place + 16] = generator.randbytes(len(data[place : place + 16]))
        yield bytes(data)
    for cut in range(cuts):
        yield whole[: cut * len(whole) // cuts]


def outcome(call: Any) -> str:
    """ "refused" by one clear line, or "exact"; anything else is the test's failure."""
    try:
        call()
    except SmolfastError as error:
        message = str(error)
        assert message and "\n" not in message and len(message) < 1000, message[:3000]
        return "refused"
    return "exact"


def parquet(**options: Any) -> bytes:
    sink = io.BytesIO()
    table = pa.table({"id": [str(n) for n in range(len(ROWS))], "text": ROWS, "n": list(range(len(ROWS)))})
    pq.write_table(table, sink, row_group_size=80, write_page_checksum=True, **options)
    return sink.getvalue()


DOCUMENTS = {
    "plain.parquet": parquet(compression="none", use_dictionary=False),
    "zstd.parquet": parquet(compression="zstd"),
    "delta.parquet": parquet(use_dictionary=False, column_encoding={"text": "DELTA_BYTE_ARRAY"}),
    "a.jsonl": "".join(json.dumps({"text": row}) + "\n" for row in ROWS).encode(),
}
DOCUMENTS["a.jsonl.gz"] = gzip.compress(DOCUMENTS["a.jsonl"])
DOCUMENTS["a.jsonl.zst"] = zstd(DOCUMENTS["a.jsonl"])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_damaged_documents(name: str, tmp_path: Path, tried: Any) -> None:
    """With checksums on every page (of parquet) or stream (gzip) what isn't refused is what was written."""
    path = tmp_path / name
    for data in damaged(DOCUMENTS[name], 60, 30):
        path.write_bytes(data)
        found: list[str] = []

        def read(found: list[str] = found) -> None:
            for batch in read_batches(find_sources([path])[0]):
                found.extend(batch.column("text").to_pylist())

        result = outcome(read)
        if result == "exact" and (name.endswith(".gz") or ("parquet" in name and found)):
            assert found == ROWS
        assert all(isinstance(text, str) for text in found)
        tried(f"documents.read_batches ({name.partition('.')[2]})", result)


# ru_maxrss would count the process that started this one, until it became another.
READ = """
import re, sys
from smolfast.io.documents import find_sources, read_batches
from smolfast.errors import SmolfastError
rows = 0
try:
    for batch in read_batches(find_sources(sys.argv[1:])[0]):
        rows += batch.num_rows
except SmolfastError as error:
    print("refused", error)
print(rows, int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) >> 10)
"""


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("a.csv.gz", b'text\n"'),
        pytest.param("a.json.gz", b'[{"text": "', marks=pytest.mark.slow),
        pytest.param("a.json.bz2", b'{\n"text": "', marks=pytest.mark.slow),
        pytest.param("a.txt.xz", b"", marks=pytest.mark.slow),
    ],
)
def test_bombs_of_other_kinds(name: str, start: bytes, tmp_path: Path, tried: Any) -> None:
    """400 MB in one cell, value or document is refused in bounded memory (MiB)."""
    pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[name.rpartition(".")[2]]
    (tmp_path / name).write_bytes(pack(start) + pack(b"a" * (8 << 20)) * 50)
    result = subprocess.run([sys.executable, "-c", READ, tmp_path / name], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "256 MiB" in result.stdout, result.stdout
    assert int(result.stdout.split()[-1]) < 1500
    tried("documents.read_batches (bombs)", "refused")


@pytest.mark.parametrize("suffix", ["gz", "zst"])
@pytest.mark.parametrize("kind", ["one line", "many lines", "blank lines"])
def test_bombs(suffix: str, kind: str, tmp_path: Path, tried: Any) -> None:
    """A gigabyte in one line is refused, 384 MB in many come as they are, both in bounded memory (MiB)."""
    unit = {
        "one line": b"a" * (4 << 20),
        "many lines": (json.dumps({"text": "a" * 3000}) + "\n").encode() * 1024,
        "blank lines": b"\n" * (1 << 20),
    }[kind]
    times = {"one line": 256, "many lines": 128, "blank lines": 8}[kind]
    packed = gzip.compress(unit) if suffix == "gz" else zstd(unit)
    start = {"one line": b'{"text": "', "many lines": b"", "blank lines": b'{"text": "a"}'}[kind]
    path = tmp_path / f"bomb.jsonl.{suffix}"
    path.write_bytes((gzip.compress(start) if suffix == "gz" else zstd(start)) + packed * times)
    assert path.stat().st_size < len(unit) * times / 100
    result = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    rows, peak = map(int, result.stdout.splitlines()[-1].split())
    assert rows == {"one line": 0, "many lines": 1024 * times, "blank lines": 1}[kind]
    assert ("longer than 256 MiB" in result.stdout) == (kind == "one line")
    assert peak < (900 if kind == "one line" else 400)
    tried("documents.read_batches (bombs)", "refused" if kind == "one line" else "exact")


def npy_headers(whole: bytes) -> Iterator[bytes]:
    """Headers that lie, before the true data."""
    data = whole[128:]
    for text in (
        "{'descr': '<u2', 'fortran_order': False, 'shape': (9223372036854775807,), }",
        "{'descr': '<u2', 'fortran_order': False, 'shape': (-1,), }",
        "{'descr': '<u2', 'fortran_order': False, 'shape': (1, 2, 3), }",
        "{'descr': '<u2', 'fortran_order': True, 'shape': (), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (10,), }",
        "{'descr': '<M8[s]', 'fortran_order': False, 'shape': (10,), }",
        "{'descr': [('a', '<u2'), ('a', '<u2')], 'fortran_order': False, 'shape': (10,), }",
        "{'descr': '<u2', 'fortran_order': False, 'shape': (1e9,), }",
        "{'descr': '<u2', 'shape': (10,), }",
        "__import__('os').system('touch stolen')",
        "[" * 20_000,
        "(" * 90 + ")" * 90,
        "",
    ):
        header = text.encode() + b"\n"
        for version, length in (
            (b"\x01\x00", struct.pack("<H", len(header))),
            (b"\x02\x00", struct.pack("<I", 1 << 31)),
        ):
            yield b"\x93NUMPY" + version + length + header + data
    yield b"\x93NUMPY\x09\x00" + whole[8:]


def test_token_files(corpus: SimpleNamespace, tmp_path: Path, tried: Any) -> None:
    from smolfast.tokens.files import PackedWindows, TokenFile

    for path in corpus.tokens.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())

    def read() -> None:
        file = TokenFile.open(tmp_path, "train")
        windows = PackedWindows(file, 8, 2, 0)
        for step in (0, windows.steps_per_epoch - 1):
            tokens, documents = windows.batch(step)
            assert tokens.min() >= 0 and tokens.max() < file.vocab_size and documents.min() == 0

    assert outcome(read) == "exact"
    for name in ("train.tokens.npy", "train.documents.npy"):
        whole = (tmp_path / name).read_bytes()
        headers = (head + whole[128:] for head in damaged(whole[:128], 40, 0))
        for data in (*headers, *npy_headers(whole), *damaged(whole, 40, 10)):
            (tmp_path / name).write_bytes(data)
            tried("tokens.TokenFile", outcome(read))
        (tmp_path / name).write_bytes(whole)
    whole_index = (tmp_path / "tokens.json").read_bytes()
    for data in damaged(whole_index, 60, 10):
        (tmp_path / "tokens.json").write_bytes(data)
        tried("tokens.TokenFile", outcome(read))
    assert not list(Path().glob("stolen"))


def safetensors_headers(data_bytes: int) -> Iterator[bytes]:
    """Headers, length included, that no writer makes."""
    good = {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}
    second = {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]}

    def header(value: Any) -> bytes:
        text = value if isinstance(value, bytes) else json.dumps(value).encode()
        return struct.pack("<Q", len(text)) + text

    for change in (
        {"data_offsets": [8, 24]},
        {"data_offsets": [0, 2**63]},
        {"data_offsets": [16, 0]},
        {"data_offsets": [-16, 0]},
        {"data_offsets": [0, 16, 24]},
        {"data_offsets": [2**64 - 16, 2**64 - 1]},
        {"data_offsets": None},
        {"shape": [2**62, 4]},
        {"shape": [2**32, 2**32]},
        {"shape": [0, 2**63]},
        {"shape": [-2, -2]},
        {"shape": [2] * 5000},
        {"shape": [1] * 100_000},
        {"shape": "22"},
        {"shape": [2.0, 2.0]},
        {"dtype": "F64"},
        {"dtype": "U8"},
        {"dtype": "BOOL"},
        {"dtype": "F4"},
        {"dtype": "F8_E8M0"},
        {"dtype": "C64"},
        {"dtype": "object"},
        {"dtype": 5},
    ):
        yield header({"a": {**good["a"], **change}, "b": second})
    yield header({**good, "b": {**second, "data_offsets": [8, 16]}})  # overlaps
    yield header({**good, "b": {**second, "data_offsets": [0, 8]}})
    yield header({**good, "b": {**second, "data_offsets": [20, 28]}})  # a hole
    yield header(good)  # bytes that nobody owns
    yield header({f"{name}": good["a"] for name in range(1000)})
    yield header(json.dumps(good)[:-1].encode() + b', "a": ' + json.dumps(second).encode() + b"}")  # twice
    yield header({"__metadata__": {"a": 5}, **good, "b": second})
    yield header({"__metadata__": "text", **good, "b": second})
    yield header(b'{"a": ' + b"[" * 100_000)
    yield header(b'{"a":' * 100_000)
    yield header(b"[]")
    yield header(b"\xff\xfe")
    yield header(b"")
    for length in (2**64 - 1, 2**63, 2**40, 100_000_001, 0, 1, 7):
        yield struct.pack("<Q", length) + json.dumps({**good, "b": second}).encode()
    yield b"\x01\x02"
    assert data_bytes == 24


def test_safetensors(tmp_path: Path, tried: Any) -> None:
    torch = pytest.importorskip("torch")
    from smolfast.files import fingerprint
    from smolfast.model.pretrained import _read
    from smolfast.report.run import _header
    from smolfast.train.run import checkpoint

    data = np.arange(6, dtype=np.float32).tobytes()
    path = tmp_path / "model.safetensors"
    run = tmp_path / "checkpoints"
    model = torch.nn.Linear(2, 2, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in (1, 2):
        checkpoint.save(run, step, model, optimizer, {})
    weights = model.weight.detach().clone()
    stored = run / "step-000002"
    state = json.loads((stored / "state.json").read_text())
    for header in safetensors_headers(len(data)):
        path.write_bytes(header + data)
        tried("pretrained (safetensors)", outcome(lambda: _read(path)))
        tried("report (safetensors header)", outcome(lambda: _header(path)))
        # A checkpoint whose checksums are right too: anybody can compute those.
        (stored / "model.safetensors").write_bytes(header + data)
        state["checksums"]["model.safetensors"] = fingerprint(path)
        state["checksum"] = checkpoint._checksum(state)
        (stored / "state.json").write_text(json.dumps(state))
        found: list[Any] = []
        result = outcome(lambda found=found: found.append(checkpoint.restore(run, model, optimizer)))
        if result == "exact":
            assert found[0][0] == 1  # the one before
            assert torch.equal(model.weight, weights)
        tried("checkpoint.restore", "refused")

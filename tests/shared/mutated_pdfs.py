"""PDFs spoilt at random, among good ones that must come out as if nothing stood beside them."""

from __future__ import annotations

import random
import re
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from made_pdfs import draw, essay, make_pdf
from odd_pdfs import many_pages, page_of, stream
from smolfast.pdf import extract_pdfs

ROWS = 500
"""Of a file of parquet."""
_NUMBERS = (0, -1, 1, 255, 65536, 2**31 - 1, 2**31, 2**32, 10**18, -(2**31), 99999999)
_KEYWORDS = (b"obj", b"endobj", b"stream", b"endstream", b"xref", b"trailer", b"startxref", b"%%EOF", b"R", b"null")
_NAMES = (b"/Type", b"/Kids", b"/Count", b"/Parent", b"/Length", b"/Filter", b"/Font", b"/Contents", b"/Root", b"/Size")


def seeds(folder: Path) -> list[bytes]:
    """Files of several makes, whose texts no good file has."""
    from reportlab.lib.pdfencrypt import StandardEncryption

    def table(pen: Any) -> None:
        for row in range(12):
            for column in range(4):
                pen.drawString(60 + 120 * column, 700 - 20 * row, f"cell {row} {column}")

    def turned(pen: Any) -> None:
        pen.setPageRotation(90)
        draw(pen, ["a page on its side", "with two lines"], 100, 300)

    owner = StandardEncryption("", "owner", canPrint=0)
    made = [
        make_pdf(folder / "a.pdf", essay(9000, 9004), essay(9004, 9008)),
        make_pdf(folder / "b.pdf", essay(9010, 9013), table, turned, pageCompression=1),
        make_pdf(folder / "c.pdf", essay(9020, 9024), encrypt=owner),
        make_pdf(folder / "d.pdf", *[essay(9030 + n, 9031 + n) for n in range(8)], pageCompression=1),
    ]
    form = stream(b"BT /F1 9 Tf 20 40 Td (a form) Tj ET", b"/Type/XObject/Subtype/Form/BBox[0 0 99 99]")
    written = [page_of(stream(b"BT /F1 9 Tf 20 20 Td (words) Tj ET /X Do"), form), many_pages(20)]
    return [*(path.read_bytes() for path in made), *written]


def mutated(sources: Sequence[bytes], generator: random.Random) -> bytes:
    """One of the sources with one to four things done to it."""
    data = bytearray(generator.choice(sources))
    for _ in range(generator.choice((1, 1, 2, 4))):
        if not data:
            break
        generator.choice(_WAYS)(data, sources, generator)
    return bytes(data)


def _turn(data: bytearray, sources: Sequence[bytes], generator: random.Random) -> None:
    for _ in range(generator.choice((1, 4, 32))):
        data[generator.randrange(len(data))] = generator.randrange(256)


def _cut(data: bytearray, sources: Sequence[bytes], generator: random.Random) -> None:
    del data[generator.randrange(len(data)) :]


def _drop(data: bytearray, sources: Sequence[bytes], generator: random.Random) -> None:
    start = generator.randrange(len(data))
    del data[start : start + generator.choice((1, 16, 256))]


def _repeat(data: bytearray, sources: Sequence[bytes], generator: random.Random) -> None:
    start = generator.randrange(len(data))
    piece = bytes(data[start : start + generator.choice((8, 64, 512))])
    data[start:start] = piece * generator.choice((1, 3, 100))


def _splice(data: bytearray, sources: Sequence[bytes], generator: random.Random) -> None:
    other = generator.choice(sources)
    start = generator.randrange(len(other))
    data[generator.randrange(len(data)) :] = other[start:]


def _number(data: bytearray, sources: Sequence[bytes], generator: random.Random) -> None:
    _replace(data, rb"\d+", b"%d" % generator.choice(_NUMBERS), generator)


def _keyword(data: bytearray, sources: Sequence[bytes], generator: random.Random) -> None:
    _replace(data, rb"\b(?:obj|endobj|stream|endstream|xref|trailer|R)\b", generator.choice(_KEYWORDS), generator)


def _name(data: bytearray, sources: Sequence[bytes], generator: random.Random) -> None:
    _replace(data, rb"/[A-Z]\w+", generator.choice(_NAMES), generator)


def _inside(data: bytearray, sources: Sequence[bytes], generator: random.Random) -> None:
    """Spoil what a stream holds: it still unpacks."""
    found = [
        (match.start(1), match.end(1)) for match in re.finditer(rb"stream\r?\n(.*?)\r?\nendstream", data, re.DOTALL)
    ]
    if not found:
        return
    start, end = generator.choice(found)
    inner = bytearray(data[start:end])
    is_packed = True
    try:
        inner = bytearray(zlib.decompress(bytes(inner)))
    except zlib.error:
        is_packed = False
    if inner:
        generator.choice((_turn, _drop, _repeat, _number))(inner, sources, generator)
    data[start:end] = zlib.compress(bytes(inner)) if is_packed else bytes(inner)


def _replace(data: bytearray, pattern: bytes, new: bytes, generator: random.Random) -> None:
    found = [match.span() for match in re.finditer(pattern, data)]
    if found:
        start, end = generator.choice(found)
        data[start:end] = new


_WAYS: tuple[Callable[[bytearray, Sequence[bytes], random.Random], None], ...] = (
    _turn, _cut, _drop, _repeat, _splice, _number, _number, _keyword, _name, _inside, _inside,
)  # fmt: skip


def attack(folder: Path, files: int, seed: int, **options: Any) -> str:
    """Read so many spoilt files, with a good one after every tenth; a line that says what came of them.

    Raises:
        AssertionError: a file has no answer or two, or a good one didn't come out as it does alone.
    """
    generator = random.Random(seed)
    sources = seeds(folder / "seeds")
    count = max(1, files // 10)
    good = [make_pdf(folder / "good.pdf", essay(3 * n, 3 * n + 3)).read_bytes() for n in range(count)]
    _write(folder / "alone", ((f"good {n}", data) for n, data in enumerate(good)))
    extract_pdfs([*sorted((folder / "alone").iterdir())], folder / "expected", **options)
    expected = {row["id"]: row for row in _rows(folder / "expected" / "kept")}
    assert len(expected) == count

    def rows() -> Iterator[tuple[str, bytes]]:
        for number in range(files):
            yield f"bad {number}", mutated(sources, generator)
            if number % 10 == 9:
                yield f"good {number // 10}", good[number // 10]

    _write(folder / "all", rows())
    began = time.monotonic()
    summary = extract_pdfs([*sorted((folder / "all").iterdir())], folder / "out", **options)
    seconds = time.monotonic() - began
    kept = _rows(folder / "out" / "kept")
    gone = [row for row in _rows(folder / "out" / "removed") if row["page"] is None]
    answers = Counter(row["id"] for row in (*kept, *gone))
    ids = {f"bad {n}" for n in range(files)} | {f"good {n}" for n in range(files // 10)}
    assert answers == Counter(ids), "each file has one answer"
    unlike = ("path", "xxh3_128")
    for row in kept:
        if row["id"].startswith("good"):
            alone = expected[row["id"]]
            assert all(row[name] == alone[name] for name in row if name not in unlike), row["id"]
    lost = [row["id"] for row in gone if row["id"].startswith("good")]
    assert not lost, f"good ones that went: {lost}"
    bad = sum(row["id"].startswith("bad") for row in kept)
    why = ", ".join(f"{one['reason']} {one['documents']:,}" for one in summary.reasons if one["documents"])
    return (
        f"{files:,} spoilt files and {count:,} good ones in {seconds:.0f} s: all good ones the same, {bad:,} spoilt "
        f"ones read, the others: {why}; {summary.failed_pages:,} single pages failed"
    )


def _write(folder: Path, rows: Iterator[tuple[str, bytes]]) -> None:
    folder.mkdir(parents=True)
    chunk: list[tuple[str, bytes]] = []

    def flush() -> None:
        if chunk:
            names, contents = zip(*chunk, strict=True)
            table = pa.table({"id": list(names), "content": pa.array(contents, pa.large_binary())})
            pq.write_table(table, folder / f"{len(list(folder.iterdir())):04}.parquet")
            chunk.clear()

    for row in rows:
        chunk.append(row)
        if len(chunk) == ROWS:
            flush()
    flush()


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]

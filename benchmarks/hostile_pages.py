"""A crawl of hostile pages and damaged records between good ones: nothing hangs, and each good page comes out as alone.

    python benchmarks/hostile_pages.py [--pages 5000] [--seed 1] [--extract resiliparse]

A good page stands between any two bad ones. Half of the bad ones are pages, made by rules and by chance; the others are
damaged members and records.
"""

from __future__ import annotations

import argparse
import gzip
import random
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "shared"))
from smolfast.crawl import crawl_files
from warcs import essay, http, page, record

TAGS = [
    "div",
    "b",
    "table",
    "ul><li",
    "p",
    "font size=1",
    "a href=x",
    "svg",
    "math",
    "select",
    "template",
    "form",
    "h1",
    "q",
]

Chance = random.Random


def nested(chance: Chance) -> bytes:
    depth = chance.choice([10, 500, 990, 1_010, 20_000, 100_000])
    tags = [f"<{chance.choice(TAGS)}>" for _ in range(chance.randint(1, 4))]
    return ("".join(tags) * (depth // len(tags)) + "x" + "</div>" * chance.choice([0, depth])).encode()


def formatting(chance: Chance) -> bytes:
    """Each paragraph opens again what no end tag closed: trees of quadratic size."""
    many = chance.randint(10, 300)
    return ("".join(f"<font size={at}>" for at in range(many)) + "<p>x" * many).encode()


def wide(chance: Chance) -> bytes:
    return (
        chance.choice(["<br>", "<p>x", "<td>", "<!---->", "&amp;", "<a ", "\0", "<li>\n", "x" * 50]) * 60_000
    ).encode()


def unfinished(chance: Chance) -> bytes:
    start = chance.choice(
        ["<!--", "<script>", "<style>", "<textarea>", "<title>", "<![CDATA[", "<div class='", "<", "&#"]
    )
    return (start + "x<p>" * chance.randint(1, 50_000)).encode()


def attributes(chance: Chance) -> bytes:
    return (
        "<p " + " ".join(f"a{at}='{'x' * 20}'" for at in range(chance.choice([100, 5_000]))) + ">" + "y" * 1_000_000
    ).encode()


def noise(chance: Chance) -> bytes:
    return chance.randbytes(chance.randint(0, 50_000))


def mutated(chance: Chance) -> bytes:
    data = bytearray(essay(chance.randrange(100)).encode())
    for _ in range(chance.randint(1, 200)):
        at = chance.randrange(len(data))
        data[at : at + chance.randrange(4)] = chance.randbytes(chance.randrange(4))
    return bytes(data)


def doctored(chance: Chance) -> bytes:
    text = essay(chance.randrange(100))
    encoding = chance.choice(["utf-16", "utf-32", "utf-7", "cp037", "cp1252", "utf-8-sig"])
    said = chance.choice(["utf-8", "utf-16", "shift_jis", "x" * 40, "iso-2022-jp"])
    return f'<meta charset="{said}">'.encode() + text.encode(encoding)


PAGES: list[Callable[[Chance], bytes]] = [nested, formatting, wide, unfinished, attributes, noise, mutated, doctored]


def bad_page(chance: Chance) -> bytes:
    body = chance.choice(PAGES)(chance)
    headers = ""
    if chance.random() < 0.2:
        body, headers = gzip.compress(body), "Content-Encoding: gzip\r\n"
        if chance.random() < 0.3:
            body = body[: chance.randint(0, len(body))]
    if chance.random() < 0.02:
        body, headers = gzip.compress(bytes(50 << 20), 9), "Content-Encoding: gzip\r\n"
    charset = chance.choice(["", "; charset=utf-8", "; charset=utf-16", "; charset=none"])
    return gzip.compress(
        record(http(body, content_type=f"text/html{charset}", headers=headers), "http://bad.example.org/")
    )


def bad_record(chance: Chance) -> bytes:
    content = b"x" * chance.randint(1, 5_000)
    kind = chance.randrange(7)
    if kind == 0:  # a member that is damaged
        data = bytearray(gzip.compress(record(content, "http://bad.example.org/")))
        for _ in range(3):
            data[chance.randrange(len(data))] ^= 1 + chance.randrange(255)
        return bytes(data)
    if kind == 1:  # one that is cut off
        data = gzip.compress(record(content, "http://bad.example.org/"))
        return data[: chance.randint(1, len(data) - 1)]
    if kind == 2:  # rubbish between members
        return chance.randbytes(chance.randint(1, 2_000))
    if kind == 3:  # a bomb
        packer = zlib.compressobj(9, wbits=31)
        return packer.compress(b"WARC/1.0\r\nContent-Length: 9999999999\r\n\r\n" + bytes(8 << 20)) + packer.flush()
    length = [0, len(content) - 1, len(content) + 1, 1 << 40][chance.randrange(4)]
    whole = record(content, "http://bad.example.org/", length=length)
    if kind == 4:
        whole = whole.replace(b"WARC/1.0", chance.choice([b"WARC/", b"HTTP/1.0", b"\0" * 8]))
    return gzip.compress(whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--extract", default="resiliparse")
    parser.add_argument("--page-seconds", type=float, default=20.0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    good = [gzip.compress(page(number, essay(number))) for number in range(100)]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "hostile.warc.gz"
        with source.open("wb") as file:
            for number in range(options.pages):
                file.write(good[number % 100])
                file.write(bad_page(chance) if number % 2 else bad_record(chance))
        alone = Path(folder) / "alone.warc.gz"
        alone.write_bytes(b"".join(good))
        crawl_files([alone], Path(folder) / "one", extract=options.extract)
        began = time.monotonic()
        summary = crawl_files(
            [source], Path(folder) / "all", extract=options.extract, page_seconds=options.page_seconds, threads=2
        )
        seconds = time.monotonic() - began
        wanted = {row["url"]: row["text"] for row in texts(Path(folder) / "one")}
        found = Counter((row["url"], row["text"]) for row in texts(Path(folder) / "all"))
    missing = {url for number in range(100) for url in [f"http://example.org/{number}"] if url not in wanted}
    expected = Counter(dict.fromkeys(wanted.items(), options.pages // 100))
    lost = expected - Counter({key: count for key, count in found.items() if key in expected})
    print(f"{options.pages} bad among as many good ones in {seconds:.0f} s; good pages lost or changed: {lost.total()}")
    print(f"(essays that the rules or the extractor drop anyway: {len(missing)})")
    for one in summary.reasons:
        if one["stage"] in ("read", "extract"):
            print(f"{one['documents']:7,} {one['stage']:<8} {one['reason']}")
    sys.exit(1 if lost else 0)


def texts(output: Path) -> list[dict[str, str]]:
    return [
        row
        for path in sorted((output / "kept").iterdir())
        for row in pq.read_table(path, columns=["url", "text"]).to_pylist()
    ]


if __name__ == "__main__":
    main()

"""A WARC of real pages, for benchmarks: the HTML of Debian's documentation, written with warcio.

    python benchmarks/crawl_pages.py OUT.warc.gz [--pages 6000] [--cache ~/.cache/smolfast-curate]

Packages are fetched by `apt-get download`, and nothing is installed. As many pages of each package, chosen by a
hash of their names.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from curate_corpora import fetched

PACKAGES = [
    *["python3.11-doc", "debian-handbook", "rust-doc", "libreoffice-help-en-us", "openjdk-17-doc", "sqlite3-doc"],
    *["erlang-doc", "cppreference-doc-en-html", "git-doc", "maxima-doc", "libboost1.74-doc", "python-django-doc"],
    *["lilypond-doc-html", "postgresql-doc-15", "libstdc++-12-doc", "octave-doc", "installation-guide-amd64"],
    *["python-scipy-doc", "linux-doc-6.1", "qtbase5-doc-html"],
]
LARGEST = 2 << 20


def pages_of(deb: Path) -> dict[str, bytes]:
    """The HTML files of a package by name, those of other languages than English left out."""
    found = {}
    unpack = ["dpkg-deb", "--fsys-tarfile", str(deb)]
    with (
        subprocess.Popen(unpack, stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as archive,
    ):
        for member in archive:
            name = member.name.removeprefix("./")
            is_other = "handbook/html/" in name and "/en-US/" not in name
            if member.isfile() and name.endswith((".html", ".htm")) and 500 < member.size < LARGEST and not is_other:
                found[name] = archive.extractfile(member).read()  # type: ignore[union-attr]
    return found


def all_pages(cache: Path, wanted: int) -> Iterator[tuple[str, bytes]]:
    each = -(-wanted // len(PACKAGES)) * 5 // 4
    for package in PACKAGES:
        pages = pages_of(fetched(cache / "debs", package))
        chosen = sorted(pages, key=lambda name: hashlib.sha256(name.encode()).digest())[:each]
        yield from ((name, pages[name]) for name in sorted(chosen))


def write(path: Path, cache: Path, wanted: int) -> int:
    """Write the file; the number of pages."""
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    number = 0
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for number, (name, content) in enumerate(all_pages(cache, wanted), 1):  # noqa: B007 - the last one counts
            headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
            record = writer.create_warc_record(
                f"http://docs.example.org/{name}",
                "response",
                payload=io.BytesIO(content),
                http_headers=headers,
                warc_headers_dict={"WARC-Identified-Payload-Type": "text/html"},
            )
            writer.write_record(record)
    return number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--pages", type=int, default=6000)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/smolfast-curate")
    options = parser.parse_args()
    print(f"{write(options.output, options.cache, options.pages):,} pages, {options.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

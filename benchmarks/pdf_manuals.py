"""Real manuals that exist as PDF and as HTML: Debian's packages, downloaded and unpacked, not installed."""

from __future__ import annotations

import gzip
import html
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("installation-guide-amd64", "r-doc-pdf", "r-doc-html")
LANGUAGES = ("en", "de", "fr", "es", "ru", "ja", "ko", "vi")
R = ("R-intro", "R-exts", "R-admin", "R-data", "R-lang", "R-ints")
FAST = ("en", "fr", "R-intro", "R-lang", "R-admin")
"""For speed: some 500 pages."""


@dataclass(frozen=True)
class Manual:
    """A PDF, and its text from elsewhere."""

    name: str
    group: str
    pdf: Path
    text: str
    pages: int

    @property
    def is_fast(self) -> bool:
        """Whether it is one of those that speed is measured on."""
        return self.name in FAST


def fetch_manuals(cache: Path) -> list[Manual]:
    """Download what isn't there."""
    tree = cache / "tree"
    for package in PACKAGES:
        if (cache / f"{package}.done").exists():
            continue
        (cache / "debs").mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", package], cwd=cache / "debs", check=True, stderr=subprocess.DEVNULL)
        subprocess.run(["dpkg", "-x", next((cache / "debs").glob(f"{package}_*.deb")), tree], check=True)
        (cache / f"{package}.done").touch()
    return list(_manuals(tree))


def _manuals(tree: Path) -> Iterator[Manual]:
    import pypdfium2

    def pages(path: Path) -> int:
        document = pypdfium2.PdfDocument(path)
        try:
            return len(document)
        finally:
            document.close()

    guide = tree / "usr/share/doc/installation-guide-amd64"
    for language in LANGUAGES:
        pdf = guide / language / f"install.{language}.pdf"
        if not pdf.exists():
            pdf.write_bytes(gzip.decompress(pdf.with_suffix(".pdf.gz").read_bytes()))
        text = _decoded(gzip.decompress((guide / language / f"install.{language}.txt.gz").read_bytes()))
        yield Manual(language, f"installation guide, {language}", pdf, text, pages(pdf))
    for name in R:
        pdf = tree / f"usr/share/doc/r-doc-pdf/manual/{name}.pdf"
        pdf = pdf if pdf.exists() else tree / f"usr/share/R/doc/manual/{name}.pdf"
        page = (tree / f"usr/share/R/doc/manual/{name}.html").read_text("utf-8", "replace")
        yield Manual(name, "R's manuals", pdf, plain_html(page), pages(pdf))


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:  # the Russian one
        return data.decode("koi8-r")


def plain_html(page: str) -> str:
    """What a page says, without its tags."""
    body = re.sub(r"(?s)<(script|style|head)\b.*?</\1>", " ", page)
    return html.unescape(re.sub(r"(?s)<!--.*?-->|<[^>]*>", lambda tag: "" if "pan" in tag[0] else " ", body))

"""Real multilingual documents for benchmarks: Debian's documentation packages and this machine's Python sources.

Made once into a cache folder (`apt-get download` and `dpkg -x`, nothing is installed), then read from there:

    python benchmarks/real_text.py ~/.cache/smolfast-corpus
"""

from __future__ import annotations

import gzip
import hashlib
import html
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

PACKAGES = [
    *(f"manpages-{language}" for language in ("de", "fr", "ja", "ru", "zh", "pl", "es")),
    *(f"debian-reference-{language}" for language in ("de", "en", "fr", "it", "ja", "zh-cn")),
    *("manpages", "manpages-dev", "aptitude-doc-ru", "aptitude-doc-ja", "debian-faq-ru", "debian-faq-zh-cn"),
    *("debian-handbook", "python3.11-doc", "postgresql-doc-15", "linux-doc-6.1", "libstdc++-12-doc", "octave-doc"),
]
SMALLEST, LARGEST = 200, 200_000  # bytes of a document


def build_corpus(cache: Path, megabytes: int = 95) -> Path:
    """The corpus as parquet (id, text); made if it isn't there. Documents in an order set by a hash of their names."""
    path = cache / f"real-{megabytes}.parquet"
    if path.exists():
        return path
    debs, tree = cache / "debs", cache / "tree"
    debs.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        if not any(debs.glob(f"{package}_*.deb")):
            subprocess.run(["apt-get", "download", package], cwd=debs, check=True, stderr=subprocess.DEVNULL)
    if not tree.exists():
        for deb in sorted(debs.glob("*.deb")):
            subprocess.run(["dpkg", "-x", deb, tree.with_suffix(".new")], check=True)
        tree.with_suffix(".new").rename(tree)
    found = dict(_debian(tree)) | dict(python_sources())
    documents = sorted(found.items(), key=lambda item: hashlib.md5(item[0].encode()).digest())
    kept, size = [], 0
    for name, text in documents:
        if size >= megabytes * 1_000_000:
            break
        kept.append((name, text))
        size += len(text.encode())
    table = pa.table(
        {"id": [name for name, _ in kept], "text": pa.array([text for _, text in kept], pa.large_string())}
    )
    pq.write_table(table, path, compression="zstd", row_group_size=2048)
    return path


def _debian(tree: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(tree.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        name = path.relative_to(tree).as_posix()
        data = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
        name = name.removesuffix(".gz")
        text = data.decode("utf-8", "replace")
        if name.endswith((".html", ".htm")):
            text = _plain_html(text)
        elif "/man/" in name:
            text = _plain_roff(text)
        elif not name.endswith((".txt", ".rst", ".md")):
            continue
        if SMALLEST <= len(text.encode()) <= LARGEST:
            yield name, text


def python_sources() -> Iterator[tuple[str, str]]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        if SMALLEST <= len(text.encode()) <= LARGEST:
            yield f"python/{path.relative_to(root).as_posix()}", text


def offline_corpus(folder: Path, megabytes: float) -> Path:
    """Python's sources as parquet (id, text), so much of them and in such an order; nothing is downloaded."""
    documents = sorted(python_sources(), key=lambda pair: hashlib.sha256(pair[0].encode()).digest())
    names, texts, size = [], [], 0
    for name, content in documents:
        if size >= megabytes * 1e6:
            break
        names.append(name)
        texts.append(content)
        size += len(content.encode())
    path = folder / f"python-sources-{megabytes:g}.parquet"
    pq.write_table(pa.table({"id": names, "text": pa.array(texts, pa.large_string())}), path)
    return path


def _plain_html(text: str) -> str:
    text = re.sub(r"(?is)<(script|style)\b.*?</\1>|<!--.*?-->", " ", text)
    text = html.unescape(re.sub(r"(?s)<[^>]*>", " ", text))
    text = re.sub(r"[ \t]*\n\s*", "\n", re.sub(r"[ \t]+", " ", text)).strip()
    return text.encode("utf-8", "replace").decode()  # numeric references may name lone surrogates


def _plain_roff(text: str) -> str:
    lines = [line for line in text.split("\n") if not line.startswith(('.\\"', "'\\"))]
    text = "\n".join(re.sub(r"^[.'][A-Za-z]{1,3}\s*", "", line) for line in lines)
    return re.sub(r"\\(f[A-Z]|f\([A-Z]{2}|&|-)", lambda match: "-" if match[1] == "-" else "", text).strip()


if __name__ == "__main__":
    corpus = pq.read_table(build_corpus(Path(sys.argv[1]).expanduser()))
    print(f"{corpus.num_rows:,} documents, {corpus.nbytes / 1e6:.1f} MB")

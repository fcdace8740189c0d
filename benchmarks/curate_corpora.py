"""Real documents in eight languages and mutated ones, for benchmarks of the filters.

The texts are Debian's documentation and translations (`apt-get download`; nothing is installed) and
this machine's Python sources. Made once into a folder as LANGUAGE.parquet (id, text) and mutated.parquet (id, language,
text):

    python benchmarks/curate_corpora.py ~/.cache/smolfast-curate [LANGUAGE …]

Where a language has too few documents, long ones are cut at line breaks. Slovak has no manual (Debian's
libreoffice-help-sk links to the Czech one): its documents are runs of translated messages, and descriptions.
"""

from __future__ import annotations

import ast
import gzip
import hashlib
import html
import re
import struct
import subprocess
import sys
import tarfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
from curate_mutations import mutated
from real_text import _plain_roff, python_sources

PACKAGES = {
    "en": "python3.11-doc linux-doc-6.1 debian-handbook gnome-user-docs perl-doc rust-doc "
    "libreoffice-help-en-us manpages manpages-dev aptitude-doc-en installation-guide-amd64 openjdk-17-doc "
    "qtbase5-doc-html sqlite3-doc debian-policy developers-reference nodejs-doc erlang-doc python-scipy-doc "
    "cppreference-doc-en-html git-doc gnumeric-doc maxima-doc ghc-doc libboost1.74-doc python-django-doc "
    "lilypond-doc-html postgresql-doc-15 libstdc++-12-doc octave-doc debian-reference-en",
    "de": "libreoffice-help-de manpages-de debian-handbook installation-guide-amd64 lilypond-doc-html-de "
    "debian-faq-de debian-reference-de gnome-user-docs fortunes-de",
    "fr": "libreoffice-help-fr manpages-fr debian-handbook installation-guide-amd64 lilypond-doc-html-fr "
    "debian-faq-fr debian-reference-fr aptitude-doc-fr gnome-user-docs",
    "ru": "libreoffice-help-ru manpages-ru debian-handbook installation-guide-amd64 debian-faq-ru "
    "aptitude-doc-ru gnome-user-docs fortunes-ru",
    "pl": "libreoffice-help-pl manpages-pl debian-handbook gnome-user-docs fortunes-pl libreoffice-l10n-pl",
    "cs": "libreoffice-help-cs manpages-cs debian-handbook installation-guide-amd64 aptitude-doc-cs "
    "lilypond-doc-html-cs gnome-user-docs fortunes-cs libreoffice-l10n-cs speech-dispatcher-doc-cs",
    "sk": "libreoffice-l10n-sk stellarium-data vlc-l10n gramps lyx-common cinnamon-l10n audacity-data "
    "kdevelop-l10n skrooge-common gcompris-qt-data libgtk-3-common kile-l10n plasma-desktop-data "
    "calligra-data gnome-control-center-data konversation-data wesnoth-1.16-data kstars-data digikam-data "
    "gimp-data krita-l10n calibre vim-runtime inkscape fortunes-cs phpmyadmin kmymoney-common "
    "evolution-common kdenlive-data aptitude-common freeciv-data gnucash-common tellico-data synaptic apt dpkg "
    "aptitude wordpress-l10n mediawiki",
    "xx": "libreoffice-help-om libreoffice-l10n-om",
}  # xx: Oromo, whose words are spaCy's xx
WANTED = {"en": 20_500}
EACH = 5_100
MUTATED = 100_000
FOLDER = {"xx": "om"}
SMALLEST, LARGEST = 200, 6_000  # characters of a document
LARGEST_FILE = 5_000_000  # bytes
FROM_ONE_PACKAGE = 2_000  # so that kinds vary
NO_LANGUAGE = {"manpages-dev", "manpages"}

LETTERS = {
    "de": "[äöüßÄÖÜ]",
    "fr": "[éèàçêôûîù]",
    "ru": "[а-яё]",
    "pl": "[ąćęłńóśżź]",
    "cs": "[ěšřžčýáíéůú]",
    "sk": "[šžčýáíéľťňôäú]",
}
OWN_LETTERS = {language: re.compile(letters) for language, letters in LETTERS.items()}
BLOCKS = (
    r"p|div|li|h\d|tr|dt|dd|table|ul|ol|dl|pre|br|hr|blockquote|section|article|note|steps|item|title|caption|option"
)
LANGUAGE = re.compile(
    r"[/._-](ar|bg|ca|cs|da|de|el|en|eo|es|et|eu|fa|fi|fr|gl|he|hi|hr|hu|id|it|ja|ko|lt|lv|nb|nl|om|pl|pt|ro|ru|sk|sl|sr"
    r"|sv|th|tr|uk|vi|zh|C)(?:[_-][A-Z]{2})?(?:[@.][\w-]+)?(?=[/.])"
)


def build_corpus(cache: Path, language: str) -> Path:
    """A language's documents, in an order set by a hash of their names; made if they aren't there."""
    path = cache / f"{language}.parquet"
    if not path.exists():
        wanted = WANTED.get(language, EACH)
        found: dict[str, str] = {}
        for package in PACKAGES[language].split():
            found |= documents(fetched(cache / "debs", package), language, FROM_ONE_PACKAGE)
        if language == "en":
            found |= dict(sorted(python_texts(), key=by_hash)[:FROM_ONE_PACKAGE])
        found = {name: text for name, text in found.items() if language == "en" or in_alphabet(text, language)}
        for most in (LARGEST, 4_000, 2_000, 1_000, 700):
            pieces = {name: text for whole in found.items() for name, text in cut(*whole, most)}
            if len(pieces) >= wanted:
                break
        print(f"{language}: {len(found):,} documents, cut at {most:,} characters: {len(pieces):,}", flush=True)
        write(path, sorted(pieces.items(), key=by_hash)[:wanted])
    return path


def build_mutated(cache: Path) -> Path:
    path = cache / "mutated.parquet"
    if not path.exists():
        texts = {language: pq.read_table(build_corpus(cache, language))["text"].to_pylist() for language in PACKAGES}
        rows = list(mutated(texts, MUTATED))
        table = pa.table(
            {
                "id": [f"mutated/{i}/{language}" for i, (language, _) in enumerate(rows)],
                "language": [language for language, _ in rows],
                "text": pa.array([text for _, text in rows], pa.large_string()),
            }
        )
        pq.write_table(table, path, compression="zstd", row_group_size=5_000)
    return path


def write(path: Path, documents: list[tuple[str, str]]) -> None:
    names, texts = [name for name, _ in documents], [text for _, text in documents]
    table = pa.table({"id": names, "text": pa.array(texts, pa.large_string())})
    pq.write_table(table, path, compression="zstd", row_group_size=1_000)


def by_hash(document: tuple[str, str]) -> bytes:
    return hashlib.sha256(document[0].encode()).digest()


def fetched(folder: Path, package: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.glob(f"{package}_*.deb")):
        subprocess.run(["apt-get", "download", package], cwd=folder, check=True, stderr=subprocess.DEVNULL)
    return sorted(folder.glob(f"{package}_*.deb"))[0]


def documents(deb: Path, language: str, most: int) -> dict[str, str]:
    """Up to `most` of the package's documents in a language, chosen by hash. Equal texts are kept once."""
    folder, raw = FOLDER.get(language, language), []
    unpack = ["dpkg-deb", "--fsys-tarfile", deb]
    with (
        subprocess.Popen(unpack, stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as archive,
    ):
        for member in archive:
            name = member.name.removeprefix("./").removesuffix(".gz")
            if member.isfile() and member.size < LARGEST_FILE and kind_of(name) and in_language(name, folder):
                data = archive.extractfile(member).read()  # type: ignore[union-attr]
                raw.append((name, gzip.decompress(data) if member.name.endswith(".gz") else data))
    seen, found = set(), {}
    for name, data in sorted(raw, key=lambda pair: by_hash((pair[0], ""))):
        for part, text in texts_of(kind_of(name), data):
            if len(text) >= SMALLEST and text not in seen:
                seen.add(text)
                found[f"{name}{part}"] = text
        if len(found) >= most:
            break
    return found


def kind_of(name: str) -> str:
    if re.search(r"/man\d/[^/]+\.\d\w*$", name):
        return "roff"
    if re.search(r"copyright$|changelog|\.svg|/source/|_sources/|/src/|NEWS", name):
        return ""
    suffix = name.rpartition(".")[2].lower()
    kinds = {
        "html": "html",
        "htm": "html",
        "utf8": "html",
        "page": "html",
        "xml": "",
        "mo": "mo",
        "qm": "qm",
        "txt": "text",
        "rst": "text",
        "md": "text",
        "pod": "text",
    }
    if re.search(r"/fortunes/", name) and "." not in name.rpartition("/")[2]:
        return "fortunes"
    if re.search(r"/i18n/.*\.json$", name):
        return "json"
    return kinds.get(suffix, "")


def in_language(name: str, folder: str) -> bool:
    found = LANGUAGE.findall("/" + name)
    if folder == "en":
        return all(code in ("en", "C") for code in found)
    return folder in found


def texts_of(kind: str, data: bytes) -> Iterator[tuple[str, str]]:
    if kind in ("mo", "qm"):
        yield from runs(messages(data) if kind == "mo" else qt_messages(data))
        return
    text = data.decode("utf-8", "replace")
    if kind == "fortunes":
        yield from runs(part.strip() for part in text.split("\n%\n"))
    elif kind == "json":
        yield from runs(html.unescape(m) for m in re.findall(r'": "((?:[^"\\]|\\.){40,})"', text))
    else:
        yield "", {"html": plain_html, "roff": _plain_roff, "text": str.strip}[kind](text)


def messages(data: bytes) -> Iterator[str]:
    """A compiled message catalogue's translations, of 20 characters and more."""
    count, _, table = struct.unpack("<III", data[8:20])
    for i in range(count):
        length, start = struct.unpack("<II", data[table + 8 * i : table + 8 * i + 8])
        text = data[start : start + length].decode("utf-8", "replace").partition("\0")[0]
        if len(text) >= 20 and "Content-Type:" not in text:
            yield re.sub(r"<[^>]*>", "", text).strip()


def qt_messages(data: bytes) -> Iterator[str]:
    """A Qt catalogue's translations: after a magic of 16 bytes sections, and in the one of messages tagged strings."""
    at = 16
    while at + 5 <= len(data):
        section, length = struct.unpack(">BI", data[at : at + 5])
        body, at = data[at + 5 : at + 5 + length], at + 5 + length
        i = 0
        while section == 0x69 and i < len(body):
            tag, i = body[i], i + 1
            if tag == 1:  # the message's end
                continue
            if tag == 5:
                i += 4
                continue
            size = struct.unpack(">I", body[i : i + 4])[0]
            if tag == 3 and size != 0xFFFFFFFF:
                text = body[i + 4 : i + 4 + size].decode("utf-16-be", "replace")
                if len(text) >= 20:
                    yield re.sub(r"<[^>]*>", "", text).strip()
            i += 4 + (0 if size == 0xFFFFFFFF else size)


def runs(parts: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Short texts joined to documents of 400 to 4,000 characters."""
    held: list[str] = []
    for i, part in enumerate(parts):
        held.append(part)
        most = 400 + int.from_bytes(hashlib.sha256(held[0].encode()).digest()[:2], "big") % 3_600
        if sum(map(len, held)) >= most:
            yield f"#{i}", "\n".join(held)
            held = []
    if held:
        yield "#last", "\n".join(held)


def plain_html(text: str) -> str:
    """A page's text: blocks on lines, blank lines between paragraphs in half of the pages."""
    text = re.sub(r"(?is)<(script|style|head|nav|footer|svg)\b.*?</\1\s*>|<!--.*?-->|<\?.*?\?>", " ", text)
    parts = re.split(r"(?is)(<pre\b.*?</pre\s*>)", text)
    parts = [part if i % 2 else re.sub(r"\s+", " ", part) for i, part in enumerate(parts)]
    gap = "\n\n" if hashlib.sha256(text.encode("utf-8", "replace")).digest()[0] % 2 else "\n"
    text = re.sub(r"(?i)</?(p|h\d)\b[^>]*>", gap, "".join(parts))
    text = re.sub(rf"(?i)</?({BLOCKS})\b[^>]*>", "\n", text)
    text = html.unescape(re.sub(r"(?s)<[^>]*>", "", text))
    text = re.sub(r"[ \t]*\n[ \t]*\n\s*", gap, re.sub(r"[ \t]+\n", "\n", text))
    return text.strip().encode("utf-8", "replace").decode()  # numeric references may name lone surrogates


def in_alphabet(text: str, language: str) -> bool:
    """Whether it isn't a page that nobody translated: Oromo doubles vowels, the others have letters of their own."""
    if language == "xx":
        return len(re.findall("aa|ee|ii|uu", text)) > len(text) / 100
    return len(OWN_LETTERS[language].findall(text)) > len(text) / 400


def python_texts() -> Iterator[tuple[str, str]]:
    """Of each module its source, or what its docstrings say."""
    for name, source in python_sources():
        if by_hash((name, ""))[0] % 4 == 0:
            yield name, source
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                tree = ast.parse(source)
            except (SyntaxError, ValueError):
                continue
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        strings = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds)]
        text = "\n\n".join(filter(None, strings)).encode("utf-8", "replace").decode()
        if len(text) >= SMALLEST:
            yield f"{name}#docstrings", text


def cut(name: str, text: str, most: int) -> Iterator[tuple[str, str]]:
    """The text, or pieces of up to `most` characters that end with lines."""
    if len(text) <= most:
        yield name, text
        return
    piece, number = "", 0
    for line in text.splitlines(keepends=True):
        if piece and len(piece) + len(line) > most:
            if len(piece.strip()) >= SMALLEST:
                yield f"{name}@{number}", piece.strip("\n")
                number += 1
            piece = ""
        piece += line
    if len(piece.strip()) >= SMALLEST and len(piece) <= 2 * most:
        yield f"{name}@{number}", piece.strip("\n")


def main() -> None:
    cache = Path(sys.argv[1]).expanduser()
    for language in sys.argv[2:] or [*PACKAGES, "mutated"]:
        path = build_mutated(cache) if language == "mutated" else build_corpus(cache, language)
        sizes = sorted(map(len, pq.read_table(path)["text"].to_pylist()))
        print(
            f"{path}: {len(sizes):,} documents, median {sizes[len(sizes) // 2]:,} characters, {sum(sizes) / 1e6:.1f} M"
        )


if __name__ == "__main__":
    main()

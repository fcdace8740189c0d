"""Several languages in one run: told by a model, judged and deduplicated each for itself, kept in folders."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from warcs import essay, german_essay, page, write

pytest.importorskip("fastwarc")
pytest.importorskip("tldextract")

from smolfast import SmolfastError, classify
from smolfast.cli import main
from smolfast.crawl import crawl_files


def text_of(html: str) -> str:
    return re.sub("<[^>]+>", " ", html)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tells English, German and a language of numbers."""
    path = tmp_path_factory.mktemp("model") / "language.bin"
    texts = {
        "en": [text_of(essay(number)) for number in range(100, 140)],
        "de": [text_of(german_essay(number)) for number in range(100, 140)],
        "xx": [" ".join(f"q{number * place % 97}z" for place in range(200)) for number in range(1, 41)],
    }
    classify.train(texts, path, dim=8, bucket=1000, lr=0.5, epoch=10)
    return path


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six English pages, seven German ones of which two are alike, and one of neither."""
    other = " ".join(f"q{place % 97}z" for place in range(300))
    pages = [page(f"en-{number}", essay(number)) for number in range(6)]
    pages += [page(f"de-{number}", german_essay(number)) for number in range(6)]
    pages += [page("de-again", german_essay(3)), page("other", f"<p>{other}</p>"), page("empty", "<p></p>")]
    return write(tmp_path_factory.mktemp("crawl") / "crawl.warc.gz", pages)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.rglob("*.parquet")) for row in pq.ParquetFile(path).read().to_pylist()]


def names(folder: Path) -> list[str]:
    return sorted(row["url"].rsplit("/", 1)[1] for row in rows(folder))


GERMAN = [f"de-{number}" for number in range(6)]
ENGLISH = [f"en-{number}" for number in range(6)]


def test_each_language_has_a_folder(crawl: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = crawl_files([crawl], out, rules="c4@0.10", languages=["en", "de"], language_model=model, dedup=True)
    assert names(out / "kept" / "en") == ENGLISH
    assert names(out / "kept" / "de") == GERMAN
    assert {row["language"] for row in rows(out / "kept" / "de")} == {"de"}
    assert summary.languages == {"de": 6, "en": 6}
    gone = {row["url"].rsplit("/", 1)[1]: (row["stage"], row["reason"]) for row in rows(out / "removed")}
    assert gone == {
        "de-again": ("dedup", "exact duplicate"),
        "other": ("language", "another language"),
        "empty": ("extract", "empty"),
    }
    assert summary.documents_in == summary.documents_out + sum(int(one["documents"]) for one in summary.reasons)


def test_rules_of_each_language_behind_its_own_duplicates(crawl: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options: dict[str, Any] = {"rules": "fineweb-2@1", "languages": ["de"], "language_model": model, "dedup": True}
    crawl_files([crawl], out, **options)
    assert names(out / "kept") == GERMAN
    manifest = json.loads((out / "curate.json").read_text())
    assert manifest["crawl"]["stages"] == ["read", "url", "extract", "language", "dedup", "rules"]
    assert list(manifest["languages"]) == ["de"]
    gone = [row for row in rows(out / "removed") if row["stage"] == "language"]
    assert sorted({row["language"] for row in gone}) == ["en", "xx"]
    assert all(row["language_score"] == row["value"] for row in gone)


def test_a_score_that_is_too_low_is_said(crawl: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    crawl_files([crawl], out, languages=["en", "de"], language_model=model, language_score=1.0)
    gone = [row for row in rows(out / "removed") if row["reason"] == "language"]
    assert gone
    assert {row["threshold"] for row in gone} == {1.0}
    assert all(row["value"] < 1 for row in gone)


def test_alone_the_languages_give_the_same_documents(crawl: Path, model: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"language_model": model, "dedup": True}
    both, again = tmp_path / "both", tmp_path / "again"
    crawl_files([crawl], both, languages=["en", "de"], threads=1, **options)
    crawl_files([crawl], again, languages=["de", "en"], threads=2, **options)
    for path in (both / "kept").rglob("*.parquet"):
        assert path.read_bytes() == (again / path.relative_to(both)).read_bytes()
    for language in ("en", "de"):
        alone = tmp_path / language
        crawl_files([crawl], alone, languages=[language], **options)
        assert rows(alone / "kept") == rows(both / "kept" / language)


def test_the_folder_is_read_by_other_commands(
    crawl: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["curate", str(crawl), "-o", str(out), "--languages", "en,de", "--language-model", str(model)]
    command += ["--rules", "c4@0.10"]
    assert main(command) == 0
    assert main(["dedup", str(out / "kept"), "-o", str(tmp_path / "unique")]) == 0
    assert pq.read_table(tmp_path / "unique" / "kept.parquet").num_rows == 12
    assert main(["report", str(out)]) == 0
    assert "Documents that stay, by language" in (out / "report.html").read_text()
    assert main(["curate", "explain", "http://example.org/de-2", "-o", str(out)]) == 0
    assert main(["curate", "explain", "http://example.org/other", "-o", str(out)]) == 2
    assert "went at the stage language for: another language" in capsys.readouterr().err
    assert main(command) == 0
    assert "unchanged, skipped" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"languages": ["en", "eng_Latn"]}, "--languages: en and eng_Latn are one language; name it once"),
        ({"languages": ["en", "sw"]}, "has no label for the language 'sw'"),
        ({"languages": ["en"], "language": "en"}, "language = 'en' and languages: give one of them"),
        ({"languages": ["en"], "rules": "fineweb-2@1"}, "en"),
    ],
)
def test_what_cannot_be_told_is_refused(
    crawl: Path, model: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SmolfastError, match=message):
        crawl_files([crawl], tmp_path / "out", language_model=model, **options)
    assert not (tmp_path / "out").exists()


def test_documents_have_no_such_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    assert main(["curate", str(tmp_path / "a.jsonl"), "-o", str(tmp_path / "out"), "--languages", "en"]) == 2
    assert "--languages is for files of a crawl" in capsys.readouterr().err

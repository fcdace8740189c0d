"""Why a document stays or goes: found by id or place, every check's number, and what it counted in the text."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolfast import SmolfastError
from smolfast.commands.main import main
from smolfast.curate import curate_files, explain, judge
from smolfast.curate.explain.marking import counted
from smolfast.curate.explain.marks import duplicated_n_grams, merged, top_n_gram
from smolfast.curate.files import parts

sys.path.insert(0, str(Path(__file__).parent))
from pages import good, rows, sentence


@pytest.fixture
def documents() -> list[dict[str, Any]]:
    return rows(40)


@pytest.fixture
def output(tmp_path: Path, documents: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(parts, "PART_ROWS", 7)
    paths = []
    for number in range(2):
        paths.append(tmp_path / f"in{number}.jsonl")
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in documents[20 * number : 20 * number + 20]))
    curate_files(paths, tmp_path / "out", words="unicode")
    return tmp_path / "out"


def marked(found: Any) -> list[str]:
    return [found.text[start:end] for start, end in found.marks]


def test_every_document_is_found_with_what_judge_says_of_it(output: Path, documents: list[dict[str, Any]]) -> None:
    said = judge([row["text"] for row in documents], words="unicode", signals=True).to_pylist()
    for number, (document, verdict) in enumerate(zip(documents, said, strict=True)):
        found = explain(output, document["id"])
        assert (found.document, found.row, Path(found.file).name) == (number, number % 20, f"in{number // 20}.jsonl")
        assert (found.kept, found.reason, found.language) == (verdict["keep"], verdict["reason"], "en")
        for check in found.checks:
            expected = verdict[check.signal]
            assert check.value == (None if expected is None or expected != expected else expected)
        failed = [check.reason for check in found.checks if check.fails]
        assert next(iter(failed), None) == verdict["reason"]
        place = explain(output, f"{found.file}:{found.row}")
        assert place.document == number and place.checks == found.checks


def test_what_decided_is_marked(output: Path, documents: list[dict[str, Any]]) -> None:
    found = {document["kind"]: explain(output, document["id"]) for document in documents if document["text"]}
    assert found["hashes"].reason == "gopher_too_many_hashes" and marked(found["hashes"]) == ["#" * 60]
    assert found["repeated"].reason == "dup_line_frac"
    assert marked(found["repeated"]) == [found["repeated"].text.split("\n")[0]] * 7
    assert [text.lower() for text in marked(found["lorem"])] == ["lorem ipsum"]
    assert marked(found["curly"]) == ["{"]
    assert found["list"].reason == "line_punct_ratio" and len(found["list"].marks) == 12
    assert found["rewritten"].kept and "javascript" in found["rewritten"].text
    behind = explain(output, found["rewritten"].id, check="list_ratio")  # a check of what C4's rules left
    assert "javascript" not in behind.text and marked(behind) == ["\n"] * 2


def test_another_check_is_marked_when_asked(output: Path) -> None:
    found = explain(output, "d1", check="gopher_below_alpha_threshold")
    assert found.check == "gopher_below_alpha_threshold" and found.kept and found.marks == []
    top = explain(output, "d1", check="top_2_gram")
    assert len(set(marked(top))) == 1 and len(marked(top)) == 12
    with pytest.raises(
        SmolfastError, match=r"no check of these rules gives 'lorem'; choose one of empty, dup_para_frac"
    ):
        explain(output, "d1", check="lorem")


def test_the_command_prints_it(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["curate", "explain", "d32", "-o", str(output), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["reason"] == "lorem_ipsum" and said["marks"]
    assert main(["curate", "explain", "d32", "-o", str(output)]) == 0
    shown = capsys.readouterr().out
    assert "removed  d32  (" in shown and "reason   lorem_ipsum (c4_quality): 1 is above 0" in shown
    assert "Then came «lorem ipsum» dolor and so on." in shown and "decided" in shown
    assert main(["curate", "explain", "nobody", "-o", str(output)]) == 2
    assert "has no document 'nobody'; without ids give FILE:ROW" in capsys.readouterr().err


def test_rows_without_ids_odd_ids_and_equal_ones(tmp_path: Path) -> None:
    generator = random.Random(1)
    texts = [good(generator), "short", good(generator), "short too"]
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": texts, "key": pa.array([7, None, 7, 9], pa.int32())}), path)
    curate_files([path], tmp_path / "out", id_column="key", words="unicode")
    assert explain(tmp_path / "out", "7").document == 0
    assert explain(tmp_path / "out", "9").document == 3
    assert explain(tmp_path / "out", f"{path}:1").reason == "gopher_short_doc"
    for row, message in ((4, "has 4 rows, counted from 0, so no row 4"), ("x", "has no document")):
        with pytest.raises(SmolfastError, match=message):
            explain(tmp_path / "out", f"{path}:{row}")


def test_a_rewritten_document_needs_its_input(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    page = good(random.Random(1))
    path.write_text(json.dumps({"id": "a", "text": f"{page}\nPlease turn on javascript in your browser now."}) + "\n")
    curate_files([path], tmp_path / "out", words="unicode")
    assert explain(tmp_path / "out", "a").kept
    path.write_text(json.dumps({"id": "a", "text": good(random.Random(2))}) + "\n")
    with pytest.raises(SmolfastError, match="isn't judged as it was: it or smolfast has changed since"):
        explain(tmp_path / "out", "a")
    path.unlink()
    with pytest.raises(SmolfastError, match="can't be read as it was by curate; it has changed since"):
        explain(tmp_path / "out", "a")


def test_no_output_and_a_damaged_one(tmp_path: Path, output: Path) -> None:
    with pytest.raises(SmolfastError, match=r"holds no curate\.json; give the output folder of smolfast curate"):
        explain(tmp_path, "a")
    (output / "removed" / "part-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(SmolfastError, match=r"can't read .*part-00001\.parquet .*; run curate again"):
        explain(output, "nobody")


def test_control_characters_do_nothing_on_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({"id": "a", "text": "\x1b[2Jgone\x07 \u202e#"}) + "\n")
    curate_files([path], tmp_path / "out", words="unicode")
    shown = explain(tmp_path / "out", "a", check="gopher_too_many_hashes").report()
    assert "\\u001b[2Jgone\\u0007 \\u202e«#»" in shown and "\x1b" not in shown
    red = explain(tmp_path / "out", "a", check="gopher_too_many_hashes").report(colours=True)
    assert red.count("\x1b") == 2


def test_long_texts_are_shown_in_part(tmp_path: Path) -> None:
    generator = random.Random(1)
    lines = [sentence(generator) for _ in range(300)]
    lines[150] = "Then came lorem ipsum dolor and so on."
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({"id": "a", "text": "\n".join(lines)}) + "\n")
    curate_files([path], tmp_path / "out", words="unicode")
    shown = explain(tmp_path / "out", "a").report()
    assert "… 146 lines" in shown and "… 147 lines" in shown and shown.count("\n") < 60


# -- marks: the numbers of the filters, counted again ------------------------------------------------------------------


def test_marks_add_up_to_the_numbers(documents: list[dict[str, Any]]) -> None:
    """What is marked for a repetition is as long as the filter's share of the text says."""
    generator = random.Random(3)
    texts = [document["text"] for document in documents if document["text"].strip()]
    words = ["alpha", "beta", "gamma", "delta", "epsilon"]
    texts += [" ".join(generator.choices(words, k=80)) for _ in range(20)]
    texts += [
        "\n\n".join(generator.choices(["A paragraph.", "Another one.", "A third\nof two lines."], k=9))
        for _ in range(9)
    ]
    table = judge(texts, words="whitespace", signals=True).to_pylist()
    for text, said in zip(texts, table, strict=True):
        spans = [(at, at + len(word)) for at, word in _split(text)]
        for n in (2, 3, 4):
            found = top_n_gram(text, spans, n)
            size = sum(len(" ".join(text[a:b].split())) for a, b in found) / len(text)
            assert size == pytest.approx(said[f"gopher_repetition_top_{n}_gram"] or 0)
        for n in (5, 7, 10):
            found = duplicated_n_grams(text, spans, n)
            size = sum(len("".join(text[a:b].split())) for a, b in found) / len(text)
            assert size == pytest.approx(said[f"gopher_repetition_duplicated_{n}_n_grams"])
        for part in ("dup_para_char_frac", "dup_line_char_frac"):
            found = counted(part, part, text, spans, lambda *_: [])
            assert sum(b - a for a, b in found) / len(text) == pytest.approx(said[f"gopher_repetition_{part}"])


def _split(text: str) -> list[tuple[int, str]]:
    found, at = [], 0
    for word in text.split():
        at = text.index(word, at)
        found.append((at, word))
        at += len(word)
    return found


def test_merged_spans() -> None:
    assert merged([(5, 7), (0, 2), (2, 3), (6, 9), (4, 4)]) == [(0, 3), (5, 9)]

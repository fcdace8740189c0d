"""The job on files: what stays, what goes and why; one result however it is made; reruns and bad input."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolfast import SmolfastError, _native
from smolfast.commands import main as cli
from smolfast.curate import curate_files, judge
from smolfast.curate.files import parts
from smolfast.io.sources import find_sources

sys.path.insert(0, str(Path(__file__).parent))
from pages import good, rows


@pytest.fixture
def documents() -> list[dict[str, Any]]:
    return rows(300)


@pytest.fixture
def parquet(tmp_path: Path, documents: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The documents in a file, which parts of 64 rows are cut from."""
    monkeypatch.setattr(parts, "PART_ROWS", 64)
    path = tmp_path / "documents.parquet"
    schema = pa.schema([("id", "string"), ("text", "large_string"), ("score", "int64"), ("kind", "string")])
    pq.write_table(pa.Table.from_pylist(documents, schema), path, row_group_size=50)
    return path


def read(output: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(output / name).to_pylist()
    return found


def content(output: Path) -> dict[str, bytes]:
    """The files that hold documents."""
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for folder in ("kept", "removed")
        for path in sorted((output / folder).iterdir())
    }


# -- what stays and what goes ------------------------------------------------------------------------------------------


def test_every_document_is_in_one_of_both_with_what_judge_says(
    parquet: Path, tmp_path: Path, documents: list[dict[str, Any]]
) -> None:
    output = tmp_path / "out"
    summary = curate_files([parquet], output)
    said = judge([row["text"] for row in documents], rules="fineweb@0.10", signals=True).to_pylist()
    kept, removed = read(output, "kept"), read(output, "removed")
    assert [row["id"] for row in kept] == [d["id"] for d, s in zip(documents, said, strict=True) if s["keep"]]
    assert [row["document"] for row in removed] == [i for i, s in enumerate(said) if not s["keep"]]
    for row in removed:
        before = documents[row["document"]]
        assert {name: row[name] for name in before} == before
        assert row["reason"] == said[row["document"]]["reason"]
    by_id = {d["id"]: (d, s) for d, s in zip(documents, said, strict=True)}
    for row in kept:
        before, verdict = by_id[row["id"]]
        assert list(row) == list(before)
        assert row["text"] == verdict["text"]
        assert {name: row[name] for name in ("score", "kind")} == {name: before[name] for name in ("score", "kind")}
    assert {row["kind"] for row in kept} == {"good", "rewritten"}
    assert "javascript" not in "".join(row["text"] for row in kept)
    sizes = [len(d["text"].encode()) for d in documents]
    assert (summary.documents_in, summary.bytes_in) == (300, sum(sizes))
    assert (summary.documents_out, summary.bytes_out) == (len(kept), sum(len(row["text"].encode()) for row in kept))
    assert summary.rewritten == sum(row["text"] != by_id[row["id"]][0]["text"] for row in kept) > 3
    reasons: Counter[str] = Counter()
    bytes_of: Counter[str] = Counter()
    for size, verdict in zip(sizes, said, strict=True):
        if not verdict["keep"]:
            reasons[verdict["reason"]] += 1
            bytes_of[verdict["reason"]] += size
    assert {one["reason"]: one["documents"] for one in summary.reasons} == reasons
    assert {one["reason"]: one["bytes"] for one in summary.reasons} == bytes_of
    assert len(reasons) > 5
    assert len(list((output / "kept").iterdir())) == len(list((output / "removed").iterdir())) == 5


def test_the_number_that_decided_lies_beyond_its_threshold(parquet: Path, tmp_path: Path) -> None:
    curate_files([parquet], tmp_path / "out")
    checks = json.loads((tmp_path / "out" / "curate.json").read_text())["checks"]["en"]
    above = {check["reason"]: check["above"] for check in checks}
    measured = 0
    for row in read(tmp_path / "out", "removed"):
        if row["value"] is None:
            assert row["reason"] in ("lorem_ipsum", "curly_bracket") and row["threshold"] is None
            continue
        measured += 1
        assert row["value"] > row["threshold"] if above[row["reason"]] else row["value"] < row["threshold"], row
    assert measured > 20


def test_signals_are_columns_of_both(parquet: Path, tmp_path: Path, documents: list[dict[str, Any]]) -> None:
    curate_files([parquet], tmp_path / "out", signals=True)
    said = judge([row["text"] for row in documents], rules="fineweb@0.10", signals=True)
    names = [name for name in said.column_names if name not in ("keep", "reason", "text")]
    both = {row["id"]: row for name in ("kept", "removed") for row in read(tmp_path / "out", name)}
    for row, expected in zip(documents, said.select(names).to_pylist(), strict=True):
        assert {name: both[row["id"]][name] for name in names} == pytest.approx(expected, nan_ok=True)


def test_rows_of_several_languages(tmp_path: Path) -> None:
    generator = random.Random(2)
    texts = [good(generator) for _ in range(6)]
    path = tmp_path / "in.jsonl"
    languages = ["en", "de", "en", "fr", "de", "en"]
    path.write_text("".join(json.dumps({"text": t, "lang": x}) + "\n" for t, x in zip(texts, languages, strict=True)))
    curate_files([path], tmp_path / "out", language_column="lang", signals=True)
    both = [*read(tmp_path / "out", "kept"), *read(tmp_path / "out", "removed")]
    for text, language in zip(texts, languages, strict=True):
        (row,) = (row for row in both if row["text"] == text)
        (expected,) = judge([text], rules="fineweb@0.10", language=language, signals=True).to_pylist()
        assert (
            row["lang"] == language
            and row["gopher_quality_non_symbol_words"] == expected["gopher_quality_non_symbol_words"]
        )
    manifest = json.loads((tmp_path / "out" / "curate.json").read_text())
    assert set(manifest["languages"]) == {"en", "de", "fr"}


# -- one result, however it is made ------------------------------------------------------------------------------------


def test_output_does_not_depend_on_threads_batches_or_cpu(
    parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    before = _native.implementation()
    for name in _native.implementations():
        _native.force_implementation(name)
        for threads in (1, 3):
            output = tmp_path / f"{name}{threads}"
            curate_files([parquet], output, threads=threads, signals=True)
            results.append(content(output))
    _native.force_implementation(before)
    from smolfast.io.documents import read_batches

    for size in (3000, 50_000):
        monkeypatch.setattr(parts, "read_batches", lambda *a, size=size, **k: read_batches(*a, **k, batch_bytes=size))
        curate_files([parquet], tmp_path / f"batches{size}", signals=True)
        results.append(content(tmp_path / f"batches{size}"))
    assert all(result == results[0] for result in results)


def test_containers_and_files_make_the_same_bytes(
    parquet: Path, tmp_path: Path, documents: list[dict[str, Any]]
) -> None:
    curate_files([parquet], tmp_path / "one")
    for count, suffix in ((1, ".jsonl"), (3, ".jsonl"), (2, ".jsonl.gz"), (4, ".parquet")):
        folder = tmp_path / f"{count}{suffix}"
        folder.mkdir()
        step = -(-len(documents) // count)
        for start in range(0, len(documents), step):
            some = documents[start : start + step]
            path = folder / f"{start:03}{suffix}"
            if suffix == ".parquet":
                schema = pq.read_schema(parquet)
                pq.write_table(pa.Table.from_pylist(some, schema), path)
            else:
                codec = "gzip" if suffix.endswith("gz") else None
                with pa.CompressedOutputStream(str(path), codec) if codec else pa.OSFile(str(path), "wb") as stream:
                    stream.write("".join(json.dumps(row) + "\n" for row in some).encode())
        output = tmp_path / f"out{count}{suffix}"
        curate_files([folder], output)
        assert content(output) == content(tmp_path / "one")


def test_a_finished_run_is_not_done_again_and_another_is_refused(parquet: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    first = curate_files([parquet], output)
    before = content(output)
    file = output / "kept" / "part-00001.parquet"
    stamp = file.stat().st_mtime_ns
    assert curate_files([parquet], output) == first and file.stat().st_mtime_ns == stamp
    with pytest.raises(SmolfastError, match=r"result of other input or settings; .* or add --overwrite"):
        curate_files([parquet], output, words="unicode")
    curate_files([parquet], output, signals=True, overwrite=True)
    assert "gopher_quality_non_symbol_words" in read(output, "kept")[0]
    curate_files([parquet], output, overwrite=True)
    assert content(output) == before
    file.write_bytes(b"altered")
    with pytest.raises(SmolfastError, match=r"part-00001\.parquet was altered since it was made; .*--overwrite"):
        curate_files([parquet], output)
    assert file.read_bytes() == b"altered"
    curate_files([parquet], output, overwrite=True)
    assert content(output) == before
    file.unlink()
    curate_files([parquet], output)
    assert content(output) == before


def test_a_smaller_result_leaves_nothing_of_a_larger_one(parquet: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    curate_files([parquet], output)
    small = tmp_path / "small.jsonl"
    small.write_text(json.dumps({"text": good(random.Random(1))}) + "\n")
    curate_files([small], output, overwrite=True)
    assert sorted(content(output)) == ["kept/part-00000.parquet", "removed/part-00000.parquet"]


@pytest.mark.parametrize("name", ["kept/mine.parquet", "removed/part-00000.parquet", "curate.json", ".work/x", "kept"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_foreign_file_is_not_replaced(parquet: Path, tmp_path: Path, name: str, overwrite: bool) -> None:
    precious = tmp_path / "out" / name
    precious.parent.mkdir(parents=True)
    precious.write_text('{"mine": 1}')
    with pytest.raises(SmolfastError, match="choose another output, or move"):
        curate_files([parquet], tmp_path / "out", overwrite=overwrite)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [precious]
    assert precious.read_text() == '{"mine": 1}'


def test_a_foreign_file_among_ours_is_not_replaced_either(parquet: Path, tmp_path: Path) -> None:
    curate_files([parquet], tmp_path / "out")
    mine = tmp_path / "out" / "kept" / "mine.parquet"
    mine.write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(SmolfastError, match=r"mine\.parquet exists, and smolfast has no record"):
            curate_files([parquet], tmp_path / "out", signals=True, overwrite=overwrite)
    assert mine.read_text() == "mine"


def test_what_was_removed_is_not_read_as_documents(parquet: Path, tmp_path: Path) -> None:
    curate_files([parquet], tmp_path / "out")
    found = find_sources([tmp_path / "out"])
    assert {Path(source.path).parent.name for source in found} == {"kept"}
    assert any("removed" in other.path for other in found.passed_over)
    # The output lies in the input: it isn't read.
    assert curate_files([tmp_path], tmp_path / "out").documents_in == 300


def test_an_output_is_never_an_input(parquet: Path, tmp_path: Path) -> None:
    curate_files([parquet], tmp_path / "out")
    for given, output in (
        (tmp_path / "out" / "kept", tmp_path / "out"),
        (tmp_path / "out", tmp_path / "out"),
        (parquet, parquet),
        (parquet, tmp_path),
    ):
        with pytest.raises(SmolfastError, match=r"choose another output|give other input|give a folder"):
            curate_files([given], output)
    assert parquet.exists() and len(content(tmp_path / "out")) == 10


# -- interrupted -------------------------------------------------------------------------------------------------------

# Slow enough that the signal comes before the end on a busy machine.
STOPPED_RUN = """
import sys, time
from smolfast.commands import main as cli
from smolfast.curate.files import parts
parts.PART_ROWS = 64
read_batches = parts.read_batches
def read_slowly(*a, **k):
    for batch in read_batches(*a, **k, batch_bytes=20_000):
        yield batch
        time.sleep(0.05)
parts.read_batches = read_slowly
sys.exit(cli.main(["curate", sys.argv[1], "-o", sys.argv[2], "--threads", "1", "--quiet", "--json"]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_a_run_which_then_goes_on(parquet: Path, tmp_path: Path, number: int, code: int) -> None:
    curate_files([parquet], tmp_path / "whole")
    output = tmp_path / "out"
    command = [sys.executable, "-c", STOPPED_RUN, str(parquet), str(output)]
    journal = output / ".work" / "journal.jsonl"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not journal.exists():
            time.sleep(0.005)
        process.send_signal(number)
        _, message = process.communicate()
    assert process.returncode == code
    assert b"run the same command again to go on from here" in message and b"Traceback" not in message
    assert sorted(path.name for path in output.iterdir()) == [".work"]
    finished = len(journal.read_text().splitlines())
    assert 0 < finished < 5
    stamp = (output / ".work" / "kept" / "part-00000.parquet").stat().st_mtime_ns
    subprocess.run(command, check=True, capture_output=True)
    assert content(output) == content(tmp_path / "whole")
    assert (output / "kept" / "part-00000.parquet").stat().st_mtime_ns == stamp


def test_a_full_disk_leaves_the_earlier_output(parquet: Path, tmp_path: Path) -> None:
    """A limit on file sizes fails writes where a full disk would: in parts, the journal and the manifest."""
    output = tmp_path / "out"
    curate_files([parquet], output)
    before = content(output)
    curate_files([parquet], tmp_path / "whole", signals=True)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 200, 3000, 12_000):
        shutil.rmtree(output / ".work", ignore_errors=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited[1]))
        try:
            with pytest.raises(SmolfastError, match=r"can't write .*raise the limit or write to another disk"):
                curate_files([parquet], output, signals=True, overwrite=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        assert content(output) == before
    curate_files([parquet], output, signals=True, overwrite=True)
    assert content(output) == content(tmp_path / "whole")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_can_not_be_written(parquet: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(SmolfastError, match="permission denied; choose a folder you may write to"):
        curate_files([parquet], tmp_path / "locked" / "out")


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rules": "fineweb@9"}, "fineweb@0.10"),
        ({"language": "qqq"}, "unicode"),
        ({"words": "nltk"}, "spacy"),
        ({"text_column": "body"}, r"no column 'body'; give as --text-column one of"),
        ({"language_column": "lang"}, r"no column 'lang'; give as --language-column one of those it has: id, text"),
        ({"errors": "ignore"}, "choose one of fail, replace, skip"),
        ({"bad_words": "nowhere.txt"}, "nowhere.txt"),
    ],
)
def test_bad_options_are_one_line(parquet: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SmolfastError, match=message) as caught:
        curate_files([parquet], tmp_path / "out", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_names_that_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({"text": "a", "reason": "mine"}) + "\n")
    with pytest.raises(SmolfastError, match=r"has a column 'reason' of its own.*--prefix smolfast_"):
        curate_files([path], tmp_path / "out")
    curate_files([path], tmp_path / "out", prefix="smolfast_")
    (row,) = read(tmp_path / "out", "removed")
    assert row["reason"] == "mine" and row["smolfast_reason"] == "gopher_short_doc"


def test_odd_texts_are_judged(tmp_path: Path) -> None:
    texts = ["", " \n", "\0" * 2000, "a\0b" * 500, "\n" * 10_000, "x" * 2_000_000, "\U0001f600" * 50_000, "one two"]
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": pa.array(texts, pa.large_string())}), path)
    summary = curate_files([path], tmp_path / "out")
    assert (summary.documents_in, summary.documents_out) == (len(texts), 0)
    removed = read(tmp_path / "out", "removed")
    assert [row["text"] for row in removed] == texts
    assert removed[0]["reason"] == "empty"
    assert pq.read_table(tmp_path / "out" / "kept").schema.names == ["text"]


def test_missing_and_broken_texts(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    page = good(random.Random(4)).encode().replace(b"\n", b"\\n")
    path.write_bytes(b'{"text": null}\n{"text": "%s"}\n{"text": "\xff"}\n' % page)
    with pytest.raises(
        SmolfastError, match=r"line 1: the text is missing \(null\)|line 3: not UTF-8 .*; give --errors replace or"
    ):
        curate_files([path], tmp_path / "out")
    summary = curate_files([path], tmp_path / "skip", errors="skip")
    assert (summary.documents_in, summary.skipped, summary.documents_out) == (1, 2, 1)
    summary = curate_files([path], tmp_path / "replace", errors="replace")
    assert (summary.documents_in, summary.skipped, summary.documents_out) == (3, 0, 1)
    assert [row["text"] for row in read(tmp_path / "replace", "removed")] == ["", "\ufffd"]


def test_inputs_without_documents(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(SmolfastError, match="holds no file that ends in"):
        curate_files([tmp_path / "folder"], tmp_path / "out")
    path = tmp_path / "none.jsonl"
    path.write_text("\n")
    with pytest.raises(SmolfastError, match="no documents in"):
        curate_files([path], tmp_path / "out")
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "none.parquet")
    with pytest.raises(SmolfastError, match="no documents in"):
        curate_files([tmp_path / "none.parquet"], tmp_path / "out")


def test_a_language_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "a", "lang": "en"}\n{"text": "b", "lang": null}\n')
    with pytest.raises(SmolfastError, match=r"in\.jsonl, row 1: column 'lang' is null"):
        curate_files([path], tmp_path / "out", language_column="lang")
    path.write_text('{"text": "a", "lang": "en"}\n{"text": "b", "lang": "qqq"}\n')
    with pytest.raises(SmolfastError, match=r"in\.jsonl, rows 0 to 1: .*qqq.*unicode"):
        curate_files([path], tmp_path / "out", language_column="lang")


def test_the_command_says_what_it_did(parquet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["curate", str(parquet), "-o", str(tmp_path / "out"), "--rules", "fineweb@0.10"]
    for said in (r"curate +done in .*B/s: 300 → \d+ documents \(.*% removed\), ", r"curate +unchanged, skipped"):
        assert cli.main([*words, "--json"]) == 0
        shown = capsys.readouterr()
        assert re.search(said, shown.err) and "next" in shown.err
        assert json.loads(shown.out)["documents_in"] == 300
    assert cli.main([*words, "--quiet"]) == 0
    shown = capsys.readouterr()
    assert shown.err == "" and re.search(r"^ +curly_bracket +c4_quality +\d+ +[\d.]+ k?B$", shown.out, re.MULTILINE)
    assert cli.main(["curate", str(parquet), "-o", str(tmp_path / "other"), "--rules", "finewab"]) == 2
    assert "fineweb@0.10" in capsys.readouterr().err

"""The job on files: what goes and what stays, kills, bad files."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kills import content
from made_pdfs import essay, make_pdf, sentence
from smolfast import SmolfastError
from smolfast.commands.main import main
from smolfast.io.sources import find_sources
from smolfast.pdf import extract_pdfs
from smolfast.pdf.files import ahead, job
from smolfast.pdf.pdfium import pdfium_path
from smolfast.pdf.reading import OPENING, read_pdf
from smolfast.pdf.tasks import MOST_LOST, PdfJob, Task
from smolfast.processes.pool import Pool

pytest.importorskip("pypdfium2_raw")
pdfencrypt = pytest.importorskip("reportlab.lib.pdfencrypt")

Make = Callable[..., Path]


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PDFs that are good, and what else lies in a folder of them."""
    folder = tmp_path_factory.mktemp("pdfs")
    make_pdf(folder / "a.pdf", essay(0, 5), essay(5, 9))
    make_pdf(folder / "deep" / "B ü.PDF", essay(20, 25))
    make_pdf(folder / "owner.pdf", essay(30, 33), encrypt=pdfencrypt.StandardEncryption("", "owner", canPrint=0))
    make_pdf(folder / "user.pdf", essay(40, 43), encrypt=pdfencrypt.StandardEncryption("user", "owner"))
    make_pdf(folder / "drawing.pdf", lambda pen: pen.line(0, 0, 100, 100))
    make_pdf(folder / "half-blank.pdf", essay(50, 53), lambda pen: None, essay(53, 56))
    shutil.copy(folder / "a.pdf", folder / "deep" / "again.pdf")
    (folder / "picture.pdf").write_bytes(b"\xff\xd8\xff\xe0 JFIF" + bytes(500))
    (folder / "empty.pdf").write_bytes(b"")
    whole = (folder / "a.pdf").read_bytes()
    (folder / "cut.pdf").write_bytes(whole[:200])
    cut = make_pdf(folder / "no-end.pdf", essay(60, 63)).read_bytes()
    (folder / "no-end.pdf").write_bytes(cut[: cut.rindex(b"startxref")])
    (folder / "notes.txt").write_text("not for us")
    return folder


def test_what_goes_and_what_stays(folder: Path, tmp_path: Path) -> None:
    summary = extract_pdfs([folder], tmp_path / "out", threads=2)
    kept = {Path(row["path"]).name: row for row in rows(tmp_path / "out" / "kept")}
    assert list(kept) == ["a.pdf", "B ü.PDF", "half-blank.pdf", "no-end.pdf", "owner.pdf"]
    first = kept["a.pdf"]
    assert first["pages"] == 2 and first["id"] == first["path"] == str(folder / "a.pdf")
    flat = " ".join(first["text"].split())
    assert flat == " ".join(map(sentence, range(9)))
    assert first["text"][first["page_starts"][1] :].startswith(sentence(5)[:20])
    assert kept["half-blank.pdf"]["empty_pages"] == [2]
    assert kept["no-end.pdf"]["truncated"] and not first["truncated"]
    gone = {Path(row["path"]).name: row for row in rows(tmp_path / "out" / "removed")}
    assert {name: row["reason"] for name, row in gone.items()} == {
        "again.pdf": "duplicate_file",
        "cut.pdf": "truncated",
        "drawing.pdf": "no text",
        "empty.pdf": "not a PDF",
        "picture.pdf": "not a PDF",
        "user.pdf": "encrypted: needs a password",
    }
    assert gone["again.pdf"]["duplicate_of"] == str(folder / "a.pdf")
    assert (summary.documents_in, summary.documents_out, summary.passed_over) == (11, 5, 1)
    assert (summary.pages, summary.empty_pages, summary.truncated) == (9, 2, 1)
    said = json.loads((tmp_path / "out" / "pdf.json").read_text())
    assert said["summary"]["documents_out"] == 5
    # Only what was kept is read as documents.
    assert [Path(source.path).parent.name for source in find_sources([tmp_path / "out"])] == ["kept"]


def test_workers_change_nothing_and_a_second_run_does_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["pdf", str(folder), "-o", str(tmp_path / "out"), "--threads", "1"]
    assert main(command) == 0
    extract_pdfs([folder], tmp_path / "two", threads=2)
    assert content(tmp_path / "out").items() == content(tmp_path / "two").items()
    before = (tmp_path / "out" / "pdf.json").stat().st_mtime_ns
    capsys.readouterr()
    assert main(command) == 0
    assert "unchanged, skipped" in capsys.readouterr().err
    assert (tmp_path / "out" / "pdf.json").stat().st_mtime_ns == before
    assert main(["pdf", str(folder / "a.pdf"), "-o", str(tmp_path / "out")]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["pdf", str(folder / "a.pdf"), "-o", str(tmp_path / "out"), "--overwrite"]) == 0
    assert len(rows(tmp_path / "out" / "kept")) == 1


def test_rows_of_parquet(folder: Path, tmp_path: Path) -> None:
    contents = [(folder / name).read_bytes() for name in ("a.pdf", "user.pdf", "half-blank.pdf")]
    table = pa.table({"id": ["x", "y", None], "n": [1, 2, 3], "content": pa.array([*contents[:2], None], pa.binary())})
    pq.write_table(table, tmp_path / "in.parquet")
    extract_pdfs([tmp_path / "in.parquet"], tmp_path / "out", threads=1)
    assert [row["id"] for row in rows(tmp_path / "out" / "kept")] == ["x"]
    assert [(row["id"], row["reason"]) for row in rows(tmp_path / "out" / "removed")] == [
        ("y", "encrypted: needs a password"),
        (f"{tmp_path / 'in.parquet'}:2", "not a PDF"),
    ]
    with pytest.raises(SmolfastError, match="no column 'n' of bytes"):
        extract_pdfs([tmp_path / "in.parquet"], tmp_path / "other", bytes_column="n")


def test_names_that_are_not_text(make: Make, tmp_path: Path) -> None:
    odd = os.fsdecode(b"a\xff\n.pdf")
    make("in/b.pdf", essay(0, 3)).rename(tmp_path / "in" / odd)
    extract_pdfs([tmp_path / "in"], tmp_path / "out", threads=1)
    assert rows(tmp_path / "out" / "kept")[0]["path"].endswith("a\ufffd\n.pdf")


def test_what_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none").mkdir()
    for arguments, said in (
        ([str(tmp_path / "none")], "holds no file that ends in one of .pdf"),
        ([str(tmp_path / "missing.pdf")], "can't read"),
        (["ftp://example.org/a.pdf"], "give http:// or https://"),
        ([str(folder), "--fetch-seconds", "0"], "give a number above 0"),
        (["--urls", str(tmp_path / "missing.txt")], "can't read the list"),
        ([], "name at least one file"),
        ([str(folder), "--page-seconds", "0"], "give seconds"),
        ([str(folder), "--strict"], "leave out --strict"),
    ):
        assert main(["pdf", *arguments, "-o", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err
    assert main(["pdf", str(folder), "-o", str(folder)]) == 2
    assert "contains the input" in (error := capsys.readouterr().err) or "is the input" in error


def test_a_page_that_ends_its_worker_costs_itself_alone(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of so many letters that it is over the limit of its CPU time."""

    def long(pen: Any) -> None:
        pen.setFont("Helvetica", 1)
        for line in range(800):
            pen.drawString(0, line, "abcdefghij klmnop" * 40)

    path = make("a.pdf", essay(0, 3), long, essay(3, 6))
    quick = PdfJob(pdfium_path(), 0.1, 2 << 30)
    with Pool(1, quick) as pool:
        pool.submit(0, Task(str(path)))
        _, result = pool.next()
        assert pool.deaths >= 1
    assert result.failed == {2: "timed out"}
    assert sentence(0)[:20] in result.text and result.text[result.starts[2] :].startswith(sentence(3)[:20])


def test_memory_is_limited(make: Make) -> None:
    def wide(pen: Any) -> None:
        pen.setFont("Helvetica", 0.2)
        for line in range(3000):
            pen.drawString(0, line / 4, "abcdefghij klmnop" * 60)

    path = make("a.pdf", essay(0, 3), wide)
    with Pool(1, PdfJob(pdfium_path(), 60.0, 256 << 20)) as pool:
        pool.submit(0, Task(str(path)))
        _, result = pool.next()
    assert result.failed[2] in ("out of memory", "crashed or out of memory")
    assert sentence(0)[:20] in result.text


def test_a_document_that_ends_workers_again_and_again_goes() -> None:
    tool = PdfJob("", 1.0, 1 << 30)
    task = Task("a.pdf")
    for page in range(1, MOST_LOST + 1):
        task = tool.without(task, (page, 0), "killed", -11)
    assert OPENING not in task.lost
    task = tool.without(task, (MOST_LOST + 1, 0), "work limit", -27)
    assert task.lost[OPENING] == "timed out"
    assert read_pdf(b"%PDF-", "", lost=task.lost).reason == "timed out"
    with pytest.raises(SmolfastError, match="free memory"):
        tool.without(task, None, "killed", 1)


def test_broken_files_harm_no_neighbour(make: Make, tmp_path: Path) -> None:
    """Cut at every 64th byte, and with bytes turned: each ends with text or a reason."""
    whole = make("whole.pdf", essay(0, 4), essay(4, 8)).read_bytes()
    generator = random.Random(1)
    contents = [whole[:end] for end in range(0, len(whole), 64)]
    for _ in range(150):
        turned = bytearray(whole)
        for _ in range(generator.choice((1, 8, 64))):
            turned[generator.randrange(len(turned))] = generator.randrange(256)
        contents.append(bytes(turned))
    good = make("good.pdf", essay(90, 94)).read_bytes()
    neighbours = [value for content_ in contents for value in (content_, good + b"\n%" + str(len(content_)).encode())]
    pq.write_table(pa.table({"content": pa.array(neighbours, pa.binary())}), tmp_path / "in.parquet")
    summary = extract_pdfs([tmp_path / "in.parquet"], tmp_path / "out", threads=2, page_seconds=5)
    assert summary.documents_in == len(neighbours)
    texts = {row["id"]: row["text"] for row in rows(tmp_path / "out" / "kept")}
    removed = {row["id"]: row["reason"] for row in rows(tmp_path / "out" / "removed") if row["page"] is None}
    for number in range(len(neighbours)):
        name = f"{tmp_path / 'in.parquet'}:{number}"
        assert (name in texts) != (name in removed)
        if number % 2 and name in texts:
            assert " ".join(texts[name].split()) == " ".join(map(sentence, range(90, 94)))
        elif number % 2:
            assert removed[name] in ("duplicate_file", "duplicate_text")


def command(folder: Path, output: Path) -> subprocess.Popen[bytes]:
    code = (
        "import sys; from smolfast.pdf.files import job; job.PART_DOCUMENTS = 3\n"
        "from smolfast.commands.main import main; print('begins', flush=True); sys.exit(main(sys.argv[1:]))"
    )
    words = ["pdf", str(folder), "-o", str(output), "--threads", "2", "--quiet", "--json"]
    return subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_killed_runs_end_in_the_same_bytes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "PART_DOCUMENTS", 3)
    extract_pdfs([folder], tmp_path / "whole", threads=1)
    assert len(list((tmp_path / "whole" / "kept").iterdir())) == 4
    generator = random.Random(2)
    for signal_ in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
        process = command(folder, tmp_path / "out")
        assert process.stdout is not None and process.stdout.readline() == b"begins\n"
        time.sleep(generator.uniform(0, 0.5))
        process.send_signal(signal_)
        _, said = process.communicate()
        if signal_ == signal.SIGINT:
            assert process.returncode in (0, 130) and b"Traceback" not in said
    process = command(folder, tmp_path / "out")
    process.communicate()
    assert process.returncode == 0
    assert content(tmp_path / "out") == content(tmp_path / "whole")


@pytest.mark.parametrize("kind", ["binary", "dictionary", "struct"])
def test_columns_as_datasets_have_them(folder: Path, tmp_path: Path, kind: str) -> None:
    data = (folder / "a.pdf").read_bytes()
    column = {
        "binary": pa.array([data, None]),
        "dictionary": pa.array([data, None]).dictionary_encode(),
        "struct": pa.array([{"bytes": data, "path": "a.pdf"}, None]),
    }[kind]
    pq.write_table(pa.table({"id": ["x", "y"], "pdf": column}), tmp_path / "pdfs.parquet")
    extract_pdfs([tmp_path / "pdfs.parquet"], tmp_path / "out", threads=1)
    extract_pdfs([folder / "a.pdf"], tmp_path / "alone", threads=1)
    (found,), (alone,) = rows(tmp_path / "out" / "kept"), rows(tmp_path / "alone" / "kept")
    assert (found["id"], found["text"]) == ("x", alone["text"])
    assert [row["reason"] for row in rows(tmp_path / "out" / "removed")] == ["not a PDF"]


def test_parquet_without_pdfs_is_said(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(SmolfastError, match="has no column of bytes; give PDF files, or a file of parquet"):
        extract_pdfs([tmp_path / "a.parquet"], tmp_path / "out")


WAITING = """
import os, time
LOG = {log!r}
def read(data):
    with open(LOG, "a") as file:
        file.write(f"{{len(data)}}\\n")
    end = time.monotonic() + {seconds}
    while data[8:9] == b"W" and time.monotonic() < end:
        if len(open(LOG).read().split()) > {others}:
            return ["all others were read"]
        time.sleep(0.01)
    return [f"{{len(data)}} bytes"]
"""


def waiting_folder(folder: Path, sizes: list[int], *, seconds: float, others: int) -> tuple[Path, str]:
    """Files that begin with %PDF-1.4, the first of which is read until so many others were; and the reader."""
    (folder / "in").mkdir()
    for number, size in enumerate(sizes):
        mark = b"W" if number == 0 else b"-"
        (folder / "in" / f"{number:03}.pdf").write_bytes(b"%PDF-1.4" + mark + b"%03d" % number + bytes(size))
    script = folder / "reader.py"
    script.write_text(WAITING.format(log=str(folder / "log"), seconds=seconds, others=others))
    return folder / "in", f"{script}:read"


def test_others_go_on_while_a_long_document_is_read(tmp_path: Path) -> None:
    given, reader = waiting_folder(tmp_path, list(range(40)), seconds=60, others=38)
    extract_pdfs([given], tmp_path / "out", extractor=reader, threads=2)
    kept = rows(tmp_path / "out" / "kept")
    assert kept[0]["text"] == "all others were read"
    assert [Path(row["path"]).stem for row in kept] == [f"{number:03}" for number in range(40)]


def test_what_waits_for_a_long_document_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "HELD_BYTES", 1)
    given, reader = waiting_folder(tmp_path, list(range(40)), seconds=3, others=38)
    extract_pdfs([given], tmp_path / "out", extractor=reader, threads=2)
    assert rows(tmp_path / "out" / "kept")[0]["text"] == "12 bytes"
    assert len(rows(tmp_path / "out" / "kept")) == 40


def test_large_documents_are_begun_before_others(tmp_path: Path) -> None:
    given, reader = waiting_folder(tmp_path, [*range(30), 5000], seconds=0, others=0)
    extract_pdfs([given], tmp_path / "out", extractor=reader, threads=1)
    begun = [int(line) for line in (tmp_path / "log").read_text().split()]
    assert begun.index(5012) == ahead.LEAST, "behind those that were handed out before it came"
    assert [Path(row["path"]).stem for row in rows(tmp_path / "out" / "kept")] == [f"{n:03}" for n in range(31)]


def test_a_worker_begins_without_what_its_parent_needs() -> None:
    script = "import sys, smolfast.pdf.worker; print(sorted({'pyarrow', 'smolfast.curate'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE).stdout == b"[]\n"


@pytest.mark.parametrize("said", [b"", b'{"memory": 1'])
def test_a_worker_whose_parent_is_gone_ends_quietly(said: bytes) -> None:
    """Its parent was killed while it began: nothing of that belongs on the terminal."""
    for module in ("smolfast.pdf.worker", "smolfast.pdf.warc.worker"):
        done = subprocess.run([sys.executable, "-m", module], input=said, check=True, capture_output=True)
        assert done.stdout == done.stderr == b""


def test_a_folder_of_parquet_says_how_it_is_read(folder: Path, tmp_path: Path) -> None:
    """As the hub's data sets come."""
    (tmp_path / "hub" / "data").mkdir(parents=True)
    table = pa.table({"pdf": [{"bytes": (folder / "a.pdf").read_bytes(), "path": "a.pdf"}]})
    pq.write_table(table, tmp_path / "hub" / "data" / "train-00000.parquet")
    with pytest.raises(SmolfastError, match=r"files are named: give .*hub/data/train-00000\.parquet"):
        extract_pdfs([tmp_path / "hub"], tmp_path / "out")
    assert extract_pdfs([tmp_path / "hub" / "data" / "train-00000.parquet"], tmp_path / "out").documents_out == 1
    for pattern in ("data/*.parquet", "**/*.parquet"):
        assert extract_pdfs([tmp_path / "hub" / pattern], tmp_path / pattern[0]).documents_out == 1
    with pytest.raises(SmolfastError, match=r"no file matches .*/\[x\]\*\.parquet"):
        extract_pdfs([tmp_path / "hub" / "[x]*.parquet"], tmp_path / "none")

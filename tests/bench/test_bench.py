"""Benchmark results: their form, the comparison that flags regressions, the page, and the command around them."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from smolfast.bench.compare import compare, last_on_this_hardware
from smolfast.bench.page import write_page
from smolfast.bench.results import Results, Row, Spread, machine, read_results, versions, write_results
from smolfast.commands import bench as command
from smolfast.commands.main import main
from smolfast.errors import SmolfastError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def row(name: str, role: str, seconds: float, case: str = "a", **more: Any) -> Row:
    spread = Spread(seconds, 0.95 * seconds, 1.5 * seconds)
    return Row("job", case, name, role, bytes=1_000_000, rounds=3, cpu=spread, **more)


def page_of(path: Path, *found: Results) -> tuple[str, Page]:
    write_page(path / "page.html", found)
    text = (path / "page.html").read_text()
    return text, Page(text)


def results(ours: float = 1.0, peer: float = 2.0, floor: float = 0.1, **more: Any) -> Results:
    rows = [row("smolfast", "ours", ours), row("other", "peer", peer), row("memcpy", "floor", floor)]
    about = {"benchmark": "text", "date": "2026-01-01", "machine": machine(), "versions": versions(["numpy"])}
    return Results(rows=rows, **{**about, **more})


def test_results_come_back_as_they_were(tmp_path: Path) -> None:
    before = results(settings={"quick": True})
    before = dataclasses.replace(
        before,
        rows=[*before.rows, Row("job", "a", "gone", "peer", failed="not here"), row("smolfast", "ours", 1, threads=2)],
    )
    write_results(tmp_path / "deep" / "x.json", before)
    assert read_results(tmp_path / "deep" / "x.json") == before
    content = json.loads((tmp_path / "deep" / "x.json").read_text())
    assert content["schema"] == 1
    assert content["machine"]["processors"] >= 1 and content["machine"]["processor"]
    assert content["versions"].keys() == {"smolfast", "numpy"}


def test_rates_are_work_over_seconds() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)
    rate = row("x", "peer", 2.0).rate()
    assert rate is not None
    assert (rate.median, rate.most) == (500_000, pytest.approx(1e6 / 1.9))
    assert rate.least == pytest.approx(1e6 / 3)
    assert Row("job", "a", "x", "peer", failed="no").rate() is None


def test_a_rate_is_by_cpu_time_on_one_thread_and_by_wall_time_on_several() -> None:
    cpu, wall = Spread.of([2.0]), Spread.of([1.0])
    rates = {
        threads: Row("job", "a", "x", "ours", bytes=6, threads=threads, cpu=cpu, wall=wall).rate() for threads in (1, 2)
    }
    assert rates == {1: Spread(3.0, 3.0, 3.0), 2: Spread(6.0, 6.0, 6.0)}


@pytest.mark.parametrize(
    "content", ["[]", '{"schema": 0}', '{"schema": 1}', '{"schema": 1, "rows": [{"part": 1}]}', "{"]
)
def test_files_of_another_form_are_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(SmolfastError, match=re.escape(str(path))):
        read_results(path)


def test_a_slower_machine_is_no_regression_and_a_slower_kernel_is() -> None:
    before = results()
    (same,) = compare(before, results(ours=3.0, peer=6.0, floor=0.3), noise=0.15)
    assert same.factor == pytest.approx(1.0)
    assert not same.regressed
    assert same.references == ("other", "memcpy")
    (slower,) = compare(before, results(ours=1.3), noise=0.15)
    assert slower.factor == pytest.approx(1 / 1.3)
    assert slower.regressed
    (chance,) = compare(before, results(ours=1.3), noise=0.3)
    assert not chance.regressed
    (faster,) = compare(before, results(ours=0.5), noise=0.0)
    assert faster.noise == pytest.approx(0.05)  # the rounds' own spread
    assert not faster.regressed


def test_without_a_common_reference_nothing_is_compared() -> None:
    alone = dataclasses.replace(results(), rows=[row("smolfast", "ours", 9.0), row("other", "peer", 1.0, case="b")])
    assert compare(results(), alone, noise=0.1) == []


def test_the_last_result_of_the_same_hardware_and_size_is_found(tmp_path: Path) -> None:
    now = results()
    others = {
        "hardware": results(machine={"processor": "abacus"}),
        "part": results(benchmark="loss"),
        "quick": results(settings={"quick": True}),
        "old": results(date="2025-01-01"),
        "new": results(date="2025-06-01"),
    }
    for name, other in others.items():
        write_results(tmp_path / f"{name}.json", other)
    (tmp_path / "else.json").write_text("{}")
    found = last_on_this_hardware(tmp_path, now)
    assert found is not None
    assert found[0].name == "new.json"
    assert last_on_this_hardware(tmp_path, results(benchmark="dedup")) is None


class Page(HTMLParser):
    """Tags that are open and shut in order, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "col"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_draws_bars_spread_floor_and_scaling_and_loads_nothing(tmp_path: Path) -> None:
    rows = [
        *results(floor=0.05).rows,
        *(row("smolfast", "ours", 1.0 / size, case=f"of {size}", facts={"size": size}) for size in (1, 2, 4)),
        *(Row("threads", "NFC", "smolfast", "ours", bytes=10, threads=n, wall=Spread.of([1.0 / n])) for n in (1, 2)),
        Row("job", "a", "<b>absent</b>", "peer", failed="not installed"),
    ]
    write_page(tmp_path / "page.html", [dataclasses.replace(results(), rows=rows)])
    text = (tmp_path / "page.html").read_text()
    page = Page(text)
    assert page.open == []
    assert "<b>absent</b>" in page.text and "<b>absent" not in text
    ids = [attributes["id"] for _, attributes in page.attributes if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert not any({"src", "href"} & attributes.keys() for tag, attributes in page.attributes if tag != "a")
    marks = [attributes for tag, attributes in page.attributes if attributes.get("class") == "whisker"]
    # ours: 1 MB/s of a floor of 20 MB/s isn't on the scale of 1.05 MB/s; from 1 / 1.5 to 1 / 0.95 of it
    assert marks[0]["x1"] == "63.33%" and marks[0]["x2"] == "100.00%"
    assert "Reference: memcpy, 20 MB/s, 19 × the fastest: off the scale." in page.text
    assert "0.5 MB/s · ours 2.0 ×" in page.text
    assert "Job: by size" in page.text
    assert "2.00 × on 2 threads" in page.text
    limits = [attributes for _, attributes in page.attributes if attributes.get("class") == "limit"]
    assert len(limits) == 1  # of the ideal by threads
    for axis in ("MB/s of CPU time", "times the rate of the fewest threads", "times as fast as the fastest peer"):
        assert axis in page.text
    again = tmp_path / "again.html"
    write_page(again, [dataclasses.replace(results(), rows=rows)])
    assert again.read_bytes() == (tmp_path / "page.html").read_bytes()


def test_the_page_begins_with_ratios_and_losses_and_ends_with_versions(tmp_path: Path) -> None:
    rows = [
        *results().rows,  # twice as fast
        *(row(name, role, at, case="b") for name, role, at in (("smolfast", "ours", 4.0), ("other", "peer", 1.0))),
        *(row(name, role, at, case="c") for name, role, at in (("smolfast", "ours", 1.0), ("slow", "peer", 9.0))),
    ]
    text, page = page_of(tmp_path, dataclasses.replace(results(), rows=rows))
    sections = [a["id"] for tag, a in page.attributes if tag == "section"]
    assert sections == ["overview", "read", "text-0", "where"]
    first = text.partition("<main>")[2].partition('id="read"')[0]
    # The geometric mean of 2, 1/4 and 9; one case of three is lost.
    assert "Text: job" in first and "1.65 × (0.25 to 9.0)" in first
    assert "A peer is faster in 1 of 3 cases." in first and "Text: job, b" in first and "0.25 × other" in first
    jobs, losses = first.split("What we lose</strong>")
    bars = [dict(re.findall(r' (x|width|class)="([^"]*)"', bar)) for bar in re.findall("<rect[^>]*>", first)]
    assert [bar["class"] for bar in bars] == ["fill s0", "fill s4"]
    # On 0.2 to 10, one is at log(5) / log(50); the loss' bar ends there, at the right edge of 0.2 to 1.
    assert bars[0]["x"] == "41.14%" and bars[1]["x"] == "13.86%" and bars[1]["width"] == "86.14%"
    assert "versions" not in first.lower() and "Versions" in text.rpartition('id="where"')[2]
    assert "on a logarithmic axis" in jobs and "on a logarithmic axis" in losses


def test_nothing_lost_and_nobody_to_compare_with_are_said(tmp_path: Path) -> None:
    assert "None of 1 case." in page_of(tmp_path, results())[1].text
    alone = dataclasses.replace(results(), rows=[row("smolfast", "ours", 1.0), row("memcpy", "floor", 0.1)])
    assert "No peer was measured" in page_of(tmp_path, alone)[1].text


def test_our_colour_is_ours_alone_and_references_are_no_floors(tmp_path: Path) -> None:
    found = [read_results(path) for path in COMMITTED]
    text, page = page_of(tmp_path, *found)
    assert "floor" not in re.sub(r"\(floor: [^)]*\)", "", page.text).lower()
    charts = [json.loads(a["data-chart"] or "") for _, a in page.attributes if "data-chart" in a]
    for figure in re.findall(r"<figure.*?</figure>", text.partition('id="read"')[2], re.DOTALL):
        for label, bars in re.findall(
            r"bar-label[^>]*>([^<]*)</span>(.*?)(?=<span[^>]*bar-label|</figure>)", figure, re.S
        ):
            ours = "smolfast" in label or " alone: no peer" in figure or "by threads" in figure
            assert ("fill s0" in bars) <= ours, label
    for legend in re.findall(r'<ul class="legend">(.*?)</ul>', text, re.DOTALL):
        for entry in re.findall(r"<li>(.*?)</li>", legend, re.DOTALL):
            assert (" s0" in entry) == ("smolfast" in entry)
    assert charts and all(chart["x"] in ("tokens", "documents", "rows of the matrix") for chart in charts)


def test_the_page_is_drawn_from_the_committed_results(tmp_path: Path) -> None:
    for path in COMMITTED:
        shutil.copy(path, tmp_path)
    draw = ["bench", "--draw", "--quiet", "--out", str(tmp_path)]
    assert main(draw) == 0
    first = (tmp_path / "report.html").read_bytes()
    assert main(draw) == 0 and (tmp_path / "report.html").read_bytes() == first
    parts = {read_results(path).benchmark for path in COMMITTED}
    ids = {a["id"] for tag, a in Page(first.decode()).attributes if tag == "section"}
    assert parts <= {name.rpartition("-")[0] for name in ids if name}


SCRIPT = """
import argparse, os, sys
from pathlib import Path
from smolfast.bench.results import Results, Row, Spread, machine, write_results
parser = argparse.ArgumentParser()
parser.add_argument("--json", type=Path)
parser.add_argument("--quick", action="store_true")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--cache", type=Path)
options = parser.parse_args()
assert options.quick or options.cache
if os.environ.get("PLANTED") == "broken":
    sys.exit("no such peer")
times = [("smolfast", "ours", float(os.environ.get("PLANTED", "1"))), ("other", "peer", 2.0), ("memcpy", "floor", 0.5)]
rows = [Row("job", "a", n, r, bytes=10**6, rounds=options.rounds, cpu=Spread.of([t])) for n, r, t in times]
print("a table")
write_results(options.json, Results("text", rows, machine=machine(), settings={"quick": options.quick}))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout" / "benchmarks"
    folder.mkdir(parents=True)
    (folder / "bench_text.py").write_text(SCRIPT)
    return folder


def test_bench_writes_dated_results_and_a_page_and_flags_a_regression(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = ["bench", "text", "--benchmarks", str(checkout), "--quick"]
    assert main([*run, "--compare"]) == 0
    assert (checkout / "report.html").exists()
    (written,) = (checkout / "results").iterdir()
    assert re.fullmatch(r"text-quick-\d{4}-\d\d-\d\d\.json", written.name)
    out = capfd.readouterr().out
    assert "a table" in out and "no committed result of this hardware and size" in out
    for command_line in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command_line], cwd=checkout.parent, check=True)
    assert main([*run, "--compare"]) == 0
    assert "1 rows compared" in capfd.readouterr().out
    page = checkout / "report.html"
    page.unlink()
    (checkout / "results" / "study.json").write_text("{}")
    assert main(["bench", "--draw", "--benchmarks", str(checkout)]) == 0
    assert "study.json is no benchmark's result" in capfd.readouterr().err
    assert "ours 2.0 ×" in page.read_text()
    monkeypatch.setenv("PLANTED", "1.4")
    with pytest.raises(SystemExit) as stopped:
        main([*run, "--compare", "-o", str(checkout / "elsewhere")])
    assert stopped.value.code == command.EXIT_REGRESSED == 3
    out = capfd.readouterr().out
    assert "slower: job, a, smolfast: 0.71 × the rate of then beside other, memcpy (noise allowed: 15%)" in out
    assert main([*run, "--compare", str(written), "--noise", "0.35", "--json", "-o", str(checkout / "elsewhere")]) == 0
    summary = json.loads(capfd.readouterr().out)
    assert summary["parts"] == "text" and Path(summary["report"]).parent == checkout / "elsewhere"


def test_without_torch_the_rest_is_measured(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for part in ("dedup", "curate"):
        (checkout / f"bench_{part}.py").write_text(SCRIPT.replace('Results("text"', f'Results("{part}"'))
    assert main(["bench", "--quiet", "--json", "--benchmarks", str(checkout)]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["parts"] == "text dedup curate"
    assert "attention, loss, optim left out: they need torch" in said.err


def test_bench_says_what_is_wrong_in_a_line(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--benchmarks", str(tmp_path)]) == 2
    assert "run this in a checkout" in capsys.readouterr().err
    assert main(["bench", "--draw", "--benchmarks", str(checkout)]) == 2
    assert "run `smolfast bench` first" in capsys.readouterr().err
    assert main(["bench", "speed", "--benchmarks", str(checkout)]) == 2
    assert "there is no part 'speed'; choose from text, dedup" in capsys.readouterr().err
    monkeypatch.setenv("PLANTED", "broken")
    assert main(["bench", "text", "--quiet", "--benchmarks", str(checkout)]) == 2
    assert "bench_text.py stopped with status 1: no such peer" in capsys.readouterr().err


def test_a_benchmark_script_writes_this_form(tmp_path: Path) -> None:
    path = tmp_path / "text.json"
    run = [sys.executable, str(BENCHMARKS / "bench_text.py"), "--quick", "--only", "words", "--json", str(path)]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = read_results(path)
    assert found.benchmark == "text" and found.settings["quick"] is True
    groups = {row.case for row in found.rows}
    assert groups == {"ascii", "french+german", "japanese+chinese+russian+arabic"}
    for case in groups:
        rates = {row.role: row.rate() for row in found.rows if row.case == case}
        assert rates["floor"].median > rates["ours"].median > 1e6  # type: ignore[union-attr]


@pytest.mark.slow
def test_generation_is_measured_with_whom_there_is(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "edge.json"
    words = ["--presets", "compact", "--types", "f32", "--rounds", "1", "--tokens", "2", "--json", str(path)]
    done = subprocess.run([sys.executable, str(BENCHMARKS / "bench_edge.py"), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = {row.name: row for row in read_results(path).rows}
    assert rows["ours"].role == "ours" and rows["ours"].facts["tokens_per_cpu_second"] > 0
    for name, row in rows.items():
        assert bool(row.failed) == (row.wall is None), name
        assert row.failed or row.case.startswith("compact, 1.3 M"), name
    assert set(rows) == {"ours", "transformers", "llama.cpp f32"}


# Those of the benchmarks; studies (time_to_loss, …) have forms of their own.
COMMITTED = [path for path in sorted((BENCHMARKS / "results").glob("*.json")) if '"schema"' in path.read_text()]


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_committed_results_have_hardware_versions_and_date(path: Path) -> None:
    found = read_results(path)
    assert found.rows
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found.date)
    assert found.machine["processor"] and found.versions["smolfast"]

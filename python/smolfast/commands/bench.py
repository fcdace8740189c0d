"""`smolfast bench`: run the benchmarks, keep their results, draw a page, and say what became slower."""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from smolfast.bench.compare import compare, last_on_this_hardware
from smolfast.bench.results import Results, read_results, write_results
from smolfast.commands.parsers import command, output_path
from smolfast.errors import SmolfastError
from smolfast.machine import install_command

PARTS = ("text", "dedup", "curate", "attention", "loss", "optim")
_DOWNLOADS = ("text", "dedup", "curate")
_NEEDS_TORCH = ("attention", "loss", "optim")
EXIT_REGRESSED = 3


def add_bench(commands: Any) -> None:
    """Add the subcommand."""
    parser = command(
        commands,
        "bench",
        _bench,
        after=_after,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="small inputs, three rounds, no download: under 3 minutes")
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="rounds of a measurement (default: 5; with --quick at most 3)"
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path("~/.cache/smolfast-corpus"),
        metavar="DIR",
        help="where downloaded documents are kept (default: ~/.cache/smolfast-corpus)",
    )
    parser.add_argument(
        "--benchmarks", type=Path, metavar="DIR", help="the benchmarks folder of a checkout (default: found)"
    )
    out_help = "folder for the JSON files and report.html (default: benchmarks/results, the page beside it)"
    parser.add_argument("-o", "--output", "--out", type=output_path, metavar="DIR", help=out_help)
    draw_help = "measure nothing: draw the page again, from the results in that folder"
    parser.add_argument("--draw", action="store_true", help=draw_help)
    parser.add_argument(
        "--compare",
        nargs="?",
        const="",
        metavar="FILE",
        help="with an earlier result (the last committed one of the same hardware and size): exit status 3 if ours "
        "became slower beside the same peers and references",
    )
    parser.add_argument(
        "--noise",
        type=float,
        default=0.15,
        metavar="SHARE",
        help="a slowdown up to this is chance, or up to the spread of the rounds if that is more (default: 0.15)",
    )


def _after(arguments: argparse.Namespace, result: Mapping[str, Any]) -> list[str]:
    return [f"open {result['report']} in a browser"]


def find_benchmarks(given: Path | None) -> Path:
    """The folder with the measuring scripts: the one given, the checkout that this package runs from, or the one here.

    Raises:
        SmolfastError: there is none: an installed wheel doesn't have them.
    """
    here = Path(__file__).resolve()
    candidates = [given] if given is not None else [here.parents[3] / "benchmarks", Path.cwd() / "benchmarks"]
    for folder in candidates:
        if (folder / "bench_text.py").is_file():
            return folder.resolve()
    raise SmolfastError(
        f"bench: no bench_text.py in {' or '.join(map(str, candidates))}; the benchmarks are not in the wheel: run "
        "this in a checkout of smolfast's repository, or name its folder with --benchmarks DIR"
    )


def _bench(arguments: argparse.Namespace) -> Mapping[str, Any] | None:
    from smolfast.bench.page import write_page

    folder = find_benchmarks(arguments.benchmarks)
    parts = _chosen(arguments.parts)
    out = arguments.output or folder / "results"
    page = arguments.output / "report.html" if arguments.output else folder / "report.html"
    if arguments.draw:
        return _draw(out, page)
    today = datetime.date.today().isoformat()
    found: list[Results] = []
    slower, lines = 0, []
    start = time.monotonic()
    for part in parts:
        results = _measure(folder, part, arguments)
        name = f"{part}-quick-{today}.json" if arguments.quick else f"{part}-{today}.json"
        if arguments.compare is not None:
            count, said = _compared(folder, results, arguments)
            slower += count
            lines += said
        write_results(out / name, results)
        found.append(results)
    write_page(page, found)
    for line in lines:
        print(line, file=sys.stderr if arguments.json else sys.stdout)
    summary = {"results": str(out), "report": str(page), "parts": " ".join(parts), "seconds": time.monotonic() - start}
    if slower:
        print(f"smolfast: {slower} of ours became slower beside the same references", file=sys.stderr)
        raise SystemExit(EXIT_REGRESSED)
    return summary


def _draw(folder: Path, page: Path) -> Mapping[str, Any]:
    from smolfast.bench.page import write_page

    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(read_results(path))
        except SmolfastError:
            print(f"smolfast: {path} is no benchmark's result; left out", file=sys.stderr)
    if not found:
        raise SmolfastError(f"bench --draw: no results in {folder}; run `smolfast bench` first")
    order = {part: index for index, part in enumerate(PARTS)}
    found.sort(key=lambda results: order.get(results.benchmark, len(order)))
    write_page(page, found)
    return {"report": str(page), "results": len(found)}


def _chosen(parts: Sequence[str]) -> list[str]:
    for part in parts:
        if part not in PARTS:
            raise SmolfastError(f"bench: there is no part '{part}'; choose from {', '.join(PARTS)}")
    if parts or importlib.util.find_spec("torch") is not None:
        return [part for part in PARTS if not parts or part in parts]
    left_out = ", ".join(_NEEDS_TORCH)
    remedy = f"they need torch; install it with: {install_command('bench')}"
    print(f"smolfast: {left_out} left out: {remedy}", file=sys.stderr)
    return [part for part in PARTS if part not in _NEEDS_TORCH]


def _measure(folder: Path, part: str, arguments: argparse.Namespace) -> Results:
    """Run a part's script in a process of its own."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "results.json"
        run = [sys.executable, str(folder / f"bench_{part}.py"), "--json", str(path)]
        if arguments.rounds is not None:
            run += ["--rounds", str(arguments.rounds)]
        if arguments.quick:
            run.append("--quick")
        elif part in _DOWNLOADS:
            run += ["--cache", str(arguments.cache)]
        if not arguments.quiet:
            print(f"\n== {part}", file=sys.stderr, flush=True)
        # Tables are for people: with --json, standard output is the summary's alone.
        tables = subprocess.DEVNULL if arguments.quiet else sys.stderr if arguments.json else None
        done = subprocess.run(run, stdout=tables, stderr=subprocess.PIPE, text=True)
        if done.returncode or not path.exists():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            lacks = part in _NEEDS_TORCH and "torch" in last
            remedy = f"; install torch with: {install_command('bench')}" if lacks else ""
            raise SmolfastError(f"bench: bench_{part}.py stopped with status {done.returncode}: {last}{remedy}")
        results = read_results(path)
    threads = {row.threads for row in results.rows if row.threads}
    return replace(results, machine={**results.machine, "threads": sorted(threads)})


def _compared(folder: Path, now: Results, arguments: argparse.Namespace) -> tuple[int, list[str]]:
    """How many rows became slower, and lines about the comparison."""
    if arguments.compare:
        path = Path(arguments.compare)
        then = read_results(path)
        if then.benchmark != now.benchmark:
            return 0, [f"{now.benchmark}: {path} is of {then.benchmark}; not compared"]
        if then.hardware() != now.hardware():
            raise SmolfastError(f"bench: {path} is of other hardware ({then.hardware()}); ratios there are others")
    else:
        last = last_on_this_hardware(folder / "results", now)
        if last is None:
            return 0, [f"{now.benchmark}: no committed result of this hardware and size to compare with"]
        path, then = last
    changes = compare(then, now, arguments.noise)
    regressed = [change for change in changes if change.regressed]
    lines = [f"{now.benchmark}: {len(changes)} rows compared with {path.name} of {then.date}, {len(regressed)} slower"]
    for change in regressed:
        row = change.row
        lines.append(
            f"  slower: {row.part}, {row.case}, {row.name}: {change.factor:.2f} × the rate of then beside "
            f"{', '.join(change.references)} (noise allowed: {change.noise:.0%})"
        )
    return len(regressed), lines

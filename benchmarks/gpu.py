"""Every kernel on this machine's GPU: whether it is right, then how fast it is beside every peer that is installed.

    python benchmarks/gpu.py                        # within 8 minutes; results/gpu-DATE.json, and a table last
    python benchmarks/gpu.py --minutes 20 --rounds 9
    python benchmarks/gpu.py --match newton_schulz  # items whose name matches this regular expression (--list)
    python benchmarks/gpu.py --kernels kernels      # kernel files from a folder, in place of the installed ones
    python benchmarks/gpu.py --dry-run              # tiny, on the CPU under Triton's interpreter: every path

Needs smolfast[train] and no network; peers take part where they are installed. Exits with 1 if a kernel was wrong, died
or wasn't checked, else with 0.

Right means: against fp64 from the same inputs, the relative error in the 2-norm of each output and gradient is at most
twice that of plain torch in the same dtype, plus a unit of rounding or two.

Each timing gives every implementation one turn a round; a turn is as many calls as take 20 ms, between CUDA events. The
figures are medians over the rounds, with the least and the most. Operations are nominal, the same for everyone in a
case: 4 (forward) and 10 (backward) · D a visible pair and head of attention, three products a logit of a loss, the
plain form of Newton–Schulz, 2n²m of XXᵀ. The peak is that of a large matrix product in the same dtype on this device.
Memory is the peak beyond what was allocated before a call.

All items run in a process of their own, which is started again after the item that killed or hung it.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

if "--dry-run" in sys.argv:  # Triton and torch read these when they are imported
    os.environ |= {"TRITON_INTERPRET": "1", "TORCHDYNAMO_DISABLE": "1"}

import torch

import smolfast.kernels

sys.path.insert(0, str(Path(__file__).parent))
import gpu_checks as checks
import gpu_timings as timings
from gpu_checks import Bench, label
from gpu_timings import in_a_line, is_lasting

from smolfast.bench.results import Results, Row, machine, row_of, versions, write_results
from smolfast.ops import loss as loss_ops

PACKAGES = ("torch", "triton", "flash-attn", "flash-attn-3", "liger-kernel", "cut-cross-entropy",
            "gram-newton-schulz", "quack-kernels", "dion", "heavyball")  # fmt: skip
KERNELS = ("gqa_attention", "newton_schulz", "mtp_loss")
HUNG_AFTER = 150.0
"""Seconds of one item: compiling takes up to a minute."""


@dataclass(frozen=True)
class Item:
    name: str
    kernel: str
    run: Callable[[Bench], Iterator[Row]]
    check: bool = False


def plan(dry: bool) -> list[Item]:
    """Every item: checks, then timings, the most telling first."""
    half, single = torch.bfloat16, torch.float32
    items: list[Item] = []

    def check(kernel: str, name: str, function: Callable[..., Iterator[Row]], *arguments: Any) -> None:
        run = functools.partial(_later, function, arguments)
        items.append(Item(f"check {kernel} {name}", kernel, run, check=True))

    for feature in ("causal", "varlen", "all pairs", "window", "softcap", "sinks", "rope"):
        check("gqa_attention", f"{feature} bfloat16 D128", checks.check_attention, feature, half, 128)
    check("gqa_attention", "causal bfloat16 D64", checks.check_attention, "causal", half, 64)
    for dtype in (torch.float16, single):
        check("gqa_attention", f"causal {label(dtype)} D64", checks.check_attention, "causal", dtype, 64)
    for dtype in (half, torch.float16, single):
        check("newton_schulz", f"products {label(dtype)}", checks.check_products, dtype)
        for form, shape in (("plain", (1, 640, 640)), ("gram", (1, 330, 990)), ("auto", (4, 960, 330))):
            check("newton_schulz", f"{form} {label(dtype)}", checks.check_newton_schulz, form, dtype, shape)
    for case in checks.LOSS_CASES:
        check("mtp_loss", f"{case.name} bfloat16", checks.check_loss, case, half)
    for dtype in (torch.float16, single):
        check(
            "mtp_loss", f"{checks.LOSS_CASES[-1].name} {label(dtype)}", checks.check_loss, checks.LOSS_CASES[-1], dtype
        )
    for teacher in ("dense", "hidden", "stored"):
        check("distill_loss", f"{teacher} teacher", checks.check_distillation, teacher, single if dry else half)

    def timing(kernel: str, name: str, function: Callable[..., Iterator[Row]], *arguments: Any) -> Item:
        return Item(f"time {kernel} {name}", kernel, functools.partial(_later, function, arguments))

    attention = [
        timing(
            "gqa_attention",
            f"{case.name} {'backward' if backward else 'forward'}",
            timings.time_attention,
            case,
            backward,
        )
        for case in timings.attention_cases(dry)
        for backward in (False, True)
    ]
    squares = [(1, 4096, 4096), (8, 2048, 2048), (1, 8192, 8192)]
    matrices = [(1, 4096, 4096), (8, 2048, 11008), (16, 2048, 2048)]
    if dry:
        squares, matrices = squares[:1], matrices[:1]
    return [
        *items, *attention[:2],
        timing("newton_schulz", "XXᵀ 4096", timings.time_symmetric, squares[0]),
        timing("mtp_loss", "k = 1", timings.time_loss, 1),
        timing("newton_schulz", "4096 × 4096", timings.time_newton_schulz, matrices[0]),
        timing("newton_schulz", "Muon's step", timings.time_muon),
        timing("mtp_loss", "k = 3", timings.time_loss, 3),
        *(timing("newton_schulz", " × ".join(map(str, s)), timings.time_newton_schulz, s) for s in matrices[1:]),
        *attention[2:],
        *(timing("newton_schulz", f"XXᵀ {' × '.join(map(str, s))}", timings.time_symmetric, s) for s in squares[1:]),
        timing("distill_loss", "hidden teacher", timings.time_distillation),
    ]  # fmt: skip


def _later(function: Callable[..., Iterator[Row]], arguments: tuple[Any, ...], bench: Bench) -> Iterator[Row]:
    return function(bench, *arguments)


def load_kernels(folder: Path | None) -> dict[str, ModuleType]:
    """The kernel modules; from a folder they take the places of the installed ones for everything in this process."""
    found = {}
    for name in KERNELS:
        full = f"smolfast.kernels.{name}"
        if folder is None:
            found[name] = importlib.import_module(full)
            continue
        spec = importlib.util.spec_from_file_location(full, folder / f"{name}.py")
        assert spec is not None and spec.loader is not None
        found[name] = sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found[name])
        setattr(smolfast.kernels, name, found[name])
    return found


# -- the process that works and the one that watches -------------------------------------------------------------------


def work(options: argparse.Namespace, items: list[Item]) -> int:
    """Run the items from the given one on; what happens goes to the journal, a JSON object a line."""
    torch.manual_seed(0)
    if options.dry_run:
        torch.set_num_threads(1)
        loss_ops._USE_KERNEL_ON.add("cpu")
    bench = Bench("cpu" if options.dry_run else "cuda", options.rounds, load_kernels(options.kernels))
    with options.journal.open("a", encoding="utf-8") as journal:

        def note(**what: Any) -> None:
            journal.write(json.dumps(what) + "\n")
            journal.flush()

        for index in range(options.first, len(items)):
            note(begin=index)
            item = items[index]
            try:
                for row in item.run(bench):
                    note(row=asdict(row))
                bench.synchronize()
            except Exception as problem:
                note(row=asdict(outcome(item, in_a_line(problem))))
                if is_lasting(problem):
                    note(end=index)
                    return 70
            note(end=index)
            if not bench.dry:
                torch.cuda.empty_cache()
    return 0


def outcome(item: Item, failed: str) -> Row:
    return Row("check" if item.check else "timing", item.name, item.kernel, "ours", failed=failed)


def watch(options: argparse.Namespace, items: list[Item], deadline: float) -> list[Row]:
    """Have all items run, and say of each that wasn't why."""
    rows: list[Row] = []
    next_item, at = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        journal, errors = Path(folder) / "journal", Path(folder) / "stderr"
        journal.touch()
        while next_item < len(items):
            command = [sys.executable, __file__, "--worker", str(next_item), "--journal", str(journal),
                       "--rounds", str(options.rounds), "--match", options.match]  # fmt: skip
            command += ["--dry-run"] if options.dry_run else []
            command += ["--kernels", str(options.kernels)] if options.kernels else []
            with errors.open("wb") as stderr:
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
            running, since = -1, time.monotonic()
            while True:
                status = process.poll()
                lines = journal.read_text(encoding="utf-8").split("\n")[:-1]  # the last may be half there
                for line in lines[at:]:
                    found = json.loads(line)
                    since = time.monotonic()
                    if "begin" in found:
                        running = found["begin"]
                        print(items[running].name, flush=True)
                    elif "end" in found:
                        next_item = found["end"] + 1
                    else:
                        rows.append(row_of(found["row"]))
                        show(rows[-1])
                at = len(lines)
                if status is not None:
                    break
                late, hung = time.monotonic() > deadline, time.monotonic() - since > HUNG_AFTER
                if late or hung:
                    process.kill()
                    process.wait()
                    if late:
                        rows += [outcome(item, "skipped: the minutes are over") for item in items[next_item:]]
                        return rows
                    break
                time.sleep(0.1)
            if next_item == len(items) or next_item > running >= 0:
                continue
            tail = (errors.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""])[-1]
            reason = f"hung for {HUNG_AFTER:.0f} s" if status is None else f"the process died ({status}): {tail}"
            fallen = items[next_item:] if running < 0 else [items[running]]  # all, if it doesn't even start
            rows += [outcome(item, reason) for item in fallen]
            for row in rows[-len(fallen) :]:
                show(row)
            next_item += len(fallen)
    return rows


def show(row: Row) -> None:
    where = f"{row.part:31} {row.case:52} {row.name:24}"
    if row.failed:
        print(f"{where} {row.failed}", flush=True)
    elif row.part == "check":
        print(f"{where} right: error {row.facts['error']:.1e}, bound {row.facts['bound']:.1e}", flush=True)
    elif row.wall is not None and row.operations is not None:
        line = f"{where} {1e3 * row.wall.median:9.3f} ms ({1e3 * row.wall.least:.3f}–{1e3 * row.wall.most:.3f})"
        line += f" {row.operations / row.wall.median / 1e12:7.1f} TFLOP/s"
        line += f" {row.facts.get('share of peak', 1.0):6.1%} of peak"
        if row.peak_bytes:
            line += f" {row.peak_bytes / 1e6:8.0f} MB"
        if "ours is faster by" in row.facts:
            line += f"  ours × {row.facts['ours is faster by']:.2f}"
        if "tolerance" in row.facts:
            line += f"  DISAGREES by {row.facts['difference from ours']:.1e}"
        print(line, flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="after which what is left is skipped (8)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--match", default="", help="only items whose name matches this regular expression")
    parser.add_argument("--list", action="store_true", help="print the items' names and do nothing")
    parser.add_argument("--kernels", type=Path, metavar="DIR", help="folder whose kernel files are used")
    parser.add_argument("--dry-run", action="store_true", help="tiny, on the CPU, under Triton's interpreter")
    parser.add_argument("--json", type=Path, help="results/gpu-DATE.json; a dry run writes none unless told to")
    parser.add_argument("--worker", type=int, dest="first", help=argparse.SUPPRESS)
    parser.add_argument("--journal", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    deadline = time.monotonic() + 60 * options.minutes - 5
    items = [item for item in plan(options.dry_run) if re.search(options.match, item.name)]
    if options.list:
        print(*(item.name for item in items), sep="\n")
        return 0
    if options.first is not None:
        return work(options, items)
    if not options.dry_run and not torch.cuda.is_available():
        print("gpu.py: torch sees no GPU here; --dry-run exercises this script on a CPU", file=sys.stderr)
        return 2
    if options.dry_run:
        options.rounds = 1
    device = (
        "Triton's interpreter on the CPU: timings mean nothing" if options.dry_run else torch.cuda.get_device_name()
    )
    about, found = machine(device=device), versions(PACKAGES)
    if torch.version.cuda:
        about["cuda"] = torch.version.cuda
    print(*(f"{key}: {value}" for key, value in (about | found).items()), sep="\n")
    rows = watch(options, items, deadline)
    print(f"\n{'=' * 40} {device}")
    for row in sorted(rows, key=lambda row: row.part != "check"):
        show(row)
    wrong = [row for row in rows if row.part == "check" and row.failed]
    checked = sum(row.part == "check" for row in rows)
    print(f"\n{checked - len(wrong)} of {checked} comparisons are right" + (":" if wrong else ""))
    for row in wrong:
        print(f"  {row.name}: {row.case}: {row.failed}")
    path = options.json
    if path is None and not options.dry_run:
        path = Path(__file__).parent / "results" / f"gpu-{datetime.date.today().isoformat()}.json"
    if path is not None:
        settings = {"minutes": options.minutes, "rounds": options.rounds, "match": options.match}
        write_results(path, Results("gpu", rows, machine=about, versions=found, settings=settings))
        print(f"written: {path}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""The multi-token loss on this machine's CPU, forward and backward: ours beside every other implementation at hand.

    python benchmarks/bench_loss.py                                    # V = 49,152; k = 1, 3, 4; fp32 and bf16
    python benchmarks/bench_loss.py --vocabulary 128256 --depths 4 --dtypes bfloat16 --skip 'torch chunked'
    python benchmarks/bench_loss.py --threads 1 --rounds 5 --json benchmarks/results/loss.json

Each round runs every implementation once, in turn; medians (least–most) of wall-clock time, and of the process's CPU
time, which a busy machine disturbs least. Memory is the peak resident size above what was there before and the
gradients (Linux). GFLOP/s count three products a logit, whatever is really done; the peak is that of one product by
torch, [1,024, H] · [H, 4,096], here.

Peers: "naive" is k times `cross_entropy(linear(x, W).float(), target)`; "torch chunked" is k times
`F.linear_cross_entropy` with its default chunks; Liger's fused loss and cut-cross-entropy (its torch.compile form,
which is what it has for a CPU; a call before the rounds compiles it) take part where they are installed. "shared" gives
all depths the same hidden states: its time beside k = 1 is what the extra depths cost. "50 pairs" adds the divergence
from 50 stored pairs a token to k = 1.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import re
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from smolfast import ops
from smolfast.bench.results import Results, Row, Spread, machine, read_results, versions, write_results
from smolfast.distill import StoredTeacher, distill_loss

STATUS = Path("/proc/self/status")
PART = "loss, forward and backward"


def peers(hidden: Tensor, weight: Tensor, targets: Tensor) -> dict[str, Callable[[], Tensor]]:
    depths = len(hidden)

    def each_head(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], Tensor]:
        def run() -> Tensor:
            shifted = (F.pad(targets[j:], (0, j), value=-100) for j in range(depths))
            return torch.stack([loss(hidden[j], target) for j, target in enumerate(shifted)]).sum()

        return run

    runs: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: _tensor(ops.mtp_loss(hidden, weight, targets, head_weights=(1.0,) * depths)),
        "naive": each_head(lambda x, target: F.cross_entropy(F.linear(x, weight).float(), target)),
    }
    if hasattr(torch.nn, "LinearCrossEntropyOptions"):
        chunks = torch.nn.LinearCrossEntropyOptions()
        runs["torch chunked"] = each_head(lambda x, target: F.linear_cross_entropy(x, weight, target, options=chunks))
    if importlib.util.find_spec("cut_cross_entropy"):
        from cut_cross_entropy import linear_cross_entropy

        runs["cut-cross-entropy"] = each_head(
            lambda x, target: linear_cross_entropy(x, weight, target, impl="cce" if x.is_cuda else "torch_compile")
        )
    if importlib.util.find_spec("liger_kernel"):
        from liger_kernel.transformers.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyLoss

        liger = LigerFusedLinearCrossEntropyLoss()
        runs["liger"] = each_head(lambda x, target: liger(weight, x, target))
    if depths == 1:
        pairs = torch.randint(0, len(weight), (len(targets), 50)), torch.full((len(targets), 50), 0.02)
        teacher = StoredTeacher(*pairs, unbiased=True)
        runs["ours, 50 pairs"] = lambda: _tensor(distill_loss(hidden, weight, targets, teacher))
        return runs
    runs["ours, shared"] = lambda: _tensor(ops.mtp_loss(hidden[0], weight, targets, head_weights=(1.0,) * depths))
    return runs


def _tensor(loss: Tensor | tuple[Tensor, dict[str, Tensor]]) -> Tensor:
    assert isinstance(loss, Tensor)
    return loss


def resident() -> tuple[float, float]:
    """Peak and present size in MB; zeros where /proc doesn't say."""
    if not STATUS.exists():
        return 0.0, 0.0
    text = STATUS.read_text()
    peak, now = (int(re.search(rf"{name}:\s+(\d+)", text)[1]) for name in ("VmHWM", "VmRSS"))  # type: ignore[index]
    return peak * 1024 / 1e6, now * 1024 / 1e6


def once(run: Callable[[], Tensor], leaves: tuple[Tensor, ...]) -> dict[str, float]:
    """Wall and CPU seconds, and peak MB above inputs and gradients."""
    for leaf in leaves:
        leaf.grad = None
    if STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")
    _, before = resident()
    wall, cpu = time.perf_counter(), time.process_time()
    run().backward()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    gradients = sum(leaf.grad.nbytes for leaf in leaves if leaf.grad is not None) / 1e6
    return {"wall": wall, "cpu": cpu, "megabytes": resident()[0] - before - gradients}


Measured = dict[str, dict[str, list[float]]]


def measure(
    runs: dict[str, Callable[[], Tensor]], leaves: tuple[Tensor, ...], rounds: int, failed: dict[str, str]
) -> Measured:
    """The figures of every round; whoever can't run here goes to `failed` with the reason."""
    results: Measured = {name: {"wall": [], "cpu": [], "megabytes": []} for name in runs}
    if "cut-cross-entropy" in runs:
        with contextlib.suppress(Exception):  # reported below
            once(runs["cut-cross-entropy"], leaves)
    for _ in range(rounds):
        for name in list(results):
            try:
                measured = once(runs[name], leaves)
            except Exception as error:  # a peer that can't run here is a result too
                failed[name] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:80]}"
                print(f"  {name}: does not run here ({failed[name]})")
                del results[name]
                continue
            for kind, value in measured.items():
                results[name][kind].append(value)
    return results


def gemm_peak(width: int, dtype: torch.dtype) -> dict[str, float]:
    """GFLOP/s of wall-clock time and per CPU second, each at its best."""
    x, w = torch.randn(1024, width).to(dtype), torch.randn(4096, width).to(dtype)
    best = {"wall": float("inf"), "cpu": float("inf")}
    for _ in range(20):
        wall, cpu = time.perf_counter(), time.process_time()
        torch.mm(x, w.t())
        best["wall"] = min(best["wall"], time.perf_counter() - wall)
        best["cpu"] = min(best["cpu"], time.process_time() - cpu)
    return {kind: 2 * 1024 * 4096 * width / seconds / 1e9 for kind, seconds in best.items()}


def report(title: str, results: Measured, operations: int, peak: dict[str, float], depths: int) -> list[Row]:
    print(title)
    medians = {name: {kind: statistics.median(v) for kind, v in values.items()} for name, values in results.items()}
    base = medians["naive" if "naive" in medians else next(iter(medians))]
    for name, values in medians.items():
        line = f"  {name:18}"
        for kind in ("wall", "cpu"):
            times = results[name][kind]
            line += f" {kind} {values[kind]:6.2f} s ({min(times):.2f}–{max(times):.2f}), "
            line += f"{values[kind] / base[kind]:.3f} ×;"
        # Below 0, it used memory that the process had before.
        megabytes = max(0.0, values["megabytes"])
        line += f" memory {megabytes:6.0f} MB, {megabytes / max(base['megabytes'], 1):.3f} ×"
        if "shared" not in name:
            rate = operations / values["wall"] / 1e9
            line += f"; {rate:4.0f} GFLOP/s ({rate / peak['wall']:.0%} of the GEMM peak)"
        print(line, flush=True)
    rows = []
    for name, values in results.items():
        spreads = {kind: Spread.of(values[kind]) for kind in ("wall", "cpu")}
        memory = max(0, int(1e6 * statistics.median(values["megabytes"]))) or None
        role = "ours" if name.startswith("ours") else "peer"
        work = operations / depths if "shared" in name else operations  # one product serves all depths
        rows.append(
            Row(PART, title, name, role, operations=work, threads=torch.get_num_threads(), rounds=len(values["wall"]),
                peak_bytes=memory, facts={"depths": depths}, **spreads)
        )  # fmt: skip
    floors = {kind: Spread.of([operations / rate / 1e9]) for kind, rate in peak.items()}
    return [*rows, Row(PART, title, "matrix product", "floor", operations=operations, **floors)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[49_152])
    parser.add_argument("--depths", type=int, nargs="+", default=[1, 3, 4])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--positions", type=int, default=2048)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skip", default="^$", help="leave out implementations that match this regular expression")
    parser.add_argument("--quick", action="store_true", help="small, fp32, three rounds, nothing compiled")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--add", action="store_true", help="keep the file's rows of what isn't measured now")
    options = parser.parse_args(arguments)
    if options.quick:
        options.vocabulary, options.depths, options.dtypes, options.positions = [4096], [1, 3], ["float32"], 256
        options.rounds, options.skip = min(options.rounds, 3), "cut-cross-entropy"
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    about, found = machine(options.threads), versions(("torch", "cut-cross-entropy", "liger-kernel"))
    about["torch instructions"] = torch.backends.cpu.get_cpu_capability()
    print(", ".join(f"{name} {version}" for name, version in (about | found).items()))
    for dtype in (getattr(torch, name) for name in options.dtypes):  # what is loaded once
        small = torch.ones(1, 64, 64).to(dtype).requires_grad_(), torch.ones(64, 64).to(dtype).requires_grad_()
        runs = peers(*small, torch.arange(64))
        measure({name: run for name, run in runs.items() if not re.search(options.skip, name)}, small, 1, {})
    rows: list[Row] = []
    earlier = read_results(options.json).rows if options.add and options.json.exists() else []
    for vocabulary in options.vocabulary:
        for dtype in (getattr(torch, name) for name in options.dtypes):
            peak = gemm_peak(options.width, dtype)
            for depths in options.depths:
                torch.manual_seed(0)
                hidden = torch.randn(depths, options.positions, options.width).to(dtype).requires_grad_()
                weight = (torch.randn(vocabulary, options.width) * 0.05).to(dtype).requires_grad_()
                targets = torch.randint(0, vocabulary, (options.positions,))
                runs = peers(hidden, weight, targets)
                runs = {name: run for name, run in runs.items() if not re.search(options.skip, name)}
                operations = 6 * depths * options.positions * options.width * vocabulary
                title = f"V = {vocabulary:,}, k = {depths}, {str(dtype).removeprefix('torch.')}"
                failed: dict[str, str] = {}
                measured = measure(runs, (hidden, weight), options.rounds, failed)
                rows += report(title, measured, operations, peak, depths)
                rows += [Row(PART, title, name, "peer", failed=reason) for name, reason in failed.items()]
                if options.json:  # after every case: a run that is stopped leaves what it has
                    names = ("vocabulary", "depths", "dtypes", "positions", "width", "rounds", "skip", "quick")
                    settings = {name: getattr(options, name) for name in names}
                    new = {(row.case, row.name) for row in rows}
                    kept = [row for row in earlier if (row.case, row.name) not in new]
                    all_rows = sorted([*kept, *rows], key=lambda row: (row.case, row.role))
                    results = Results("loss", all_rows, machine=about, versions=found, settings=settings)
                    write_results(options.json, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())

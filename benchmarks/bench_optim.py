"""Newton–Schulz and Muon's step on this machine's CPU: ours beside every other implementation at hand.

    python benchmarks/bench_optim.py
    python benchmarks/bench_optim.py --threads 1 --rounds 9 --json benchmarks/results/optim.json

As on a CPU without AVX-512, and so without fast bf16:

    ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 ATEN_CPU_CAPABILITY=avx2 SMOLFAST_FORCE_IMPL=avx2 \\
        python benchmarks/bench_optim.py

Each round times every implementation once, in turn. Figures are medians over the rounds (least–most), wall time and
CPU time of the whole process, with ratios to ours of both. GFLOP/s of ours count the operations of the form it took,
symmetric products at half price; of the loop, all of the plain form's. The peak is a 1,024² GEMM's in the same run.

Peers: a plain fp32 loop over matrices, ours one matrix at a time, torch.optim.Muon (bf16), and, where installed,
gram-newton-schulz's torch path (fp16), dion's Muon and its Newton–Schulz (bf16, compiled), heavyball's Muon.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from smolfast import ops, reference
from smolfast.bench.results import Results, Row, Spread, machine, peak_resident, versions, write_results
from smolfast.optim import Muon

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
Shape = tuple[int, int, int]
HELD = ("ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "ATEN_CPU_CAPABILITY", "SMOLFAST_FORCE_IMPL")

COMPACT: tuple[Shape, ...] = ((8, 256, 256), (8, 64, 256), (8, 704, 256), (4, 256, 704))
SMOLLM3: tuple[Shape, ...] = ((2, 512, 512), (2, 128, 512), (2, 2752, 512), (2, 512, 2752))
SINGLE: tuple[Shape, ...] = (
    (1, 256, 256), (1, 512, 512), (1, 1024, 1024), (1, 256, 704), (1, 512, 2752), (1, 2752, 512), (1, 256, 2048),
    (64, 128, 128), (64, 64, 64), (64, 32, 32),
)  # fmt: skip


def plain_loop(G: Tensor, steps: int = 5) -> Tensor:
    """The usual loop, one fp32 matrix after the other."""
    a, b, c = COEFFICIENTS
    results = []
    for matrix in G:
        X = matrix / matrix.norm().clamp(min=1e-7)
        tall = X.shape[0] > X.shape[1]
        X = X.T if tall else X
        for _ in range(steps):
            A = X @ X.T
            X = torch.addmm(X, torch.addmm(A, A, A, beta=b, alpha=c), X, beta=a)
        results.append(X.T if tall else X)
    return torch.stack(results)


def plain_operations(shape: Shape, steps: int = 5) -> int:
    count, n, m = shape[0], min(shape[1:]), max(shape[1:])
    return count * steps * (4 * n * n * m + 2 * n**3)


def our_operations(shape: Shape, steps: int = 5) -> int:
    """Of the form that is taken, symmetric products at half price; tiles on the diagonal are whole, and not counted."""
    count, n, m = shape[0], min(shape[1:]), max(shape[1:])
    if reference.cut_steps(n, m, [COEFFICIENTS] * steps, "auto"):
        return count * (3 * n * n * m + (5 * steps - 4) * n**3)
    return count * steps * (3 * n * n * m + n**3)


def iteration_peers(G: Tensor) -> dict[str, Callable[[], Any]]:
    peers: dict[str, Callable[[], Any]] = {
        "ours": lambda: ops.newton_schulz(G),
        "plain fp32 loop": lambda: plain_loop(G),
    }
    if len(G) > 1:
        peers["ours, one at a time"] = lambda: [ops.newton_schulz(matrix) for matrix in G]
    if importlib.util.find_spec("gram_newton_schulz"):
        from gram_newton_schulz import GramNewtonSchulz

        compiled = {"fullgraph": True, "mode": "reduce-overhead"} if G.is_cuda else None  # its default, on a GPU
        gram = GramNewtonSchulz(
            ns_use_kernels=G.is_cuda, ns_coefficients=[list(COEFFICIENTS)] * 5, compile_kwargs=compiled,
            gram_newton_schulz_reset_iterations=[2],
        )  # fmt: skip
        peers["gram-newton-schulz"] = lambda: gram(G)
    if importlib.util.find_spec("dion"):
        from dion.muon import zeropower_via_newtonschulz5

        peers["dion"] = lambda: zeropower_via_newtonschulz5(G)
    return peers


def parameters(shapes: Sequence[Shape]) -> list[nn.Parameter]:
    torch.manual_seed(0)
    matrices = [nn.Parameter(torch.randn(n, m) * 0.02) for count, n, m in shapes for _ in range(count)]
    for matrix in matrices:
        matrix.grad = torch.randn_like(matrix)
    return matrices


def step_peers(shapes: Sequence[Shape]) -> dict[str, Callable[[], Any]]:
    peers: dict[str, Callable[[], Any]] = {
        "ours": Muon(parameters(shapes), lr=0.02).step,
        "torch.optim.Muon": torch.optim.Muon(parameters(shapes), lr=0.02).step,
    }
    if importlib.util.find_spec("dion"):
        import dion

        peers["dion.Muon"] = dion.Muon(parameters(shapes), lr=0.02).step
    if importlib.util.find_spec("heavyball"):
        import heavyball

        matrices = parameters(shapes)
        gradients = [matrix.grad.clone() for matrix in matrices if matrix.grad is not None]
        optimizer = heavyball.Muon(matrices, lr=0.02, compile_step=False)

        def step() -> None:  # it drops the gradients
            for matrix, gradient in zip(matrices, gradients, strict=True):
                matrix.grad = gradient
            optimizer.step()

        peers["heavyball.Muon"] = step
    return peers


def measure(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Milliseconds; a peer that fails here is reported and left out, one that takes seconds is timed once."""
    times: dict[str, dict[str, list[float]]] = {}
    for name, run in runs.items():
        try:
            run()
        except Exception as error:
            print(f"  {name}: does not run here ({type(error).__name__}: {str(error).splitlines()[0][:80]})")
            continue
        times[name] = {"cpu": [], "wall": []}
    for _ in range(rounds):
        for name in times:
            cpu, wall = time.process_time(), time.perf_counter()
            runs[name]()
            if time.process_time() - cpu < 0.5:  # again: the one before left its own data in the caches
                cpu, wall = time.process_time(), time.perf_counter()
                runs[name]()
            times[name]["wall"].append(1e3 * (time.perf_counter() - wall))
            times[name]["cpu"].append(1e3 * (time.process_time() - cpu))
    return times


def report(
    part: str, case: str, times: dict[str, dict[str, list[float]]], operations: dict[str, int], nominal: int,
    peak: float, **facts: float,
) -> list[Row]:  # fmt: skip
    """Print a case; return its rows, in which everyone does the plain form's operations.

    Args:
        operations: that are really done, of those whose rate is to be printed. peak: GFLOP/s per CPU second.
    """
    print(f"{part}, {case}")
    medians = {name: {kind: statistics.median(values[kind]) for kind in values} for name, values in times.items()}
    for name, values in times.items():
        cpu, wall = medians[name]["cpu"], medians[name]["wall"]
        line = (
            f"  {name:20} wall {wall:9.2f} ms ({min(values['wall']):.2f}–{max(values['wall']):.2f}), CPU {cpu:9.2f} ms"
        )
        if name != "ours":
            line += f", {wall / medians['ours']['wall']:6.2f} × ours ({cpu / medians['ours']['cpu']:.2f} × in CPU time)"
        if name in operations:
            rate = operations[name] / cpu / 1e6
            line += f", {rate:.0f} GFLOP/s per CPU second ({rate / peak:.0%} of the GEMM peak)"
        print(line, flush=True)
    rows = []
    for name, values in times.items():
        wall, cpu = (Spread.of(1e-3 * each for each in values[kind]) for kind in ("wall", "cpu"))
        role = "ours" if name.startswith("ours") else "peer"
        rows.append(
            Row(part, case, name, role, operations=nominal, threads=torch.get_num_threads(),
                rounds=len(values["wall"]), wall=wall, cpu=cpu, peak_bytes=peak_resident(), facts=facts)
        )  # fmt: skip
    floor = Spread.of([nominal / peak / 1e9])
    return [*rows, Row(part, case, "1,024² matrix product", "floor", operations=nominal, cpu=floor)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--match", default="", help="only cases whose title matches this regular expression")
    parser.add_argument("--quick", action="store_true", help="a few small cases, three rounds")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.quick:
        options.match, options.rounds = r"1 of 256 × 256|1 of 512 × 512|compact", min(options.rounds, 3)
    found = versions(("torch", "heavyball", "gram-newton-schulz", "dion"))
    about = machine(options.threads) | {
        "torch instructions": torch.backends.cpu.get_cpu_capability(),
        "environment": {name: os.environ[name] for name in HELD if name in os.environ},
    }
    print(", ".join(f"{name} {value}" for name, value in (about | found).items()))
    square = torch.randn(1024, 1024)
    gemm = measure({"ours": lambda: square @ square}, max(9, options.rounds))["ours"]["cpu"]
    peak = 2 * 1024**3 / min(gemm) / 1e6
    print(f"GEMM peak {peak:.0f} GFLOP/s per CPU second")
    rows: list[Row] = []
    for shape in SINGLE:
        case = f"{shape[0]} of {shape[1]} × {shape[2]}"
        if re.search(options.match, f"Newton–Schulz, {case}"):
            operations = {"ours": our_operations(shape), "plain fp32 loop": plain_operations(shape)}
            times = measure(iteration_peers(torch.randn(shape)), options.rounds)
            size = {"size": shape[1]} if shape[0] == 1 and shape[1] == shape[2] else {}
            rows += report("Newton–Schulz", case, times, operations, plain_operations(shape), peak, **size)
    for case, shapes in (("a compact model", COMPACT), ("SmolLM3's matrices scaled to 512 × 2,752", SMOLLM3)):
        if re.search(options.match, f"Muon's step, {case}"):
            nominal = sum(plain_operations(shape) for shape in shapes)
            rows += report("Muon's step", case, measure(step_peers(shapes), options.rounds), {}, nominal, peak)
    if options.json:
        settings = {"rounds": options.rounds, "match": options.match, "quick": options.quick}
        write_results(options.json, Results("optim", rows, machine=about, versions=found, settings=settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Newton–Schulz and Muon's step on this machine's CPU: ours beside every other implementation at hand.

    python benchmarks/bench_optim.py
    python benchmarks/bench_optim.py --threads 1 --rounds 9 --json benchmarks/results/optim.json

Each round times every implementation once, in turn. Figures are medians over the rounds (least–most), wall time and
CPU time of the whole process; claims are ratios of CPU time, which a busy machine disturbs least. GFLOP/s count the
operations of the plain form, whatever is really done; the peak is that of a 1,024² GEMM in the same run.

Peers: torch.optim.Muon (bf16), a plain fp32 loop over matrices, gram-newton-schulz's torch path (fp16), and heavyball's
Muon.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from smolfast import ops
from smolfast.optim import Muon

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
Shape = tuple[int, int, int]

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


def iteration_peers(shape: Shape) -> dict[str, Callable[[], Any]]:
    G = torch.randn(shape)
    peers: dict[str, Callable[[], Any]] = {
        "ours": lambda: ops.newton_schulz(G),
        "plain fp32 loop": lambda: plain_loop(G),
    }
    if importlib.util.find_spec("gram_newton_schulz"):
        from gram_newton_schulz import GramNewtonSchulz

        gram = GramNewtonSchulz(
            ns_use_kernels=False, ns_coefficients=[list(COEFFICIENTS)] * 5, compile_kwargs=None,
            gram_newton_schulz_reset_iterations=[2],
        )  # fmt: skip
        peers["gram-newton-schulz"] = lambda: gram(G)
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
    slow = set()
    for name, run in runs.items():
        start = time.process_time()
        try:
            run()
        except Exception as error:
            print(f"  {name}: does not run here ({type(error).__name__}: {str(error).splitlines()[0][:80]})")
            continue
        times[name] = {"cpu": [], "wall": []}
        if time.process_time() - start > 1.5:
            slow.add(name)
    for index in range(rounds):
        for name in times:
            if name in slow and index:
                continue
            if name not in slow:
                runs[name]()  # the one before left its own data in the caches
            cpu, wall = time.process_time(), time.perf_counter()
            runs[name]()
            times[name]["wall"].append(1e3 * (time.perf_counter() - wall))
            times[name]["cpu"].append(1e3 * (time.process_time() - cpu))
    return times


def report(
    title: str, times: dict[str, dict[str, list[float]]], operations: int = 0, peak: float = 0.0
) -> dict[str, Any]:
    print(title)
    ours = statistics.median(times["ours"]["cpu"])
    for name, values in times.items():
        cpu, wall = (statistics.median(values[kind]) for kind in ("cpu", "wall"))
        line = f"  {name:20} CPU {cpu:9.2f} ms ({min(values['cpu']):.2f}–{max(values['cpu']):.2f}), wall {wall:9.2f} ms"
        if name != "ours":
            line += f", {cpu / ours:6.2f} × ours"
        if operations and name == "plain fp32 loop":
            rate = operations / cpu / 1e6
            line += f", {rate:.0f} GFLOP/s ({rate / peak:.0%} of the GEMM peak)"
        if operations and name == "ours":
            rate = operations / cpu / 1e6
            line += f", {rate:.0f} GFLOP/s of the plain form ({rate / peak:.0%} of the GEMM peak)"
        print(line)
    return {"case": title, "milliseconds": times}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--match", default="", help="only cases whose title matches this regular expression")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    packages = ("smolfast", "torch", "heavyball", "gram-newton-schulz")
    versions = {name: metadata.version(name) for name in packages if importlib.util.find_spec(name.replace("-", "_"))}
    processor = platform.processor() or platform.machine()
    print(f"{processor}, {torch.backends.cpu.get_cpu_capability()}, {options.threads} threads")
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    square = torch.randn(1024, 1024)
    gemm = measure({"ours": lambda: square @ square}, max(9, options.rounds))["ours"]["cpu"]
    peak = 2 * 1024**3 / min(gemm) / 1e6
    print(f"GEMM peak {peak:.0f} GFLOP/s per CPU second")
    cases = []
    for shape in SINGLE:
        title = f"Newton–Schulz, {shape[0]} of {shape[1]} × {shape[2]}"
        if re.search(options.match, title):
            cases.append(report(title, measure(iteration_peers(shape), options.rounds), plain_operations(shape), peak))
    for name, shapes in (("a compact model", COMPACT), ("SmolLM3's matrices scaled to 512 × 2,752", SMOLLM3)):
        title = f"Muon's step, {name}"
        if re.search(options.match, title):
            cases.append(report(title, measure(step_peers(shapes), options.rounds)))
    if options.json:
        record = {"threads": options.threads, "versions": versions, "gemm_gflops": peak, "cases": cases}
        options.json.write_text(json.dumps({"processor": processor, **record}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The contenders of the benchmarks under pytest-benchmark, on small inputs: `pytest -n 0 benchmarks/`.

They are the same functions that bench_*.py time. Those let contenders take turns, which pytest-benchmark can't, so
claims rest on them (`smolfast bench`); this is for its tables, its histograms and its comparisons of one machine's runs
(`--benchmark-autosave`, `--benchmark-compare`). Times are CPU time of the process.
"""

from __future__ import annotations

import functools
import itertools
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pytest_benchmark", reason="pip install 'smolfast[bench]'")
sys.path.insert(0, str(Path(__file__).parent))
import bench_curate
import bench_text
import pyarrow as pa


def text() -> Iterator[Any]:
    for job, group, strings, contenders in bench_text.jobs(bench_text.offline_documents(0.05)):
        raw = [string.encode() for string in strings]
        column = pa.array(strings, pa.large_string())
        for name, contender in contenders.items():
            run = functools.partial(contender, strings, raw, column)
            yield pytest.param(f"{job}, {group}", run, id=f"{job}-{group}-{name}")
        yield pytest.param(f"{job}, {group}", bench_text.memcpy(raw), id=f"{job}-{group}-memcpy")


def curation() -> Iterator[Any]:
    column = pa.array(bench_text.offline_documents(0.05)["ascii"][:50], pa.large_string())
    for name in (bench_curate.OURS, bench_curate.SIGNALS, bench_curate.FLOOR_WORDS, bench_curate.FLOOR_HASH):
        run = bench_curate.contender(name, column, "fineweb", "en", 1)
        yield pytest.param("judge, Python's sources", run, id=f"judge-{name}")


def training() -> Iterator[Any]:
    try:
        import torch
    except ImportError:
        return
    import bench_attention
    import bench_loss
    import bench_optim

    torch.manual_seed(0)
    shape: dict[str, Any] = {"batch": 1, "heads": 4, "kv_heads": 2, "width": 32, "dtype": torch.float32}
    case = bench_attention.Case("causal 128", documents=(128,), **shape)
    inputs, dout = bench_attention.make_inputs(case, "cpu", True), torch.randn(1, 128, 4, 32)
    # Ours and SDPA: the next one is FlexAttention, which has no backward on a CPU.
    for name, implementation in itertools.islice(bench_attention.implementations(case, "cpu"), 2):
        run = functools.partial(bench_attention.step, implementation, inputs, True, dout)
        yield pytest.param("attention, causal 128", run, id=f"attention-{name}")
    hidden = torch.randn(1, 64, 32, requires_grad=True)
    weight, targets = torch.randn(512, 32, requires_grad=True), torch.randint(0, 512, (64,))
    for name, loss in bench_loss.peers(hidden, weight, targets).items():
        if name not in ("cut-cross-entropy", "liger"):  # compiled; a GPU's
            run = functools.partial(bench_loss.once, loss, (hidden, weight))
            yield pytest.param("loss, 64 positions, V 512", run, id=f"loss-{name}")
    for name, run in bench_optim.iteration_peers(torch.randn(4, 64, 96)).items():
        if name != "dion":  # compiled
            yield pytest.param("Newton–Schulz, 4 of 64 × 96", run, id=f"newton-schulz-{name}")


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the peers' own, as they are imported
    CONTENDERS = [*text(), *curation(), *training()]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.benchmark(timer=time.process_time, min_rounds=5, max_time=0.05, min_time=0.001)
@pytest.mark.parametrize(("group", "run"), CONTENDERS)
def test_speed(benchmark: Any, group: str, run: Callable[[], Any]) -> None:
    benchmark.group = group
    benchmark(run)

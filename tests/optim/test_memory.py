"""Muon's step takes less memory beside its state than the matrices of one bucket, where a bucket is several."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# A process of its own, whose peak the kernel resets by "5": the state is there already, so what's new is the step's.
SCRIPT = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import torch
from smolfast.optim import Muon

count, n, m, workers = (int(argument) for argument in sys.argv[1:])
torch.set_num_threads(1 if workers else 2)
pool = ThreadPoolExecutor(workers or 1, initializer=torch.set_num_threads, initargs=(1,))
parameters = [torch.nn.Parameter(torch.randn(n, m)) for _ in range(count)]
for parameter in parameters:
    parameter.grad = torch.randn(n, m)
small = [torch.nn.Parameter(torch.randn(8, 8))]
small[0].grad = torch.randn(8, 8)
options = {"map": pool.map} if workers else {}
Muon(small, **options).step()
optimizer = Muon(parameters, **options)
for parameter in parameters:
    optimizer.state[parameter]["momentum_buffer"] = torch.zeros(n, m).add_(1)

def kilobytes(name):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])

Path("/proc/self/clear_refs").write_text("5")
before = kilobytes("VmRSS")
optimizer.step()
print(kilobytes("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's own account of the peak")
@pytest.mark.parametrize(
    ("count", "n", "m", "workers"), [(8, 1024, 1024, 0), (8, 704, 256, 0), (256, 128, 128, 0), (256, 128, 128, 2)]
)
def test_step_takes_less_than_a_bucket(count: int, n: int, m: int, workers: int) -> None:
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # count what lives, not what the C library hoards
    command = [sys.executable, "-c", SCRIPT, *(str(number) for number in (count, n, m, workers))]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert run.returncode == 0, run.stderr
    extra, bucket = int(run.stdout) * 1024, count * n * m * 4
    assert 0 < extra <= bucket, f"{extra:,} bytes for a bucket of {bucket:,}"

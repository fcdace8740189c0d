"""The CPU path's memory grows with the sequence, not with its square."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

MEASURE = """
import pathlib, sys, torch
from smolfast import ops
torch.set_num_threads(1)
length, options = int(sys.argv[1]), {"plain": {}, "blocks": {"softcap": 5.0, "return_max_logit": True}}[sys.argv[2]]
def step(length):
    q, k, v = (torch.randn(1, length, 1, 16, requires_grad=True) for _ in range(3))
    out = ops.gqa_attention(q, k, v, **options)
    (out[0] if isinstance(out, tuple) else out).sum().backward()
step(64)
def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])
pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak so far, of the imports, is forgotten
before = peak()
step(length)
print(peak() - before)
"""


def growth(length: int, path: str) -> int:
    """KiB that one step of forward and backward adds to the peak."""
    command = [sys.executable, "-c", MEASURE, str(length), path]
    # Freed buffers go back to the system at once; otherwise what malloc happens to keep moves the figure by half.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    return int(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("path", ["plain", "blocks"])
def test_peak_memory_is_linear_in_the_sequence(path: str) -> None:
    short, long = growth(8_192, path), growth(16_384, path)
    assert long <= 2.2 * short
    assert long * 1024 < 16_384**2, "a byte a pair would be quadratic"

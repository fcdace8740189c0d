"""A training process keeps the memory it frees."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Forty blocks of 1 MiB on a worker thread, freed together, ten times over: page faults of the last nine.
PROGRAM = """
import resource, sys, threading
from smolfast.train.process.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def work():
    for turn in range(10):
        if turn == 1:
            work.before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [bytearray(1 << 20) for _ in range(40)]
        for block in blocks:
            block[::4096] = b"1" * 256
        del block, blocks
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - work.before)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_freed_memory_is_not_faulted_in_again() -> None:
    faults = {
        how: int(subprocess.run([sys.executable, "-c", PROGRAM, how], check=True, capture_output=True).stdout)
        for how in ("kept", "given back")
    }
    assert faults["given back"] > 9 * 40 * 128, "this system keeps freed memory by itself"
    assert faults["kept"] < 1000, faults

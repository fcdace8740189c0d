"""Runs killed with SIGKILL at random moments, which must always end in the same bytes."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def content(output: Path) -> dict[str, bytes]:
    """Every file of the output."""
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def kill_and_compare(
    run: Callable[[Path], subprocess.Popen[bytes]],
    folder: Path,
    options: Any,
    *,
    share: float = 0.5,
    prepare: Callable[[Path, int], None] = lambda output, finished: None,
) -> str:
    """Kill runs into one output until `options.kills` or `options.seconds` are reached; compare each that ends.

    `share`: of a whole run's time, up to which half of the moments come; the others come anywhere in it. `prepare` is
    called with the output and the runs that ended, before each run. Gives a line that says what was done.
    """
    generator = random.Random(options.seed)
    started = time.monotonic()
    assert run(folder / "whole").wait() == 0
    length = time.monotonic() - started
    expected = content(folder / "whole")
    output = folder / "out"
    kills = finished = 0
    start = time.monotonic()
    while kills < options.kills and time.monotonic() - start < options.seconds:
        prepare(output, finished)
        process = run(output)
        try:
            assert process.wait(generator.uniform(0.1, share * length if kills % 2 else length)) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            continue
        finished += 1
        assert content(output) == expected
        shutil.rmtree(output)
    assert run(output).wait() == 0
    assert content(output) == expected
    ended = f"{finished + 1} runs came to their end, all to the same bytes"
    return f"{kills} kills; a whole run takes {length:.1f} s; {ended}"

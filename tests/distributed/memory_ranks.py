"""One rank of several trainings: torchrun memory_ranks.py JSON, a list of [folder, arguments of smolfast].

Prints, on the first rank, the most bytes that torch's allocator had out at once during each, as its profiler counts
them: from before the model is built, over all steps.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import sys
from typing import Any

import torch
import torch.distributed as dist
from torch.profiler import ProfilerActivity, profile

from smolfast.commands.main import main
from smolfast.train.process.ranks import leave_process_groups


def most_bytes(arguments: list[str]) -> int:
    """Of one training."""
    gc.collect()
    activities = [ProfilerActivity.CPU]
    with profile(activities=activities, profile_memory=True) as profiler, contextlib.redirect_stdout(io.StringIO()):
        failed = main(arguments)
    if failed:
        sys.exit(f"{arguments} failed")
    changes: list[tuple[int, int, int]] = []

    def walk(nodes: Any) -> None:
        for node in nodes:
            if node.tag.name == "Allocation":
                changes.append((node.start_time_ns, node.extra_fields.ptr, node.extra_fields.alloc_size))
            walk(node.children)

    walk(profiler.profiler.kineto_results.experimental_event_tree())
    # What gloo's threads free isn't told. But where something else is put later, nothing is any more.
    alive: dict[int, int] = {}
    now = most = 0
    for _, address, size in sorted(changes):
        now -= alive.pop(address, 0)
        if size > 0:
            alive[address] = size
            now += size
            most = max(most, now)
    return most


dist.init_process_group("gloo")
try:
    for folder, arguments in json.loads(sys.argv[1]):
        os.chdir(folder)
        found = torch.tensor(most_bytes(arguments))
        dist.all_reduce(found, dist.ReduceOp.MIN)  # ranks hold alike, and what gloo frees late only adds
        if dist.get_rank() == 0:
            print(json.dumps({"most": int(found)}), flush=True)
finally:
    leave_process_groups()

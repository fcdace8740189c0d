"""One rank of several trainings: torchrun train_ranks.py JSON, a list of [folder, arguments of smolfast].

They share the process group, and the seconds that a process needs before it can train.
"""

from __future__ import annotations

import json
import os
import sys

import torch.distributed as dist

from smolfast.commands.main import main
from smolfast.train.process.ranks import leave_process_groups

dist.init_process_group("gloo")
try:
    for folder, arguments in json.loads(sys.argv[1]):
        os.chdir(folder)
        if main(arguments) != 0:
            sys.exit(f"{arguments} failed")
finally:
    leave_process_groups()

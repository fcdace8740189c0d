"""Tasks of EleutherAI's lm-evaluation-harness on an exported model. Needs the package lm-eval (the extra `harness`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from smolfast.errors import SmolfastError
from smolfast.files import write_json
from smolfast.io.keep_apart import check_apart
from smolfast.machine import install_command


def run_harness(
    export: str | os.PathLike[str],
    output: str | os.PathLike[str],
    tasks: Sequence[str],
    *,
    limit: int | None = None,
    task_folder: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Evaluate a folder that transformers loads; write `harness.json` into a folder and return what it holds.

    Args:
        tasks: names of tasks or groups, such as arc_easy. limit: examples of each task; None for all.
        task_folder: a folder with descriptions (YAML) of further tasks.

    Returns:
        for each task its numbers by name, as the harness calls them: acc, acc_stderr, …

    Raises:
        SmolfastError: lm-eval isn't installed, or it doesn't know a task.
    """
    try:
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager
    except ModuleNotFoundError as error:
        raise SmolfastError(f"--harness needs {error.name}; install it with: {install_command('harness')}") from error
    if not (Path(export) / "tokenizer.json").is_file():
        raise SmolfastError(f"{export} holds no tokenizer.json; give a folder from smolfast export")
    check_apart(output, [export, *(() if task_folder is None else (task_folder,))])
    manager = TaskManager(include_path=None if task_folder is None else str(task_folder))
    unknown = [task for task in tasks if task not in manager.all_tasks]
    if unknown:
        raise SmolfastError(f"lm-eval knows no task '{unknown[0]}'; `lm_eval ls tasks` lists them")
    found = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(export), "dtype": "float32"},
        tasks=list(tasks),
        device="cuda" if torch.cuda.is_available() else "cpu",  # its own default is a GPU, there or not
        limit=limit,
        task_manager=manager,
        log_samples=False,
    )
    # The harness puts the filter behind each name: "acc,none".
    result = {
        task: {name.removesuffix(",none"): value for name, value in numbers.items() if isinstance(value, int | float)}
        for task, numbers in found["results"].items()
    }
    write_json(Path(output) / "harness.json", result)
    return result

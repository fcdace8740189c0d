"""`smolfast evaluate`: how good a model is."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.commands.options import (
    add_config_options,
    add_reading,
    add_threads,
    check_model,
    load_config,
    passed_over,
    reading_of,
    run_stage,
)
from smolfast.commands.parsers import add_output, at_least, command
from smolfast.errors import SmolfastError


def add_evaluate(commands: Any) -> None:
    """The parser of `smolfast evaluate`."""
    parser = command(
        commands,
        "evaluate",
        _evaluate,
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="the model folder that `smolfast train` wrote")
    parser.add_argument("--tokens", type=Path, metavar="DIR", help="token files with a held-out part")
    parser.add_argument("--held-out", type=Path, metavar="FILE", help="held-out documents (parquet)")
    harness = parser.add_argument_group("instead of held-out text: tasks of lm-evaluation-harness on an export")
    harness.add_argument("--harness", metavar="TASK,…", help="names of tasks; needs lm-eval, of the extra `harness`")
    harness.add_argument("--harness-limit", type=at_least(1), metavar="N", help="examples of each task")
    harness.add_argument("--harness-tasks", type=Path, metavar="DIR", help="folder with further tasks (YAML)")
    parser.add_argument(
        "--source-column", metavar="NAME", help="column of the documents that names their source: figures for each too"
    )
    add_output(parser, "folder for evaluation.json")
    add_reading(parser, text_column=None, errors=None, note="as the documents were tokenized")
    add_threads(parser)
    add_config_options(parser)


def _harness(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.evaluate.harness import run_harness

    tasks, folder = arguments.harness.split(","), arguments.harness_tasks
    return run_stage(
        arguments,
        "harness",
        inputs={"model": arguments.model, **({} if folder is None else {"tasks": folder})},
        parameters={"tasks": tasks, "limit": arguments.harness_limit},
        work=lambda path, progress: run_harness(
            arguments.model, path, tasks, limit=arguments.harness_limit, task_folder=folder
        ),
    )


def _evaluate(arguments: argparse.Namespace) -> Mapping[str, Any]:
    check_model(arguments.model)
    if arguments.harness is not None:
        return _harness(arguments)
    if arguments.tokens is None or arguments.held_out is None:
        raise SmolfastError("evaluate: give --tokens and --held-out, or --harness")
    from smolfast.evaluate.bits_per_byte import evaluate

    config = load_config(arguments)
    not_read = passed_over(arguments, arguments.held_out)
    summary = run_stage(
        arguments,
        "evaluate",
        inputs={
            "model": arguments.model,
            "tokens": arguments.tokens,
            "held_out": arguments.held_out,
        },
        parameters={
            **config.evaluate.model_dump(),
            **({"source_column": arguments.source_column} if arguments.source_column else {}),
            **{name: value for name, value in reading_of(arguments).items() if value is not None},
        },
        work=lambda path, progress: evaluate(
            arguments.model,
            arguments.tokens,
            path,
            config.evaluate,
            held_out_documents=arguments.held_out,
            source_column=arguments.source_column,
            **reading_of(arguments),
            threads=arguments.threads,
            progress=progress,
        ),
    )
    return {**summary, **not_read}

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
from smolfast.progress import ProgressCallback

PAGE = "evaluation.html"


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
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="DIR",
        help="the tokenizer's folder, for --needle and --by-position (default: MODEL's own, if it is an export)",
    )
    parser.add_argument("--by-position", action="store_true", help="also bits per byte by how much was seen before")
    parser.add_argument(
        "--source-column", metavar="NAME", help="column of the documents that names their source: figures for each too"
    )
    parser.add_argument(
        "--language-column", metavar="NAME", help="column of the documents that names their language, likewise"
    )
    needle = parser.add_argument_group("instead of held-out text: tasks whose answer stands in a long prompt")
    needle.add_argument(
        "--needle",
        action="store_true",
        help="needles at depths × lengths, variables, counting (--set needles.lengths=[…]), between --held-out's lines",
    )
    harness = parser.add_argument_group("instead of held-out text: tasks of lm-evaluation-harness on an export")
    harness.add_argument("--harness", metavar="TASK,…", help="names of tasks; needs lm-eval, of the extra `harness`")
    harness.add_argument("--harness-limit", type=at_least(1), metavar="N", help="examples of each task")
    harness.add_argument("--harness-tasks", type=Path, metavar="DIR", help="folder with further tasks (YAML)")
    add_output(parser, "folder for evaluation.json (needles.json, harness.json) and a page")
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


def _tokenizer(arguments: argparse.Namespace, wanted_by: str) -> Path:
    """The tokenizer's folder: the one given, or the model's own."""
    found: Path = arguments.model if arguments.tokenizer is None else arguments.tokenizer
    if arguments.tokenizer is None and found.is_dir() and not (found / "tokenizer.json").is_file():
        raise SmolfastError(f"{found} holds no tokenizer, which {wanted_by} needs; add --tokenizer DIR")
    return found


def _write_page(arguments: argparse.Namespace, path: Path, **found: Mapping[str, Any] | None) -> None:
    from smolfast.report.document import save_page
    from smolfast.report.training.evaluation_page import evaluation_page

    name = arguments.model.resolve()
    shown = name.parent.name if name.name == "model" else name.name
    save_page(path / PAGE, evaluation_page(shown, found.get("evaluation"), found.get("needles")))


def _needle(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.evaluate.needles.scoring import evaluate_needles

    config, tokenizer = load_config(arguments), _tokenizer(arguments, "--needle")
    reading = {name: value for name, value in reading_of(arguments).items() if value is not None}
    haystack = {} if arguments.held_out is None else {"haystack": arguments.held_out}

    def work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
        result = evaluate_needles(
            arguments.model,
            path,
            config.needles,
            tokenizer=tokenizer,
            **haystack,
            **reading,
            seed=config.seed,
            threads=arguments.threads,
            progress=progress,
        )
        _write_page(arguments, path, needles=result)
        return {
            **{name: result[name] for name in ("context", "lengths", "samples")},
            **{f"{task}_right": found["accuracy"] for task, found in result["tasks"].items()},
        }

    return run_stage(
        arguments,
        "needles",
        inputs={"model": arguments.model, "tokenizer": tokenizer, **haystack},
        parameters={**config.needles.model_dump(mode="json"), "seed": config.seed, **reading},
        work=work,
    )


def _evaluate(arguments: argparse.Namespace) -> Mapping[str, Any]:
    check_model(arguments.model)
    if arguments.harness is not None and arguments.needle:
        raise SmolfastError("--needle and --harness are two evaluations; give one of them")
    if arguments.harness is not None:
        return _harness(arguments)
    if arguments.needle:
        return _needle(arguments)
    if arguments.tokens is None or arguments.held_out is None:
        raise SmolfastError("evaluate: give --tokens and --held-out, or --needle, or --harness")
    from smolfast.evaluate.bits_per_byte import evaluate

    config = load_config(arguments)
    not_read = passed_over(arguments, arguments.held_out)
    options: dict[str, Any] = {
        name: value for name in ("source_column", "language_column") if (value := getattr(arguments, name))
    }
    tokenizer: dict[str, Any] = {"tokenizer": _tokenizer(arguments, "--by-position")} if arguments.by_position else {}

    def work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
        result = evaluate(
            arguments.model,
            arguments.tokens,
            path,
            config.evaluate,
            held_out_documents=arguments.held_out,
            **options,
            **tokenizer,
            **reading_of(arguments),
            threads=arguments.threads,
            progress=progress,
        )
        _write_page(arguments, path, evaluation=result)
        return result

    summary = run_stage(
        arguments,
        "evaluate",
        inputs={
            "model": arguments.model,
            "tokens": arguments.tokens,
            "held_out": arguments.held_out,
            **tokenizer,
        },
        parameters={
            **config.evaluate.model_dump(),
            **options,
            **{name: value for name, value in reading_of(arguments).items() if value is not None},
        },
        work=work,
    )
    return {**summary, **not_read}

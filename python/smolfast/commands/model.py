"""`smolfast train`, `evaluate`, `export` and `generate`: from token files to text."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.apart import check_apart
from smolfast.command_line import add_config_options, add_reading, add_threads, load_config, reading_of, run_stage
from smolfast.errors import SmolfastError
from smolfast.flops import GPUS
from smolfast.options import add_output, at_least, command, minutes


def add_train(commands: Any) -> None:
    parser = command(
        commands, "train", _train, "Train a SmolLM3-shaped model on token files; resumes from its checkpoint."
    )
    parser.set_defaults(goes_on=True)
    parser.add_argument(
        "tokens",
        nargs="*",
        metavar="[NAME=]TOKENS",
        help="folder that `smolfast tokenize` wrote; several with a name each, which train.mixture gives weights",
    )
    add_output(parser, "folder for checkpoints, metrics.jsonl and the final model", required=False)
    parser.add_argument(
        "--parallel",
        choices=("ddp", "fsdp"),
        default="ddp",
        help="under torchrun: every process has the whole model (ddp), or a shard of it (fsdp) (ddp)",
    )
    _add_dry_run(parser)
    parser.add_argument("--minutes", type=minutes, metavar="M", help="train for about M minutes")
    parser.add_argument(
        "--init",
        type=Path,
        metavar="DIR",
        help="go on from this model: a folder of export or train, or a local SmolLM3- or Llama-shaped one; its shape "
        "goes before the configuration's",
    )
    parser.add_argument(
        "--teacher", type=Path, metavar="DIR", help="model folder to learn from, run beside the student"
    )
    parser.add_argument("--teacher-cache", type=Path, metavar="DIR", help="what distill-cache wrote for these tokens")
    add_threads(parser)
    add_config_options(parser)


def _add_dry_run(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("dry run, without TOKENS")
    group.add_argument(
        "--dry-run", action="store_true", help="check the configuration, say what the run would take, and train nothing"
    )
    group.add_argument("--gpus", type=at_least(1), default=1, metavar="N", help="GPUs, one rank each (1)")
    group.add_argument("--gpu", choices=tuple(GPUS), default="h100", help="which (h100)")
    group.add_argument(
        "--mfu", type=float, default=0.3, metavar="SHARE", help="share of the GPUs' bf16 peak to reckon with (0.3)"
    )


def _train(arguments: argparse.Namespace) -> Mapping[str, Any] | None:
    if arguments.init is not None:
        if arguments.output is not None:
            check_apart(arguments.output, [arguments.init])
        from smolfast.pretrained import shape_settings

        arguments.set = [*shape_settings(arguments.init), *arguments.set]
    config = load_config(arguments)
    if arguments.dry_run:
        from smolfast.dry_run import run

        return run(arguments, config)
    if not arguments.tokens or arguments.output is None:
        raise SmolfastError("train: give TOKENS and -o PATH, or --dry-run")
    from smolfast.train_command import train_command

    return train_command(arguments, config, run_stage)


def add_evaluate(commands: Any) -> None:
    parser = command(commands, "evaluate", _evaluate, "Held-out bits per byte, beside a unigram model, zlib and xz.")
    parser.add_argument("model", type=Path, metavar="MODEL", help="the model folder that `smolfast train` wrote")
    parser.add_argument("--tokens", type=Path, metavar="DIR", help="token files with a held-out part")
    parser.add_argument("--held-out", type=Path, metavar="FILE", help="held-out documents (parquet)")
    harness = parser.add_argument_group("instead of held-out text: tasks of lm-evaluation-harness on an export")
    harness.add_argument("--harness", metavar="TASK,…", help="names of tasks; needs pip install 'smolfast[harness]'")
    harness.add_argument("--harness-limit", type=at_least(1), metavar="N", help="examples of each task")
    harness.add_argument("--harness-tasks", type=Path, metavar="DIR", help="folder with further tasks (YAML)")
    parser.add_argument(
        "--source-column", metavar="NAME", help="column of the documents that names their source: figures for each too"
    )
    add_output(parser, "folder for evaluation.json")
    add_reading(parser)
    parser.set_defaults(text_column=None, errors=None)  # as the documents were tokenized
    add_threads(parser)
    add_config_options(parser)


def _harness(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.harness import run_harness

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
    if arguments.harness is not None:
        return _harness(arguments)
    if arguments.tokens is None or arguments.held_out is None:
        raise SmolfastError("evaluate: give --tokens and --held-out, or --harness")
    from smolfast.evaluate import evaluate

    config = load_config(arguments)
    return run_stage(
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


def add_export(commands: Any) -> None:
    parser = command(commands, "export", _export, "Write a folder that transformers loads as SmolLM3ForCausalLM.")
    parser.add_argument("model", type=Path, metavar="MODEL", help="the model folder that `smolfast train` wrote")
    parser.add_argument("--tokenizer", type=Path, required=True, metavar="DIR", help="its tokenizer folder")
    add_output(parser, "folder to write")


def _export(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.export import export

    return run_stage(
        arguments,
        "export",
        inputs={"model": arguments.model, "tokenizer": arguments.tokenizer},
        parameters={},
        work=lambda path, progress: export(arguments.model, arguments.tokenizer, path),
    )


def add_generate(commands: Any) -> None:
    parser = command(commands, "generate", _generate, "Continue a prompt with an exported model.")
    parser.add_argument("model", type=Path, metavar="EXPORT", help="the folder that `smolfast export` wrote")
    parser.add_argument("--prompt", help="where the text starts")
    parser.add_argument("--max-new-tokens", type=at_least(1), metavar="N", help="tokens to add")
    parser.add_argument(
        "--chat", action="store_true", help="the prompt is a user's message; with /no_think at its end, answer at once"
    )
    parser.add_argument("--temperature", type=float, metavar="T", help="0 takes the likeliest token each time")
    add_config_options(parser)


def _generate(arguments: argparse.Namespace) -> Mapping[str, Any] | None:
    from smolfast.generate import complete

    config = load_config(arguments)
    chosen = {
        name: value
        for name in ("prompt", "max_new_tokens", "temperature")
        if (value := getattr(arguments, name)) is not None
    }
    sample = complete(arguments.model, config.generate.model_copy(update=chosen), seed=config.seed, chat=arguments.chat)
    if arguments.json:
        return sample
    print(sample["text"])
    if not arguments.quiet:
        print(f"{sample['tokens']} tokens, {sample['tokens_per_second']:,.1f} tokens/s", file=sys.stderr)
    return None

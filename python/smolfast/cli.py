"""The `smolfast` command. Each subcommand is a thin call of one stage; a bad input is one line and exit code 2."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from smolfast import __version__
from smolfast.bench.command import add_bench
from smolfast.command_line import (
    add_column_types,
    add_config_options,
    add_output,
    add_reading,
    add_strict,
    add_threads,
    at_least,
    command,
    load_config,
    local_inputs,
    minutes,
    run_stage,
)
from smolfast.errors import SmolfastError
from smolfast.model_commands import add_evaluate, add_export, add_generate, add_train
from smolfast.progress import Console

_EXIT_BAD_INPUT = 2
_EXIT_INTERRUPTED = 130
_EXIT_TERMINATED = 143
_TRAIN_PACKAGES = ("torch", "pydantic", "tokenizers", "safetensors")


class _Terminated(BaseException):
    """SIGTERM, raised where the main thread is, so that files are left whole and work can be resumed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = _parser().parse_args(argv)
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        run: Callable[[argparse.Namespace], Mapping[str, Any] | None] = arguments.run
        result = run(arguments)
        if result is not None:
            _show(result, as_json=arguments.json)
    except SmolfastError as error:
        print(f"smolfast: error: {error}", file=sys.stderr)
        return _EXIT_BAD_INPUT
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in _TRAIN_PACKAGES:
            raise
        print(
            f"smolfast: error: this command needs {error.name}; install it with: pip install 'smolfast[train]'",
            file=sys.stderr,
        )
        return _EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("\nsmolfast: interrupted; run the same command again to go on from here", file=sys.stderr)
        return _EXIT_INTERRUPTED
    except _Terminated:
        print("smolfast: terminated; run the same command again to go on from here", file=sys.stderr)
        return _EXIT_TERMINATED
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated


def _show(result: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result))
        return
    width = max((len(key) for key in result), default=0)
    for key, value in result.items():
        if isinstance(value, float):
            shown = f"{value:.4f}"
        else:
            shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
        print(f"{key.replace('_', ' '):<{width}}  {shown}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="smolfast",
        description="From raw text to a trained, exported small language model, and every stage by itself.",
    )
    parser.add_argument("--version", action="version", version=f"smolfast {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (
        _add_quickstart,
        _add_collect,
        _add_normalize,
        _add_dedup,
        _add_split,
        _add_tokenize,
        _add_distill_cache,
        add_train,
        add_evaluate,
        add_export,
        add_generate,
        _add_report,
        add_bench,
        _add_config,
    ):
        add(commands)
    return parser


# -- quickstart --------------------------------------------------------------------------------------------------------


def _add_quickstart(commands: Any) -> None:
    parser = command(
        commands, "quickstart", _quickstart, "From real text to a trained, exported small model and a report."
    )
    parser.add_argument(
        "--input",
        nargs="+",
        default=[],
        metavar="PATH",
        help="files, folders, globs or URLs (.txt .md .rst .py .jsonl .json .csv .tsv, compressed too; .parquet "
        ".arrow); without it, the Python sources and documentation of this installation",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("smolfast-out"), metavar="DIR", help="run folder (smolfast-out)"
    )
    parser.add_argument("--minutes", type=minutes, metavar="M", help="fit the whole run into about M minutes")
    parser.add_argument("--overwrite", action="store_true", help="replace a run with other input or settings in --out")
    add_reading(parser)
    add_threads(parser)
    add_config_options(parser)


def _quickstart(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.quickstart import Options, quickstart

    options = Options(
        out=arguments.out,
        inputs=arguments.input,
        text_column=arguments.text_column,
        errors=arguments.errors,
        strict=arguments.strict,
        minutes=arguments.minutes,
        threads=arguments.threads,
        overwrite=arguments.overwrite,
    )
    return quickstart(load_config(arguments), options, Console(quiet=arguments.quiet))


# -- the stages, each on files -----------------------------------------------------------------------------------------


def _add_collect(commands: Any) -> None:
    parser = command(commands, "collect", _collect, "Gather documents into one parquet file (id, text).")
    parser.add_argument(
        "input", nargs="*", metavar="PATH", help="files, folders or URLs; none for this installation's text"
    )
    add_output(parser, "folder for documents.parquet")
    add_reading(parser)
    add_config_options(parser)


def _collect(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast import collect

    config = load_config(arguments)
    sources = collect.list_inputs(arguments.input, strict=arguments.strict)
    return run_stage(
        arguments,
        "collect",
        inputs={},
        parameters={
            **config.collect.model_dump(),
            "sources": collect.signature(sources),
            "errors": arguments.errors,
            "text_column": arguments.text_column,
        },
        work=lambda path, progress: collect.collect(
            sources,
            path,
            config.collect,
            errors=arguments.errors,
            text_column=arguments.text_column,
            progress=progress,
        ),
    )


def _add_normalize(commands: Any) -> None:
    parser = command(
        commands, "normalize", _normalize, "Unicode-normalise the text column of files, and clean or simplify it."
    )
    parser.add_argument(
        "input", nargs="+", metavar="PATH", help="files, folders or URLs; the last is OUTPUT without -o"
    )
    output_help = (
        "a .parquet or .jsonl[.gz|.zst] file, or a folder: a file for each input file, where a killed run goes on"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="OUTPUT", help=output_help)
    parser.add_argument("--overwrite", action="store_true", help="replace an output made from other input or settings")
    forms = ("NFC", "NFD", "NFKC", "NFKD")
    parser.add_argument("--form", choices=forms, default="NFC", help="normalisation form (NFC)")
    clean_help = "line ends, control and invisible characters, spaces, blank lines; prints what each rule changed"
    parser.add_argument("--clean", action="store_true", help=clean_help)
    parser.add_argument("--simplify", action="store_true", help="then the text that near-duplicates are compared by")
    add_reading(parser)
    add_column_types(parser)
    add_threads(parser)


def _normalize(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.documents import find_sources
    from smolfast.normalize import normalize_documents, writes_a_file

    inputs = list(arguments.input)
    if arguments.output is None:
        if len(inputs) < 2:
            raise SmolfastError("normalize: no output given; name it last, or with -o")
        arguments.output = Path(inputs.pop())
    options = {name: getattr(arguments, name) for name in ("form", "clean", "simplify", "text_column", "errors")}
    types = dict(arguments.column_type)
    sources = find_sources(inputs, strict=arguments.strict)
    return run_stage(
        arguments,
        "normalize",
        # Each file: a folder's fingerprint would leave out what links lead to.
        inputs=local_inputs([source.path for source in sources]),
        parameters={"input": inputs, **options, "types": types, **sources.summary()},
        work=lambda path, progress: normalize_documents(
            inputs,
            path,
            **options,
            types=types,
            strict=arguments.strict,
            threads=arguments.threads,
            progress=progress,
        ),
        resumable=not writes_a_file(arguments.output),
    )


def _add_dedup(commands: Any) -> None:
    from smolfast.dedup import add_arguments, run

    parser = command(commands, "dedup", run, "Remove exact and near duplicates; parquet out.")
    add_arguments(parser)
    add_strict(parser)
    add_column_types(parser)


def _add_split(commands: Any) -> None:
    parser = command(
        commands, "split", _split, "Split deduplicated documents into train and held-out by document hash."
    )
    parser.add_argument("input", type=Path, metavar="KEPT.parquet", help="deduplicated documents")
    add_output(parser, "folder for train.parquet and held_out.parquet")
    add_config_options(parser)


def _split(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.split import split_documents

    config = load_config(arguments)
    fraction = config.split.held_out_fraction
    return run_stage(
        arguments,
        "split",
        inputs={"documents": arguments.input},
        parameters={"held_out_fraction": fraction, "seed": config.seed},
        work=lambda path, progress: split_documents(
            arguments.input, path, held_out_fraction=fraction, seed=config.seed, progress=progress
        ),
    )


def _add_tokenize(commands: Any) -> None:
    parser = command(
        commands, "tokenize", _tokenize, "Train a byte-level BPE tokenizer if none is given; pack token files."
    )
    parser.add_argument("train", type=Path, metavar="TRAIN.parquet", help="training documents")
    parser.add_argument("--held-out", type=Path, required=True, metavar="FILE", help="held-out documents (parquet)")
    parser.add_argument(
        "--tokenizer", type=Path, metavar="DIR", help="an existing tokenizer folder; trained when not given"
    )
    parser.add_argument(
        "--chat",
        action="store_true",
        help="the files hold conversations (lists of role and content under `messages`); only what the assistant says "
        "will be learned; needs --tokenizer",
    )
    add_output(parser, "folder for the token files; a tokenizer that is trained goes to PATH-tokenizer")
    add_config_options(parser)


def _tokenize(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast import chat_tokens, tokenizer, tokens

    config = load_config(arguments)
    folder: Path | None = arguments.tokenizer
    if arguments.chat and folder is None:
        raise SmolfastError("tokenize --chat: give the --tokenizer of the model that is to learn")
    if folder is None:
        folder = arguments.output.with_name(arguments.output.name + "-tokenizer")
        trained = argparse.Namespace(**{**vars(arguments), "output": folder})
        run_stage(
            trained,
            "tokenizer",
            inputs={"train": arguments.train},
            parameters=config.tokenizer.model_dump(),
            work=lambda path, progress: tokenizer.train_tokenizer(
                [arguments.train], path, config.tokenizer, progress=progress
            ),
        )
    tokenizer_folder = folder
    encode = chat_tokens.tokenize_conversations if arguments.chat else tokens.tokenize
    documents = {"train": arguments.train, "held_out": arguments.held_out}
    return run_stage(
        arguments,
        "tokenize",
        inputs={**documents, "tokenizer": tokenizer_folder},
        parameters={"chat": True} if arguments.chat else {},
        work=lambda path, progress: encode(documents, tokenizer_folder, path, progress=progress),
    )


def _add_distill_cache(commands: Any) -> None:
    parser = command(
        commands,
        "distill-cache",
        _distill_cache,
        "Store draws from a teacher's next-token distributions over token files; goes on where it was stopped.",
    )
    parser.add_argument("teacher", metavar="TEACHER", help="folder or hub name of a transformers causal language model")
    parser.add_argument("--tokens", type=Path, required=True, metavar="DIR", help="folder that tokenize wrote")
    parser.add_argument("--name", default="train", help="which token file (train)")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="PATH",
        help="folder for the parquet parts (DIR-teacher, beside the tokens)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an output made from other input or settings")
    parser.add_argument("--samples", type=at_least(1), default=50, metavar="N", help="draws a token (50)")
    parser.add_argument("--temperature", type=float, default=1.0, metavar="T", help="of the teacher (1)")
    parser.add_argument(
        "--context", type=at_least(0), default=0, metavar="N", help="tokens of a window; 0 for the teacher's own (0)"
    )
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="seed of the draws (0)")


def _distill_cache(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.distill_cache import write_cache

    if arguments.output is None:
        arguments.output = arguments.tokens.with_name(arguments.tokens.name + "-teacher")
    options = {name: getattr(arguments, name) for name in ("name", "samples", "temperature", "context", "seed")}
    local = local_inputs([arguments.teacher]) if Path(arguments.teacher).exists() else {}
    return run_stage(
        arguments,
        "distill-cache",
        inputs={"tokens": arguments.tokens, **local},
        parameters={"teacher": arguments.teacher, **options},
        work=lambda path, progress: write_cache(
            arguments.teacher, arguments.tokens, path, **options, progress=progress
        ),
        resumable=True,
    )


def _add_report(commands: Any) -> None:
    parser = command(commands, "report", _report, "Write the report page of a quickstart run again.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the run folder")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="HTML file (DIR/report.html)")


def _report(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.report import write_report

    output = arguments.output or arguments.folder / "report.html"
    return {"report": str(output), **write_report(arguments.folder, output)}


def _add_config(commands: Any) -> None:
    command(commands, "config", _config, "Print the whole default configuration as TOML, with comments.")


def _config(arguments: argparse.Namespace) -> Mapping[str, Any] | None:
    from smolfast.config import Config, default_toml

    if arguments.json:
        return Config().model_dump(mode="json")
    print(default_toml(), end="")
    return None

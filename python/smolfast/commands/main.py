"""The `smolfast` command. Each subcommand is a thin call of one stage; a bad input is one line and exit code 2."""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from smolfast import __version__
from smolfast.apart import check_apart
from smolfast.bench.command import add_bench
from smolfast.command_line import (
    add_column_types,
    add_config_options,
    add_reading,
    add_threads,
    load_config,
    local_inputs,
    local_sources,
    reading_of,
    run_stage,
)
from smolfast.dedup.command import add_dedup
from smolfast.errors import SmolfastError
from smolfast.files import check_path
from smolfast.model_commands import add_evaluate, add_export, add_generate, add_train
from smolfast.options import CommandParser, add_output, add_text_rules, at_least, command, minutes, output_path
from smolfast.progress import Console

_EXIT_BAD_INPUT = 2
_EXIT_SIGNAL = 128
_TRAIN_PACKAGES = ("torch", "pydantic", "tokenizers", "safetensors")


class _Terminated(BaseException):
    """A signal, raised where the main thread is, so that files are left whole and work can be resumed."""

    def __init__(self, number: int) -> None:
        self.number = number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = argparse.Namespace(goes_on=False)
    before = {number: signal.signal(number, _terminate) for number in _terminating()}
    try:
        _parser().parse_args(argv, arguments)
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
        print(f"\nsmolfast: interrupted; {_what_next(arguments)}", file=sys.stderr)
        return _EXIT_SIGNAL + signal.SIGINT
    except _Terminated as end:
        print(f"smolfast: terminated; {_what_next(arguments)}", file=sys.stderr)
        return _EXIT_SIGNAL + end.number
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _what_next(arguments: argparse.Namespace) -> str:
    if arguments.goes_on:
        return "run the same command again to go on from here"
    return "what was unfinished is not kept; the same command does it anew"


def _terminating() -> list[int]:
    """SIGTERM, and the terminal's end unless someone (nohup) ignores it."""
    hangup = getattr(signal, "SIGHUP", None)
    return [signal.SIGTERM, *([hangup] if hangup and signal.getsignal(hangup) == signal.SIG_DFL else [])]


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated(number)


def _show(result: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result))
        return
    from smolfast.dedup.histogram import draw

    width = max((len(key) for key in result), default=0)
    for key, value in result.items():
        if key == "near_by_jaccard":
            print("\n  ".join([key.replace("_", " "), *draw(value)]))
            continue
        if isinstance(value, float):
            shown = f"{value:.4f}"
        else:
            shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
        print(f"{key.replace('_', ' '):<{width}}  {shown}")


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="smolfast",
        description="From raw text to a trained, exported small language model, and every stage by itself.",
    )
    parser.add_argument("--version", action="version", version=f"smolfast {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (
        _add_quickstart,
        _add_collect,
        _add_normalize,
        add_dedup,
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
    parser.set_defaults(goes_on=True)
    parser.add_argument(
        "--input",
        nargs="+",
        default=[],
        metavar="PATH",
        help="files, folders, globs or URLs (.txt .md .rst .py .jsonl .json .csv .tsv, compressed too; .parquet "
        ".arrow); without it, the Python sources and documentation of this installation",
    )
    parser.add_argument(
        "--out", type=output_path, default=Path("smolfast-out"), metavar="DIR", help="run folder (smolfast-out)"
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
    if arguments.input:
        local_sources(arguments, arguments.input)
    sources = collect.list_inputs(arguments.input, without=arguments.output, strict=arguments.strict)
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
    parser.add_argument("-o", "--output", type=output_path, metavar="OUTPUT", help=output_help)
    parser.add_argument("--overwrite", action="store_true", help="replace an output made from other input or settings")
    add_text_rules(parser)
    add_reading(parser)
    add_column_types(parser)
    add_threads(parser)


def _rules(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `add_text_rules` asks for, as fields of TextRules."""
    from smolfast.text_rules import TextRules

    rules: dict[str, Any] = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(TextRules)}
    rules["form"] = None if rules["form"] == "none" else rules["form"]
    for name in ("email_replacements", "ip_replacements"):
        rules[name] = tuple(rules[name])
    return dataclasses.asdict(TextRules(**rules))


def _normalize(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.normalize import normalize_documents, output_names, writes_a_file

    inputs = list(arguments.input)
    if arguments.output is None:
        if len(inputs) < 2:
            raise SmolfastError("normalize: no output given; name it last, or with -o")
        arguments.output = Path(inputs.pop())
    resumable = arguments.goes_on = not writes_a_file(arguments.output)
    options = {**_rules(arguments), **reading_of(arguments)}
    types = dict(arguments.column_type)
    sources = local_sources(arguments, inputs)
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
        resumable=resumable,
        writes=output_names(inputs, arguments.output) if resumable else (),
    )


def _add_split(commands: Any) -> None:
    parser = command(
        commands, "split", _split, "Split deduplicated documents into train and held-out by document hash."
    )
    parser.add_argument("input", type=Path, metavar="KEPT.parquet", help="deduplicated documents")
    add_output(parser, "folder for train.parquet and held_out.parquet")
    add_reading(parser)
    add_config_options(parser)


def _split(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.split import split_documents

    config = load_config(arguments)
    fraction, reading = config.split.held_out_fraction, reading_of(arguments)
    return run_stage(
        arguments,
        "split",
        inputs={"documents": arguments.input},
        parameters={"held_out_fraction": fraction, "seed": config.seed, **reading},
        work=lambda path, progress: split_documents(
            arguments.input, path, held_out_fraction=fraction, seed=config.seed, **reading, progress=progress
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
        help="the files hold conversations (lists of role and content under `messages`, or --text-column); only what "
        "the assistant says will be learned; needs --tokenizer",
    )
    add_output(parser, "folder for the token files; a tokenizer that is trained goes to PATH-tokenizer")
    add_reading(parser)
    parser.set_defaults(text_column=None)  # `text`, or with --chat `messages`
    add_config_options(parser)


def _tokenize(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast import chat_tokens, tokenizer, tokens

    config = load_config(arguments)
    column = arguments.text_column or (chat_tokens.COLUMN if arguments.chat else "text")
    reading = {"text_column": column, "errors": arguments.errors}
    folder: Path | None = arguments.tokenizer
    if arguments.chat and folder is None:
        raise SmolfastError("tokenize --chat: give the --tokenizer of the model that is to learn")
    if folder is None:
        output = check_path(arguments.output)
        check_apart(output, [arguments.train, arguments.held_out])
        folder = output.with_name(output.name + "-tokenizer")
        trained = argparse.Namespace(**{**vars(arguments), "output": folder})
        run_stage(
            trained,
            "tokenizer",
            inputs={"train": arguments.train},
            parameters={**config.tokenizer.model_dump(), **reading},
            work=lambda path, progress: tokenizer.train_tokenizer(
                [arguments.train], path, config.tokenizer, **reading, progress=progress
            ),
        )
    tokenizer_folder = folder
    encode: Callable[..., Mapping[str, Any]] = chat_tokens.tokenize_conversations
    if not arguments.chat:
        encode = partial(tokens.tokenize, **reading)
    documents = {"train": arguments.train, "held_out": arguments.held_out}
    return run_stage(
        arguments,
        "tokenize",
        inputs={**documents, "tokenizer": tokenizer_folder},
        parameters={**({"chat": True} if arguments.chat else {}), **reading},
        work=lambda path, progress: encode(documents, tokenizer_folder, path, **reading, progress=progress),
    )


def _add_distill_cache(commands: Any) -> None:
    parser = command(
        commands,
        "distill-cache",
        _distill_cache,
        "Store draws from a teacher's next-token distributions over token files; goes on where it was stopped.",
    )
    parser.set_defaults(goes_on=True)
    parser.add_argument("teacher", metavar="TEACHER", help="folder or hub name of a transformers causal language model")
    parser.add_argument("--tokens", type=Path, required=True, metavar="DIR", help="folder that tokenize wrote")
    parser.add_argument("--name", default="train", help="which token file (train)")
    parser.add_argument(
        "-o",
        "--output",
        type=output_path,
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
    from smolfast.distill_cache import INDEX_FILE, write_cache

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
        writes=(INDEX_FILE, f"{arguments.name}.*.parquet"),
    )


def _add_report(commands: Any) -> None:
    parser = command(commands, "report", _report, "Write the report page of a quickstart run again.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the run folder")
    parser.add_argument("-o", "--output", type=output_path, metavar="FILE", help="HTML file (DIR/report.html)")


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

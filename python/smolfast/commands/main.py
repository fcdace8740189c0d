"""The `smolfast` command. Each subcommand is a thin call of one stage; a bad input is one line and exit code 2."""

from __future__ import annotations

import argparse
import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, NoReturn

from smolfast.commands.overview import Groups, Overview
from smolfast.errors import SmolfastError
from smolfast.machine import install_command
from smolfast.progress import Console, bold, format_bytes, red

# Each command has a file of its name, which is read when the command is wanted: all of them take a third of a second.
GROUPS: Groups = {
    "See it": {
        "demo": "See in seconds what smolfast does: clean, judge, find a near-duplicate.",
        "quickstart": "From real text to a trained, exported small model and a report.",
    },
    "Clean, judge and deduplicate text": {
        "collect": "Gather documents from files into one parquet file (id, text).",
        "convert": "Write documents of any format as one file of parquet or JSON lines.",
        "pdf": "Make documents of PDF files: text in reading order; parquet out.",
        "normalize": "Unicode-normalise the text column of files, and clean, redact or simplify it.",
        "curate": "Judge documents by published rules, such as FineWeb's; parquet out.",
        "dedup": "Remove exact and near duplicates; parquet out.",
        "classify": "Label documents by language, quality or anything else, with fastText's models; train one.",
        "split": "Split deduplicated documents into those to train on and those held out.",
    },
    "Train a model and use it": {
        "tokenize": "Turn documents into token files; train a tokenizer (byte-level BPE) if none is given.",
        "train": "Train a SmolLM3-shaped model on token files; resumes from its checkpoint.",
        "evaluate": "Say how well a model predicts held-out text: bits per byte, beside a unigram model, zlib and xz.",
        "export": "Write a folder that transformers loads, or a GGUF file that llama.cpp runs.",
        "merge": "Make one model of several of one shape, or the mean of a run's last checkpoints.",
        "generate": "Continue a prompt with an exported model.",
        "chat": "Talk with an exported model, in the terminal or on a page of this machine.",
        "distill-cache": "Store what a larger model (the teacher) predicts for token files; goes on where it was "
        "stopped.",
    },
    "Run a graph of stages": {
        "run": "Run a recipe: every stage of a TOML file that isn't done, in order or side by side.",
        "plan": "Say what a run of a recipe would do and why; writes nothing.",
        "watch": "Serve the page of a run on this machine while it goes on.",
        "recipes": "List the recipes that ship, or print one.",
        "show": "Say what made a file or folder, and what of, back to the sources.",
    },
    "Experiment": {
        "sweep": "Try settings of a recipe, many times, and find the best; ends early what falls behind.",
        "ablate": "Make one change of a recipe at a time, with several seeds; say what each is worth.",
    },
    "Look": {
        "scaling": "Fit how loss falls with size and tokens, plan the runs for it, predict larger ones.",
        "report": "Write the page of a run or of what curate judged, or lay runs over each other.",
        "bench": "Measure ours beside every peer that is installed; tables, JSON and a page with plots.",
        "config": "Print the whole default configuration as TOML, with comments.",
    },
}
_EXIT_BAD_INPUT = 2
_EXIT_SIGNAL = 128
_SIGPIPE = 13  # Windows has no such signal
# Where a key of the JSON result doesn't say enough to a person.
_IN_WORDS = {
    "full": "ended by collect.max_bytes",
    "skipped_table": "skipped tables of numbers",
    "skipped_package_cap": "skipped over the share of one package",
    "near_by_jaccard": "near duplicates by similarity",
    "events": "events (spikes, alarms)",
    "mtp_parameters": "parameters of heads further ahead",
}
# Shown as a line each, or as rows under heads; and all that needs no room beside the other names.
_LINES = ("held_out", "warnings", "left_out")
_TABLES = ("planned", "activations", "tensor_types")
_LISTS = ("near_by_jaccard", "reasons", *_LINES, *_TABLES)
_PACKAGES_OF_EXTRAS = ("torch", "pydantic", "tokenizers", "safetensors")


class _Terminated(BaseException):
    """A signal, raised where the main thread is, so that files are left whole and work can be resumed."""

    def __init__(self, number: int) -> None:
        self.number = number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code. Without a word it says what there is."""
    argv = sys.argv[1:] if argv is None else argv
    arguments = argparse.Namespace(goes_on=False, extra="train")
    before = {number: signal.signal(number, _terminate) for number in _terminating()}
    try:
        if not argv:
            _parser(argv).print_help()
            sys.stdout.flush()
            return 0
        _parser(argv).parse_args(argv, arguments)
        result = _run(arguments)
        if result is not None:
            _show(result, as_json=arguments.json)
            _advise(arguments, result)
        sys.stdout.flush()
    except SmolfastError as error:
        _say_error(str(error).encode("utf-8", "replace").decode())  # names of files need not be UTF-8
        return _EXIT_BAD_INPUT
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in _PACKAGES_OF_EXTRAS:
            raise
        # The smallest extra with all that the command needs, not with this package alone.
        _say_error(f"this command needs {package}; install it with: {install_command(arguments.extra)}")
        return _EXIT_BAD_INPUT
    except BrokenPipeError:
        if not _reader_left():
            raise
        return _EXIT_SIGNAL + _SIGPIPE
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        _say_error(f"the path {str(error.filename)[:60]}… is longer than this file system allows; give a shorter one")
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


def _run(arguments: argparse.Namespace) -> Mapping[str, Any] | None:
    """Run the command; one that writes into a store does it in a local folder, which is then uploaded."""
    run: Callable[[argparse.Namespace], Mapping[str, Any] | None] = arguments.run
    output = getattr(arguments, "output", None)
    if not isinstance(output, str):  # a path, or none
        return run(arguments)
    from smolfast.commands.stores import run_to_store

    return run_to_store(arguments, run, output)


def _reader_left() -> bool:
    """Whether nobody reads standard output any more, as after `| head`; what is left of it goes nowhere then."""
    try:
        sys.stdout.flush()
        left = _pipe_is_broken()  # what was too long for the buffer isn't in it
    except BrokenPipeError:
        left = True
    if left:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return left


def _pipe_is_broken() -> bool:
    import select

    if not hasattr(select, "poll"):  # Windows
        return False
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _say_error(message: str) -> None:
    print(red("smolfast: error:", sys.stderr), message, file=sys.stderr)


def _advise(arguments: argparse.Namespace, result: Mapping[str, Any]) -> None:
    """What to do with what was made."""
    console = Console(quiet=arguments.quiet)
    for line in arguments.after(arguments, result) if arguments.after else ():
        console.line(f"{'next':<11} {line}")


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
        from smolfast.files import finite

        print(json.dumps(finite(result)))
        return
    words = {key: _IN_WORDS.get(key, key.replace("_", " ")) for key in result}
    width = max((len(words[key]) for key in result if key not in _LISTS), default=0)
    for key, value in result.items():
        if key == "near_by_jaccard":
            from smolfast.dedup.histogram import draw

            if lines := draw(value):
                print("\n  ".join([words[key], *lines]))
            continue
        if key in _LINES and isinstance(value, list):
            print("\n  ".join([words[key], *(map(str, value) if value else ["none"])]))
            continue
        if key in _TABLES:
            print("\n  ".join([words[key], *_columns(value, heads=True)]))
            continue
        if key == "reasons":
            print("\n  ".join([words[key], *_columns(value)]))
            continue
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        shown = f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if numeric else _in_words(value)
        print(f"{words[key]:<{width}}  {bold(shown, sys.stdout) if numeric else shown}")


def _columns(rows: Sequence[Mapping[str, Any]], *, heads: bool = False) -> list[str]:
    """Rows of the same names as lines: words set left, counts right, bytes in their units; `heads` are the names."""
    if not rows:
        return ["none"]
    cells = [
        [format_bytes(value) if name == "bytes" else f"{value:,}" if isinstance(value, int) else str(value)
         for name, value in row.items()]
        for row in rows
    ]  # fmt: skip
    words = [isinstance(value, str) for value in rows[0].values()]
    if heads:  # numbers are written out there, all but the first column
        cells, words = [list(rows[0]), *cells], [index == 0 for index in range(len(rows[0]))]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if is_word else cell.rjust(width)
            for cell, width, is_word in zip(row, widths, words, strict=True)
        )
        for row in cells
    ]


def _in_words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _parser(words: Sequence[str] | None = None) -> Overview:
    """The parser of the whole command line; of one command line, only as far as its words ask for it."""
    whole = words is None or any(word.startswith("--p") for word in words)  # --print-completion
    return Overview(GROUPS, None if whole else words)

"""The first page, what is said of a mistake, completion, colours, and the extras that a command needs."""

from __future__ import annotations

import argparse
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from smolfast.commands.main import _parser, main
from smolfast.commands.parsers import nearest
from smolfast.machine import install_command
from smolfast.progress import bold, red


def said_on_exit(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as end:
        main(words)
    captured = capsys.readouterr()
    return end.value.code, captured.out, captured.err


def test_the_first_page_has_every_command_once_in_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert said_on_exit(capsys, "--help") == (0, shown, "")
    titles = ["See it:", "Clean, judge and deduplicate text:", "Train a model and use it:", "Look:", "options:"]
    assert sorted(titles, key=shown.index) == titles
    commands = [line.split()[0] for line in shown.splitlines() if line.startswith("    ") and line[4] != " "]
    assert sorted(commands) == sorted(_parser().commands.choices)
    assert shown.index("demo") < shown.index("Clean") < shown.index("dedup  ") < shown.index("generate  ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("deduup", "smolfast: error: there is no command 'deduup'; did you mean dedup?; see smolfast --help"),
        ("deduplicate", "there is no command 'deduplicate'; did you mean dedup?"),
        ("xyz", "there is no command 'xyz'; see smolfast --help"),
        (
            "dedup a -o b --kepe first",
            "dedup: error: there is no option --kepe; did you mean --keep?; see smolfast dedup",
        ),
        ("dedup a -o b --treshold=0.7", "there is no option --treshold=0.7; did you mean --threshold?"),
        ("dedup index ad", "there is no command 'ad'; did you mean add?; see smolfast dedup index --help"),
        ("dedup explain a b -o c", "'b' is one argument too many; see smolfast dedup explain --help"),
        ("dedup a -o b --tokens words", "argument --tokens: 'words' is not one of unicode, whitespace, char, spacy;"),
        ("--verison", "smolfast: error: there is no option --verison; did you mean --version?"),
        ("dedup --simplyfy", "there is no option --simplyfy; did you mean --simplify?; see smolfast dedup --help"),
        ("dedup --simpl", "the following arguments are required: IN, -o/--output; see smolfast dedup --help"),
        ("dedup", "the following arguments are required: IN, -o/--output; see smolfast dedup --help"),
    ],
)
def test_a_mistake_is_one_line_with_what_is_nearest(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, error = said_on_exit(capsys, *words.split())
    assert code == 2 and out == "" and message in error and error.count("\n") == 1


def test_nothing_is_near_to_nonsense() -> None:
    assert nearest("qqq", ["dedup"]) == ""


def test_every_command_that_writes_takes_o() -> None:
    no_output = {"demo", "generate", "chat", "config", "classify", "scaling", "watch", "recipes", "show"}
    for name, parser in _parser().commands.choices.items():
        assert ("-o" in parser._option_string_actions) == (name not in no_output)
        if "-o" in parser._option_string_actions:
            assert parser._option_string_actions["-o"].dest == "output"


def test_values_have_names_of_one_kind() -> None:
    """A file is FILE, a folder DIR, either a PATH; documents to read are IN."""
    for name, parser in _parser().commands.choices.items():
        for action in parser._actions:
            if action.option_strings and action.nargs != 0 and action.choices is None:
                assert action.metavar is not None, f"{name} {action.option_strings}"
            assert action.metavar not in {"OUTPUT", "OUT", "INPUT"}, name


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    assert red("no", Terminal()) == "\x1b[31mno\x1b[0m" and bold("7", Terminal()) == "\x1b[1m7\x1b[0m"
    assert red("no", io.StringIO()) == "no"
    monkeypatch.setenv("NO_COLOR", "")
    assert red("no", Terminal()) != "no"
    monkeypatch.setenv("NO_COLOR", "1")
    assert red("no", Terminal()) == "no"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert bold("7", Terminal()) == "7"


def test_an_error_on_a_terminal_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main(["split", "nowhere.parquet", "-o", "out"]) == 2
    assert terminal.getvalue().startswith("\x1b[31msmolfast: error:\x1b[0m can't read nowhere.parquet: ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_has_commands_and_options(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    code, script, _ = said_on_exit(capsys, "--print-completion", shell)
    assert code == 0
    assert all(word in script for word in ("quickstart", "distill-cache", "threshold", "held-out"))


def test_bash_completes_a_command_and_its_option(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("shtab")
    (tmp_path / "script").write_text(said_on_exit(capsys, "--print-completion", "bash")[1])
    for words, expected in ((["smolfast", "ded"], "dedup"), (["smolfast", "dedup", "--thresh"], "--threshold")):
        ask = (
            f"source ./script; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
            'complete -p smolfast >/dev/null; f=$(complete -p smolfast | sed "s/.*-F \\([^ ]*\\) .*/\\1/"); '
            '$f; echo "${COMPREPLY[@]}"'
        )
        done = subprocess.run(["bash", "-c", ask], cwd=tmp_path, capture_output=True, text=True)
        assert done.stdout.split() == [expected], done.stderr


def test_completion_without_shtab_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["--print-completion", "bash"]) == 2
    assert capsys.readouterr().err == (
        f"smolfast: error: --print-completion needs shtab; install it with: {install_command('completion')}\n"
    )
    code, _, error = said_on_exit(capsys, "--print-completion", "fish")
    assert code == 2 and "'fish' is not one of bash, zsh, tcsh" in error


BLOCKED = """
import sys
for name in {names!r}:
    sys.modules[name] = None
from smolfast.cli import main
for words in {commands!r}:
    print(main(words.split()), file=sys.stderr)
"""
TORCH = ["torch", "tokenizers", "safetensors", "transformers"]


def without(names: list[str], folder: Path, *commands: str) -> list[str]:
    """What commands say on stderr in a process that can't import some packages, each with its exit code after it."""
    code = BLOCKED.format(names=names, commands=commands)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=True)
    return done.stderr.splitlines()


def missing(package: str, extra: str) -> list[str]:
    remedy = f"this command needs {package}; install it with: {install_command(extra)}"
    return [f"smolfast: error: {remedy}", "2"]


def test_what_needs_no_torch_works_without_it_and_the_rest_names_the_smallest_extra(tmp_path: Path) -> None:
    pytest.importorskip("pydantic")
    text = "Document {} has words enough to be taken, which means more than sixty-four bytes of them."
    (tmp_path / "in.jsonl").write_text("".join(f'{{"text": "{text.format(number)}"}}\n' for number in range(90)))
    works = ["collect in.jsonl -o out --quiet", "split out/documents.parquet -o split --quiet", "config --json"]
    fails = ["train --dry-run", "generate out"]
    assert without(TORCH, tmp_path, *works) == ["0"] * 3
    assert without(TORCH, tmp_path, *fails) == 2 * missing("torch", "train")


def test_without_pydantic_each_command_names_the_extra_that_is_enough(tmp_path: Path) -> None:
    said = without(["pydantic", *TORCH], tmp_path, "collect -o out", "config", "split in -o out", "train --dry-run")
    assert said == 3 * missing("pydantic", "config") + missing("pydantic", "train")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes there end in other ways")
@pytest.mark.parametrize("words", [[], ["config"]])
def test_a_reader_that_leaves_ends_a_command_without_a_word(words: list[str]) -> None:
    """As `smolfast | head` does: the other end of the pipe is closed before the first byte, of few or of many."""
    code = f"import os, sys; os.close(int(sys.argv.pop())); from smolfast.cli import main; sys.exit(main({words}))"
    reading, writing = os.pipe()
    command = [sys.executable, "-c", code, str(reading)]
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}  # else argparse meets the pipe's end, and swallows it
    with subprocess.Popen(
        command, stdout=writing, stderr=subprocess.PIPE, pass_fds=[reading], text=True, env=buffered
    ) as process:
        os.close(reading)
        os.close(writing)
        assert process.communicate()[1] == ""
    assert process.returncode == 128 + signal.SIGPIPE


def test_advice_is_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "one"}\n{"text": "one"}\n{"text": "two words"}\n')
    out = tmp_path / "a folder"
    assert main(["dedup", str(tmp_path / "in.jsonl"), "-o", str(out)]) == 0
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert lines[-2:] == [
        f"next        smolfast dedup explain ID -o '{out}'  (why it went)",
        f"next        smolfast split '{out / 'kept.parquet'}' -o split",
    ]
    assert "(33.3% removed)" in captured.err and "next" not in captured.out
    assert main(["dedup", str(tmp_path / "in.jsonl"), "-o", str(out), "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_no_option_is_shown_without_help() -> None:
    def look(parser: argparse.ArgumentParser, name: str) -> None:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for inner, inner_parser in action.choices.items():
                    look(inner_parser, f"{name} {inner}")
            else:
                assert action.help, f"{name} {action.option_strings or action.dest}"

    look(_parser(), "smolfast")


@pytest.mark.parametrize("words", ["export {} --tokenizer x -o o", "split {} -o o", "generate {}", "report {}"])
def test_a_name_that_is_too_long_is_one_line(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tokenizers")
    assert main(words.format("a" * 300).split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("smolfast: error: ") and error.count("\n") == 1 and "long" in error.lower()


def test_a_run_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "model" / "config.json").write_text("{}")
    run = str(tmp_path / "run")
    assert main(["export", run, "--tokenizer", "x", "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == f"smolfast: error: {run} is the folder of a run; give {run}/model\n"
    assert main(["generate", f"{run}/model"]) == 2
    assert f"{run}/model holds no tokenizer.json, so it is no export" in capsys.readouterr().err

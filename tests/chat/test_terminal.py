"""The chat in a terminal and in a pipe."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from smolfast.chat.session import Outcome
from smolfast.chat.terminal import Terminal
from smolfast.commands.main import main
from smolfast.errors import SmolfastError


class Scripted:
    """A session whose answers are given; an exception among the pieces is raised there."""

    def __init__(self, *answers: Sequence[Any]) -> None:
        self.answers, self.asked, self.last = list(answers), [], None  # type: ignore[var-annotated]

    def answer(self, messages: Sequence[Any], *, thinking: bool = True) -> Iterator[str]:
        self.asked.append(([dict(message) for message in messages], thinking))
        self.last = None
        for piece in self.answers.pop(0):
            if isinstance(piece, BaseException):
                raise piece
            yield piece
        self.last = Outcome("end", 5, 0.5, 9, 0)  # type: ignore[assignment]


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A terminal where these lines are typed; what was shown comes back. An exception is raised at the prompt."""

    def run(session: Scripted, *lines: Any, **options: Any) -> str:
        waiting = iter([*lines, EOFError()])

        def ask(prompt: str) -> str:
            line = next(waiting)
            if isinstance(line, BaseException):
                raise line
            return str(line)

        monkeypatch.setattr("builtins.input", ask)
        monkeypatch.setenv("NO_COLOR", "1")
        out = Tty()
        Terminal(session, Tty(), out, **options).run()  # type: ignore[arg-type]
        return out.getvalue()

    return run


def test_ctrl_c_ends_the_answer_and_not_the_chat(typed: Any) -> None:
    session = Scripted(["It ", "is", KeyboardInterrupt()], ["Yes."])
    shown = typed(session, "what?", KeyboardInterrupt(), "sure?")
    assert "It is\nstopped" in shown and "Ctrl-D ends the chat" in shown and "Yes." in shown
    assert session.asked[1][0] == [
        {"role": "user", "content": "what?"},
        {"role": "assistant", "content": "It is"},
        {"role": "user", "content": "sure?"},
    ]


def test_thoughts_are_folded_until_they_are_asked_for(typed: Any) -> None:
    thought = ["<think>\none two", " three\n</th", "ink>\nSo."]
    shown = typed(Scripted(thought, thought), "a", "/thoughts", "b")
    folded, _, open_ = shown.partition("thoughts are shown")
    assert "[thought: 3 words]\nSo." in folded and "one two three" not in folded.replace("\n", " ")
    assert "one two three" in open_ and "So." in open_


def test_modes_new_conversations_and_errors(typed: Any) -> None:
    session = Scripted(["1"], ["2"], ["3"], [SmolfastError("the message is too long")], ["5"])
    shown = typed(session, "a", "b /no_think", "/no_think", "/new", "/help", "c", "d", "e", "", system="Be brief.")
    assert [asked[1] for asked in session.asked] == [True, False, False, False, False]
    assert session.asked[0][0][0] == {"role": "system", "content": "Be brief."}
    assert len(session.asked[2][0]) == 2 and session.asked[1][0][-1]["content"] == "b"
    assert "the message is too long" in shown
    assert [message["content"] for message in session.asked[4][0][1:]] == ["c", "3", "e"]


def test_lines_from_a_pipe(talker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["chat", str(talker), "--temperature", "0", "--max-new-tokens", "9", "--quiet"]
    monkeypatch.setattr("sys.stdin", io.StringIO("heap\n\n/no_think\nlist\n"))
    assert main([*words, "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(answers) == 2 and answers[0]["tokens"] <= 9 and answers[0].keys() == {
        *("answer", "thought", "why", "tokens", "forgotten")
    }  # fmt: skip
    monkeypatch.setattr("sys.stdin", io.StringIO("heap\n"))
    assert main(words) == 0
    assert capsys.readouterr().out.rstrip("\n") == answers[0]["answer"].rstrip("\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("long " * 200))
    assert main(words) == 2
    assert "give a shorter one" in capsys.readouterr().err


def test_what_is_no_export_is_refused(talker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, says in (
        ([str(tmp_path / "no")], "does not exist"),
        ([str(tmp_path)], "holds no tokenizer.json"),
        ([str(talker), "--temperature", "nan"], "is no temperature"),
        ([str(talker), "--web", "--system", "x"], "no use on a page"),
    ):
        assert main(["chat", *words]) == 2
        assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("model.safetensors", b"\x10" * 50, "is damaged"),
        ("model.safetensors", None, "is missing"),
        ("config.json", b"{", "not valid JSON"),
        ("config.json", b'{"model_type": "gemma"}', "'gemma'"),
        ("config.json", b"[]", "config.json"),
        ("tokenizer.json", b"{}", "not a tokenizer"),
        ("tokenizer_config.json", b"\xff", "tokenizer_config.json"),
        ("tokenizer_config.json", b'{"chat_template": 3}', "chat_template is not a text"),
        ("chat_template.jinja", b"\xff\xff", "chat_template.jinja"),
        ("chat_template.jinja", b"{% if %}", "no Jinja program"),
    ],
)
def test_a_damaged_or_foreign_folder_is_one_line(
    name: str, content: bytes | None, says: str, talker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for path in talker.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).unlink() if content is None else (tmp_path / name).write_bytes(content)
    monkeypatch.setattr("sys.stdin", io.StringIO("hello\n"))
    assert main(["chat", str(tmp_path), "--quiet"]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1

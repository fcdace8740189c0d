"""Answers token by token: those of `generate --chat`, whatever was read before; thoughts told from speech."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from smolfast.chat.session import Session
from smolfast.chat.thoughts import Part, Thoughts
from smolfast.config import GenerateConfig
from smolfast.errors import SmolfastError
from smolfast.model.generate import complete
from smolfast.tokens.tokenizer_folder import open_tokenizer


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_an_answer_is_that_of_generate(talker: Path) -> None:
    for message in ("heap", "Was ist über dem Haus? 東京", "def x(): /no_think"):
        config = GenerateConfig(prompt=message, max_new_tokens=25, temperature=0)
        expected = complete(talker, config, chat=True)
        session = Session(talker, temperature=0, max_new_tokens=25)
        thinking = not message.endswith("/no_think")
        pieces = list(session.answer([user(message.removesuffix("/no_think").rstrip())], thinking=thinking))
        assert "".join(pieces) == expected["text"]
        assert len(pieces) > 3
        assert session.last is not None and session.last.tokens == expected["tokens"]


def test_later_turns_read_only_what_is_new(talker: Path) -> None:
    kept = Session(talker, temperature=0, max_new_tokens=12)
    messages = [user("heap")]
    for text in ("and a list", "more"):
        answer = "".join(kept.answer(messages))
        fresh = Session(talker, temperature=0, max_new_tokens=12)
        assert answer == "".join(fresh.answer(messages))
        messages += [{"role": "assistant", "content": answer}, user(text)]
    "".join(kept.answer(messages))
    whole = Session(talker, temperature=0, max_new_tokens=12)
    assert "".join(whole.answer(messages))
    assert kept.last is not None and whole.last is not None
    assert kept.last.read < whole.last.read / 2


def test_an_answer_that_was_stopped_leaves_no_trace(talker: Path) -> None:
    session = Session(talker, temperature=0, max_new_tokens=20)
    list(itertools.islice(session.answer([user("heap")]), 3))
    assert session.last is None
    again = "".join(session.answer([user("shell words")]))
    assert again == "".join(Session(talker, temperature=0, max_new_tokens=20).answer([user("shell words")]))


def test_the_oldest_turns_make_room(talker: Path) -> None:
    session = Session(talker, temperature=0, max_new_tokens=400)
    turns: list[Any] = [{"role": "system", "content": "Be brief. /no_think"}]
    for number in range(12):
        turns += [user(f"question {number}"), {"role": "assistant", "content": f"answer {number}"}]
    answer = "".join(session.answer([*turns, user("last")]))
    assert session.last is not None
    assert session.last.forgotten > 0 and session.last.forgotten % 2 == 0
    short = Session(talker, temperature=0, max_new_tokens=400)
    assert answer == "".join(short.answer([turns[0], *turns[1 + session.last.forgotten :], user("last")]))
    assert session.last.why in ("context", "end")
    with pytest.raises(SmolfastError, match="the model reads 160; give a shorter one"):
        list(session.answer([user("long " * 200)]))


def test_a_folders_own_template_is_taken(talker: Path, tmp_path: Path) -> None:
    """One that begins the thought itself: the answer does too, so that it can be folded."""
    for path in talker.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.role + ': ' + m.content + '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
        "{% if add_generation_prompt and enable_thinking %}{{ '<think>\\n' }}{% endif %}"
    )
    session = Session(tmp_path, temperature=0, max_new_tokens=5)
    assert "".join(session.answer([user("a")])).startswith("<think>\n")
    prompt = open_tokenizer(tmp_path).tokenizer.decode(session._read, skip_special_tokens=False)
    assert prompt.startswith("user: a<|im_end|>\nassistant: <think>\n")
    assert not "".join(session.answer([user("a")], thinking=False)).startswith("<think>")
    (tmp_path / "chat_template.jinja").write_text("{{ raise_exception('no') }}")
    with pytest.raises(SmolfastError, match="the chat template refuses the conversation: no"):
        list(Session(tmp_path).answer([user("a")]))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<think>\nso it\nis\n</think>\nYes.", [("so it\nis\n", True), ("Yes.", False)]),
        ("<think>\n\n</think>\nNo < 3", [("No < 3", False)]),
        ("a <thin b </think> c", [("a <thin b </think> c", False)]),
        ("<think>never ends </thin", [("never ends </thin", True)]),
        ("one<think>two</think>three<think>four", [("one", False), ("two", True), ("three", False), ("four", True)]),
    ],
)
def test_thoughts_are_told_however_the_text_is_cut(text: str, parts: list[tuple[str, bool]]) -> None:
    for first, second in itertools.combinations_with_replacement(range(len(text) + 1), 2):
        told = Thoughts()
        pieces = (text[:first], text[first:second], text[second:])
        found = [part for piece in pieces for part in told.feed(piece)] + list(told.end())
        together: list[Part] = []
        for part in found:
            if together and together[-1].thought == part.thought:
                part = Part(together.pop().text + part.text, part.thought)
            together.append(part)
        assert [tuple(part) for part in together] == parts

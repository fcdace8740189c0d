"""Needles: prompts that hold their answer where they say, and scores that are those of greedy writing."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from smolfast.commands.main import main
from smolfast.config import NeedlesConfig, validate_config
from smolfast.errors import SmolfastError
from smolfast.evaluate.needles.scoring import answers_right, evaluate_needles
from smolfast.evaluate.needles.tasks import TASKS, Haystack
from smolfast.evaluate.needles.words import ADJECTIVES, NOISE, NOUNS, VALUES
from smolfast.model.generate import generate_tokens
from smolfast.model.network import SmolLM
from smolfast.model.pretrained import save_pretrained
from tiny_models import tiny

MODEL = tiny(max_position_embeddings=64, initializer_range=0.3, mtp_heads=1)


def letters(text: str) -> list[int]:
    """A token for each letter."""
    return list(text.encode())


HAYSTACK = Haystack([letters(f"{line}\n") for line in NOISE], [f"{line}\n" for line in NOISE])


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_pretrained(SmolLM(MODEL, 512, seed=1), folder, end_of_document=0)
    return folder


@pytest.mark.parametrize("task", list(TASKS))
@pytest.mark.parametrize("length", [700, 2000])
@pytest.mark.parametrize("depth", [0.0, 0.5, 1.0])
def test_a_prompt_fills_its_length_and_holds_its_answer(task: str, length: int, depth: float) -> None:
    prompt = TASKS[task](HAYSTACK, letters, length, depth, random.Random(3))
    assert length - 200 < len(prompt.tokens) + len(prompt.answer) <= length
    assert bytes(prompt.tokens).decode() == prompt.text
    answer = bytes(prompt.answer).decode()
    assert answer.startswith(" ") and answer.strip() in VALUES and answer.strip() in prompt.text
    assert not prompt.text.endswith(" ")
    assert TASKS[task](HAYSTACK, letters, length, depth, random.Random(3)) == prompt
    assert TASKS[task](HAYSTACK, letters, length, depth, random.Random(4)) != prompt


@pytest.mark.parametrize("depth", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_a_needle_lies_at_its_depth(depth: float) -> None:
    text = TASKS["needle"](HAYSTACK, letters, 4000, depth, random.Random(1)).text
    body = text[: text.index("What is the secret word")]
    needle = next(line for line in body.splitlines() if line.startswith("The secret word"))
    assert body.index(needle) / (len(body) - len(needle) - 1) == pytest.approx(depth, abs=0.03)
    # The question begins the needle again.
    assert needle.startswith(text.split("? ")[-1])


def test_of_four_needles_one_is_asked_for() -> None:
    text = TASKS["needles"](HAYSTACK, letters, 2000, 0.5, random.Random(1)).text
    assert sum(line.startswith("The secret word") for line in text.splitlines()) == 4


def test_the_chain_leads_to_the_answer() -> None:
    for seed in range(20):
        prompt = TASKS["tracking"](HAYSTACK, letters, 2000, seed / 20, random.Random(seed))
        held: dict[str, str] = {}
        for line in prompt.text.splitlines():
            words = line.strip(".").split()
            if words[0] == "The" and words[2:4] == ["box", "holds"]:
                held[words[1]] = words[4] if len(words) == 5 else held[words[6]]
        asked = prompt.text.rsplit(" box holds", 1)[0].split()[-1]
        assert held[asked] == bytes(prompt.answer).decode().strip()


def test_the_word_asked_for_comes_most_often() -> None:
    prompt = TASKS["counting"](HAYSTACK, letters, 900, 0.0, random.Random(2))
    words = prompt.text.splitlines()[:-1]
    counts = {word: words.count(word) for word in words}
    most = max(counts, key=lambda word: counts[word])
    assert most == bytes(prompt.answer).decode().strip()
    assert sorted(counts.values())[-2] * 3 == counts[most]


def test_words_are_apart() -> None:
    assert not {*ADJECTIVES} & {*NOUNS} and not {*NOUNS} & {*VALUES} and not {*ADJECTIVES} & {*VALUES}
    for words in (ADJECTIVES, NOUNS, VALUES):
        assert len(set(words)) == len(words)
        assert not any(f" {word} " in f" {line.lower().strip('.')} " for word in words for line in NOISE)


def test_right_is_what_greedy_writing_gives() -> None:
    model = SmolLM(MODEL, 512, seed=1)
    prompt = TASKS["needle"](HAYSTACK, letters, 400, 0.5, random.Random(0))
    prompt = replace(prompt, tokens=prompt.tokens[-50:])
    written = generate_tokens(model, prompt.tokens, max_new_tokens=4, temperature=0, seed=0)
    assert answers_right(model, replace(prompt, answer=written))
    for place in range(4):
        wrong = [token if at != place else (token + 1) % 512 for at, token in enumerate(written)]
        assert not answers_right(model, replace(prompt, answer=wrong))
    known = torch.ones(512, dtype=torch.bool)
    known[written[0]] = False
    assert not answers_right(model, replace(prompt, answer=written), known)


def test_figures_and_the_page(
    corpus: SimpleNamespace, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [
        "evaluate", str(model_folder), "--needle", "--tokenizer", str(corpus.tokenizer), "-o", str(tmp_path / "out"),
        "--held-out", str(corpus.held_out), "--set", "needles.lengths=[300,600]", "--set", "needles.samples=1",
        "--set", 'needles.tasks=["needle","counting"]', "--set", "needles.depths=[0.0,1.0]", "--threads", "1", "--json",
    ]  # fmt: skip
    assert main(line) == 0
    summary = json.loads(capsys.readouterr().out)
    found = json.loads((tmp_path / "out" / "needles.json").read_text())
    assert found["lengths"] == [300, 600] and found["depths"] == [0.0, 1.0] and found["context"] == 64
    assert list(found["tasks"]) == ["needle", "counting"]
    assert [len(row) for row in found["tasks"]["needle"]["right"]] == [2, 2]
    assert summary["needle_right"] == found["tasks"]["needle"]["accuracy"]
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert page.count("<rect") == 8 and "One needle" in page and "600" in page
    config = NeedlesConfig(lengths=(300, 600), samples=1, tasks=("needle", "counting"), depths=(0.0, 1.0))
    again = evaluate_needles(
        model_folder, tmp_path / "again", config, tokenizer=corpus.tokenizer, haystack=corpus.held_out, threads=2
    )
    assert again == found


def test_mistakes(
    corpus: SimpleNamespace, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*options: str) -> str:
        assert main(["evaluate", str(model_folder), "-o", str(tmp_path / "out"), *options]) == 2
        return capsys.readouterr().err

    assert "add --tokenizer DIR" in refused("--needle")
    tokenizer = ["--tokenizer", str(corpus.tokenizer)]
    assert "too few for a question" in refused("--needle", *tokenizer, "--set", "needles.lengths=[16]")
    assert "lengths has a value twice" in refused("--needle", *tokenizer, "--set", "needles.lengths=[300,300]")
    assert "one of them" in refused("--needle", "--harness", "arc_easy")
    with pytest.raises(SmolfastError, match=r"needles\.depths"):
        validate_config({"needles": {"depths": [1.5]}})
    small = tmp_path / "small"
    save_pretrained(SmolLM(MODEL, 100), small, end_of_document=0)
    with pytest.raises(SmolfastError, match="a vocabulary of 100; give the tokenizer"):
        evaluate_needles(small, tmp_path / "o", NeedlesConfig(), tokenizer=corpus.tokenizer)


def test_lengths_without_room(corpus: SimpleNamespace, tmp_path: Path) -> None:
    """The length that an error gives has room; of the default lengths those that have it are asked."""
    folder = tmp_path / "model"
    save_pretrained(SmolLM(tiny(max_position_embeddings=400, mtp_heads=1), 512), folder, end_of_document=0)

    def ask(**settings: Any) -> list[int]:
        config = NeedlesConfig(samples=2, depths=(0.5,), **settings)
        return list(evaluate_needles(folder, tmp_path / "out", config, tokenizer=corpus.tokenizer)["lengths"])

    with pytest.raises(SmolfastError, match=r"give \d+ or more") as error:
        ask(lengths=(16,))
    least = int(str(error.value).split("give ")[1].split()[0])
    assert 100 < least <= 400 and ask(lengths=(least,)) == [least]
    assert ask() == [length for length in (100, 200, 400) if length >= least or length == 400]

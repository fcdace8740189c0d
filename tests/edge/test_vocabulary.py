"""A tokenizer's keys in a GGUF file: the rule that cuts words, kinds of tokens, merges, ends and the chat template."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from smolfast.edge.vocabulary import CONTROL, NORMAL, UNUSED, USER_DEFINED, vocabulary_keys
from smolfast.errors import SmolfastError
from smolfast.tokens.chat.chat_template import CHAT_TEMPLATE
from smolfast.tokens.tokenizer_folder import SPLIT_PATTERN, open_tokenizer


def changed(corpus: SimpleNamespace, folder: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Path:
    """A copy of the corpus's tokenizer, its tokenizer.json and tokenizer_config.json changed."""
    folder.mkdir()
    content = json.loads((corpus.tokenizer / "tokenizer.json").read_text())
    settings = json.loads((corpus.tokenizer / "tokenizer_config.json").read_text())
    change(content, settings)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def keys(folder: Path, rows: int = 520) -> dict[str, Any]:
    return {
        name.removeprefix("tokenizer.ggml."): value
        for name, value in vocabulary_keys(open_tokenizer(folder), rows).items()
    }


def test_our_own_tokenizer(corpus: SimpleNamespace) -> None:
    found, opened = keys(corpus.tokenizer), open_tokenizer(corpus.tokenizer)
    vocab = opened.tokenizer.get_vocab()
    assert found["model"] == "gpt2" and found["pre"] == "smaug-bpe"
    assert {name: index for index, name in enumerate(found["tokens"]) if name in vocab} == vocab
    assert len(found["tokens"]) == len(set(found["tokens"])) == len(found["token_type"]) == 520
    assert found["token_type"][:2] == [CONTROL, CONTROL] and set(found["token_type"][2:512]) == {NORMAL}
    assert set(found["token_type"][512:]) == {UNUSED}
    assert found["eos_token_id"] == found["bos_token_id"] == 0 and found["padding_token_id"] == 1
    assert found["add_bos_token"] is False and found["add_eos_token"] is False
    assert "tokenizer.chat_template" not in found
    content = json.loads((corpus.tokenizer / "tokenizer.json").read_text())
    assert found["merges"] == [" ".join(pair) for pair in content["model"]["merges"]]


def test_of_a_pair_that_comes_twice_the_last_place_counts(corpus: SimpleNamespace, tmp_path: Path) -> None:
    pairs: list[str] = []

    def twice(content: dict[str, Any], _: dict[str, Any]) -> None:
        merges = content["model"]["merges"]
        pairs.extend(" ".join(pair) for pair in merges)
        merges.append(merges[3])

    assert keys(changed(corpus, tmp_path / "t", twice))["merges"] == [*pairs[:3], *pairs[4:], pairs[3]]


def pattern(regex: str, whole: bool = False) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    def change(content: dict[str, Any], _: dict[str, Any]) -> None:
        content["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = regex
        content["model"]["ignore_merges"] = whole

    return change


def gpt2(content: dict[str, Any], _: dict[str, Any]) -> None:
    content["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (pattern(SPLIT_PATTERN, whole=True), "llama-bpe"),
        (pattern(SPLIT_PATTERN.replace("{1,3}", "")), "qwen2"),
        (gpt2, "gpt-2"),
    ],
)
def test_rules_that_have_a_name(change: Any, rule: str, corpus: SimpleNamespace, tmp_path: Path) -> None:
    assert keys(changed(corpus, tmp_path / "t", change))["pre"] == rule


def lower(content: dict[str, Any], _: dict[str, Any]) -> None:
    content["normalizer"] = {"type": "Lowercase"}


def digits(content: dict[str, Any], _: dict[str, Any]) -> None:
    content["pre_tokenizer"]["pretokenizers"].insert(0, {"type": "Digits", "individual_digits": True})


def stripping(content: dict[str, Any], _: dict[str, Any]) -> None:
    content["added_tokens"][1]["rstrip"] = True


def closing(content: dict[str, Any], _: dict[str, Any]) -> None:
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<|padding|>", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|padding|>": {"id": "<|padding|>", "ids": [1], "tokens": ["<|padding|>"]}},
    }


def merged(content: dict[str, Any], _: dict[str, Any]) -> None:
    content["model"]["merges"] = []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (pattern(r"\w+|\W"), r"cuts words by .*without ignore_merges, which has no name there"),
        (pattern(SPLIT_PATTERN.replace("{1,3}", ""), whole=True), "with ignore_merges, which has no name there"),
        (lower, "doesn't keep every text"),
        (digits, "several steps"),
        (stripping, "takes blanks"),
        (closing, r"not its bos_token and eos_token: \[\d+, 1\]"),
        (merged, "no merges"),
    ],
)
def test_what_has_no_name_is_refused(change: Any, reason: str, corpus: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(SmolfastError, match=reason):
        keys(changed(corpus, tmp_path / "t", change))


def test_what_transformers_adds_around_a_text(corpus: SimpleNamespace, tmp_path: Path) -> None:
    def opening(content: dict[str, Any], _: dict[str, Any]) -> None:
        closing(content, _)
        content["post_processor"]["single"].reverse()
        token = content["post_processor"]["single"][0]["SpecialToken"]
        token["id"] = "<|endoftext|>"
        content["post_processor"]["special_tokens"] = {
            "<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}
        }

    found = keys(changed(corpus, tmp_path / "t", opening))
    assert found["add_bos_token"] is True and found["add_eos_token"] is False


def test_words_that_were_added_are_found_in_every_text(corpus: SimpleNamespace, tmp_path: Path) -> None:
    def adding(content: dict[str, Any], settings: dict[str, Any]) -> None:
        like = content["added_tokens"][0]
        content["added_tokens"] += [
            {**like, "id": 512, "content": "<think>", "special": False},
            {**like, "id": 513, "content": "<|im_end|>", "special": True},
        ]
        settings["eos_token"] = "<|im_end|>"
        settings["chat_template"] = CHAT_TEMPLATE

    found = keys(changed(corpus, tmp_path / "t", adding))
    assert found["token_type"][512:514] == [USER_DEFINED, CONTROL]
    assert found["eos_token_id"] == 513 and found["eot_token_id"] == 0
    assert found["tokenizer.chat_template"] == CHAT_TEMPLATE


def test_a_template_that_asks_for_a_token_that_isnt_there(corpus: SimpleNamespace, tmp_path: Path) -> None:
    def asking(_: dict[str, Any], settings: dict[str, Any]) -> None:
        del settings["bos_token"]
        settings["chat_template"] = [
            {"name": "default", "template": "{{ bos_token }}"},
            {"name": "tool_use", "template": ""},
        ]

    with pytest.raises(SmolfastError, match="asks for bos_token"):
        keys(changed(corpus, tmp_path / "t", asking))

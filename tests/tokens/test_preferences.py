"""Pairs of answers as token files: which tokens are the answer's, which pairs are refused, and what is counted."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolfast import SmolfastError
from smolfast.config import TokenizerConfig
from smolfast.tokens.files import TokenFile
from smolfast.tokens.preferences import PairRules, encode_pairs
from smolfast.tokens.tokenizer import train_tokenizer
from smolfast.tokens.tokenizer_folder import TokenizerFolder, open_tokenizer

RULES = PairRules(64, held_out_fraction=0.0)


@pytest.fixture(scope="module")
def tokenizer(corpus: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> TokenizerFolder:
    """One that has the tokens of turns."""
    folder = tmp_path_factory.mktemp("chat")
    train_tokenizer([corpus.held_out], folder, TokenizerConfig(vocab_size=300, chat=True))
    return open_tokenizer(folder)


def says(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def write(path: Path, rows: list[Any]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answers(folder: Path, tokenizer: TokenizerFolder) -> list[tuple[str, str]]:
    """Of each document, all of it and what is learned of it, as text."""
    file = TokenFile.open(folder, "train")
    assert file.learned is not None
    found = []
    for start, end in zip(file.document_starts[:-1], file.document_starts[1:], strict=True):
        ids, learned = file.tokens[start:end], file.learned[start:end]
        found.append(
            tuple(tokenizer.tokenizer.decode(part.tolist(), skip_special_tokens=False) for part in (ids, ids[learned]))
        )
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_texts(tmp_path: Path, tokenizer: TokenizerFolder, ending: str) -> None:
    rows = [{"prompt": "1 + 1 =", "chosen": " 2", "rejected": " three"}, {"prompt": "", "chosen": "a", "rejected": "b"}]
    path = write(tmp_path / f"pairs.{ending}", rows)
    summary = encode_pairs(path, tokenizer.path, tmp_path / "out", RULES)
    assert summary == {"pairs": 2, "held_out_pairs": 0}
    end = "<|endoftext|>"
    assert answers(tmp_path / "out", tokenizer) == [
        (f"1 + 1 = 2{end}", f" 2{end}"),
        (f"1 + 1 = three{end}", f" three{end}"),
        (f"a{end}", f"a{end}"),
        (f"b{end}", f"b{end}"),
    ]
    file = TokenFile.open(tmp_path / "out", "train")
    assert file.utf8_bytes == len("1 + 1 = 21 + 1 = threeab")
    assert encode_pairs(path, tokenizer.path, tmp_path / "out", RULES) == summary  # nothing to do


SYSTEM = "<|im_start|>system\nReasoning mode: /think<|im_end|>\n"
ASKED = f"{SYSTEM}<|im_start|>user\nHow?<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    "row",
    [
        {
            "prompt": [says("user", "How?")],
            "chosen": [says("assistant", "So.")],
            "rejected": [says("assistant", "No!")],
        },
        {"prompt": "How?", "chosen": [says("assistant", "So.")], "rejected": [says("assistant", "No!")]},
        {"prompt": [says("user", "How?")], "chosen": "So.", "rejected": "No!"},
        {
            "prompt": "whatever",
            "chosen": [says("user", "How?"), says("assistant", "So.")],
            "rejected": [says("user", "How?"), says("assistant", "No!")],
        },
    ],
    ids=["lists", "a text and lists", "a list and texts", "whole conversations"],
)
def test_conversations(tmp_path: Path, tokenizer: TokenizerFolder, row: dict[str, Any]) -> None:
    encode_pairs(write(tmp_path / "pairs.jsonl", [row]), tokenizer.path, tmp_path / "out", RULES)
    assert answers(tmp_path / "out", tokenizer) == [
        (f"{ASKED}{said}<|im_end|>\n<|endoftext|>", f"{said}<|im_end|>") for said in ("So.", "No!")
    ]


def test_earlier_answers_are_given_and_not_learned(tmp_path: Path, tokenizer: TokenizerFolder) -> None:
    before = [says("user", "How?"), says("assistant", "So."), says("user", "And?")]
    row = {"chosen": [*before, says("assistant", "Yes")], "rejected": [*before, says("assistant", "Sorry")]}
    encode_pairs(
        write(tmp_path / "p.parquet", [row]), tokenizer.path, tmp_path / "out", PairRules(99, held_out_fraction=0)
    )
    assert [learned for _, learned in answers(tmp_path / "out", tokenizer)] == ["Yes<|im_end|>", "Sorry<|im_end|>"]


def test_texts_without_a_prompt_share_their_beginning(tmp_path: Path, tokenizer: TokenizerFolder) -> None:
    row = {"chosen": "Q: how? A: so it is", "rejected": "Q: how? A: some day"}
    encode_pairs(write(tmp_path / "p.jsonl", [row]), tokenizer.path, tmp_path / "out", RULES)
    assert [learned[:-13] for _, learned in answers(tmp_path / "out", tokenizer)] == [" so it is", " some day"]


GOOD = {"prompt": "x", "chosen": " y", "rejected": " z"}


@pytest.mark.parametrize(
    ("row", "message", "reason"),
    [
        ({"prompt": "x", "chosen": " y"}, "it has no 'rejected'", "of another form"),
        ({"prompt": "x", "chosen": " y", "rejected": None}, "it has no 'rejected'", "of another form"),
        ({"prompt": "x", "chosen": " y", "rejected": " y"}, "its two answers are equal", "of equal answers"),
        ({"prompt": "x", "chosen": " y", "rejected": ""}, "its 'rejected' answer is empty", "with an empty answer"),
        ({"prompt": 3, "chosen": " y", "rejected": " z"}, "its 'prompt' is a number", "of another form"),
        ({"prompt": "x", "chosen": {"a": 1}, "rejected": " z"}, "its 'chosen' is an object", "of another form"),
        ({"prompt": "x", "chosen": ["y"], "rejected": ["z"]}, "holds a message that is no object", "of another form"),
        ({"prompt": "x", "chosen": "\ud800", "rejected": "z"}, "its 'chosen' is not UTF-8: U\\+D8", "of another form"),
        (7, "it is no object", "of another form"),
        (
            {"prompt": "x", "chosen": [says("user", "?")], "rejected": [says("user", "!")]},
            "has nothing that the assistant says",
            "of another form",
        ),
        (
            {name: [says("user", "x"), says("assistant", "y")] for name in ("chosen", "rejected")},
            "its two answers are equal",
            "of equal answers",
        ),
        (
            {"chosen": [says("assistant", "")], "rejected": [says("assistant", "y")]},
            "answer is empty",
            "with an empty answer",
        ),
    ],
)  # fmt: skip
def test_a_pair_that_teaches_nothing_is_refused_or_counted(
    tmp_path: Path, tokenizer: TokenizerFolder, row: Any, message: str, reason: str
) -> None:
    path = write(tmp_path / "pairs.jsonl", [GOOD, row])
    with pytest.raises(SmolfastError, match=rf"pairs\.jsonl, row 2: .*{message}.*align\.errors=skip"):
        encode_pairs(path, tokenizer.path, tmp_path / "refused", RULES)
    assert not (tmp_path / "refused" / "pairs.json").exists()
    skipping = PairRules(64, errors="skip", held_out_fraction=0.0)
    summary = encode_pairs(path, tokenizer.path, tmp_path / "out", skipping)
    assert summary == {"pairs": 1, "held_out_pairs": 0, "pairs_skipped": {reason: 1}}


def test_pairs_that_are_too_long(tmp_path: Path, tokenizer: TokenizerFolder) -> None:
    long = {"prompt": "abcdefgh " * 9, "chosen": " y", "rejected": " zz zz"}
    hopeless = {"prompt": "q", "chosen": " y" * 40, "rejected": " z"}
    path = write(tmp_path / "pairs.jsonl", [GOOD, long, hopeless])
    with pytest.raises(SmolfastError, match=r"row 2: the pair takes \d+ tokens, and train\.sequence_length allows 30"):
        encode_pairs(path, tokenizer.path, tmp_path / "refused", PairRules(30))
    cut = encode_pairs(path, tokenizer.path, tmp_path / "cut", PairRules(30, "cut", held_out_fraction=0.0))
    assert cut == {"pairs": 2, "held_out_pairs": 0, "pairs_cut": 1, "pairs_skipped": {"too long": 1}}
    file = TokenFile.open(tmp_path / "cut", "train")
    lengths = np.diff(file.document_starts)
    assert lengths.max() == 30  # the longer answer fits just so, and both prompts lose the same
    texts = answers(tmp_path / "cut", tokenizer)
    assert texts[2][0].removesuffix(texts[2][1]) == texts[3][0].removesuffix(texts[3][1])
    assert texts[3][1].startswith(" zz zz")
    left = encode_pairs(path, tokenizer.path, tmp_path / "skip", PairRules(30, "skip", held_out_fraction=0.0))
    assert left == {"pairs": 1, "held_out_pairs": 0, "pairs_skipped": {"too long": 2}}


def test_pairs_of_a_prompt_are_held_out_together(tmp_path: Path, tokenizer: TokenizerFolder) -> None:
    rows = [{"prompt": f"{i % 20} is", "chosen": f" {i}", "rejected": f" not {i}"} for i in range(100)]
    summary = encode_pairs(
        write(tmp_path / "p.jsonl", rows), tokenizer.path, tmp_path / "out", PairRules(64, held_out_fraction=0.3)
    )
    assert summary["pairs"] + summary["held_out_pairs"] == 100
    assert 0 < summary["held_out_pairs"] < 60 and summary["held_out_pairs"] % 5 == 0


def test_what_cannot_be_read(tmp_path: Path, tokenizer: TokenizerFolder) -> None:
    for name, text, message in (
        ("a.jsonl", '{"prompt": "x"', "a.jsonl, line 1: not valid JSON"),
        ("b.txt", "x", "b.txt is text"),
        ("c.jsonl", "", "leaves no pair to train on"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(SmolfastError, match=message):
            encode_pairs(tmp_path / name, tokenizer.path, tmp_path / "out", RULES)
    table = pa.table({"prompt": ["x"], "chosen": ["y"]})
    pq.write_table(table, tmp_path / "d.parquet")
    with pytest.raises(SmolfastError, match=r"has no column 'rejected'.*it has prompt, chosen"):
        encode_pairs(tmp_path / "d.parquet", tokenizer.path, tmp_path / "out", RULES)
    pq.write_table(pa.table({"chosen": [1, 2], "rejected": [3, 4]}), tmp_path / "e.parquet")
    with pytest.raises(SmolfastError, match="row 1: its 'chosen' is a number"):
        encode_pairs(tmp_path / "e.parquet", tokenizer.path, tmp_path / "out", RULES)
    bad = pa.array([b"\xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"chosen": bad, "rejected": ["y"]}), tmp_path / "f.parquet")
    with pytest.raises(SmolfastError, match="a text of the column 'chosen' isn't UTF-8"):
        encode_pairs(tmp_path / "f.parquet", tokenizer.path, tmp_path / "out", RULES)


def test_conversations_need_a_tokenizer_with_turns(tmp_path: Path, corpus: SimpleNamespace) -> None:
    row = {"prompt": "How?", "chosen": [says("assistant", "So.")], "rejected": [says("assistant", "No!")]}
    with pytest.raises(SmolfastError, match=r"no <\|im_start\|>"):
        encode_pairs(write(tmp_path / "p.jsonl", [row]), corpus.tokenizer, tmp_path / "out", RULES)


def test_another_folder_in_the_way(tmp_path: Path, tokenizer: TokenizerFolder) -> None:
    encode_pairs(write(tmp_path / "p.jsonl", [GOOD]), tokenizer.path, tmp_path / "out", RULES)
    with pytest.raises(SmolfastError, match="was made from other pairs"):
        encode_pairs(write(tmp_path / "q.jsonl", [GOOD, GOOD]), tokenizer.path, tmp_path / "out", RULES)
    with pytest.raises(SmolfastError, match="was made from other rules"):
        encode_pairs(tmp_path / "p.jsonl", tokenizer.path, tmp_path / "out", PairRules(32))

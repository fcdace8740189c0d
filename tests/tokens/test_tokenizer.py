"""tokenizer.py: exact round trips, transformers as the oracle, the same bytes every time."""

from __future__ import annotations

import json
import random
import string
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("tokenizers")
pytest.importorskip("pydantic")

import smolfast.tokens.encoding
import smolfast.tokens.text_pieces
from smolfast.config import TokenizerConfig
from smolfast.errors import SmolfastError
from smolfast.tokens.encoding import Encoder
from smolfast.tokens.files import tokenize
from smolfast.tokens.tokenizer import PADDING, load_tokenizer, train_tokenizer
from smolfast.tokens.tokenizer_folder import (
    END_OF_DOCUMENT,
    SPLIT_PATTERN,
    TOKENIZER,
    TokenizerFolder,
    encode,
    open_tokenizer,
)

VOCAB_SIZE = 700
HOSTILE = [
    "",
    " ",
    "\n\n\r\n\t x",
    "\x00\x01",
    "naïve e\u0301 日本語 😀\u200d👩",
    "123456789 3.14159 ①②",
    "don't WE'LL they'Re",
    f"a{END_OF_DOCUMENT}b {PADDING}",
    "<|im_start|>",
    "\ufeffbom \u2028 \ufffd",
    "Ġ ĊĠ",
    "   trailing   ",
]


def write_corpus(path: Path) -> Path:
    """This folder's own tests as documents: real text."""
    texts = [file.read_text(encoding="utf-8") for file in sorted(Path(__file__).parent.glob("test_*.py"))]
    pq.write_table(pa.table({"text": texts}), path)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("tokenizer")
    corpus = write_corpus(folder / "train.parquet")
    summary = train_tokenizer([corpus], folder / "tokenizer", TokenizerConfig(vocab_size=VOCAB_SIZE))
    return corpus, folder / "tokenizer", summary


def test_files_and_summary(trained: tuple[Path, Path, dict[str, Any]]) -> None:
    corpus, folder, summary = trained
    texts = pq.read_table(corpus).column("text").to_pylist()
    assert summary == {
        "documents_in": len(texts),
        "bytes_in": sum(len(text.encode()) for text in texts),
        "vocab_size": VOCAB_SIZE,
        "merges": VOCAB_SIZE - 258,
    }
    names = ["special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    vocab = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    assert sorted(vocab.values()) == list(range(VOCAB_SIZE))
    assert vocab[END_OF_DOCUMENT] == 0
    assert vocab[PADDING] == 1
    tokenizer = load_tokenizer(folder)
    assert tokenizer.get_vocab_size() == VOCAB_SIZE
    tokens = sum(len(tokenizer.encode(text).ids) for text in texts)
    assert summary["bytes_in"] / tokens > 2  # it learned something: bytes alone give 1


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(trained: tuple[Path, Path, dict[str, Any]], text: str) -> None:
    tokenizer = load_tokenizer(trained[1])
    encoding = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(encoding.ids, skip_special_tokens=False) == text
    assert 0 not in encoding.ids and 1 not in encoding.ids


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_comes_back(trained: tuple[Path, Path, dict[str, Any]], text: str) -> None:
    tokenizer = load_tokenizer(trained[1])
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert not {0, 1} & set(ids)


def test_digits_come_in_threes(trained: tuple[Path, Path, dict[str, Any]]) -> None:
    tokenizer = load_tokenizer(trained[1])
    pieces = [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str("x = 1234567, don't")]
    assert pieces == ["x", "Ġ=", "Ġ", "123", "456", "7", ",", "Ġdon", "'t"]


def test_transformers_agrees(trained: tuple[Path, Path, dict[str, Any]]) -> None:
    transformers = pytest.importorskip("transformers")
    corpus, folder, _ = trained
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    ours = load_tokenizer(folder)
    assert len(theirs) == VOCAB_SIZE
    assert theirs.eos_token_id == theirs.bos_token_id == 0
    assert theirs.pad_token_id == 1
    for text in [*HOSTILE, *pq.read_table(corpus).column("text").to_pylist()[:3]]:
        ids = ours.encode(text, add_special_tokens=False).ids
        assert theirs.encode(text, split_special_tokens=True) == ids  # and adds no token of its own
        assert theirs.decode(ids) == text
    assert theirs.encode(f"a{END_OF_DOCUMENT}")[-1] == 0  # in a prompt, unlike in a document, it is the special token


def test_training_is_deterministic(trained: tuple[Path, Path, dict[str, Any]], tmp_path: Path) -> None:
    """In other processes, whose hash maps are ordered otherwise, with other numbers of threads."""
    corpus, folder, _ = trained
    want = {path.name: path.read_bytes() for path in folder.iterdir()}
    code = (
        "import sys; from smolfast.config import TokenizerConfig; from smolfast.tokens import train_tokenizer; "
        f"train_tokenizer([sys.argv[1]], sys.argv[2], TokenizerConfig(vocab_size={VOCAB_SIZE}))"
    )
    for number, environment in enumerate(
        [{"RAYON_NUM_THREADS": "1"}, {"RAYON_NUM_THREADS": "3"}, {"TOKENIZERS_PARALLELISM": "false"}]
    ):
        output = tmp_path / str(number)
        subprocess.run([sys.executable, "-c", code, corpus, output], check=True, env=environment)
        assert {path.name: path.read_bytes() for path in output.iterdir()} == want


@pytest.mark.parametrize("texts", [["abc"], [""], []])
def test_too_little_text(tmp_path: Path, texts: list[str]) -> None:
    pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), tmp_path / "a.parquet")
    with pytest.raises(SmolfastError, match=r"too little text for tokenizer\.vocab_size = 700") as error:
        train_tokenizer([tmp_path / "a.parquet"], tmp_path / "tokenizer", TokenizerConfig(vocab_size=700))
    assert "give more text or --set tokenizer.vocab_size=258" in str(error.value)
    assert not (tmp_path / "tokenizer").exists()


def test_the_remedy_for_too_little_text_works(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["abcabc abcabc"] * 3}), tmp_path / "a.parquet")
    with pytest.raises(SmolfastError) as error:
        train_tokenizer([tmp_path / "a.parquet"], tmp_path / "tokenizer", TokenizerConfig(vocab_size=5000))
    found = int(str(error.value).rpartition("=")[2])
    assert found > 258
    config = TokenizerConfig(vocab_size=found)
    assert train_tokenizer([tmp_path / "a.parquet"], tmp_path / "tokenizer", config)["vocab_size"] == found


def test_words_of_any_length_are_learned_from_quickly(tmp_path: Path) -> None:
    """One word of 300 kB took 92 s of CPU, since each merge went through all of it; random characters took 6 s."""
    chosen = random.Random(1)
    letters = string.ascii_letters
    han = "".join(chr(chosen.randint(0x4E00, 0x9FFF)) for _ in range(150_000))
    texts = ["".join(chosen.choices(letters, k=300_000)), "漢字" * 40_000, "ก" * 100_000, "=" * 100_000, han]
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    before = time.process_time()
    train_tokenizer([tmp_path / "a.parquet"], tmp_path / "tokenizer", TokenizerConfig(vocab_size=32768))
    assert time.process_time() - before < 6
    tokenizer = load_tokenizer(tmp_path / "tokenizer")
    vocab = json.loads((tmp_path / "tokenizer" / TOKENIZER).read_text())["model"]["vocab"]
    assert max(map(len, vocab)) == 64  # as many bytes: no ruler is one token
    for text in texts:  # encoded whole, and exactly
        encoding = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(encoding.ids) == text
        assert len(encoding.ids) < len(text.encode()) / 1.3
    assert len(tokenizer.pre_tokenizer.pre_tokenize_str(texts[0])) == 1


def test_ordinary_text_gives_the_merges_of_the_plain_trainer(trained: tuple[Path, Path, dict[str, Any]]) -> None:
    """Long words are learned from in parts; where there are none, nothing is different."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        min_frequency=2,
        special_tokens=[END_OF_DOCUMENT, PADDING],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    plain.train_from_iterator(pq.read_table(trained[0]).column("text").to_pylist(), trainer)
    ours = json.loads((trained[1] / TOKENIZER).read_text(encoding="utf-8"))
    assert json.loads(plain.to_str())["model"] == ours["model"]
    assert json.loads(plain.to_str())["pre_tokenizer"] == ours["pre_tokenizer"]


PATTERNS = {"Llama 3": SPLIT_PATTERN, "Qwen": SPLIT_PATTERN.replace("{1,3}", ""), "GPT-2": None}
PARTS = [
    "a",
    "b1",
    "23",
    " ",
    "  ",
    "\n",
    "\n\n",
    "\r\n",
    "=",
    "._",
    ".\n",
    "\u2028",
    "\x85",
    "\x1c",
    "é",
    "e\u0301",
    "\t",
    "日",
]


def folder_with(pattern: str | None, folder: Path) -> Path:
    """Bytes and a few merges, words cut by a pattern, or as in GPT-2."""
    from byte_level import byte_level

    merges = [("a", "a"), ("Ċ", "Ċ"), ("Ġ", "Ġ"), ("Ċ", "a"), ("1", "2"), (".", "Ċ"), ("Ġ", "a")]
    tokenizer = byte_level(pattern, merges, [END_OF_DOCUMENT])
    folder.mkdir()
    tokenizer.save(str(folder / TOKENIZER))
    return folder


@pytest.fixture(scope="module", params=PATTERNS)
def cutting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TokenizerFolder:
    return open_tokenizer(folder_with(PATTERNS[request.param], tmp_path_factory.mktemp("cutting") / "t"))


@settings(max_examples=100)
@given(st.lists(st.sampled_from(PARTS), max_size=80), st.integers(1, 6))
def test_a_long_text_in_pieces_has_the_same_ids(cutting: TokenizerFolder, parts: list[str], size: int) -> None:
    assert cutting.cuttable
    text = "".join(parts)
    encoders = [Encoder(cutting), Encoder(cutting, fast=False)]
    with pytest.MonkeyPatch.context() as patch:
        for module in (smolfast.tokens.text_pieces, smolfast.tokens.encoding):
            patch.setattr(module, "PIECE", size)
        assert "".join(smolfast.tokens.text_pieces.pieces(text)) == text
        found = [encoder.encode(["a", text, ""]) for encoder in encoders]
    for each in found:
        assert [ids.tolist() for ids in each.split()] == encode(cutting.tokenizer, ["a", text, ""])


def test_pieces_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smolfast.tokens.text_pieces, "PIECE", 3)
    assert list(smolfast.tokens.text_pieces.pieces("one\ntwo three.\nfour")) == ["one\n", "two three.\n", "four"]
    assert list(smolfast.tokens.text_pieces.pieces("one two three")) == ["one two three"]


@pytest.mark.slow
def test_runs_that_stop_the_regex(tmp_path: Path) -> None:
    """tokenizers' regex panics at ten million blanks. They are learned from; the document is named, or left out."""
    texts = ["some text, some text", " " * 11_000_000]
    pq.write_table(pa.table({"text": pa.array(texts, pa.large_string())}), tmp_path / "a.parquet")
    train_tokenizer([tmp_path / "a.parquet"], tmp_path / "tokenizer", TokenizerConfig(vocab_size=262))
    with pytest.raises(SmolfastError, match=r"a\.parquet, document 1 .*retry-limit-in-match.*--errors skip"):
        tokenize({"train": tmp_path / "a.parquet"}, tmp_path / "tokenizer", tmp_path / "tokens")
    summary = tokenize({"train": tmp_path / "a.parquet"}, tmp_path / "tokenizer", tmp_path / "tokens", errors="skip")
    assert (summary["documents_out"], summary["documents_skipped"]) == (1, 1)


@pytest.mark.parametrize("chat", [False, True])
def test_too_few_tokens_for_all_bytes(tmp_path: Path, chat: bool) -> None:
    pq.write_table(pa.table({"text": ["abab"]}), tmp_path / "a.parquet")
    least = 260 if chat else 258
    if chat:
        with pytest.raises(SmolfastError, match=r"vocab_size = 258 is too small .*vocab_size=260 or more"):
            train_tokenizer([tmp_path / "a.parquet"], tmp_path / "t", TokenizerConfig(vocab_size=258, chat=True))
    config = TokenizerConfig(vocab_size=least, chat=chat)
    assert train_tokenizer([tmp_path / "a.parquet"], tmp_path / "t", config)["vocab_size"] == least


@pytest.mark.parametrize("errors", ["fail", "replace", "skip"])
def test_the_rule_for_bad_text(tmp_path: Path, errors: str) -> None:
    lines = ['{"body": "ab ab ab ab"}', '{"body": "ab \\ud83d ab"}', '{"body": null}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    config = TokenizerConfig(vocab_size=259)
    if errors == "fail":
        with pytest.raises(SmolfastError, match=r"a\.jsonl, line [23]: .*--errors replace"):
            train_tokenizer([tmp_path / "a.jsonl"], tmp_path / "t", config, text_column="body")
        return
    summary = train_tokenizer([tmp_path / "a.jsonl"], tmp_path / "t", config, text_column="body", errors=errors)
    assert summary["documents_in"] == (3 if errors == "replace" else 1)
    assert summary["documents_replaced" if errors == "replace" else "documents_skipped"] == 2


def test_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(SmolfastError, match=r"holds no tokenizer\.json"):
        load_tokenizer(tmp_path)

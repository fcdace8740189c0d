"""tokenizer.py: exact round trips, transformers as the oracle, the same bytes every time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("tokenizers")
pytest.importorskip("pydantic")

from smolfast.config import TokenizerConfig
from smolfast.errors import SmolfastError
from smolfast.tokenizer import END_OF_DOCUMENT, PADDING, load_tokenizer, train_tokenizer

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
        "import sys; from smolfast.config import TokenizerConfig; from smolfast.tokenizer import train_tokenizer; "
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


def test_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(SmolfastError, match=r"holds no tokenizer\.json"):
        load_tokenizer(tmp_path)

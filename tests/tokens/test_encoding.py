"""Encoding by fastokens: the ids of `tokenizers`, or not at all; and the same files whoever encodes."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("tokenizers")
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from byte_level import byte_level as make_byte_level
from smolfast.commands.main import main
from smolfast.errors import SmolfastError
from smolfast.tokens import fast_encoder
from smolfast.tokens.conversations import tokenize_conversations
from smolfast.tokens.encoding import Encoder, with_encoder
from smolfast.tokens.fast_encoder import FastEncoder, OtherIdsError
from smolfast.tokens.files import tokenize
from smolfast.tokens.tokenizer_folder import SPLIT_PATTERN, open_tokenizer

MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEXTS = [
    "hello world",
    "",
    "naïve 日本語 😀\r\n",
    "the end <|endoftext|> is <|im_end|>not the end",
    "a\n" * 500,
    "hello",
]


def byte_level(pattern: str | None = SPLIT_PATTERN, merges: tuple[tuple[str, str], ...] = (("h", "e"),)) -> Tokenizer:
    tokenizer = make_byte_level(pattern, merges)
    tokenizer.add_special_tokens(MARKS)
    return tokenizer


def saved(tokenizer: Tokenizer, folder: Path) -> Path:
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def documents(folder: Path, texts: list[str]) -> dict[str, Path]:
    pq.write_table(pa.table({"text": pa.array(texts, pa.large_string())}), folder / "train.parquet")
    return {"train": folder / "train.parquet"}


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Standing:
    """In fastokens' place, with the ids of `tokenizers`, except for what a test makes of them."""

    lie: Callable[[str, list[int]], list[int]] = staticmethod(lambda text, ids: ids)
    calls = 0

    def __init__(self, content: str) -> None:
        self.tokenizer = Tokenizer.from_str(content)

    @classmethod
    def from_json_str(cls, content: str) -> Standing:
        return cls(content)

    def encode_batch_flat(self, texts: list[str], split_special_tokens: bool = False) -> tuple[bytes, bytes]:
        type(self).calls += 1
        self.tokenizer.encode_special_tokens = split_special_tokens
        found = [type(self).lie(text, self.tokenizer.encode(text, add_special_tokens=False).ids) for text in texts]
        ends = np.cumsum([0, *map(len, found)]).astype("<u8")
        return np.array([index for ids in found for index in ids], "<u4").tobytes(), ends.tobytes()


@pytest.fixture
def standing(monkeypatch: pytest.MonkeyPatch) -> type[Standing]:
    """A fastokens that is installed, whether it is or not."""
    double = type("Double", (Standing,), {})
    monkeypatch.setitem(sys.modules, "fastokens", SimpleNamespace(Tokenizer=double))
    monkeypatch.setattr(fast_encoder.metadata, "version", lambda name: "0.3.5")
    return double


def both(folder: Path, texts: list[str]) -> tuple[list[list[int]], list[list[int]]]:
    opened = open_tokenizer(folder)
    return tuple([ids.tolist() for ids in Encoder(opened, fast=fast).encode(texts).split()] for fast in (True, False))


def check() -> Any:
    path = Path(__file__).parents[1] / "check_encoding.py"
    spec = importlib.util.spec_from_file_location("check_encoding", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("pattern", ["llama3", "qwen", "gpt2"])
def test_fastokens_has_the_ids_of_tokenizers(pattern: str, tmp_path: Path) -> None:
    """In short what `tests/check_encoding.py` does at length."""
    pytest.importorskip("fastokens", exc_type=ImportError)
    long = check()
    texts = list(long.random_strings(3000, 7))
    tokenizer = long.trained(texts, long.PATTERNS[pattern], pattern != "qwen", 1200)
    folder = long.opened(tokenizer, tmp_path / "t")
    found = long.Comparison(folder)
    found.add(texts).add(long.special_strings(folder)).add(long.code_points(211)).add(fast_encoder.DIFFICULT)
    assert found.texts > 8000 and found.tokens > 10 * found.texts
    assert found.different == []


def test_without_fastokens_the_files_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastokens", exc_type=ImportError)
    folder, inputs = saved(byte_level(), tmp_path / "t"), documents(tmp_path, TEXTS * 30)
    assert FastEncoder.load(open_tokenizer(folder)) is not None
    summary = tokenize(inputs, folder, tmp_path / "fast")
    monkeypatch.setitem(sys.modules, "fastokens", None)
    assert FastEncoder.load(open_tokenizer(folder)) is None
    assert tokenize(inputs, folder, tmp_path / "plain") == summary
    assert written(tmp_path / "fast") == written(tmp_path / "plain")


def test_a_stage_is_done_whoever_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], standing: type[Standing]
) -> None:
    pytest.importorskip("pydantic")
    inputs, folder = documents(tmp_path, TEXTS), saved(byte_level(), tmp_path / "t")
    train = str(inputs["train"])
    words = ["tokenize", train, "--held-out", train, "--tokenizer", str(folder), "-o", str(tmp_path / "out")]
    assert main(words) == 0 and standing.calls > 1
    assert "unchanged" not in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "fastokens", None)
    assert main(words) == 0
    assert "tokenize    unchanged, skipped" in capsys.readouterr().err


def conversations(path: Path, count: int) -> Path:
    lines = []
    for number in range(count):
        said = TEXTS[number % len(TEXTS)]
        turns = [{"role": "user", "content": said}, {"role": "assistant", "content": f"{number} {said}"}]
        lines.append(json.dumps({"messages": [{"role": "system", "content": "/no_think"}, *turns][number % 2 :]}))
    path.write_text("\n".join(lines))
    return path


def test_conversations_are_the_same_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, standing: Any) -> None:
    monkeypatch.setattr("smolfast.tokens.conversations._BATCH_CHARACTERS", 3000)
    folder, path = saved(byte_level(), tmp_path / "t"), conversations(tmp_path / "in.jsonl", 50)
    summary = tokenize_conversations({"train": path}, folder, tmp_path / "fast")
    assert standing.calls > 5 and summary["documents_out"] == 50
    monkeypatch.setitem(sys.modules, "fastokens", None)
    assert tokenize_conversations({"train": path}, folder, tmp_path / "plain") == summary
    assert written(tmp_path / "fast") == written(tmp_path / "plain")


def test_the_first_bad_conversation_is_named_whatever_is_wrong_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that can't be encoded stands in a batch before one of another form."""
    folder, path = saved(byte_level(), tmp_path / "t"), conversations(tmp_path / "in.jsonl", 3)
    path.write_text(path.read_text() + '\n{"messages": [{"role": "judge", "content": ""}]}')
    plain = fast_encoder.encode

    def refuse(tokenizer: Tokenizer, texts: list[str]) -> list[Any]:
        return [
            "too odd" if text.startswith("1 ") else ids
            for text, ids in zip(texts, plain(tokenizer, texts), strict=True)
        ]

    monkeypatch.setitem(sys.modules, "fastokens", None)
    with pytest.raises(SmolfastError, match="row 4: message 1 has the role 'judge'"):
        tokenize_conversations({"train": path}, folder, tmp_path / "out")
    monkeypatch.setattr("smolfast.tokens.encoding.encode", refuse)
    with pytest.raises(SmolfastError, match=r"row 2: the tokenizer can't encode '1 ' \(too odd\); correct it, or give"):
        tokenize_conversations({"train": path}, folder, tmp_path / "out")
    summary = tokenize_conversations({"train": path}, folder, tmp_path / "out", errors="skip")
    assert (summary["documents_out"], summary["documents_skipped"]) == (2, 2)


def with_added(*tokens: Any) -> Tokenizer:
    tokenizer = byte_level()
    tokenizer.add_tokens(list(tokens))
    return tokenizer


def with_part(name: str, part: Any) -> Tokenizer:
    tokenizer = byte_level()
    setattr(tokenizer, name, part)
    return tokenizer


def unigram() -> Tokenizer:
    pieces = [("<|endoftext|>", 0.0), ("<unk>", 0.0), *((c, -5.0) for c in "▁abcdefghijklmnopqrstuvwxyz")]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=1))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["<|endoftext|>", "<unk>"])
    return tokenizer


def sentence_piece() -> Tokenizer:
    names = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "he"]
    vocab = {name: index for index, name in enumerate(names)} | {"h": 300, "e": 301}
    tokenizer = Tokenizer(models.BPE(vocab, [("h", "e")], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.add_special_tokens(["<unk>", "</s>"])
    return tokenizer


def word_piece() -> Tokenizer:
    names = ["[UNK]", "</s>", *"abcdefghijklmnopqrstuvwxyz", *("##" + c for c in "abcdefghijklmnopqrstuvwxyz")]
    tokenizer = Tokenizer(models.WordPiece({name: index for index, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[UNK]", "</s>"])
    return tokenizer


OTHERS: dict[str, Callable[[], Tokenizer]] = {
    "Unigram": unigram,
    "SentencePiece's BPE": sentence_piece,
    "WordPiece": word_piece,
    "NFC": lambda: with_part("normalizer", normalizers.NFC()),
    "lower case": lambda: with_part("normalizer", normalizers.Lowercase()),
    "another pattern": lambda: byte_level(r"\w+|[^\w\s]+|\s+"),
    "a pattern that removes": lambda: with_part(
        "pre_tokenizer",
        pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"\s"), "removed"), pre_tokenizers.ByteLevel(False)]),
    ),
    "words by blanks": lambda: with_part("pre_tokenizer", pre_tokenizers.WhitespaceSplit()),
    "a blank before": lambda: with_part("pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "lstrip": lambda: with_added(AddedToken("world", lstrip=True)),
    "rstrip": lambda: with_added(AddedToken("hello", rstrip=True)),
    "single word": lambda: with_added(AddedToken("hell", single_word=True)),
    "special with lstrip": lambda: with_added(AddedToken("<x>", lstrip=True, special=True)),
    "an added word in another": lambda: with_added("hello", "ell"),
    "added words that overlap": lambda: with_added("hell", "llo"),
    "an added word in a special token": lambda: with_added("im_end"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_tokenizer_of_another_shape_is_left_to_tokenizers(
    kind: str, tmp_path: Path, standing: type[Standing]
) -> None:
    """Even by one that would give the right ids: nobody has compared them."""
    folder = saved(OTHERS[kind](), tmp_path / "t")
    assert FastEncoder.load(open_tokenizer(folder)) is None
    ours, theirs = both(folder, TEXTS)
    assert ours == theirs and standing.calls == 0
    assert not [name for name in tokenize(documents(tmp_path, TEXTS), folder, tmp_path / "out") if "fastokens" in name]


def test_added_words_that_can_be_found_in_one_way_alone(tmp_path: Path, standing: type[Standing]) -> None:
    folder = saved(with_added("<think>", "</think>", "zebra"), tmp_path / "t")
    ours, theirs = both(folder, ["a <think> b</think>zebras <thin", "zebra<think>"])
    assert ours == theirs
    assert standing.calls == 3  # difficult strings, these, and a sample of them


@pytest.mark.parametrize("version", ["0.1.2", "0.3.4", "0.2"])
def test_an_old_version_is_not_used(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, standing: type[Standing]
) -> None:
    monkeypatch.setattr(fast_encoder.metadata, "version", lambda name: version)
    assert FastEncoder.load(open_tokenizer(saved(byte_level(), tmp_path / "t"))) is None and standing.calls == 0


def test_one_that_lacks_the_call_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, standing: type[Standing]
) -> None:
    monkeypatch.setattr(standing, "encode_batch_flat", lambda self, texts: None)
    assert FastEncoder.load(open_tokenizer(saved(byte_level(), tmp_path / "t"))) is None


def test_special_tokens_found_in_text_are_a_difference(tmp_path: Path, standing: type[Standing]) -> None:
    """As fastokens does by default: a text with <|endoftext|> would end there."""
    standing.lie = staticmethod(lambda text, ids: [256] if "<|endoftext|>" in text else ids)
    folder, inputs = saved(byte_level(), tmp_path / "t"), documents(tmp_path, TEXTS)
    with pytest.raises(OtherIdsError, match=r"its ids differ from those of tokenizers for '<\|endoftext\|> a<"):
        FastEncoder.load(open_tokenizer(folder))
    summary = tokenize(inputs, folder, tmp_path / "out")
    assert summary["fastokens_not_used"].startswith("its ids differ from those of tokenizers for ")


@pytest.mark.parametrize("chat", [False, True])
def test_a_difference_in_a_later_batch_starts_all_again(
    chat: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, standing: type[Standing]
) -> None:
    standing.lie = staticmethod(lambda text, ids: ids[1:] if "zebra" in text else ids)
    monkeypatch.setattr(Encoder, "batch_bytes", 2000)
    monkeypatch.setattr("smolfast.tokens.conversations._BATCH_CHARACTERS", 2000)
    folder = saved(byte_level(), tmp_path / "t")
    texts = [f"document {number} {'and' * 40}" for number in range(200)] + ["zebra " * 40] * 40
    inputs = documents(tmp_path, texts)
    said = [json.dumps({"messages": [{"role": "assistant", "content": text}]}) for text in texts]
    (tmp_path / "said.jsonl").write_text("\n".join(said))
    work: Any = tokenize_conversations if chat else tokenize
    inputs = {"train": tmp_path / "said.jsonl"} if chat else inputs
    summary = work(inputs, folder, tmp_path / "fast")
    assert standing.calls > 5
    assert (
        summary.pop("fastokens_not_used")
        == "its ids differ from those of tokenizers for 'zebra zebra zebra zebra zebra zebra zebr'"
    )
    monkeypatch.setitem(sys.modules, "fastokens", None)
    assert work(inputs, folder, tmp_path / "plain") == summary
    assert written(tmp_path / "fast") == written(tmp_path / "plain")


def test_what_fastokens_fails_at_is_encoded_by_tokenizers(tmp_path: Path, standing: type[Standing]) -> None:
    def fail(text: str, ids: list[int]) -> list[int]:
        if text == "hello":
            raise ValueError("regex: match limit exceeded")
        return ids

    standing.lie = staticmethod(fail)
    ours, theirs = both(saved(byte_level(), tmp_path / "t"), TEXTS)
    assert ours == theirs and ours[-1]


def test_a_text_that_tokenizers_might_refuse_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, standing: type[Standing]
) -> None:
    """Else what is refused would depend on who encodes."""
    for module in ("encoding", "fast_encoder", "text_pieces"):
        monkeypatch.setattr(f"smolfast.tokens.{module}.PIECE", 10)
    opened = open_tokenizer(saved(byte_level(), tmp_path / "t"))
    encoder, before = Encoder(opened), standing.calls
    assert len(encoder.encode([" " * 50]).ids) == 50
    assert standing.calls == before
    encoder.encode(["word\n" * 50])
    assert standing.calls > before


def test_memory_that_ran_out_is_no_other_tokenizer(tmp_path: Path, standing: type[Standing]) -> None:
    def fail(text: str, ids: list[int]) -> list[int]:
        raise MemoryError

    standing.lie = staticmethod(fail)
    with pytest.raises(MemoryError):
        with_encoder(open_tokenizer(saved(byte_level(), tmp_path / "t")), lambda encoder: encoder.encode(["a"]))


def test_nothing_to_encode(tmp_path: Path, standing: type[Standing]) -> None:
    opened = open_tokenizer(saved(byte_level(), tmp_path / "t"))
    for fast in (True, False):
        found = Encoder(opened, fast=fast).encode([])
        assert len(found.ids) == len(found.ends) == 0 and found.split() == []
        found = Encoder(opened, fast=fast).encode(["", ""])
        assert found.ends.tolist() == [0, 0] and [ids.tolist() for ids in found.split()] == [[], []]

"""Encoding natively: the ids of `tokenizers`, or not at all; and the same files whoever encodes."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
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
from smolfast.tokens.tokenizer_folder import SPLIT_PATTERN, TokenizerFolder, open_tokenizer

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
    """In the native encoder's place, with the ids of `tokenizers`, except for what a test makes of them."""

    lie: Callable[[str, list[int]], list[int]] = staticmethod(lambda text, ids: ids)
    calls = 0

    def __init__(self, folder: TokenizerFolder) -> None:
        self.tokenizer = Tokenizer.from_str(folder.tokenizer.to_str())
        self.tokenizer.encode_special_tokens = True

    def encode(self, strings: Any, threads: int) -> tuple[Any, Any, Any]:
        type(self).calls += 1
        texts = strings.to_pylist() if isinstance(strings, pa.Array) else strings
        found = [type(self).lie(text, self.tokenizer.encode(text, add_special_tokens=False).ids) for text in texts]
        ids = np.array([index for ids in found for index in ids], np.uint32)
        return ids, np.cumsum([len(ids) for ids in found], dtype=np.int64), np.empty(0, np.int64)


@pytest.fixture
def standing(monkeypatch: pytest.MonkeyPatch) -> type[Standing]:
    double = type("Double", (Standing,), {})
    monkeypatch.setattr(fast_encoder, "_read", double)
    return double


@pytest.fixture
def plainly(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on `tokenizers` encodes."""
    return lambda: monkeypatch.setattr(FastEncoder, "load", lambda folder: None)


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
def test_it_has_the_ids_of_tokenizers(pattern: str, tmp_path: Path) -> None:
    """In short what `tests/check_encoding.py` does at length."""
    long = check()
    texts = list(long.random_strings(3000, 7))
    tokenizer = long.trained(texts, long.PATTERNS[pattern], pattern != "qwen", 1200)
    folder = long.opened(tokenizer, tmp_path / "t")
    found = long.Comparison(folder)
    found.add(texts).add(long.special_strings(folder)).add(long.code_points(211)).add(fast_encoder.DIFFICULT)
    assert found.texts > 8000 and found.tokens > 10 * found.texts
    assert found.different == []


def test_the_files_are_the_same_whoever_encodes(
    implementation: str, tmp_path: Path, plainly: Callable[[], None]
) -> None:
    folder, inputs = saved(byte_level(), tmp_path / "t"), documents(tmp_path, TEXTS * 30)
    assert FastEncoder.load(open_tokenizer(folder)) is not None
    summary = tokenize(inputs, folder, tmp_path / "fast")
    plainly()
    assert tokenize(inputs, folder, tmp_path / "plain") == summary
    assert written(tmp_path / "fast") == written(tmp_path / "plain")


def test_a_stage_is_done_whoever_encoded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], standing: type[Standing], plainly: Callable[[], None]
) -> None:
    pytest.importorskip("pydantic")
    inputs, folder = documents(tmp_path, TEXTS), saved(byte_level(), tmp_path / "t")
    train = str(inputs["train"])
    words = ["tokenize", train, "--held-out", train, "--tokenizer", str(folder), "-o", str(tmp_path / "out")]
    assert main(words) == 0 and standing.calls > 1
    assert "unchanged" not in capsys.readouterr().err
    plainly()
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


def test_conversations_are_the_same_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, standing: Any, plainly: Callable[[], None]
) -> None:
    monkeypatch.setattr("smolfast.tokens.conversations._BATCH_CHARACTERS", 3000)
    folder, path = saved(byte_level(), tmp_path / "t"), conversations(tmp_path / "in.jsonl", 50)
    summary = tokenize_conversations({"train": path}, folder, tmp_path / "fast")
    assert standing.calls > 5 and summary["documents_out"] == 50
    plainly()
    assert tokenize_conversations({"train": path}, folder, tmp_path / "plain") == summary
    assert written(tmp_path / "fast") == written(tmp_path / "plain")


def test_the_first_bad_conversation_is_named_whatever_is_wrong_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plainly: Callable[[], None]
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

    plainly()
    with pytest.raises(SmolfastError, match=r"row 4: message 1: .* its role is none of system"):
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
    assert not [name for name in tokenize(documents(tmp_path, TEXTS), folder, tmp_path / "out") if "native" in name]


def test_added_words_that_can_be_found_in_one_way_alone(tmp_path: Path, standing: type[Standing]) -> None:
    folder = saved(with_added("<think>", "</think>", "zebra"), tmp_path / "t")
    ours, theirs = both(folder, ["a <think> b</think>zebras <thin", "zebra<think>"])
    assert ours == theirs
    assert standing.calls == 3  # difficult strings, these, and a sample of them


def test_special_tokens_found_in_text_are_a_difference(tmp_path: Path, standing: type[Standing]) -> None:
    """A text with <|endoftext|> would end there."""
    standing.lie = staticmethod(lambda text, ids: [256] if "<|endoftext|>" in text else ids)
    folder, inputs = saved(byte_level(), tmp_path / "t"), documents(tmp_path, TEXTS)
    with pytest.raises(OtherIdsError, match=r"its ids differ from those of tokenizers for '<\|endoftext\|> a<"):
        FastEncoder.load(open_tokenizer(folder))
    summary = tokenize(inputs, folder, tmp_path / "out")
    assert summary["native_encoder_not_used"].startswith("its ids differ from those of tokenizers for ")


@pytest.mark.parametrize("chat", [False, True])
def test_a_difference_in_a_later_batch_starts_all_again(
    chat: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    standing: type[Standing],
    plainly: Callable[[], None],
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
        summary.pop("native_encoder_not_used")
        == "its ids differ from those of tokenizers for 'zebra zebra zebra zebra zebra zebra zebr'"
    )
    plainly()
    assert work(inputs, folder, tmp_path / "plain") == summary
    assert written(tmp_path / "fast") == written(tmp_path / "plain")


# Letters of Unicode 17 and 18, and what is no character so far.
YOUNG = ["a\ua7d2b", "\u0378", "x \U0003d000", "\U0010ffff", "ab\u0558"]


@pytest.mark.parametrize("text", YOUNG)
def test_characters_that_not_every_unicode_knows_are_left_to_tokenizers(text: str, tmp_path: Path) -> None:
    folder = open_tokenizer(saved(byte_level(), tmp_path / "t"))
    fast = FastEncoder.load(folder)
    assert fast is not None
    assert fast._native.encode(["he", text, None, "he" + text], threads=1)[2].tolist() == [1, 3]
    texts = ["hello", text, "", f"{text}hello", "he"]
    ours, theirs = both(folder.path, texts)
    assert ours == theirs
    column = Encoder(folder).encode_column(pa.array(texts, pa.large_string()))
    assert [ids.tolist() for ids in column.split()] == theirs


def test_a_lone_surrogate_is_refused_by_tokenizers_alone(tmp_path: Path) -> None:
    folder = open_tokenizer(saved(byte_level(), tmp_path / "t"))
    found = Encoder(folder).encode(["hello", "a\ud800", "he"])
    assert found.refused == {1: "not UTF-8: U+D800 at character 1"} and found.split()[0].size


WORDS = ("the", " the", "ab" * 40, "\u00e9" * 70, "x" * 191, "y" * 192, "z" * 193, "=" * 5000, "\u65e5\u672c" * 400)


def test_words_of_every_length(implementation: str, tmp_path: Path) -> None:
    """Where tables and ways of merging change, and twice, so that what is remembered is read."""
    merges = [("a", "b"), ("t", "h"), ("th", "e"), ("Ġ", "the"), ("ab", "ab"), ("y", "y"), ("yy", "yy"), ("=", "=")]
    merges += [("==", "=="), ("Ã", "©"), ("Ã©", "Ã©"), ("x", "x"), ("x", "xx"), ("z", "z")]
    folder = open_tokenizer(saved(byte_level(merges=tuple(merges)), tmp_path / "t"))
    texts = [word[:size] for word in WORDS for size in (*range(1, 20), 63, 64, 65, 127, 128, 129, len(word))] * 2
    ours, theirs = both(folder.path, texts)
    assert ours == theirs


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

"""A tokenizer's folder, ours or one that others saved: loaded, and checked for all that the later stages need of it."""

from __future__ import annotations

import contextlib
import gc
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from smolfast import _native
from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error, read_json
from smolfast.io.sources import one_line

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
ADDED_TOKENS = "added_tokens.json"
SPECIAL_TOKENS_MAP = "special_tokens_map.json"
END_OF_DOCUMENT = "<|endoftext|>"
# SmolLM3's and Llama 3's. These two go before the tokenizer's own `eos_token`, which in chat models ends a turn.
_ENDS = (END_OF_DOCUMENT, "<|end_of_text|>")
_END_OF_SENTENCE = "</s>"
_TURNS = ("<|im_start|>", "<|im_end|>")
# No model has an embedding of more rows.
_MOST_IDS = 1 << 24
# Where words are cut: Llama 3's pattern, which SmolLM3 and our trainer take, with digits by threes; Qwen's one by one.
SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_KNOWN_PATTERNS = (SPLIT_PATTERN, SPLIT_PATTERN.replace("{1,3}", ""))
_SPECIAL_KEYS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_SPECIAL_LISTS = ("additional_special_tokens", "extra_special_tokens")
_SAVE_AGAIN = "load it with transformers' AutoTokenizer and write it with save_pretrained"


@dataclass(frozen=True)
class TokenizerFolder:
    """A tokenizer that `open_tokenizer` found fit for training, evaluation and export.

    Attributes:
        path: the folder.
        content: what its file holds, the special tokens that `names` has being special.
        tokenizer: without truncation, padding and dropout; special tokens in a text are plain characters.
        names: the tokens of `eos_token`, `pad_token` and so on, as far as the folder gives them.
        end_of_document: the id that closes a document.
        vocab_size: the largest id + 1. Ids may have gaps; this is how many rows an embedding needs.
        tokens: how many ids stand for a token.
        special: ids of special tokens, without the unknown token's.
        unknown: the id of the unknown token, or None.
        lossless: whether every text is known to come back, by the tokenizer's parts alone: byte-level BPE.
        known_words: whether it is lossless and cuts words by Llama 3's, Qwen's or GPT-2's pattern.
        cuttable: whether the parts of `smolfast.tokens.text_pieces` have together the ids of a whole text.
        kind: such as "byte-level BPE", for people.
        fingerprint: of all tokens and their ids. A tokenizer that was saved again keeps it.
    """

    path: Path
    content: Mapping[str, Any]
    tokenizer: Tokenizer
    names: Mapping[str, str]
    end_of_document: int
    vocab_size: int
    tokens: int
    special: frozenset[int]
    unknown: int | None
    lossless: bool
    known_words: bool
    cuttable: bool
    kind: str
    fingerprint: str

    def id_of(self, key: str) -> int | None:
        """The id of the token under a key of tokenizer_config.json, such as `pad_token`."""
        name = self.names.get(key)
        found: int | None = None if name is None else self.tokenizer.token_to_id(name)
        return found


def open_tokenizer(folder: str | os.PathLike[str]) -> TokenizerFolder:
    """Load a folder's `tokenizer.json`, and check it together with the files that transformers reads beside it.

    A document about tokenizers may hold `<|endoftext|>`; it must not end there, so special tokens in a text are read
    as characters. A document is closed by `<|endoftext|>` or `<|end_of_text|>` where there is one, else by the
    `eos_token` of tokenizer_config.json or special_tokens_map.json, else by `</s>`.

    Raises:
        SmolfastError: a file is missing or damaged, no token ends a document, ids that `tokenizers` reads other than
            the file has them or that two tokens share, or a special token that transformers would have to add.
    """
    path = Path(folder) / TOKENIZER
    if not path.is_file():
        raise SmolfastError(f"{folder} holds no {TOKENIZER}; give the folder of a tokenizer, or {_SAVE_AGAIN}")
    with _no_collection():
        text, content = _read(path)
        tokenizer = _load(path, text)
    vocab: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    _check_ids(path, vocab, content)
    names = _names(Path(folder), vocab)
    end = _end(vocab, names, path)
    marks = [mark for mark in _added(content) if mark["content"] in {*names.values(), *_TURNS} or mark["id"] == end]
    if not all(mark.get("special") for mark in marks):
        # Added as words, they would be found in a text, which could then end a document or begin a turn.
        for mark in marks:
            mark["special"] = True
        tokenizer = _load(path, json.dumps(content))
    model = content["model"]
    unknown = _unknown(model, vocab)
    byte_level = model.get("type") == "BPE" and _is_byte_level(content)
    lossless = byte_level and _keeps_text(content, vocab)
    known_words = lossless and _has_known_words(content)
    return TokenizerFolder(
        path=Path(folder),
        content=content,
        tokenizer=tokenizer,
        names=names,
        end_of_document=end,
        vocab_size=max(vocab.values()) + 1,
        tokens=len(vocab),
        special=frozenset([end, *(token["id"] for token in _added(content) if token.get("special"))]) - {unknown},
        unknown=unknown,
        lossless=lossless,
        known_words=known_words,
        cuttable=known_words
        and all(token["content"].isalnum() for token in _added(content) if not token.get("special")),
        kind="byte-level BPE" if byte_level else str(model.get("type", "of unknown kind")),
        fingerprint=xxhash.xxh3_128_hexdigest(_native.write_vocabulary(vocab)),
    )


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Without Python's search for cycles of objects, which the many lists of a JSON file would start often."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int] | str]:
    """The ids of each text; for one that the tokenizer can't encode, the reason in its place."""
    try:
        return [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]
    except BaseException as error:
        if not is_of_the_library(error):
            raise
        if len(texts) == 1:
            return [not_utf8(texts[0]) or _reason(error)]
    return [ids for text in texts for ids in encode(tokenizer, [text])]


def changed_documents(folder: TokenizerFolder, texts: Sequence[str], ids: Sequence[Sequence[int]]) -> int:
    """How many texts don't come back from their ids."""
    if folder.lossless or not texts:
        return 0
    try:
        decoded = folder.tokenizer.decode_batch([list(each) for each in ids], skip_special_tokens=False)
    except BaseException as error:
        if not is_of_the_library(error):
            raise
        return len(texts)
    return sum(text != again for text, again in zip(texts, decoded, strict=True))


def refuse_another_vocabulary(model: Path, fingerprint: str | None, what: str) -> None:
    """Refuse tokens that a model wasn't trained on, as far as the run.json beside its folder tells.

    An embedding may be padded, so sizes alone don't tell.

    Raises:
        SmolfastError: the run has another vocabulary.
    """
    record = model.absolute().parent / "run.json"
    try:
        run = read_json(record) if record.is_file() else None
    except SmolfastError:
        return
    known = run.get("vocabulary") if isinstance(run, dict) else None
    if known and fingerprint and known != fingerprint:
        raise SmolfastError(
            f"{what} has another vocabulary than {model} was trained on; give the tokenizer that it was trained with"
        )


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
    except OSError as error:
        raise SmolfastError(f"can't read {path}: {describe_os_error(error)}") from error
    except (ValueError, RecursionError) as error:
        raise _no_tokenizer(path, error) from error
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise _no_tokenizer(path, ValueError("it has no model"))
    return text, content


def _load(path: Path, text: str) -> Tokenizer:
    import tokenizers

    try:
        tokenizer = tokenizers.Tokenizer.from_str(text)
        # What a file may ask for in training or inference; in documents it would be loss, or chance.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True
        if getattr(tokenizer.model, "dropout", None) is not None:
            tokenizer.model.dropout = None
    except BaseException as error:
        if not is_of_the_library(error):
            raise
        raise _no_tokenizer(path, error) from error
    return tokenizer


def _no_tokenizer(path: Path, error: BaseException) -> SmolfastError:
    import tokenizers

    return SmolfastError(
        f"{path} is not a tokenizer that tokenizers {tokenizers.__version__} reads ({_reason(error)}); train or "
        "download it again, or upgrade tokenizers if a newer one wrote it"
    )


def is_of_the_library(error: BaseException) -> bool:
    """tokenizers raises bare Exception, and where its Rust code panics, something that is none."""
    return (isinstance(error, Exception) and not isinstance(error, MemoryError)) or (
        type(error).__name__ == "PanicException"
    )


def _reason(error: BaseException) -> str:
    return one_line(error)[:200]


def not_utf8(text: str) -> str:
    """What is wrong with a text that has a lone surrogate; empty if it has none."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"not UTF-8: U+{ord(text[error.start]):04X} at character {error.start}"
    return ""


def _added(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    return content.get("added_tokens") or []


def _check_ids(path: Path, vocab: Mapping[str, int], content: Mapping[str, Any]) -> None:
    if not vocab:
        raise SmolfastError(f"{path} has no tokens; train or download it again")
    for token in _added(content):
        found = vocab.get(token["content"])
        if found != token["id"]:  # tokenizers counts on from its vocabulary's length
            raise SmolfastError(
                f"{path}: the added token {token['content']!r} has the id {token['id']}, but tokenizers reads it as "
                f"{found}; write it into the model's vocab under its id, or {_SAVE_AGAIN}"
            )
    owners: dict[int, str] = {}
    for name, index in vocab.items():
        if index in owners:
            raise SmolfastError(f"{path}: {owners[index]!r} and {name!r} share the id {index}; give each its own")
        owners[index] = name
    if max(owners) >= _MOST_IDS:
        raise SmolfastError(
            f"{path}: {owners[max(owners)]!r} has the id {max(owners)}, for which an embedding would need as many "
            f"rows; give ids below {_MOST_IDS}"
        )


def _names(folder: Path, vocab: Mapping[str, int]) -> dict[str, str]:
    """The special tokens by their keys; none may be missing, or transformers adds it behind the model's last row."""
    names: dict[str, str] = {}
    for file in (SPECIAL_TOKENS_MAP, TOKENIZER_CONFIG):
        path = folder / file
        if not path.exists():
            continue
        values = read_object(path)
        for key, value in _special_tokens(values):
            name = value.get("content") if isinstance(value, dict) else value
            if not isinstance(name, str):
                raise SmolfastError(f"{path}: {key} = {value!r} is not a token; correct it, or {_SAVE_AGAIN}")
            if name not in vocab:
                raise SmolfastError(
                    f"{path}: {key} is {name!r}, which {TOKENIZER} hasn't; remove it there, or {_SAVE_AGAIN}"
                )
            names[key] = name
        decoder = values.get("added_tokens_decoder") or {}
        for index, value in decoder.items() if isinstance(decoder, dict) else ():
            _check_added(path, value.get("content") if isinstance(value, dict) else value, index, vocab)
    if (folder / ADDED_TOKENS).exists():
        for name, index in read_object(folder / ADDED_TOKENS).items():
            _check_added(folder / ADDED_TOKENS, name, index, vocab)
    return names


def _check_added(path: Path, name: Any, index: Any, vocab: Mapping[str, int]) -> None:
    found = vocab.get(name) if isinstance(name, str) else None
    if str(found) != str(index):
        raise SmolfastError(
            f"{path} gives the added token {name!r} the id {index}, and {TOKENIZER} {found}; {_SAVE_AGAIN}"
        )


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object of a tokenizer's folder."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SmolfastError(f"can't read {path}: {describe_os_error(error)}") from error
    except (ValueError, RecursionError) as error:
        raise SmolfastError(f"{path} is not valid JSON ({one_line(error)}); correct it, or {_SAVE_AGAIN}") from error
    if not isinstance(values, dict):
        raise SmolfastError(f"{path} is not a JSON object; correct it, or {_SAVE_AGAIN}")
    return values


def _special_tokens(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in _SPECIAL_KEYS:
        if values.get(key) is not None:
            yield key, values[key]
    for key in _SPECIAL_LISTS:
        given = values.get(key) or []
        if isinstance(given, dict):
            yield from given.items()
        elif isinstance(given, list):
            yield from ((f"{key} {number}", value) for number, value in enumerate(given, 1))
        else:
            yield key, [given]  # no token


def _end(vocab: Mapping[str, int], names: Mapping[str, str], path: Path) -> int:
    for name in (*_ENDS, names.get("eos_token"), _END_OF_SENTENCE):
        if name is not None and name in vocab:
            return vocab[name]
    raise SmolfastError(
        f"{path} has no token {END_OF_DOCUMENT} to end a document with; name another of its tokens in "
        f'{TOKENIZER_CONFIG}, as {{"eos_token": "…"}}, or train one with smolfast tokenize'
    )


def _unknown(model: Mapping[str, Any], vocab: Mapping[str, int]) -> int | None:
    index = model.get("unk_id")  # Unigram's
    return index if isinstance(index, int) else vocab.get(model.get("unk_token") or "")


def _steps(part: Any, inner: str) -> list[dict[str, Any]]:
    if not isinstance(part, dict):
        return []
    return list(part[inner]) if part.get("type") == "Sequence" else [part]


def _is_byte_level(content: Mapping[str, Any]) -> bool:
    steps = _steps(content.get("pre_tokenizer"), "pretokenizers")
    return bool(steps) and steps[-1].get("type") == "ByteLevel"


def _keeps_text(content: Mapping[str, Any], vocab: Mapping[str, int]) -> bool:
    """Whether no part of a byte-level BPE takes or adds anything."""
    from tokenizers import pre_tokenizers

    *splits, last = _steps(content["pre_tokenizer"], "pretokenizers")
    model, decoder = content["model"], content.get("decoder")
    return (
        content.get("normalizer") is None
        and all(step.get("type") in ("Split", "Digits") and step.get("behavior") != "Removed" for step in splits)
        and not last.get("add_prefix_space")
        and not (model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"))
        and vocab.keys() >= set(pre_tokenizers.ByteLevel.alphabet())
        and isinstance(decoder, dict)
        and decoder.get("type") == "ByteLevel"
        and not any(token.get("lstrip") or token.get("rstrip") for token in _added(content) if not token.get("special"))
    )


def _has_known_words(content: Mapping[str, Any]) -> bool:
    *splits, last = _steps(content["pre_tokenizer"], "pretokenizers")
    if splits:
        pattern = splits[0].get("pattern")
        known = isinstance(pattern, dict) and pattern.get("Regex") in _KNOWN_PATTERNS
        return len(splits) == 1 and known and splits[0].get("behavior") == "Isolated" and not last.get("use_regex")
    return bool(last.get("use_regex"))  # GPT-2's pattern

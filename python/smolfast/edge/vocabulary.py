"""A tokenizer as llama.cpp's keys: tokens, merges, special ones, and the name of the rule that cuts words.

llama.cpp has no rule in its files, only names of rules that it was built with. Its converter looks a name up by a hash
of what a tokenizer makes of one text, so it knows published vocabularies alone. Here the name follows from the pattern
in tokenizer.json itself, and a tokenizer that does anything else is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from smolfast.errors import SmolfastError
from smolfast.files import naming
from smolfast.tokens.chat.chat_template import TURN_END, templates_of
from smolfast.tokens.tokenizer_folder import (
    SPLIT_PATTERN,
    TOKENIZER,
    TokenizerFolder,
    encode,
    read_object,
)

# Patterns and whether a word that is a token is taken at once (`ignore_merges`), as llama-vocab.cpp has them by name.
# "gpt-2" is ByteLevel's own pattern.
_RULES: Mapping[tuple[str, bool], str] = {
    (SPLIT_PATTERN, True): "llama-bpe",
    (SPLIT_PATTERN, False): "smaug-bpe",
    (SPLIT_PATTERN.replace("{1,3}", ""), False): "qwen2",
    ("", False): "gpt-2",
}
# gguf.TokenType
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
_PREFIX = "tokenizer.ggml."


def vocabulary_keys(tokenizer: TokenizerFolder, rows: int) -> dict[str, Any]:
    """The keys that begin with `tokenizer.`, for a model whose embedding has `rows` rows.

    Rows without a token are padding; they get names that no text has.

    Raises:
        SmolfastError: llama.cpp would cut or merge words in another way; says what differs.
    """
    path = tokenizer.path / TOKENIZER
    content = read_object(path)
    with naming(path, "save it again with transformers"):
        rule = _rule(tokenizer, content)
        merges = _merges(content["model"]["merges"])
    if not merges:
        raise _refused(tokenizer, "it has no merges")
    tokens, types = _tokens(tokenizer, rows)
    keys: dict[str, Any] = {
        f"{_PREFIX}model": "gpt2",
        f"{_PREFIX}pre": rule,
        f"{_PREFIX}tokens": tokens,
        f"{_PREFIX}token_type": types,
        f"{_PREFIX}merges": merges,
        **_ends(tokenizer),
        **_around(tokenizer),
        f"{_PREFIX}add_space_prefix": False,
    }
    templates = templates_of(tokenizer.path)
    for name, template in templates.items():
        if "bos_token" in template and tokenizer.id_of("bos_token") is None:
            raise SmolfastError(
                f"the chat template of {tokenizer.path} asks for bos_token, and the tokenizer has none; llama.cpp "
                "would put token 11 there; name one in tokenizer_config.json"
            )
        keys["tokenizer.chat_template" if name == "default" else f"tokenizer.chat_template.{name}"] = template
    return keys


def _rule(tokenizer: TokenizerFolder, content: Mapping[str, Any]) -> str:
    model = content["model"]
    if not tokenizer.lossless:
        raise _refused(tokenizer, f"it is {tokenizer.kind} and doesn't keep every text; only byte-level BPE does")
    steps = content["pre_tokenizer"]
    *splits, last = steps["pretokenizers"] if steps["type"] == "Sequence" else [steps]
    if len(splits) > 1 or (splits and (splits[0].get("behavior") != "Isolated" or splits[0].get("invert"))):
        raise _refused(tokenizer, "it cuts words in several steps")
    if bool(splits) == bool(last.get("use_regex", True)):
        raise _refused(tokenizer, "it cuts words by two patterns, or by none")
    pattern = (splits[0].get("pattern") or {}).get("Regex") if splits else ""
    whole_words = bool(model.get("ignore_merges"))
    for token in tokenizer.tokenizer.get_added_tokens_decoder().values():
        if token.lstrip or token.rstrip or token.single_word:
            raise _refused(tokenizer, f"the added token {token.content!r} takes blanks or borders of words with it")
    found = _RULES.get((str(pattern), whole_words))
    if found is None:
        how = "with" if whole_words else "without"
        raise _refused(tokenizer, f"it cuts words by {pattern!r}, {how} ignore_merges, which has no name there")
    return found


def _refused(tokenizer: TokenizerFolder, reason: str) -> SmolfastError:
    return SmolfastError(
        f"the tokenizer of {tokenizer.path} can't be told to llama.cpp: {reason}; train one with smolfast tokenize, or "
        "take one that cuts words as Llama 3's, Qwen2's or GPT-2's"
    )


def _merges(pairs: Sequence[Any]) -> list[str]:
    """Merges in their order. Of a pair that comes twice tokenizers takes the last place, and llama.cpp the first."""
    last: dict[str, int] = {}
    for place, pair in enumerate(pairs):
        first, second = pair.split(" ") if isinstance(pair, str) else pair
        if not first or not second or " " in first + second:
            raise ValueError(f"the merge {pair!r} has a blank")
        last[f"{first} {second}"] = place
    return sorted(last, key=last.__getitem__)


def _tokens(tokenizer: TokenizerFolder, rows: int) -> tuple[list[str], list[int]]:
    vocab: Mapping[str, int] = tokenizer.tokenizer.get_vocab(with_added_tokens=True)
    names = {index: name for name, index in vocab.items()}
    added = tokenizer.tokenizer.get_added_tokens_decoder()
    tokens, types = [], []
    for index in range(rows):
        name = names.get(index)
        kind = UNUSED
        if name is None:
            name = f"[PAD{index}]"
            while name in vocab:
                name = f"[{name}]"
        elif index in added:
            kind = CONTROL if added[index].special or index in tokenizer.special else USER_DEFINED
        else:
            kind = NORMAL
        tokens.append(name)
        types.append(kind)
    return tokens, types


def _ends(tokenizer: TokenizerFolder) -> dict[str, int]:
    """The tokens that end an answer under the names that llama.cpp stops at, and the others that a template may use.

    Without a first token in the file it would take token 11. So one is always named, and `add_bos_token` says no.
    """
    known = tokenizer.id_of
    eos = known("eos_token")
    stops = [eos, tokenizer.end_of_document, tokenizer.tokenizer.token_to_id(TURN_END)]
    different = list(dict.fromkeys(stop for stop in stops if stop is not None))
    named = dict(zip(("eos", "eot", "eom"), different, strict=False))
    bos = known("bos_token")
    named["bos"] = tokenizer.end_of_document if bos is None else bos
    for key, name in (
        ("padding", "pad_token"),
        ("unknown", "unk_token"),
        ("seperator", "sep_token"),
        ("mask", "mask_token"),
    ):
        index = known(name)
        if index is not None:
            named[key] = index
    return {f"{_PREFIX}{key}_token_id": index for key, index in named.items()}


def _around(tokenizer: TokenizerFolder) -> dict[str, bool]:
    """Whether a text gets a first and a last token, as transformers adds them by the tokenizer's post-processor."""
    inner = encode(tokenizer.tokenizer, ["a"])[0]
    whole = tokenizer.tokenizer.encode("a", add_special_tokens=True).ids
    bos, eos = tokenizer.id_of("bos_token"), tokenizer.id_of("eos_token")
    for first in (False, True):
        for last in (False, True):
            if whole == [*([bos] if first else []), *inner, *([eos] if last else [])]:
                return {f"{_PREFIX}add_bos_token": first, f"{_PREFIX}add_eos_token": last}
    raise _refused(tokenizer, f"it puts tokens around a text that are not its bos_token and eos_token: {whole}")

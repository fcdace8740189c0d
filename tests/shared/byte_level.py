"""Byte-level tokenizers with a few merges, whose words a pattern cuts."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers


def byte_level(pattern: str | None, merges: Iterable[tuple[str, str]], more: Iterable[str] = ()) -> Tokenizer:
    """All bytes, these merges and `more` entries; without a pattern words are cut as in GPT-2."""
    pairs = list(merges)
    names = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in pairs), *more]
    tokenizer = Tokenizer(models.BPE({name: index for index, name in enumerate(names)}, pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pattern is not None:
        split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
        rest = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, rest])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer

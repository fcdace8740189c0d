"""Byte-level BPE, trained natively, in a folder that `tokenizers` and `transformers.AutoTokenizer` load."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smolfast import _native
from smolfast.errors import SmolfastError
from smolfast.files import write_json, write_text
from smolfast.io.documents import find_sources, read_batches, utf8_bytes
from smolfast.io.keep_apart import check_apart
from smolfast.tokens.chat.chat_template import CHAT_TEMPLATE, CHAT_TEMPLATE_FILE, TURN_END, TURN_START
from smolfast.tokens.tokenizer_folder import (
    END_OF_DOCUMENT,
    SPECIAL_TOKENS_MAP,
    SPLIT_PATTERN,
    TOKENIZER,
    TOKENIZER_CONFIG,
    open_tokenizer,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from smolfast.config import TokenizerConfig
    from smolfast.progress import ProgressCallback

PADDING = "<|padding|>"
SPECIAL_TOKENS = (END_OF_DOCUMENT, PADDING)  # ids 0 and 1; the 256 bytes follow, then the merges

# A longer run without a place to cut is learned from in parts, since every merge goes through all of a word. Words of
# ordinary text are shorter, so their merges stay the same.
LONGEST_WORD = 256


def train_tokenizer(
    inputs: Sequence[str | os.PathLike[str]],
    output_folder: str | os.PathLike[str],
    config: TokenizerConfig,
    *,
    text_column: str = "text",
    errors: str = "fail",
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Learn `config.vocab_size` tokens from documents and write the tokenizer's folder.

    Byte-level BPE (Sennrich et al. 2016, arXiv 1508.07909; over bytes as in GPT-2): every text has tokens and comes
    back exactly. The same documents give the same files, whatever the number of threads: the merges that `tokenizers`
    learns from them. A word of more than `LONGEST_WORD` characters (base64, minified code) is learned from in parts; it
    is encoded whole. No token is longer than `config.max_token_length` bytes.

    Args:
        errors: what to do with a text that isn't UTF-8 or is missing: "fail", "replace" or "skip", as `read_batches`.

    Returns:
        documents_in, bytes_in (UTF-8 bytes), vocab_size, merges, and documents_replaced and documents_skipped where
        there are any.

    Raises:
        SmolfastError: no readable documents, too little text for so many tokens, or too few tokens for all bytes.
    """
    specials = [*SPECIAL_TOKENS, *((TURN_START, TURN_END) if config.chat else ())]
    if config.vocab_size < len(specials) + 256:
        raise SmolfastError(
            f"tokenizer.vocab_size = {config.vocab_size} is too small for 256 bytes and {len(specials)} special "
            f"tokens; give --set tokenizer.vocab_size={len(specials) + 256} or more"
        )
    counts = {"documents_in": 0, "bytes_in": 0}
    repairs: Counter[str] = Counter()
    sources = find_sources(inputs)
    check_apart(output_folder, [*inputs, *(source.path for source in sources)])
    words = _native.WordCounter(LONGEST_WORD)
    for index, source in enumerate(sources):
        for batch in read_batches(source, text_column=text_column, columns=[], errors=errors, counts=repairs):
            counts["documents_in"] += batch.num_rows
            counts["bytes_in"] += utf8_bytes(batch.column(text_column))
            words.add(batch.column(text_column), threads=0)
            if progress is not None:
                progress(index, len(sources), f"{counts['documents_in']:,} documents counted")
    merges = words.take_merges(
        tokens=config.vocab_size - len(specials),
        least_times=2,  # a pair that occurs once can't be told from chance
        longest_token=config.max_token_length,
    )
    tokenizer = _byte_level(specials, merges)
    found = tokenizer.get_vocab_size()
    if found < config.vocab_size:
        raise SmolfastError(
            f"too little text for tokenizer.vocab_size = {config.vocab_size}: {counts['bytes_in']} bytes give {found} "
            f"tokens; give more text or --set tokenizer.vocab_size={found}"
        )
    folder = Path(output_folder)
    write_text(folder / TOKENIZER, tokenizer.to_str(pretty=True))
    special = {"bos_token": END_OF_DOCUMENT, "eos_token": END_OF_DOCUMENT, "pad_token": PADDING}
    if config.chat:
        special["eos_token"] = TURN_END
        write_text(folder / CHAT_TEMPLATE_FILE, CHAT_TEMPLATE)
    write_json(folder / SPECIAL_TOKENS_MAP, special)
    write_json(
        folder / TOKENIZER_CONFIG,
        {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **special},
    )
    return {
        **counts,
        "vocab_size": found,
        "merges": found - len(specials) - 256,
        **{f"documents_{what}": count for what, count in repairs.items() if count},
    }


def _byte_level(specials: Sequence[str], merges: Sequence[tuple[int, int]]) -> Tokenizer:
    """The special tokens, the 256 bytes, and what each merge makes, in that order."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    names = sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = {name: len(specials) + index for index, name in enumerate(names)}
    pairs = []
    for first, second in merges:
        name = names[first] + names[second]
        if name not in ids:  # other tokens together may have made it before
            ids[name] = len(specials) + len(names)
            names.append(name)
        pairs.append((names[first], names[second]))
    ids |= {name: index for index, name in enumerate(specials)}
    tokenizer = Tokenizer(models.BPE(ids, pairs))
    tokenizer.add_special_tokens(list(specials))
    cut = pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated")
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, as_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def load_tokenizer(folder: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer of `open_tokenizer` alone.

    Raises:
        SmolfastError: as `open_tokenizer`.
    """
    return open_tokenizer(folder).tokenizer

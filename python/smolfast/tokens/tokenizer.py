"""Byte-level BPE, trained with `tokenizers`, in a folder that `transformers.AutoTokenizer` loads."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smolfast.errors import SmolfastError
from smolfast.files import write_json, write_text
from smolfast.io.documents import find_sources, read_batches, utf8_bytes
from smolfast.io.keep_apart import check_apart
from smolfast.io.sources import one_line
from smolfast.tokens.chat_template import CHAT_TEMPLATE, TURN_END, TURN_START
from smolfast.tokens.text_pieces import pieces
from smolfast.tokens.tokenizer_folder import (
    END_OF_DOCUMENT,
    SPECIAL_TOKENS_MAP,
    SPLIT_PATTERN,
    TOKENIZER,
    TOKENIZER_CONFIG,
    is_of_the_library,
    open_tokenizer,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from smolfast.config import TokenizerConfig
    from smolfast.progress import ProgressCallback

CHAT_TEMPLATE_FILE = "chat_template.jinja"
PADDING = "<|padding|>"
SPECIAL_TOKENS = (END_OF_DOCUMENT, PADDING)  # ids 0 and 1; the 256 bytes follow, then the merges

# A longer run without a place to cut is learned from in parts: one of 300 kB took 92 s, since every merge goes through
# all of it. Words of ordinary text are shorter, so their merges stay the same.
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
    back exactly. The same documents give the same files, whatever the number of threads. A word of more than
    `LONGEST_WORD` characters (base64, minified code) is learned from in parts; it is encoded whole.

    Args:
        errors: what to do with a text that isn't UTF-8 or is missing: "fail", "replace" or "skip", as `read_batches`.

    Returns:
        documents_in, bytes_in (UTF-8 bytes), vocab_size, merges, and documents_replaced and documents_skipped where
        there are any.

    Raises:
        SmolfastError: no readable documents, too little text for so many tokens, or too few tokens for all bytes.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

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
    failed: list[SmolfastError] = []

    def texts() -> Iterator[list[str]]:
        for index, source in enumerate(sources):
            try:
                for batch in read_batches(source, text_column=text_column, columns=[], errors=errors, counts=repairs):
                    counts["documents_in"] += batch.num_rows
                    counts["bytes_in"] += utf8_bytes(batch.column(text_column))
                    if progress is not None:
                        progress(index, len(sources), f"{counts['documents_in']:,} documents counted")
                    yield [
                        piece for text in batch.column(text_column).to_pylist() for piece in pieces(text, anywhere=True)
                    ]
            except SmolfastError as error:
                failed.append(error)
                raise

    tokenizer = Tokenizer(models.BPE())
    cut = pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated")
    parts = pre_tokenizers.Split(Regex(rf"[\s\S]{{1,{LONGEST_WORD}}}"), behavior="isolated")
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, parts, as_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        # A pair that occurs once can't be told from chance.
        min_frequency=2,
        special_tokens=specials,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    try:
        tokenizer.train_from_iterator(texts(), trainer)
    except BaseException as error:
        if failed:
            raise failed[0] from error
        if not is_of_the_library(error):
            raise
        raise SmolfastError(
            f"tokenizers can't learn from {', '.join(source.path for source in sources)} ({one_line(error)[:200]}) "
            f"after {counts['documents_in']} documents; remove or split the longest of them"
        ) from error
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, as_bytes])
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


def load_tokenizer(folder: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer of `open_tokenizer` alone.

    Raises:
        SmolfastError: as `open_tokenizer`.
    """
    return open_tokenizer(folder).tokenizer

"""Byte-level BPE, trained with `tokenizers`, in a folder that `transformers.AutoTokenizer` loads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smolfast.apart import check_apart
from smolfast.chat import CHAT_TEMPLATE, TURN_END, TURN_START
from smolfast.documents import find_sources, read_batches, utf8_bytes
from smolfast.errors import SmolfastError
from smolfast.files import write_json, write_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from smolfast.config import TokenizerConfig
    from smolfast.progress import ProgressCallback

CHAT_TEMPLATE_FILE = "chat_template.jinja"
END_OF_DOCUMENT = "<|endoftext|>"
# What else a document ends with: SmolLM3 and Llama 3, and Llama 2.
_OTHER_ENDS = ("<|end_of_text|>", "</s>")
PADDING = "<|padding|>"
SPECIAL_TOKENS = (END_OF_DOCUMENT, PADDING)  # ids 0 and 1; the 256 bytes follow, then the merges

# Where a text is cut before merges are learned: SmolLM3's rule, which is Llama 3's (tokenizer.json of both). Digits
# come in groups of up to three, a word takes the one character before it, line breaks close a run of punctuation.
SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


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
    back exactly. The same documents give the same files, whatever the number of threads.

    Returns:
        documents_in, bytes_in (UTF-8 bytes), vocab_size, merges.

    Raises:
        SmolfastError: no readable documents, or too little text for so many tokens.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    counts = {"documents_in": 0, "bytes_in": 0}
    sources = find_sources(inputs)
    check_apart(output_folder, [*inputs, *(source.path for source in sources)])

    def texts() -> Iterator[list[str]]:
        for index, source in enumerate(sources):
            for batch in read_batches(source, text_column=text_column, columns=[], errors=errors):
                counts["documents_in"] += batch.num_rows
                counts["bytes_in"] += utf8_bytes(batch.column(text_column))
                if progress is not None:
                    progress(index, len(sources), f"{counts['documents_in']:,} documents counted")
                yield batch.column(text_column).to_pylist()

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    specials = [*SPECIAL_TOKENS, *((TURN_START, TURN_END) if config.chat else ())]
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        # A pair that occurs once can't be told from chance.
        min_frequency=2,
        special_tokens=specials,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    found = tokenizer.get_vocab_size()
    if found < config.vocab_size:
        raise SmolfastError(
            f"too little text for tokenizer.vocab_size = {config.vocab_size}: {counts['bytes_in']} bytes give {found} "
            f"tokens; give more text or --set tokenizer.vocab_size={found}"
        )
    folder = Path(output_folder)
    write_text(folder / "tokenizer.json", tokenizer.to_str(pretty=True))
    special = {"bos_token": END_OF_DOCUMENT, "eos_token": END_OF_DOCUMENT, "pad_token": PADDING}
    if config.chat:
        special["eos_token"] = TURN_END
        write_text(folder / CHAT_TEMPLATE_FILE, CHAT_TEMPLATE)
    write_json(folder / "special_tokens_map.json", special)
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **special},
    )
    return {**counts, "vocab_size": found, "merges": found - len(specials) - 256}


def load_tokenizer(folder: str | os.PathLike[str]) -> Tokenizer:
    """Load a folder's `tokenizer.json`, set to read special tokens in a text as the plain characters they are.

    A document about tokenizers may hold `<|endoftext|>`; it must not end there.

    Raises:
        SmolfastError: no such file, one that `tokenizers` can't read, or one without an end of documents.
    """
    from tokenizers import Tokenizer

    path = Path(folder) / "tokenizer.json"
    if not path.is_file():
        raise SmolfastError(f"{folder} holds no tokenizer.json; give the folder of a tokenizer")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise SmolfastError(f"{path} is not a tokenizer ({error}); train or download it again") from error
    if not any(tokenizer.token_to_id(name) is not None for name in (END_OF_DOCUMENT, *_OTHER_ENDS)):
        raise SmolfastError(f"{path} has no token {END_OF_DOCUMENT}; train one with smolfast tokenize")
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def end_of_document(tokenizer: Tokenizer) -> int:
    """The token that ends a document, of a tokenizer from `load_tokenizer`."""
    found = (tokenizer.token_to_id(name) for name in (END_OF_DOCUMENT, *_OTHER_ENDS))
    return next(token for token in found if token is not None)

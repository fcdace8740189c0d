"""Held-out bits per byte, beside what compressors make of the same text.

The protocol: whole documents, drawn in the order of their hash until `max_bytes` is reached. Every token of a document
is coded once, its end token included, so the code also says where each document ends. The first has no context and
costs log2(vocabulary) bits, as if all tokens were as likely. The others are predicted in windows of
`max_position_embeddings` inputs that overlap by half: after the first window, each codes its second half, so a token
sees between half a window and a whole one (or all of its document before it). Bits per byte is the sum of all code
lengths over the documents' UTF-8 bytes.

The compressors get the same documents joined in file order, which lets them use one document for the next; the model
sees each alone. The unigram model is the entropy of the held-out bytes under their own frequencies: less than any
order-0 model fitted on other text could reach.
"""

from __future__ import annotations

import lzma
import math
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xxhash
from torch import Tensor

from smolfast.config import EvaluateConfig
from smolfast.documents import find_sources, read_batches
from smolfast.errors import SmolfastError
from smolfast.files import write_json
from smolfast.model import PackedBatch, SmolLM
from smolfast.pretrained import load_pretrained
from smolfast.tokens import TokenFile
from smolfast.workers import Workers

# Tokens of one unit of work: enough to fill the matrix products, and little memory.
_UNIT_TOKENS = 2048


def evaluate(
    model: str | os.PathLike[str],
    tokens: str | os.PathLike[str],
    output: str | os.PathLike[str],
    config: EvaluateConfig,
    *,
    held_out_documents: str | os.PathLike[str],
    threads: int = 0,
    text_column: str = "text",
    progress: Callable[[float, float, str], None] | None = None,
) -> dict[str, Any]:
    """Code held-out documents with a model; write `evaluation.json` into a folder and return what it holds.

    Args:
        model: a model folder.
        tokens: the folder of token files; `held_out` is read.
        held_out_documents: the documents that `held_out` was made from.
        threads: units of work at once; the result doesn't depend on it.

    Returns:
        bits_per_byte, nats_per_token, tokens, bytes, documents, unigram_bits_per_byte, zlib_bits_per_byte,
        xz_bits_per_byte.

    Raises:
        SmolfastError: unreadable files, or documents, tokens and model that don't belong together.
    """
    file = TokenFile.open(tokens, "held_out")
    texts = _texts(held_out_documents, text_column)
    if len(texts) != len(file.document_starts) - 1 or sum(map(len, texts)) != file.utf8_bytes:
        raise SmolfastError(f"{tokens} was not made from {held_out_documents}; tokenize again")
    with Workers(threads) as workers:
        network = load_pretrained(Path(model))
        if network.vocab_size != file.vocab_size:
            raise SmolfastError(
                f"{model} has a vocabulary of {network.vocab_size}, {tokens} one of {file.vocab_size}; tokenize with "
                "the model's own tokenizer"
            )
        chosen = choose_documents(texts, config.max_bytes)
        documents = [_document(file, index) for index in chosen]
        nats = code_lengths(network, documents, workers, progress)
    text = b"".join(texts[index] for index in chosen)
    token_count = sum(map(len, documents))
    result = {
        "bits_per_byte": nats / math.log(2) / len(text),
        "nats_per_token": nats / token_count,
        "tokens": token_count,
        "bytes": len(text),
        "documents": len(chosen),
        "unigram_bits_per_byte": unigram_bits_per_byte(text),
        "zlib_bits_per_byte": 8 * len(zlib.compress(text, 9)) / len(text),
        "xz_bits_per_byte": 8 * len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)) / len(text),
    }
    write_json(Path(output) / "evaluation.json", result)
    return result


def choose_documents(texts: Sequence[bytes], max_bytes: int) -> list[int]:
    """Rising indices of the documents with the smallest hashes that together stay within `max_bytes`; at least one."""
    chosen: list[int] = []
    total = 0
    for index in sorted(range(len(texts)), key=lambda i: (xxhash.xxh3_64_intdigest(texts[i]), i)):
        total += len(texts[index])
        if chosen and total > max_bytes:
            break
        chosen.append(index)
    return sorted(chosen)


def code_lengths(
    model: SmolLM,
    documents: Sequence[npt.NDArray[np.int64]],
    workers: Workers,
    progress: Callable[[float, float, str], None] | None = None,
) -> float:
    """Nats to code all documents by the protocol above."""
    units = list(_units(documents, model.config.max_position_embeddings))

    @torch.no_grad()
    def nats(unit: _Unit) -> float:
        losses = model.token_losses(unit.batch, heads=1)[0]
        return float(losses[unit.coded].double().sum())

    total = len(documents) * math.log(model.vocab_size)
    for done, part in enumerate(workers.map(nats, units), 1):
        total += part
        if progress is not None:
            progress(done, len(units), "")
    return total


def unigram_bits_per_byte(text: bytes) -> float:
    """The entropy of a text's bytes under their own frequencies."""
    counts = np.bincount(np.frombuffer(text, np.uint8), minlength=256)
    shares = counts[counts > 0] / len(text)
    return float(-(shares * np.log2(shares)).sum())


@dataclass(frozen=True)
class _Unit:
    """Windows that go through the model together, and the positions [T] whose targets count."""

    batch: PackedBatch
    coded: Tensor


def _units(documents: Sequence[npt.NDArray[np.int64]], context: int) -> Iterator[_Unit]:
    windows: list[npt.NDArray[np.int64]] = []
    coded: list[npt.NDArray[np.bool_]] = []
    size = 0
    for document in documents:
        for window, first in _windows(document, context):
            if windows and size + len(window) > _UNIT_TOKENS:
                yield _Unit(PackedBatch.from_documents(windows), torch.from_numpy(np.concatenate(coded)))
                windows, coded, size = [], [], 0
            mask = np.zeros(len(window), bool)
            mask[first:-1] = True
            windows.append(window)
            coded.append(mask)
            size += len(window)
    if windows:
        yield _Unit(PackedBatch.from_documents(windows), torch.from_numpy(np.concatenate(coded)))


def _windows(document: npt.NDArray[np.int64], context: int) -> Iterator[tuple[npt.NDArray[np.int64], int]]:
    """Runs of up to `context` inputs and one more target, with the first position whose target isn't coded yet."""
    stride = max(1, context // 2)
    start, coded = 0, 0  # targets are tokens 1 …; `coded` of them are done
    while coded < len(document) - 1:
        yield document[start : start + context + 1], coded - start
        coded = min(start + context, len(document) - 1)
        start += stride


def _document(file: TokenFile, index: int) -> npt.NDArray[np.int64]:
    start, end = file.document_starts[index : index + 2]
    return file.tokens[start:end].astype(np.int64)


def _texts(path: str | os.PathLike[str], text_column: str) -> list[bytes]:
    return [
        text.as_buffer().to_pybytes()
        for source in find_sources([path])
        for batch in read_batches(source, text_column=text_column, columns=[])
        for text in batch.column(text_column)
    ]

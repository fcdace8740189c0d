"""Held-out bits per byte, beside what compressors make of the same text.

The protocol: whole documents, drawn in the order of their hash until `max_bytes` is reached. Every token of a document
is coded once, its end token included, so the code also says where each document ends. The first has no context and
costs log2(vocabulary) bits, as if all tokens were as likely. The others are predicted in windows of
`max_position_embeddings` inputs that overlap by half: after the first window, each codes its second half, so a token
sees between half a window and a whole one (or all of its document before it). `evaluate.context` sets another window,
shorter or longer than what the model was trained for. Bits per byte is the sum of all code
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
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import xxhash

from smolfast.config import EvaluateConfig
from smolfast.errors import SmolfastError
from smolfast.evaluate.positions import Positions, token_bytes
from smolfast.files import write_json
from smolfast.io.documents import find_sources, read_batches
from smolfast.io.keep_apart import check_apart
from smolfast.model.network import PackedBatch, SmolLM
from smolfast.model.pretrained import load_pretrained
from smolfast.tokens.files import TokenFile
from smolfast.tokens.tokenizer_folder import refuse_another_vocabulary
from smolfast.workers import Workers

T = TypeVar("T")
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
    text_column: str | None = None,
    errors: str | None = None,
    source_column: str | None = None,
    language_column: str | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
    progress: Callable[[float, float, str], None] | None = None,
) -> dict[str, Any]:
    """Code held-out documents with a model; write `evaluation.json` into a folder and return what it holds.

    Args:
        model: a model folder.
        tokens: the folder of token files; `held_out` is read.
        held_out_documents: the documents that `held_out` was made from.
        threads: units of work at once; the result doesn't depend on it.
        text_column, errors: how to read the documents; None for as `tokenize` read them.
        source_column: a column of the documents that names where they are from.
        language_column: one that names their language.
        tokenizer: what the tokens were made with, for bits per byte by position; None for without.

    Documents are read as `tokenize` read them. The model may have more rows than the tokens have ids: embeddings are
    often padded.

    Returns:
        bits_per_byte (None for a source of empty documents), nats_per_token, tokens, bytes, documents,
        unigram_bits_per_byte, zlib_bits_per_byte, xz_bits_per_byte; with a source column also sources: the first five
        for each source by name, and so languages; with a tokenizer also context and positions: for each doubling of the
        tokens seen before, from, to, tokens, bytes and bits_per_byte; changed_documents where the tokenizer doesn't
        give all of `held_out` back as it was.
        Bits per byte are of the original text, so they are too low then, and can't be compared with those of a
        tokenizer that keeps everything.

    Raises:
        SmolfastError: unreadable files, or documents, tokens and model that don't belong together.
    """
    check_apart(output, [model, tokens, held_out_documents])
    file = TokenFile.open(tokens, "held_out")
    if file.learned is not None:
        raise SmolfastError(f"{tokens} holds conversations; evaluate takes token files of documents")
    refuse_another_vocabulary(Path(model), file.vocabulary, str(tokens))
    columns = {name: column for name, column in (("sources", source_column), ("languages", language_column)) if column}
    texts, origins = _texts(
        held_out_documents, file, text_column or file.text_column, errors or file.errors, list(columns.values())
    )
    if len(texts) != len(file.document_starts) - 1 or sum(map(len, texts)) != file.utf8_bytes:
        raise SmolfastError(f"{tokens} was not made from {held_out_documents}; tokenize again")
    positions = None if tokenizer is None else Positions(token_bytes(tokenizer, file))
    with Workers(threads) as workers:
        network = load_pretrained(Path(model))
        context = config.context or network.config.max_position_embeddings
        if network.vocab_size < file.vocab_size:
            raise SmolfastError(
                f"{model} has a vocabulary of {network.vocab_size}, {tokens} one of {file.vocab_size}; tokenize with "
                "the model's own tokenizer"
            )
        chosen = choose_documents(texts, config.max_bytes)
        if not any(texts[index] for index in chosen):
            raise SmolfastError(
                f"the documents chosen of {held_out_documents} are empty; give other held-out documents, or "
                "raise --set evaluate.max_bytes"
            )
        documents = [_document(file, index) for index in chosen]
        nats = code_lengths(network, documents, workers, progress, context=context, positions=positions)
    text = b"".join(texts[index] for index in chosen)
    tokens_of, bytes_of = (
        np.array([len(document) for document in documents]),
        np.array([len(texts[index]) for index in chosen]),
    )

    def figures(part: npt.NDArray[np.bool_]) -> dict[str, Any]:
        total, token_count, byte_count = float(nats[part].sum()), int(tokens_of[part].sum()), int(bytes_of[part].sum())
        return {
            "bits_per_byte": total / math.log(2) / byte_count if byte_count else None,
            "nats_per_token": total / token_count,
            "tokens": token_count,
            "bytes": byte_count,
            "documents": int(part.sum()),
        }

    result = {
        **figures(np.ones(len(chosen), bool)),
        "unigram_bits_per_byte": unigram_bits_per_byte(text),
        "zlib_bits_per_byte": 8 * len(zlib.compress(text, 9)) / len(text),
        "xz_bits_per_byte": 8 * len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)) / len(text),
    }
    for group, column in columns.items():
        names = np.array([origins[column][index] for index in chosen])
        result[group] = {str(name): figures(names == name) for name in np.unique(names)}
    if positions is not None:
        result |= {"context": context, "positions": positions.table()}
    if file.changed_documents:
        result["changed_documents"] = file.changed_documents
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
    *,
    context: int | None = None,
    positions: Positions | None = None,
) -> npt.NDArray[np.float64]:
    """Nats to code each document by the protocol above, [documents].

    Args:
        context: inputs of a window; None for the model's. positions: what to add each token to, too.
    """
    units = list(_units(documents, context or model.config.max_position_embeddings))

    @torch.no_grad()
    def nats(unit: _Unit) -> npt.NDArray[np.float64]:
        losses: npt.NDArray[np.float64] = model.token_losses(unit.batch, heads=1)[0].double().numpy()
        return losses

    lengths = np.full(len(documents), math.log(model.vocab_size))
    for done, (unit, losses) in enumerate(zip(units, workers.map(nats, units), strict=True), 1):
        np.add.at(lengths, unit.owners[unit.coded], losses[unit.coded])
        if positions is not None:
            positions.add(unit.batch, unit.coded, losses)
        if progress is not None:
            progress(done, len(units), "")
    return lengths


def unigram_bits_per_byte(text: bytes) -> float:
    """The entropy of a text's bytes under their own frequencies."""
    counts = np.bincount(np.frombuffer(text, np.uint8), minlength=256)
    shares = counts[counts > 0] / len(text)
    return float(-(shares * np.log2(shares)).sum())


@dataclass(frozen=True)
class _Unit:
    """Windows that go through the model together; the positions [T] whose targets count, and their documents [T]."""

    batch: PackedBatch
    coded: npt.NDArray[np.bool_]
    owners: npt.NDArray[np.int64]


def _units(documents: Sequence[npt.NDArray[np.int64]], context: int) -> Iterator[_Unit]:
    windows: list[npt.NDArray[np.int64]] = []
    coded: list[npt.NDArray[np.bool_]] = []
    owners: list[npt.NDArray[np.int64]] = []

    def unit() -> _Unit:
        return _Unit(PackedBatch.from_documents(windows), np.concatenate(coded), np.concatenate(owners))

    size = 0
    for index, document in enumerate(documents):
        for window, first in _windows(document, context):
            if windows and size + len(window) > _UNIT_TOKENS:
                yield unit()
                windows, coded, owners, size = [], [], [], 0
            mask = np.zeros(len(window), bool)
            mask[first:-1] = True
            windows.append(window)
            coded.append(mask)
            owners.append(np.full(len(window), index))
            size += len(window)
    if windows:
        yield unit()


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


def _texts(
    path: str | os.PathLike[str], tokens: TokenFile, text_column: str, errors: str, columns: list[str]
) -> tuple[list[bytes], dict[str, list[str]]]:
    """Documents as UTF-8, read as their tokens were made, and what columns say of them, by column."""
    texts: list[bytes] = []
    origins: dict[str, list[str]] = {column: [] for column in columns}
    for source in find_sources([path]):
        for batch in read_batches(source, text_column=text_column, columns=list(origins), errors=errors):
            texts += [text.as_buffer().to_pybytes() for text in batch.column(text_column)]
            for column, found in origins.items():
                if column not in batch.schema.names:
                    names = ", ".join(batch.schema.names)
                    raise SmolfastError(f"{path} has no column '{column}'; there are: {names}")
                found += [str(value) for value in batch.column(column).to_pylist()]
    refused = set(tokens.refused)

    def kept(values: list[T]) -> list[T]:
        return [value for place, value in enumerate(values) if place not in refused]

    return kept(texts), {column: kept(found) for column, found in origins.items()}

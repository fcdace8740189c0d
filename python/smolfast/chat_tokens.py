"""Token files of conversations, with a mask of what is learned: fine-tuning on the assistant's tokens only."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from smolfast.arrow_files import read_arrow
from smolfast.batch_writer import column_names
from smolfast.byte_streams import open_utf8, reading
from smolfast.chat import encode_conversation
from smolfast.errors import SmolfastError
from smolfast.files import write_json
from smolfast.json_lines import read_lines, read_values
from smolfast.json_values import has_lone_surrogate
from smolfast.progress import ProgressCallback
from smolfast.sources import Source, find_sources, one_line, open_source
from smolfast.tokenizer import end_of_document, load_tokenizer
from smolfast.tokens import INDEX_FILE, npy_file

COLUMN = "messages"


def tokenize_conversations(
    conversations: Mapping[str, str | os.PathLike[str]],
    tokenizer_folder: str | os.PathLike[str],
    output_folder: str | os.PathLike[str],
    *,
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Encode conversations as `smolfast.tokens.tokenize` does documents, and `NAME.learned.npy` (bool [N]) beside.

    Args:
        conversations: name → a .jsonl or .parquet file, or a folder of them, whose column or key `messages` is a list
            of {"role", "content"} (see `smolfast.chat`); such as {"train": …, "held_out": …}.

    Returns:
        documents_in, bytes_in, documents_out, bytes_out, vocab_size, and per name NAME_tokens and NAME_learned_tokens.

    Raises:
        SmolfastError: input that can't be read or has another form; nothing of the assistant's in it.
    """
    tokenizer = load_tokenizer(tokenizer_folder)
    end, vocab_size = end_of_document(tokenizer), tokenizer.get_vocab_size()
    dtype = np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")
    folder = Path(output_folder)
    files: dict[str, dict[str, int]] = {}
    summary: dict[str, Any] = {}
    for position, (name, path) in enumerate(conversations.items()):
        lengths, text_bytes, learned_tokens = [0], 0, 0
        with (
            npy_file(folder / f"{name}.tokens.npy", dtype) as add_tokens,
            npy_file(folder / f"{name}.learned.npy", np.dtype("|b1")) as add_learned,
        ):
            for where, messages in _conversations(path):
                try:
                    tokens, learned = encode_conversation(messages, tokenizer)
                except SmolfastError as error:
                    raise SmolfastError(f"{where}: {error}") from error
                add_tokens(np.array([*tokens, end], dtype))
                add_learned(np.array([*learned, False]))
                lengths.append(len(tokens) + 1)
                learned_tokens += sum(learned)
                text_bytes += sum(len(message["content"].encode()) for message in messages)
                if progress is not None and len(lengths) % 1000 == 0:
                    progress(position, len(conversations), f"{name}: {len(lengths):,} conversations")
        if not learned_tokens:
            raise SmolfastError(f"{path} has nothing that the assistant says; there is nothing to learn")
        starts = np.cumsum(lengths, dtype=np.int64)
        with npy_file(folder / f"{name}.documents.npy", np.dtype("<i8")) as add_starts:
            add_starts(starts)
        files[name] = {"documents": len(starts) - 1, "tokens": int(starts[-1]), "utf8_bytes": text_bytes}
        summary |= {f"{name}_tokens": int(starts[-1]), f"{name}_learned_tokens": learned_tokens}
    write_json(folder / INDEX_FILE, {"vocab_size": vocab_size, "end_of_document": end, "learned": True, "files": files})
    documents = sum(file["documents"] for file in files.values())
    return {
        "documents_in": documents,
        "bytes_in": sum(file["utf8_bytes"] for file in files.values()),
        "documents_out": documents,
        "bytes_out": sum(file["tokens"] for file in files.values()) * (dtype.itemsize + 1),
        "vocab_size": vocab_size,
        **summary,
    }


def _conversations(path: str | os.PathLike[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Each conversation with where it stands."""
    for source in find_sources([path]):
        if source.kind not in ("jsonl", "json", "parquet", "arrow"):
            raise SmolfastError(f"{source.path} is {source.kind}; give .jsonl or .parquet with conversations")
        with reading(source.path):
            rows = _json_rows(source) if source.kind in ("jsonl", "json") else _arrow_rows(source)
            for row, messages in enumerate(rows, 1):
                where = f"{source.path}, row {row}"
                if not isinstance(messages, list) or not messages:
                    raise SmolfastError(f"{where}: no list of messages under '{COLUMN}'")
                yield where, messages


def _json_rows(source: Source) -> Iterator[Any]:
    with open_utf8(source.path) as stream:
        for number, line in (read_values if source.kind == "json" else read_lines)(stream, source.path):
            where = f"{source.path}, line {number}"
            try:
                value = json.loads(line.decode())
            except UnicodeDecodeError as error:
                raise SmolfastError(
                    f"{where}: not UTF-8 at byte {error.start} (0x{line[error.start]:02x}); correct or remove the line"
                ) from error
            except (ValueError, RecursionError) as error:
                raise SmolfastError(
                    f"{where}: not valid JSON ({one_line(error)}); correct or remove the line"
                ) from error
            messages = value.get(COLUMN) if isinstance(value, dict) else None
            if has_lone_surrogate(line, messages):
                raise SmolfastError(f"{where}: a lone surrogate, so not UTF-8; correct or remove the line")
            yield messages


def _arrow_rows(source: Source) -> Iterator[Any]:
    with open_source(source.path) as stream:
        if source.kind == "parquet":
            file = pq.ParquetFile(stream)
            schema, batches = file.schema_arrow, None
        else:
            schema, batches = read_arrow(stream, 1 << 20)
        if COLUMN not in schema.names:
            raise SmolfastError(f"{source.path} has no column '{COLUMN}'; it has {column_names(schema.names)}")
        for batch in batches or file.iter_batches(batch_size=1024, columns=[COLUMN]):
            yield from batch.column(batch.schema.get_field_index(COLUMN)).to_pylist()

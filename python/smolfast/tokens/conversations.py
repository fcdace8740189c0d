"""Token files of conversations, with a mask of what is learned: fine-tuning on the assistant's tokens only."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from smolfast.errors import SmolfastError
from smolfast.files import write_json
from smolfast.io.arrow_files import read_arrow
from smolfast.io.boundary import reading
from smolfast.io.byte_streams import open_utf8
from smolfast.io.documents import ErrorPolicy
from smolfast.io.json.lines import read_lines, read_values
from smolfast.io.json.values import decode_cell, is_json
from smolfast.io.keep_apart import check_apart
from smolfast.io.rows.record_batches import REMEDY
from smolfast.io.schemas.columns import column_names, is_string
from smolfast.io.schemas.unite import twice
from smolfast.io.sources import Source, find_sources, one_line, open_source
from smolfast.progress import ProgressCallback
from smolfast.tokens.chat_template import encode_conversation, turn_tokens
from smolfast.tokens.document_encoder import counted
from smolfast.tokens.files import INDEX_FILE, describe, npy_file, token_type
from smolfast.tokens.tokenizer_folder import open_tokenizer

COLUMN = "messages"


def tokenize_conversations(
    conversations: Mapping[str, str | os.PathLike[str]],
    tokenizer_folder: str | os.PathLike[str],
    output_folder: str | os.PathLike[str],
    *,
    text_column: str = COLUMN,
    errors: str = "fail",
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Encode conversations as `smolfast.tokens.tokenize` does documents, and `NAME.learned.npy` (bool [N]) beside.

    Args:
        conversations: name → a .jsonl or .parquet file, or a folder of them, whose column or key `text_column` is a
            list of {"role", "content"} (see `smolfast.tokens.chat_template`); such as {"train": …, "held_out": …}.
        errors: what to do with a text that isn't UTF-8: "fail", "replace" bad bytes by U+FFFD, or "skip" the
            conversation. "skip" also leaves out conversations of another form; otherwise they are errors.

    Returns:
        documents_in, bytes_in, documents_out, bytes_out, vocab_size, and per name NAME_tokens and NAME_learned_tokens;
        documents_replaced and documents_skipped where there are any.

    Raises:
        SmolfastError: input that can't be read or has another form; nothing of the assistant's in it.
    """
    if errors not in get_args(ErrorPolicy):
        raise SmolfastError(f"errors = {errors!r} is unknown; choose one of {', '.join(get_args(ErrorPolicy))}")
    check_apart(output_folder, [*conversations.values(), tokenizer_folder])
    tokenizer = open_tokenizer(tokenizer_folder)
    turn_tokens(tokenizer.tokenizer)
    dtype = token_type(tokenizer.vocab_size)
    folder = Path(output_folder)
    files: dict[str, dict[str, int]] = {}
    summary: dict[str, Any] = {}
    counts: Counter[str] = Counter()
    for position, (name, path) in enumerate(conversations.items()):
        lengths, text_bytes, learned_tokens = [0], 0, 0
        with (
            npy_file(folder / f"{name}.tokens.npy", dtype) as add_tokens,
            npy_file(folder / f"{name}.learned.npy", np.dtype("|b1")) as add_learned,
        ):
            for where, messages in _conversations(path, text_column, errors, counts):
                try:
                    _check_form(messages, text_column)
                    tokens, learned = encode_conversation(messages, tokenizer.tokenizer)
                except SmolfastError as error:
                    if errors == "skip":
                        counts["skipped"] += 1
                        continue
                    raise SmolfastError(
                        f"{where}: {error}; correct it, or give --errors skip to leave such conversations out"
                    ) from error
                add_tokens(np.array([*tokens, tokenizer.end_of_document], dtype))
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
    reading = {"text_column": text_column, "errors": errors}
    write_json(folder / INDEX_FILE, {**describe(tokenizer), "learned": True, "reading": reading, "files": files})
    documents = sum(file["documents"] for file in files.values())
    return {
        "documents_in": documents + counts["skipped"],
        "bytes_in": sum(file["utf8_bytes"] for file in files.values()),
        "documents_out": documents,
        "bytes_out": sum(file["tokens"] for file in files.values()) * (dtype.itemsize + 1),
        "vocab_size": tokenizer.vocab_size,
        **summary,
        **counted("documents", counts),
    }


def _check_form(messages: Any, column: str) -> None:
    if not isinstance(messages, list):
        raise SmolfastError(f"no list of messages under '{column}'")
    if not messages:
        raise SmolfastError(f"the list of messages under '{column}' is empty")


def _conversations(
    path: str | os.PathLike[str], column: str, errors: str, counts: Counter[str]
) -> Iterator[tuple[str, Any]]:
    """Each conversation with where it stands; text as UTF-8, by the error rule."""
    for source in find_sources([path]):
        if source.kind not in ("jsonl", "json", "parquet", "arrow"):
            raise SmolfastError(f"{source.path} is {source.kind}; give .jsonl or .parquet with conversations")
        with reading(source.path):
            rows = _json_rows if source.kind in ("jsonl", "json") else _arrow_rows
            for row, messages in rows(source, column):
                where = f"{source.path}, row {row}"
                repaired = _as_utf8(messages)
                if repaired != messages:
                    if errors == "fail":
                        raise SmolfastError(f"{where}: not UTF-8, or a lone surrogate; {REMEDY}")
                    counts["skipped" if errors == "skip" else "replaced"] += 1
                    if errors == "skip":
                        continue
                yield where, repaired


def _as_utf8(value: Any) -> Any:
    """A value whose strings may hold lone surrogates, in UTF-8 with U+FFFD in place of what is bad."""
    if isinstance(value, list):
        return [_as_utf8(item) for item in value]
    if isinstance(value, dict):
        return {key: _as_utf8(item) for key, item in value.items()}
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def _json_rows(source: Source, column: str) -> Iterator[tuple[int, Any]]:
    with open_utf8(source.path) as stream:
        for number, line in (read_values if source.kind == "json" else read_lines)(stream, source.path):
            try:
                # Bytes that aren't UTF-8 become lone surrogates, which JSON's own escapes can make too.
                value = json.loads(line.decode("utf-8", "surrogateescape"))
            except (ValueError, RecursionError) as error:
                raise SmolfastError(
                    f"{source.path}, line {number}: not valid JSON ({one_line(error)}); correct or remove the line"
                ) from error
            yield number, value.get(column) if isinstance(value, dict) else None


def _arrow_rows(source: Source, column: str) -> Iterator[tuple[int, Any]]:
    with open_source(source.path) as stream:
        if source.kind == "parquet":
            file = pq.ParquetFile(stream)
            schema, batches = file.schema_arrow, None
        else:
            schema, batches = read_arrow(stream, 1 << 20)
        if column not in schema.names:
            raise SmolfastError(
                f"{source.path} has no column '{column}'; give as --text-column one of those it has: "
                f"{column_names(schema.names)}"
            )
        row = 0
        if schema.names.count(column) > 1:
            raise twice(source.path, column)
        of_json = is_json(schema.field(column))  # as `normalize` and `dedup` write what JSON lines held
        for batch in batches or file.iter_batches(batch_size=1024, columns=[column]):
            for value in _values(batch.column(batch.schema.get_field_index(column))):
                row += 1
                yield row, json.loads(decode_cell(value)) if of_json and value is not None else value


def _values(column: pa.Array) -> list[Any]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return [_decoded(value) for value in column.cast(_as_binary(column.type)).to_pylist()]


def _as_binary(kind: pa.DataType) -> pa.DataType:
    """A type with binary for every string in it: strings that aren't UTF-8 can't be read as such."""
    if is_string(kind):
        return pa.large_binary()
    if pa.types.is_dictionary(kind):
        return _as_binary(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = kind.value_field.with_type(_as_binary(kind.value_type))
        return pa.list_(inner) if pa.types.is_list(kind) else pa.large_list(inner)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_as_binary(field.type)) for field in kind])
    return kind


def _decoded(value: Any) -> Any:
    """Bytes as text, what isn't UTF-8 in them as lone surrogates."""
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if isinstance(value, dict):
        return {key: _decoded(item) for key, item in value.items()}
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value

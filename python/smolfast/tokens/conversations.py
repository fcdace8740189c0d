"""Token files of conversations, with a mask of what is learned: fine-tuning on the assistant's tokens only."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from smolfast.errors import SmolfastError
from smolfast.files import write_json
from smolfast.io.boundary import reading
from smolfast.io.byte_streams import open_utf8
from smolfast.io.documents import ErrorPolicy
from smolfast.io.json.lines import read_lines, read_values
from smolfast.io.json.values import decode_cell, is_json
from smolfast.io.keep_apart import check_apart
from smolfast.io.rows.arrow_files import read_arrow
from smolfast.io.rows.record_batches import REMEDY
from smolfast.io.schemas.columns import column_names, is_string
from smolfast.io.schemas.unite import twice
from smolfast.io.sources import Source, find_sources, one_line, open_source
from smolfast.progress import ProgressCallback
from smolfast.tokens.chat.chat_tokens import ChatTokens, Conversation, Piece, encode_all
from smolfast.tokens.document_encoder import counted
from smolfast.tokens.encoding import Encoder, with_encoder
from smolfast.tokens.files import INDEX_FILE, describe, npy_file, token_type
from smolfast.tokens.tokenizer_folder import open_tokenizer

COLUMN = "messages"
# ShareGPT's name for it, taken where a file has no `messages`.
_OTHER_COLUMN = "conversations"
# What a row may give beside its messages: functions that may be called, and variables for the chat template.
TOOLS, VARIABLES = "tools", "chat_template_kwargs"
# So many characters of conversations are encoded at once.
_BATCH_CHARACTERS = 1 << 20


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
            list of messages (see `smolfast.tokens.chat.messages`); such as {"train": …, "held_out": …}. A row may also
            give `tools`, a list of JSON schemas or its JSON text, and `chat_template_kwargs`.
        errors: what to do with a text that isn't UTF-8: "fail", "replace" bad bytes by U+FFFD, or "skip" the
            conversation. "skip" also leaves out conversations of another form; otherwise they are errors.

    Returns:
        documents_in, bytes_in, documents_out, bytes_out, vocab_size, and per name NAME_tokens and NAME_learned_tokens;
        documents_replaced and documents_skipped where there are any; native_encoder_not_used as
        `smolfast.tokens.tokenize`.

    Raises:
        SmolfastError: input that can't be read or has another form; nothing of the assistant's in it; a chat template
            that doesn't mark what the assistant says.
    """
    if errors not in get_args(ErrorPolicy):
        raise SmolfastError(f"errors = {errors!r} is unknown; choose one of {', '.join(get_args(ErrorPolicy))}")
    check_apart(output_folder, [*conversations.values(), tokenizer_folder])
    tokenizer = open_tokenizer(tokenizer_folder)
    chat = ChatTokens(tokenizer)
    if not chat.template.marks_answers:
        raise SmolfastError(
            f"the chat template of {tokenizer_folder} doesn't mark what the assistant says; put "
            "{% generation %} and {% endgeneration %} around it there, or remove the template to take smolfast's"
        )

    def write(encoder: Encoder) -> dict[str, Any]:
        return _write(encoder, chat, conversations, Path(output_folder), text_column, errors, progress)

    summary, said = with_encoder(tokenizer, write)
    return {**summary, **said}


def _write(
    encoder: Encoder,
    chat: ChatTokens,
    conversations: Mapping[str, str | os.PathLike[str]],
    folder: Path,
    text_column: str,
    errors: str,
    progress: ProgressCallback | None,
) -> dict[str, Any]:
    tokenizer = encoder.folder
    dtype = token_type(tokenizer.vocab_size)
    files: dict[str, dict[str, int]] = {}
    summary: dict[str, Any] = {}
    counts: Counter[str] = Counter()
    for position, (name, path) in enumerate(conversations.items()):
        lengths, text_bytes, learned_tokens = [0], 0, 0
        with (
            npy_file(folder / f"{name}.tokens.npy", dtype) as add_tokens,
            npy_file(folder / f"{name}.learned.npy", np.dtype("|b1")) as add_learned,
        ):
            for batch in _batches(path, text_column, errors, counts, chat):
                found = _encode(batch, encoder, errors, counts)
                add_tokens(found.tokens.astype(dtype))
                add_learned(found.learned)
                lengths += found.lengths
                learned_tokens += int(np.count_nonzero(found.learned))
                text_bytes += found.text_bytes
                if progress is not None:
                    progress(position, len(conversations), f"{name}: {len(lengths) - 1:,} conversations")
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


@dataclass(frozen=True)
class _Written:
    """A conversation to encode.

    Attributes:
        where: its file and row.
        pieces: of `ChatTokens.pieces`.
        text_bytes: UTF-8 bytes of its text, without special tokens.
    """

    where: str
    pieces: list[Piece]
    text_bytes: int


@dataclass(frozen=True)
class _Batch:
    """Encoded conversations: tokens uint32 [N], learned bool [N], lengths of each, bytes of their texts."""

    tokens: npt.NDArray[np.uint32]
    learned: npt.NDArray[np.bool_]
    lengths: list[int]
    text_bytes: int


def _batches(
    path: str | os.PathLike[str], column: str, errors: str, counts: Counter[str], chat: ChatTokens
) -> Iterator[list[_Written]]:
    batch: list[_Written] = []
    characters = 0
    for where, conversation in _conversations(path, column, errors, counts):
        try:
            pieces = chat.pieces(conversation, all_meant=True)
        except SmolfastError as error:
            if errors == "skip":
                counts["skipped"] += 1
                continue
            yield batch  # what is wrong with an earlier conversation is said first
            raise _naming(where, error) from error
        said = [piece.said for piece in pieces if isinstance(piece.said, str)]
        batch.append(_Written(where, pieces, sum(len(text.encode()) for text in said)))
        characters += sum(map(len, said))
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    yield batch


def _encode(batch: list[_Written], encoder: Encoder, errors: str, counts: Counter[str]) -> _Batch:
    end = np.array([encoder.folder.end_of_document], np.uint32)
    arrays, learned, lengths, text_bytes = [np.empty(0, np.uint32)], [np.empty(0, bool)], [], 0
    for each, found in zip(batch, encode_all([each.pieces for each in batch], encoder), strict=True):
        if isinstance(found, SmolfastError):
            if errors != "skip":
                raise _naming(each.where, found)
            counts["skipped"] += 1
            continue
        ids, flags = found
        arrays += [ids, end]
        learned += [flags, np.zeros(1, bool)]
        lengths.append(len(ids) + 1)
        text_bytes += each.text_bytes
    return _Batch(np.concatenate(arrays), np.concatenate(learned), lengths, text_bytes)


def _naming(where: str, error: SmolfastError) -> SmolfastError:
    return SmolfastError(f"{where}: {error}; correct it, or give --errors skip to leave such conversations out")


def _conversations(
    path: str | os.PathLike[str], column: str, errors: str, counts: Counter[str]
) -> Iterator[tuple[str, Conversation]]:
    """Each conversation with where it stands; text as UTF-8, by the error rule."""
    for source in find_sources([path]):
        if source.kind not in ("jsonl", "json", "parquet", "arrow"):
            raise SmolfastError(f"{source.path} is {source.kind}; give .jsonl or .parquet with conversations")
        with reading(source.path):
            rows = _json_rows if source.kind in ("jsonl", "json") else _arrow_rows
            for row, values in rows(source, column):
                where = f"{source.path}, row {row}"
                repaired = _as_utf8(values)
                if repaired != values:
                    if errors == "fail":
                        raise SmolfastError(f"{where}: not UTF-8, or a lone surrogate; {REMEDY}")
                    counts["skipped" if errors == "skip" else "replaced"] += 1
                    if errors == "skip":
                        continue
                messages, tools, variables = repaired
                yield where, Conversation(messages, tools, variables if isinstance(variables, dict) else {})


def _as_utf8(value: Any) -> Any:
    """A value whose strings may hold lone surrogates, in UTF-8 with U+FFFD in place of what is bad."""
    if isinstance(value, list):
        return [_as_utf8(item) for item in value]
    if isinstance(value, dict):
        return {key: _as_utf8(item) for key, item in value.items()}
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def _json_rows(source: Source, column: str) -> Iterator[tuple[int, list[Any]]]:
    with open_utf8(source.path) as stream:
        for number, line in (read_values if source.kind == "json" else read_lines)(stream, source.path):
            try:
                # Bytes that aren't UTF-8 become lone surrogates, which JSON's own escapes can make too.
                value = json.loads(line.decode("utf-8", "surrogateescape"))
            except (ValueError, RecursionError) as error:
                raise SmolfastError(
                    f"{source.path}, line {number}: not valid JSON ({one_line(error)}); correct or remove the line"
                ) from error
            row: dict[str, Any] = value if isinstance(value, dict) else {}
            yield number, [row.get(name) for name in (_column(column, row), TOOLS, VARIABLES)]


def _arrow_rows(source: Source, column: str) -> Iterator[tuple[int, list[Any]]]:
    with open_source(source.path) as stream:
        if source.kind == "parquet":
            file = pq.ParquetFile(stream)
            schema, batches = file.schema_arrow, None
        else:
            schema, batches = read_arrow(stream, 1 << 20)
        column = _column(column, schema.names)
        if column not in schema.names:
            raise SmolfastError(
                f"{source.path} has no column '{column}'; give as --text-column one of those it has: "
                f"{column_names(schema.names)}"
            )
        names = [name for name in (column, TOOLS, VARIABLES) if name in schema.names]
        row = 0
        for name in names:
            if schema.names.count(name) > 1:
                raise twice(source.path, name)
        # As `normalize` and `dedup` write what JSON lines held.
        of_json = {name for name in names if is_json(schema.field(name))}
        for batch in batches or file.iter_batches(batch_size=1024, columns=names):
            columns = {name: _values(batch.column(batch.schema.get_field_index(name))) for name in names}
            for number in range(batch.num_rows):
                row += 1
                cells = {name: values[number] for name, values in columns.items()}
                found = {
                    name: json.loads(decode_cell(cell))
                    if name in of_json and cell is not None
                    else _without_nulls(cell)
                    for name, cell in cells.items()
                }
                yield row, [found.get(name) for name in (column, TOOLS, VARIABLES)]


def _column(column: str, names: Container[str]) -> str:
    """The column to read; ShareGPT's where there is none of the usual name."""
    return _OTHER_COLUMN if column == COLUMN and column not in names and _OTHER_COLUMN in names else column


def _without_nulls(value: Any) -> Any:
    """A value without what others have and it hasn't: Arrow gives each struct of a column the keys of all."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


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

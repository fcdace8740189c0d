"""Rows of preferences: a prompt with a better and a worse answer, texts or conversations, from JSON or parquet."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from smolfast.errors import SmolfastError
from smolfast.io.boundary import reading
from smolfast.io.byte_streams import open_utf8
from smolfast.io.json.lines import read_lines, read_values
from smolfast.io.json.values import decode_cell, is_json
from smolfast.io.rows.arrow_files import read_arrow
from smolfast.io.schemas.columns import column_names
from smolfast.io.sources import Source, find_sources, one_line, open_source
from smolfast.tokens.tokenizer_folder import not_utf8

COLUMNS = ("prompt", "chosen", "rejected")
Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Pair:
    """A prompt and its two answers: three texts, or three lists of messages."""

    prompt: str | Messages
    chosen: str | Messages
    rejected: str | Messages


def read_pairs(path: str | os.PathLike[str]) -> Iterator[tuple[str, Pair | SmolfastError]]:
    """Each row of a .jsonl, .json, .parquet or Arrow file, or of a folder of them, with where it stands.

    A row has `chosen` and `rejected`, and mostly `prompt`. Where the answers are conversations that begin alike, as
    many datasets have them, what they share is the prompt, whatever `prompt` says. Texts without a prompt share their
    beginning up to the last blank.

    Raises:
        SmolfastError: a file that can't be read or has no such columns. What is wrong with a row is given instead.
    """
    for source in find_sources([path]):
        if source.kind not in ("jsonl", "json", "parquet", "arrow"):
            raise SmolfastError(f"{source.path} is {source.kind}; give .jsonl or .parquet with chosen and rejected")
        with reading(source.path):
            rows = _json_rows if source.kind in ("jsonl", "json") else _arrow_rows
            for row, values in rows(source):
                where = f"{source.path}, row {row}"
                try:
                    yield where, _pair(values)
                except SmolfastError as error:
                    yield where, error


def _json_rows(source: Source) -> Iterator[tuple[int, Any]]:
    with open_utf8(source.path) as stream:
        for number, line in (read_values if source.kind == "json" else read_lines)(stream, source.path):
            try:
                yield number, json.loads(line.decode("utf-8", "surrogateescape"))
            except (ValueError, RecursionError) as error:
                raise SmolfastError(
                    f"{source.path}, line {number}: not valid JSON ({one_line(error)}); correct or remove the line"
                ) from error


def _arrow_rows(source: Source) -> Iterator[tuple[int, Any]]:
    with open_source(source.path) as stream:
        if source.kind == "parquet":
            file = pq.ParquetFile(stream)
            schema, batches = file.schema_arrow, None
        else:
            schema, batches = read_arrow(stream, 1 << 20)
        if missing := [name for name in COLUMNS[1:] if name not in schema.names]:
            raise SmolfastError(
                f"{source.path} has no column '{missing[0]}'; preferences have prompt, chosen and rejected, and it "
                f"has {column_names(schema.names)}; rename its columns"
            )
        there = [name for name in COLUMNS if name in schema.names]
        row = 0
        for batch in batches or file.iter_batches(batch_size=1024, columns=there):
            columns = []
            for name in there:
                field, column = batch.schema.field(name), batch.column(batch.schema.get_field_index(name))
                try:
                    values = column.to_pylist()
                except UnicodeDecodeError as error:
                    raise SmolfastError(
                        f"{source.path}, rows {row + 1} to {row + len(column)}: a text of the column '{name}' isn't "
                        "UTF-8; repair the file with smolfast convert"
                    ) from error
                decoded = is_json(field)
                columns.append([json.loads(decode_cell(v)) if decoded and v is not None else v for v in values])
            for cells in zip(*columns, strict=True):
                row += 1
                yield row, dict(zip(there, cells, strict=True))


def _pair(values: Any) -> Pair:
    if not isinstance(values, Mapping):
        raise SmolfastError("it is no object with prompt, chosen and rejected")
    for name in COLUMNS[1:]:
        if values.get(name) is None:
            raise SmolfastError(f"it has no '{name}'")
    prompt: Any
    chosen: Any
    rejected: Any
    prompt, chosen, rejected = (values.get(name) for name in COLUMNS)
    if isinstance(chosen, str) and isinstance(rejected, str):
        if not isinstance(prompt, list):
            return _of_texts(prompt, chosen, rejected)
        chosen, rejected = ([{"role": "assistant", "content": text}] for text in (chosen, rejected))
    for name, value in (("chosen", chosen), ("rejected", rejected)):
        if not isinstance(value, list):
            raise SmolfastError(
                f"its '{name}' is {_type(value)}; chosen and rejected are two texts, or two lists of messages"
            )
        if not all(isinstance(message, Mapping) for message in value):
            raise SmolfastError(f"its '{name}' holds a message that is no object with a role and a text as content")
    return _of_conversations(prompt, chosen, rejected)


def _of_texts(prompt: Any, chosen: str, rejected: str) -> Pair:
    if prompt is None:
        alike = sum(
            1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False))
        )
        prompt = chosen[: chosen.rfind(" ", 0, alike) + 1].rstrip(" ")
        chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
    if not isinstance(prompt, str):
        raise SmolfastError(f"its 'prompt' is {_type(prompt)}, and its answers are texts; give a text")
    for name, text in zip(COLUMNS, (prompt, chosen, rejected), strict=True):
        if problem := not_utf8(text):
            raise SmolfastError(f"its '{name}' is {problem}")
    return Pair(prompt, chosen, rejected)


def _of_conversations(prompt: Any, chosen: list[Any], rejected: list[Any]) -> Pair:
    if isinstance(prompt, list):
        return Pair(prompt, chosen, rejected)
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    if shared or prompt is None:
        # Two equal conversations keep their last message as the answer, and are refused as a pair of equals.
        shared = min(shared, len(chosen) - 1, len(rejected) - 1)
        return Pair(chosen[:shared], chosen[shared:], rejected[shared:])
    if not isinstance(prompt, str):
        raise SmolfastError(f"its 'prompt' is {_type(prompt)}; give a text or a list of messages")
    return Pair([{"role": "user", "content": prompt}], chosen, rejected)


def _type(value: Any) -> str:
    names = {type(None): "null or missing", dict: "an object", bool: "a truth value", list: "a list", str: "a text"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else f"a {type(value).__name__}")

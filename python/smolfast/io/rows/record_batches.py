"""Rows of JSON and CSV as record batches: which columns there are, of which types, and the rule for bad text.

The types of JSON's columns are decided by all of a file's rows before the first batch is given out, since a batch can't
be taken back: a column that held whole numbers for gigabytes may hold 0.9 in its last line. A file that fits into one
batch is read once. A larger one is read twice if columns beside the text are wanted, which costs a parse more (280 MB
per CPU second of documents of 15 kB, 200 of 2 kB); stages that want the text alone read once. What was found is
remembered, so that a stage that itself reads twice pays for it once.
"""

from __future__ import annotations

import contextlib
import functools
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from smolfast.errors import SmolfastError
from smolfast.io.byte_streams import open_utf8
from smolfast.io.json.lines import TEMPLATE, read_lines, read_values
from smolfast.io.json.values import (
    CellError,
    Columns,
    RowError,
    column,
    has_lone_surrogate,
    parse_object,
    template,
    without_surrogates,
)
from smolfast.io.rows.csv_rows import read_rows
from smolfast.io.schemas.columns import column_names
from smolfast.io.sources import Kind
from smolfast.io.stores.changes import stat_source

REMEDY = "give --errors replace or --errors skip"

Row = tuple[int, dict[str, Any]]


class TextRule:
    """What becomes of text that isn't UTF-8 or is missing: an error, a replacement, or None to skip the row."""

    def __init__(self, path: str, errors: str, counts: Counter[str]) -> None:
        self.path = path
        self.errors = errors
        self.counts = counts

    def decode(self, raw: bytes, where: str) -> str | None:
        """Bytes as text."""
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            if self.errors == "fail":
                raise SmolfastError(
                    f"{self.path}{where}: not UTF-8 at byte {error.start} (0x{raw[error.start]:02x}); {REMEDY}"
                ) from error
        if self.errors == "skip":
            return None
        self.counts["replaced"] += 1
        return raw.decode("utf-8", "replace")

    def missing(self, where: str) -> str | None:
        """The text in the place of null."""
        return self._rule(f"{where}: the text is missing (null)", "")

    def half_pair(self, where: str) -> bool:
        """Whether to replace lone surrogates in a row."""
        return self._rule(f"{where}: a lone surrogate, so not UTF-8", "") is not None

    def _rule(self, what: str, replacement: str) -> str | None:
        if self.errors == "fail":
            raise SmolfastError(f"{self.path}{what}; {REMEDY}")
        if self.errors == "skip":
            return None
        self.counts["replaced"] += 1
        return replacement


def no_text_column(path: str, text_column: str, names: Iterable[str]) -> SmolfastError:
    """The error for a file without its text."""
    shown = column_names([without_surrogates(name) for name in names])
    return SmolfastError(
        f"{path} has no column '{text_column}'; give as --text-column one of those it has: {shown or '(none)'}"
    )


class RowReader:
    """One file of rows."""

    def __init__(
        self,
        path: str,
        kind: Kind,
        text_column: str,
        columns: frozenset[str] | None,
        types: Mapping[str, pa.DataType],
        errors: str,
        counts: Counter[str],
    ) -> None:
        """`columns`: those to keep, with the text's; None for all. `types`: those asked for."""
        self.path = path
        self.kind = kind
        self.text_column = text_column
        self.columns = columns
        self.types = {name: type_ for name, type_ in types.items() if name != text_column}
        self.rule = TextRule(path, errors, counts)

    def keeps(self, name: str) -> bool:
        return self.columns is None or name in self.columns

    # Batches

    def batches(self, batch_bytes: int) -> Iterator[pa.RecordBatch]:
        schema: pa.Schema | None = None
        for rows, last in _gathered(self.rows(), batch_bytes):
            if schema is None:
                schema = (None if last else self._scanned()) or self.schema(rows)
            batch = self.batch(rows, schema)
            if batch.num_rows:
                yield batch

    def whole_schema(self, batch_bytes: int) -> pa.Schema | None:
        """The columns of all rows; None if there are none, and no line of names either."""
        if self.kind in ("csv", "tsv"):
            names = next(self._csv_cells(), None)
            return names and self.schema([(1, dict.fromkeys(names[1], ""))])
        for rows, last in _gathered(self.rows(), batch_bytes):
            return (None if last else self._scanned()) or self.schema(rows)
        return None

    def _scanned(self) -> pa.Schema | None:
        """The types of a file that doesn't fit into one batch; None if its first rows say enough."""
        known = {self.text_column, *self.types}
        if self.kind in ("csv", "tsv") or (self.columns is not None and self.columns <= known):
            return None
        return _scan(
            self.path,
            self.kind,
            self.text_column,
            self.columns,
            tuple(self.types.items()),
            self.rule.errors,
            stat_source(self.path),
        )

    def schema(self, rows: Iterable[Row]) -> pa.Schema:
        """The columns of some rows."""
        found = Columns(self.keeps)
        names: dict[str, None] = {}
        for number, row in rows:
            if len(names) < 20:
                names.update(dict.fromkeys(row))
            try:
                found.add(row)
            except RowError as error:
                raise self.error(number, error) from error
        if self.text_column not in found.kinds:
            raise no_text_column(self.path, self.text_column, names)
        for name in self.types:
            if self.columns is not None and name in self.columns and name not in found.kinds:
                found.add({name: None})  # it may come in a later batch
        try:
            return found.schema(self.text_column, self.types)
        except RowError as error:
            raise SmolfastError(f"{self.path}: {error}") from error

    def batch(self, rows: Sequence[Row], schema: pa.Schema) -> pa.RecordBatch:
        known = {*schema.names}
        for number, row in rows if self.columns is None or not self.columns <= known else ():
            if not row.keys() <= known and any(map(self.keeps, row.keys() - known)):
                raise SmolfastError(
                    f"{self.path}, line {number}: a column that wasn't there before; the file changed while it was "
                    "read; run again when nothing writes to it"
                )
        kept = [(number, row) for number, row in rows if self._text(number, row)]
        arrays = []
        for field in schema:
            try:
                values = [row.get(field.name) for _, row in kept]
                arrays.append(column(values, field, field.name in self.types))
            except CellError as error:
                raise SmolfastError(
                    f"{self.path}, line {kept[error.row][0]}: {error}; correct it, or ask for another type: "
                    f"--column-type {shlex.quote(f'{field.name}=string')}"
                ) from error
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _text(self, number: int, row: dict[str, Any]) -> bool:
        """Whether a row is kept, its text by the rule."""
        text = row.get(self.text_column)
        if text is None:
            text = row[self.text_column] = self.rule.missing(f", line {number}")
            if text is None:
                self.rule.counts["skipped"] += 1
                return False
        elif not isinstance(text, str):
            raise SmolfastError(
                f"{self.path}, line {number}: '{self.text_column}' is a {type(text).__name__}, not a string; "
                "correct the line or name another --text-column"
            )
        return True

    def error(self, number: int, error: RowError) -> SmolfastError:
        return SmolfastError(f"{self.path}, line {number}: {error}")

    # Rows

    def rows(self) -> Iterator[tuple[int, dict[str, Any], int]]:
        """Each row with its line and size in bytes; those to be skipped aren't there."""
        yield from self._csv_rows() if self.kind in ("csv", "tsv") else self._json_rows()

    def _json_rows(self) -> Iterator[tuple[int, dict[str, Any], int]]:
        for number, line in self._json_lines():
            text = self.rule.decode(line, f", line {number}")
            if text is not None:
                try:
                    row = parse_object(text)
                except RowError as error:
                    raise self.error(number, error) from error
                if has_lone_surrogate(line, row):
                    if not self.rule.half_pair(f", line {number}"):
                        self.rule.counts["skipped"] += 1
                        continue
                    row = without_surrogates(row)
                yield number, row, len(line)
            else:
                self.rule.counts["skipped"] += 1

    def _json_lines(self) -> Iterator[tuple[int, bytes]]:
        with open_utf8(self.path) as stream:
            yield from (read_values if self.kind == "json" else read_lines)(stream, self.path)

    def _csv_rows(self) -> Iterator[tuple[int, dict[str, Any], int]]:
        cells = self._csv_cells()
        _, names = next(cells, (0, []))
        for number, row in cells:
            yield number, dict(zip(names, row, strict=True)), sum(map(len, row))

    def _csv_cells(self, delimiter: str | None = None) -> Iterator[tuple[int, list[str]]]:
        """Rows by the number of their first line; the columns' names come first."""
        names: list[str] | None = None
        with open_utf8(self.path) as stream:
            for number, raw in read_rows(stream, self.path, delimiter or self._separators[0]):
                cells = self._decoded(number, raw, are_names=names is None)
                if cells is None:
                    self.rule.counts["skipped"] += 1
                    continue
                if names is None:
                    names = cells
                    if self.text_column not in names:
                        other = self._other_separator() if delimiter is None else None
                        if other is None:
                            raise no_text_column(self.path, self.text_column, names)
                        yield from self._csv_cells(other)
                        return
                    if len(set(names)) < len(names):
                        raise SmolfastError(f"{self.path} has two columns of the same name; rename one")
                yield number, cells

    def _decoded(self, number: int, cells: list[str], *, are_names: bool) -> list[str] | None:
        """Cells as text by the rule; None to skip the row."""
        try:
            "".join(cells).encode()
        except UnicodeEncodeError:
            where = f", line {number}"
            if are_names and self.rule.errors == "skip":
                raise SmolfastError(
                    f"{self.path}{where}: the columns' names aren't UTF-8, and can't be skipped; give --errors replace"
                ) from None
            found = [self.rule.decode(cell.encode("utf-8", "surrogateescape"), where) for cell in cells]
            cells = [cell for cell in found if cell is not None]
            return cells if len(cells) == len(found) else None
        return cells

    @property
    def _separators(self) -> str:
        """What may stand between cells; what the file's name says comes first."""
        return ",;\t|" if self.kind == "csv" else "\t,;|"

    def _other_separator(self) -> str | None:
        """One that parts the text's name from the others in the first line."""
        for separator in self._separators[1:]:
            with contextlib.suppress(SmolfastError), open_utf8(self.path) as stream:
                if self.text_column in next(read_rows(stream, self.path, separator))[1]:
                    return separator
        return None

    # Lines of JSON that are to be kept as they stand

    def templates(self, batch_bytes: int) -> Iterator[pa.RecordBatch]:
        """Batches of the text and, as `TEMPLATE`, the line with a hole in its place."""
        lines = ((number, line, len(line)) for number, line in self._json_lines())
        first = True
        for block, _ in _gathered(lines, batch_bytes):
            made = [(number, *self._template(number, line)) for number, line in block]
            if first and all(text is None for _, _, text in made):
                self._has_text(block)
            first = False
            kept = []
            for number, line, text in made:
                row = {self.text_column: text}
                if line is not None and self._text(number, row):
                    kept.append((row[self.text_column], line))
            if kept:
                texts, rest = zip(*kept, strict=True)
                yield pa.RecordBatch.from_arrays(
                    [pa.array(texts, pa.large_string()), pa.array(rest, pa.large_string())],
                    [self.text_column, TEMPLATE],
                )

    def _template(self, number: int, line: bytes) -> tuple[str | None, Any]:
        text = self.rule.decode(line, f", line {number}")
        if text is None:
            self.rule.counts["skipped"] += 1
            return None, None
        try:
            rest, found = template(text, self.text_column)
        except RowError as error:
            raise self.error(number, error) from error
        if has_lone_surrogate(line, found):
            if not self.rule.half_pair(f", line {number}"):
                self.rule.counts["skipped"] += 1
                return None, None
            found = without_surrogates(found)
        return rest, found

    def _has_text(self, block: Iterable[tuple[int, bytes]]) -> None:
        names: dict[str, None] = {}
        for _, line in block:
            names.update(dict.fromkeys(parse_object(line.decode("utf-8", "replace"))))
        if self.text_column not in names:
            raise no_text_column(self.path, self.text_column, names)


def _gathered(rows: Iterable[tuple[int, Any, int]], batch_bytes: int) -> Iterator[tuple[list[tuple[int, Any]], bool]]:
    """Rows in batches of so many bytes, and whether a batch is the only one."""
    block: list[tuple[int, Any]] = []
    size, alone = 0, True
    for number, row, length in rows:
        if size >= batch_bytes:
            alone = False
            yield block, False
            block, size = [], 0
        block.append((number, row))
        size += length
    if block:
        yield block, alone


@functools.lru_cache(maxsize=256)
def _scan(
    path: str,
    kind: Kind,
    text_column: str,
    columns: frozenset[str] | None,
    types: tuple[tuple[str, pa.DataType], ...],
    errors: str,
    state: tuple[int, int],
) -> pa.Schema:
    """The columns of all rows of a file, whose size and time are `state`."""
    reader = RowReader(path, kind, text_column, columns, dict(types), errors, Counter())
    return reader.schema((number, row) for number, row, _ in reader.rows())

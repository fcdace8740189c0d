"""JSON rows as Arrow columns and back, with no value changed.

A column takes the narrowest type that holds every one of its values exactly: bool, int64, uint64, float64 or string;
null if it has none.
One that none of them holds (lists and objects, numbers beside strings, integers of more than 64 bits) is a string
column of JSON texts, whose field says so under `JSON_KEY`; `JsonLinesWriter` writes those cells as the values that they
were. In such a column a string stands as it is unless it reads as JSON itself: then it stands in quotes, so that "1"
and 1 stay two things.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]  # in every version; typeshed lacks it
from typing import Any, cast

import pyarrow as pa

JSON_KEY = b"smolfast"
JSON_FIELD = {JSON_KEY: b"json"}

TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int64": pa.int64(),
    "uint64": pa.uint64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
}
"""What a column can be asked to be."""

MOST_COLUMNS = 10_000

_EXACT = 1 << 53
"""Up to here every integer is a float64."""

_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_skip_space = re.compile(r"[ \t\n\r]*").match


class RowError(ValueError):
    """What is wrong with a row, without its file and line."""


class _Word(float):
    """NaN or an infinity that stands as a word, in contrast to a number too large for a float."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: dict[str, Any] = {}
        for key, value in pairs:
            # repr tells 1 from 1.0 and True, and takes NaN for equal.
            if key in seen and repr(seen[key]) != repr(value):
                raise RowError(f"the key '{_shown(key)}' stands twice with different values; remove one")
            seen[key] = value
    return found


def _shown(text: str) -> str:
    return text[:60].encode("utf-8", "replace").decode()


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_Word)
_LENIENT = json.JSONDecoder(parse_constant=_Word)
Scan = Callable[[str, int], tuple[Any, int]]
"""The value that starts at an index and where it ends; raises StopIteration, its value the index, where none does."""


def scan_of(decoder: json.JSONDecoder) -> Scan:
    """What `raw_decode` calls, which hides where an error is."""
    return cast("Scan", decoder.scan_once)  # type: ignore[attr-defined]  # in every version; typeshed lacks it


scan = scan_of(_LENIENT)


def parse_object(text: str) -> dict[str, Any]:
    """The object that a text holds.

    Raises:
        RowError: not JSON, no object, or a key twice with different values.
    """
    return _checked_object(lambda: _DECODER.decode(text))


def _checked_object(parse: Callable[[], Any]) -> dict[str, Any]:
    try:
        row = parse()
    except RowError:
        raise
    except json.JSONDecodeError as error:
        raise RowError(f"not JSON ({error.msg} at character {error.pos}); correct or remove the line") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets thousands deep
        raise RowError(f"{' '.join(str(error).split(';')[0].split())}; remove the line") from error
    if not isinstance(row, dict):
        raise RowError('not a JSON object; each line must be like {"text": "…"}')
    return row


def has_lone_surrogate(line: bytes, row: Any) -> bool:
    r"""Whether a value parsed from a line has half a character in it, as `"\ud83d"` alone gives.

    Only an escape can, so most lines are settled by a search.
    """
    if not _SURROGATE_ESCAPE.search(line):
        return False
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def without_surrogates(value: Any) -> Any:
    """The value with U+FFFD for each lone surrogate, in keys too."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {without_surrogates(key): without_surrogates(item) for key, item in value.items()}
    return value


# Types


@dataclass
class Kinds:
    """What was seen in one column: types of values, and how large its integers were."""

    types: set[type]
    least: int = 0
    most: int = 0

    def add(self, value: Any) -> None:
        """See a value; raises RowError for one that nothing can hold."""
        kind = type(value)
        self.types.add(kind)
        if kind is int:
            if value < self.least:
                self.least = value
            elif value > self.most:
                self.most = value
        elif kind is float:
            if math.isinf(value):
                raise RowError("is a number beyond 1.8e308, which 64 bits don't hold; correct or remove it")
        elif kind is list or kind is dict:
            encode_cell(value)

    def field(self, name: str) -> pa.Field:
        """The column that holds it all."""
        kinds = {float if kind is _Word else kind for kind in self.types}
        if not kinds:  # Another file may have values there, of any type.
            return pa.field(name, pa.null())
        if kinds == {str}:
            return pa.field(name, pa.string())
        if kinds == {bool}:
            return pa.field(name, pa.bool_())
        if kinds == {int} and self.least >= -(1 << 63) and self.most < 1 << 63:
            return pa.field(name, pa.int64())
        if kinds == {int} and self.least >= 0 and self.most < 1 << 64:
            return pa.field(name, pa.uint64())
        if kinds <= {int, float} and float in kinds and max(-self.least, self.most) <= _EXACT:
            return pa.field(name, pa.float64())
        if _Word in self.types:
            raise RowError(
                f"'{name}' holds NaN or Infinity, which isn't JSON, beside what is no number; write null or a string"
            )
        return pa.field(name, pa.string(), metadata=JSON_FIELD)


class Columns:
    """The columns of rows, in the order in which they first occur."""

    def __init__(self, keeps: Callable[[str], bool]) -> None:
        """`keeps` tells which columns are wanted."""
        self._keeps = keeps
        self.kinds: dict[str, Kinds] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """See a row."""
        for name, value in row.items():
            kinds = self.kinds.get(name)
            if kinds is None:
                if not self._keeps(name):
                    continue
                if len(self.kinds) == MOST_COLUMNS:
                    raise RowError(f"more than {MOST_COLUMNS:,} different keys; put them into one object under one key")
                kinds = self.kinds[name] = Kinds(set())
            if value is not None:
                try:
                    kinds.add(value)
                except RowError as error:
                    raise RowError(f"'{_shown(name)}' {error}") from error

    def schema(self, text_column: str, asked: Mapping[str, pa.DataType]) -> pa.Schema:
        """The narrowest types that hold what was seen; `asked` for those that were asked for."""
        fields = []
        for name, kinds in self.kinds.items():
            if name == text_column:
                fields.append(pa.field(name, pa.large_string()))
            else:
                fields.append(pa.field(name, asked[name]) if name in asked else kinds.field(name))
        return pa.schema(fields)


def is_json(field: pa.Field) -> bool:
    """Whether a column's cells are JSON texts."""
    return field.metadata is not None and field.metadata.get(JSON_KEY) == b"json"


def column(values: Sequence[Any], field: pa.Field, asked: bool) -> pa.Array:
    """Values of JSON or CSV as a column.

    Raises:
        CellError: a value that the type doesn't hold exactly.
    """
    if is_json(field):
        values = [None if value is None else encode_cell(value) for value in values]
    elif asked or not _holds(field.type, values):
        values = [_converted(value, field, row, asked) for row, value in enumerate(values)]
    return pa.array(values, field.type)


class CellError(RowError):
    """A value that doesn't fit; `row` is its place in the batch."""

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row


_HELD: dict[pa.DataType, set[type]] = {
    pa.null(): set(),
    pa.string(): {str},
    pa.large_string(): {str},
    pa.bool_(): {bool},
    pa.int64(): {int},
    pa.uint64(): {int},
    pa.float64(): {float, _Word},
}


def _holds(type_: pa.DataType, values: Sequence[Any]) -> bool:
    kinds = set(map(type, values)) - {type(None)}
    if kinds <= _HELD[type_]:
        return kinds != {int} or _in_range(type_, values)
    return False


def _in_range(type_: pa.DataType, values: Iterable[Any]) -> bool:
    least, end = (-(1 << 63), 1 << 63) if type_ == pa.int64() else (0, 1 << 64)
    return all(value is None or least <= value < end for value in values)


def _converted(value: Any, field: pa.Field, row: int, asked: bool) -> Any:
    """A value as the type that was asked for, or that a column had so far; only if that changes nothing."""
    if value is None:
        return None
    type_ = field.type
    found: Any = None
    if type_ in (pa.string(), pa.large_string()):
        found = value if isinstance(value, str) else encode_cell(value) if asked else None
    elif isinstance(value, str) and asked:
        if not value.strip():  # an empty cell of CSV
            return None
        found = _read_cell(value.strip(), type_)
    elif type_ == pa.bool_():
        found = value if isinstance(value, bool) else None
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        found = _number(value, type_)
    if found is None:
        shown = _shown(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        raise CellError(row, f"'{field.name}' is {shown}, which a column of {type_} doesn't hold exactly")
    return found


def _number(value: int | float, type_: pa.DataType) -> Any:
    if type_ == pa.float64():
        return value if isinstance(value, float) or abs(value) <= _EXACT else None
    if isinstance(value, float):
        if not value.is_integer():
            return None
        value = int(value)
    return value if _in_range(type_, [value]) else None


def _read_cell(text: str, type_: pa.DataType) -> Any:
    if type_ == pa.bool_():
        return {"true": True, "false": False}.get(text.lower())
    if "_" in text:  # Python's own digit groups
        return None
    try:
        if type_ != pa.float64():
            return _number(int(text), type_)
        number = float(text)
        return None if math.isinf(number) and "inf" not in text.lower() else number
    except ValueError:
        return None


# Cells that are JSON texts


def encode_cell(value: Any) -> str:
    """A value as the text of its cell.

    Raises:
        RowError: NaN, an infinity or a number beyond float64 in it.
    """
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False) if _reads_as_json(value) else value
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise RowError(
            "holds NaN, Infinity or a number beyond 1.8e308, which JSON or 64 bits don't hold; correct or remove it"
        ) from error


def decode_cell(text: str) -> str:
    """The JSON that a cell stands for."""
    return text if _reads_as_json(text) else json.dumps(text, ensure_ascii=False)


def _reads_as_json(text: str) -> bool:
    start = text[_skip_space(text).end() :][:1]  # type: ignore[union-attr]
    if not start or start not in '{["-0123456789tfnNI':
        return False
    try:
        json.loads(text)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True


# Lines whose text is replaced, and all else left as it stands


def object_items(text: str) -> Iterator[tuple[str, Any, int, int]]:
    """The key, value, and start and end of the value's text for each pair of an object.

    Raises:
        RowError: as `parse_object`.
    """

    def at(index: int, wanted: str) -> int:
        if text[index : index + 1] not in (*wanted,) or index >= len(text):
            raise json.JSONDecodeError(f"Expecting '{wanted[0]}'", text, index)
        return index

    def items() -> Iterator[tuple[str, Any, int, int]]:
        index = at(space(0), "{") + 1
        index = space(index)
        while text[index : index + 1] != "}":
            key, index = scanstring(text, at(index, '"') + 1, True)
            start = space(at(space(index), ":") + 1)
            try:
                value, end = scan(text, start)
            except StopIteration as error:
                raise json.JSONDecodeError("Expecting value", text, error.value) from None
            yield key, value, start, end
            index = at(space(end), ",}")
            if text[index] == ",":
                index = at(space(index + 1), '"')
        if space(index + 1) != len(text):
            raise json.JSONDecodeError("Extra data", text, index + 1)

    def space(index: int) -> int:
        return _skip_space(text, index).end()  # type: ignore[union-attr]

    found: list[tuple[str, Any, int, int]] = []

    def parse() -> dict[str, Any]:
        if text[space(0) : space(0) + 1] != "{":
            return _DECODER.decode(text)  # type: ignore[no-any-return]  # for its error, or as no object
        found.extend(items())
        return {}

    _checked_object(parse)
    return iter(found)


HOLE = "\0"
"""Where a template's text goes: JSON has no bare control characters."""


def template(text: str, name: str) -> tuple[str, Any]:
    """A line with a hole for the value of the key `name`, and that value; None if it is null or absent.

    Raises:
        RowError: not JSON, no object, NaN or an infinity, or the key twice with different values.
    """
    text = text.strip(" \t\r\n")
    place: tuple[int, int] | None = None
    found: Any = None
    for key, value, start, end in object_items(text):
        if type(value) is _Word:
            raise RowError(f"'{_shown(key)}' is {text[start:end]}, which isn't JSON; write null or a string")
        if isinstance(value, (list, dict)) and ("NaN" in text[start:end] or "Infinity" in text[start:end]):
            try:
                encode_cell(value)
            except RowError as error:
                raise RowError(f"'{_shown(key)}' {error}") from error
        if key == name:
            if place is not None and found != value:
                raise RowError(f"the key '{_shown(key)}' stands twice with different values; remove one")
            place, found = (start, end), value
    if place is None:
        inner = text[1:].lstrip(" \t\r\n")
        start_text = f"{{{json.dumps(name, ensure_ascii=False)}: {HOLE}"
        line = start_text + ("}" if inner == "}" else f", {inner}")
    else:
        line = text[: place[0]] + HOLE + text[place[1] :]
    return line.replace("\n", " ").replace("\r", " "), found


def has_key(line: str, key: str) -> bool:
    """Whether an object, as a line or template, has a key."""
    if json.dumps(key, ensure_ascii=False) not in line and "\\u" not in line:
        return False
    return any(found == key for found, *_ in object_items(line.replace(HOLE, '""')))


__all__ = [
    "HOLE",
    "JSON_FIELD",
    "TYPES",
    "CellError",
    "Columns",
    "RowError",
    "column",
    "decode_cell",
    "encode_cell",
    "has_key",
    "has_lone_surrogate",
    "is_json",
    "object_items",
    "parse_object",
    "template",
    "without_surrogates",
]

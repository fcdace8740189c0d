"""String columns on their way into the native module: of any library, checked, and fit to be given back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import pyarrow as pa

from smolfast import _native
from smolfast.errors import SmolfastError

Strings: TypeAlias = Any  # an Arrow string column of any library, or a list of str and None

_TYPES = {"u": pa.string(), "U": pa.large_string(), "vu": pa.string_view()}


def importable(strings: Strings) -> Strings:
    """The column as strings of pyarrow's, or as a list of str and None; without a copy where it is one of strings.

    Dictionaries (categories) come as their values, binary and numpy's bytes as the UTF-8 that they must hold, objects
    of numpy, pandas and `datasets` as lists.

    What other libraries hand over goes through our own checks first: pyarrow believes the structs of the C data
    interface, and a null pointer or a wild length there ends the process. Of its own arrays pyarrow knows how long the
    buffers are, so that it can say when an offset (from a damaged IPC file) lies beyond them.

    Raises:
        SmolfastError: no string column, or one that its buffers don't bear out.
    """
    if isinstance(strings, (list, tuple)):
        return strings
    if isinstance(strings, (pa.Array, pa.ChunkedArray)):
        try:
            strings.validate()
        except pa.ArrowException as error:
            raise SmolfastError(
                f"strings: the Arrow column is corrupt ({' '.join(str(error).split())}); make or download it again"
            ) from error
        if strings.type in _TYPES.values():
            return strings
        if isinstance(strings.type, pa.BaseExtensionType):
            return importable(_storage(strings))
        if pa.types.is_null(strings.type):
            return strings.cast(pa.string())
        if pa.types.is_fixed_size_binary(strings.type):
            strings = strings.cast(pa.binary())
    elif hasattr(strings, "columns"):
        names = [str(name) for name in getattr(strings, "column_names", strings.columns)]
        column = next((name for name in names if name == "text"), names[0] if names else "text")
        raise SmolfastError(
            f"strings: expected one column, got a {type(strings).__name__} of {len(names)}; pass one of them, "
            f"for example table[{column!r}]"
        )
    elif not (hasattr(strings, "__arrow_c_stream__") or hasattr(strings, "__arrow_c_array__")):
        return _listed(strings)
    form, parts = _native.import_strings(strings)
    chunks = [pa.array(part) for part in parts]
    chunked = isinstance(strings, pa.ChunkedArray) or (
        hasattr(strings, "__arrow_c_stream__") and not isinstance(strings, pa.Array)
    )
    return pa.chunked_array(chunks, _TYPES[form]) if chunked else chunks[0]


def without_surrogates(strings: Sequence[str | None]) -> list[str | None]:
    """Pairs of surrogates joined, lone ones replaced, as WHATWG's conversion to scalar values does."""
    return [
        s.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") if isinstance(s, str) else s
        for s in strings
    ]


def _storage(strings: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    if isinstance(strings, pa.Array):
        return strings.storage
    return pa.chunked_array([chunk.storage for chunk in strings.chunks], strings.type.storage_type)


def _listed(strings: Any) -> list[Any]:
    """A numpy array, pandas Series, `datasets.Column` or other sequence as a list, with None for missing values."""
    if hasattr(strings, "__array__") and getattr(strings, "ndim", 1) == 1:
        items: Iterable[Any] = strings.tolist()
    elif isinstance(strings, Sequence) and not isinstance(strings, (str, bytes, bytearray, memoryview)):
        items = strings
    else:
        raise SmolfastError(
            f"strings: expected an Arrow string column or a list of str, got {type(strings).__name__}; "
            "pass a list, a pyarrow array or a polars Series"
        )
    listed = []
    for index, item in enumerate(items):
        if isinstance(item, bytes):
            try:
                item = item.decode()
            except UnicodeDecodeError as error:
                raise SmolfastError(
                    f"strings[{index}] is not UTF-8 at byte {error.start}; pass a pyarrow array of binary to repair it"
                ) from error
        elif item is not None and not isinstance(item, str) and _is_missing(item):
            item = None
        listed.append(item)
    return listed


def _is_missing(item: Any) -> bool:
    """NaN, NaT and pandas' NA."""
    return type(item).__name__ in ("NAType", "NaTType") or (isinstance(item, float) and item != item)

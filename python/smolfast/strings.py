"""String columns on their way into the native module: of any library, checked, and fit to be given back."""

from __future__ import annotations

from typing import Any, TypeAlias

import pyarrow as pa

from smolfast import _native
from smolfast.errors import SmolfastError

Strings: TypeAlias = Any  # an Arrow string column of any library, or a list of str and None

_TYPES = {"u": pa.string(), "U": pa.large_string(), "vu": pa.string_view()}


def importable(strings: Strings) -> Strings:
    """The column as something of pyarrow's, or as the list it is, without a copy.

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
        return strings
    if not (hasattr(strings, "__arrow_c_stream__") or hasattr(strings, "__arrow_c_array__")):
        raise SmolfastError(
            f"strings: expected an Arrow string column or a list of str, got {type(strings).__name__}; "
            "pass a list, a pyarrow array or a polars Series"
        )
    form, parts = _native.import_strings(strings)
    chunks = [pa.array(part) for part in parts]
    return pa.chunked_array(chunks, _TYPES[form]) if hasattr(strings, "__arrow_c_stream__") else chunks[0]

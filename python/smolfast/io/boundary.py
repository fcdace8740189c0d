"""Where pyarrow's and Python's errors end: each becomes one line with the file, the row and a remedy."""

from __future__ import annotations

import contextlib
import lzma
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath

import pyarrow as pa

from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error
from smolfast.io.sources import one_line

FAULTS = (pa.ArrowException, ValueError, KeyError, IndexError, OverflowError, NotImplementedError)
"""What pyarrow raises of values and types that it has no way with, and Python of names and numbers."""


_LONG_WINDOW = "too much memory"  # zstd's words for a window beyond 128 MiB


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Around what reads a file of documents.

    Raises:
        SmolfastError: the file can't be opened, is damaged, or holds what pyarrow can't read.
    """
    try:
        yield
    except SmolfastError:
        raise
    except NotImplementedError as error:  # raised by pyarrow for types it can't read; ArrowNotImplementedError is one
        raise SmolfastError(
            f"can't read {path}: pyarrow {pa.__version__} can't hold a column of it ({one_line(error)}); "
            "write the file again without that column"
        ) from error
    except OSError as error:
        if error.errno is not None:
            raise SmolfastError(f"can't read {path}: {describe_os_error(error)}") from error
        # Arrow's own findings (truncated stream, bad magic, corrupt page) are OSErrors without a number.
        raise SmolfastError(corrupt(path, error)) from error
    except (*FAULTS, EOFError, zlib.error, lzma.LZMAError) as error:  # UnicodeDecodeError: a name in a parquet footer
        if "null byte" in str(error):
            raise SmolfastError(f"can't read {path!r}: {one_line(error)}; check the path") from error
        raise SmolfastError(corrupt(path, error)) from error
    except Exception as error:
        if "://" not in path:
            raise
        # Backends of URLs raise errors of their own, of no common type.
        raise SmolfastError(f"can't read {path}: {type(error).__name__}: {one_line(error)}") from error


def corrupt(path: str, error: BaseException) -> str:
    """The message on a damaged file."""
    if _LONG_WINDOW in str(error):
        return (
            f"{path} is zstd with a window of more than 128 MiB (zstd --long=28 or more), which Arrow doesn't unpack; "
            f"pack it again: zstd -d --long=31 -c {path} | zstd -o "
            f"NEW{''.join(PurePosixPath(path).suffixes[-2:])}"
        )
    return f"{path} is corrupt or truncated ({one_line(error)}); make or download it again"


@contextlib.contextmanager
def computing(path: str, first_row: int, rows: int) -> Iterator[None]:
    """Around what is done to rows of a file, counted from 0.

    Raises:
        SmolfastError: the work failed; one that doesn't name the file is made to.
    """
    try:
        yield
    except FAULTS as error:
        if isinstance(error, SmolfastError) and path in str(error):
            raise
        where = f"{path}, rows {first_row} to {first_row + rows - 1}"
        remedy = "" if isinstance(error, SmolfastError) else "; correct these rows or leave them out"
        raise SmolfastError(f"{where}: {one_line(error)}{remedy}") from error


@contextlib.contextmanager
def writing(path: object) -> Iterator[None]:
    """Around what turns rows into a file's bytes.

    Raises:
        SmolfastError: a value that the file's format can't hold.
    """
    try:
        yield
    except SmolfastError:
        raise
    except FAULTS as error:
        raise SmolfastError(
            f"can't write {path}: {one_line(error).rstrip('.')}; cast the column to another type or drop it"
        ) from error

"""Arrow's own files: IPC files and streams, and Feather of both versions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.ipc

from smolfast.io.schemas.columns import is_string


def read_arrow(stream: pa.NativeFile, batch_bytes: int) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The schema, and record batches of about so many bytes, every buffer checked but for the UTF-8 of strings.

    Raises:
        pyarrow.ArrowException, OSError: a damaged file.
    """
    magic = stream.read(6)
    stream.seek(0)
    if magic[:4] == b"FEA1":
        reader = pa.ipc.open_stream(_converted(stream.read()))
        return reader.schema, _sliced(iter(reader), batch_bytes)
    if magic == b"ARROW1":
        file = pa.ipc.open_file(stream)
        return file.schema, _sliced((file.get_batch(at) for at in range(file.num_record_batches)), batch_bytes)
    reader = pa.ipc.open_stream(stream)
    return reader.schema, _sliced(iter(reader), batch_bytes)


def _converted(feather: bytes) -> bytes:
    """A Feather file of version 1 as an IPC stream. In a process of its own: pyarrow's reader follows wild offsets."""
    made = subprocess.run([sys.executable, "-W", "ignore", "-c", _CONVERT], input=feather, capture_output=True)
    if made.returncode:
        raise pa.ArrowInvalid("pyarrow can't read this Feather file of version 1")
    return made.stdout


_CONVERT = """
import sys
import pyarrow, pyarrow.feather
table = pyarrow.feather.read_table(pyarrow.BufferReader(sys.stdin.buffer.read()))
table.validate(full=True)
with pyarrow.ipc.new_stream(sys.stdout.buffer, table.schema) as writer:
    writer.write_table(table)
"""


def _sliced(batches: Iterator[pa.RecordBatch], batch_bytes: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for column in batch.columns:
            _check(column)
        step = max(1, batch_bytes * batch.num_rows // max(1, batch.nbytes))
        for start in range(0, batch.num_rows, step):
            yield batch.slice(start, step)


def _check(column: pa.Array) -> None:
    """Offsets and sizes against the buffers: these aren't checked when a file is opened."""
    if is_string(column.type) and not pa.types.is_string_view(column.type):
        # As binary, since what isn't UTF-8 has a rule of its own.
        binary = pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary()
        column = pa.Array.from_buffers(binary, len(column), column.buffers(), column.null_count, column.offset)
    column.validate(full=True)

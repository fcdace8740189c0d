"""Give entry points every damaged column; a line of JSON before and after each says how it ended.

    python tests/hostile/try_arrow.py ENTRY_POINT…

Run by test_arrow.py as a process of its own: what crashes here is a finding, and the last line says which column.
"""

from __future__ import annotations

import gc
import io
import json
import random
import struct
import sys
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from arrow_structs import ROWS, ArrayProducer, Producer, StreamProducer, damages, new_capsule, sound
from entry_points import ENTRY_POINTS

from smolfast.errors import SmolfastError


class Misuse:
    """Objects whose methods don't keep to the protocol."""

    class NoTuple:
        def __arrow_c_array__(self) -> object:
            return 5

    class Short:
        def __arrow_c_array__(self) -> object:
            return ()

    class NoCapsules:
        def __arrow_c_array__(self) -> object:
            return (None, "array")

    class NoStream:
        def __arrow_c_stream__(self) -> object:
            return b"arrow_array_stream"

    class OtherCapsule:
        def __arrow_c_stream__(self) -> object:
            return new_capsule(1, b"dltensor", None)


def taken(kind: type[Producer]) -> Producer:
    """Structs that somebody has taken already."""
    producer = kind(sound("u", ROWS))
    ENTRY_POINTS["text.lower"](producer)
    return producer


def damaged_files() -> Iterator[tuple[str, Any]]:
    """Columns that pyarrow reads from damaged IPC streams, where nothing looks at offsets."""
    for layout in (pa.string(), pa.large_string()):
        sink = io.BytesIO()
        column = pa.array([row or "" for row in ROWS], layout)
        with pa.ipc.new_stream(sink, pa.schema([("text", layout)])) as writer:
            writer.write_batch(pa.record_batch([column], ["text"]))
        whole = sink.getvalue()
        code = "<i" if layout == pa.string() else "<q"
        width = struct.calcsize(code)
        offsets = column.buffers()[1].to_pybytes()[: width * (len(ROWS) + 1)]
        at = whole.index(offsets)
        for row in range(len(ROWS) + 1):
            for value in (-1, 1 << 20, (1 << 8 * width - 1) - 1, -(1 << 8 * width - 1)):
                place = at + row * width
                data = whole[:place] + struct.pack(code, value) + whole[place + width :]
                yield f"IPC {layout}: offset {row} is {value}", pa.ipc.open_stream(data).read_all().column(0)
        generator = random.Random(7)
        for flip in range(40):
            data = bytearray(whole)
            place = at + generator.randrange(len(offsets))
            data[place] ^= 1 << generator.randrange(8)
            yield f"IPC {layout}: flip {flip}", pa.ipc.open_stream(bytes(data)).read_all().column(0)


def attempt(function: Any, source: Any, rows: list[str | None] | None) -> str:
    """ "exact", "refused", or what is wrong."""
    try:
        found = function(source)
    except SmolfastError as error:
        message = str(error)
        if rows is not None:
            return f"refused though sound: {message}"
        clear = message and message.isprintable() and len(message) <= 500
        return "refused" if clear else f"no clear line: {message[:1000]!r}"
    except Exception as error:
        return f"not a SmolfastError: {type(error).__name__}: {error}"
    if rows is None:
        return f"accepted: {found!r}"[:300]
    expected = function(rows)
    return "exact" if found == expected else f"not exact: {found!r} for {expected!r}"


def attempts(function: Any) -> Iterator[tuple[str, Any]]:
    """Every attempt on a function by name, to be called for its outcome."""
    for damage in damages():
        for kind in (ArrayProducer, StreamProducer):

            def with_structs(damage: Any = damage, kind: type[Producer] = kind) -> str:
                producer = kind(damage.column)
                result = attempt(function, producer, damage.rows_of(producer))
                gc.collect(0)
                producer.close()
                if sorted(producer.released) != sorted(producer.owed):
                    result += f"; released {producer.released}, owed {producer.owed}"
                return result

            yield f"{damage.name} ({kind.__name__})", with_structs
    for step in ("schema", "next"):
        yield (
            f"stream fails at {step}",
            lambda step=step: attempt(function, StreamProducer(sound("u", ROWS), step), None),
        )
    for kind in (ArrayProducer, StreamProducer):
        yield f"taken {kind.__name__}", lambda kind=kind: attempt(function, taken(kind), None)
    for name, made in vars(Misuse).items():
        if isinstance(made, type):
            yield f"misuse: {name}", lambda made=made: attempt(function, made(), None)
    for odd in (None, 5, "text", b"text", {"a": 1}, [1], ["a", b"b"], ["\ud800"], [[]], iter(["a"])):
        yield f"no column: {odd!r}"[:40], lambda odd=odd: attempt(function, odd, None)


def from_files(name: str) -> Iterator[tuple[str, Any]]:
    """The same for pyarrow's own arrays; only public functions ask pyarrow how long its buffers are."""
    function = ENTRY_POINTS[name]
    if name.startswith("_native"):
        return
    for label, column in damaged_files():

        def with_array(column: Any = column) -> str:
            try:
                column.validate(full=True)
            except pa.ArrowInvalid:
                return attempt(function, column, None)
            return attempt(function, column, column.to_pylist())

        yield label, with_array


def main() -> None:
    for name in sys.argv[1:]:
        for label, run in (*attempts(ENTRY_POINTS[name]), *from_files(name)):
            print(json.dumps({"entry_point": name, "trying": label}), flush=True)
            print(json.dumps({"entry_point": name, "tried": label, "outcome": run()}), flush=True)


if __name__ == "__main__":
    main()

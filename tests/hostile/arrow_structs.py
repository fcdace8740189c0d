"""Arrow C data interface by hand, so that every field can lie: structs, columns and the damages done to them.

Layouts: https://arrow.apache.org/docs/format/CDataInterface.html. A producer counts the calls of its release callbacks,
which a consumer owes once for each struct that it took, whatever it thinks of the contents.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Pointer, Int = ctypes.c_void_p, ctypes.c_int64
Release = ctypes.CFUNCTYPE(None, Pointer)


class Schema(ctypes.Structure):
    _fields_ = (
        ("format", Pointer),
        ("name", Pointer),
        ("metadata", Pointer),
        ("flags", Int),
        ("n_children", Int),
        ("children", Pointer),
        ("dictionary", Pointer),
        ("release", Pointer),
        ("private_data", Pointer),
    )


class Array(ctypes.Structure):
    _fields_ = (
        ("length", Int),
        ("null_count", Int),
        ("offset", Int),
        ("n_buffers", Int),
        ("n_children", Int),
        ("buffers", Pointer),
        ("children", Pointer),
        ("dictionary", Pointer),
        ("release", Pointer),
        ("private_data", Pointer),
    )


class Stream(ctypes.Structure):
    _fields_ = (
        ("get_schema", Pointer),
        ("get_next", Pointer),
        ("get_last_error", Pointer),
        ("release", Pointer),
        ("private_data", Pointer),
    )


new_capsule = ctypes.pythonapi.PyCapsule_New
new_capsule.restype = ctypes.py_object
new_capsule.argtypes = (Pointer, ctypes.c_char_p, Pointer)


@dataclass
class Column:
    """What the structs will say. `views` and `blocks` of the layout "vu", `offsets` and `data` of the others."""

    format: bytes | None
    length: int
    null_count: int = -1
    offset: int = 0
    n_children: int = 0
    schema_children: int = 0
    validity: bytes | None = None
    offsets: list[int] = field(default_factory=list)
    data: bytes | None = b""
    views: list[tuple[int, bytes]] = field(default_factory=list)
    blocks: list[bytes | None] = field(default_factory=list)
    block_sizes: list[int] | None = field(default_factory=list)
    n_buffers: int | None = None
    no_buffers: bool = False
    no_offsets: bool = False
    dictionary: bool = False
    released_schema: bool = False
    released_array: bool = False

    def buffers(self) -> list[bytes | None]:
        if self.format in (b"vu", b"vz"):
            views = b"".join(struct.pack("<i", length) + rest for length, rest in self.views)
            sizes = None if self.block_sizes is None else struct.pack(f"<{len(self.block_sizes)}q", *self.block_sizes)
            return [self.validity, None if self.no_offsets else views, *self.blocks, sizes]
        width = "q" if self.format in (b"U", b"Z") else "i"
        offsets = struct.pack(f"<{len(self.offsets)}{width}", *self.offsets)
        return [self.validity, None if self.no_offsets else offsets, self.data]


def far(block: int, offset: int, prefix: bytes) -> bytes:
    """The rest of a view of more than twelve bytes."""
    return prefix[:4].ljust(4, b"\0") + struct.pack("<ii", block, offset)


def sound(layout: str, rows: list[str | None]) -> Column:
    """The rows as they should be."""
    texts = [(row or "").encode() for row in rows]
    validity = bytearray((len(rows) + 7) // 8)
    for index, row in enumerate(rows):
        validity[index // 8] |= (row is not None) << index % 8
    column = Column(layout.encode(), len(rows), validity=bytes(validity), data=b"".join(texts))
    column.offsets = [sum(map(len, texts[:index])) for index in range(len(rows) + 1)]
    if layout in ("vu", "vz"):
        block = b"".join(text for text in texts if len(text) > 12)
        at = 0
        for text in texts:
            column.views.append((len(text), text.ljust(12, b"\0") if len(text) <= 12 else far(0, at, text)))
            at += len(text) if len(text) > 12 else 0
        column.blocks, column.block_sizes = [block], [len(block)]
    return column


class Producer:
    """A column's structs, to be given out once."""

    def __init__(self, column: Column) -> None:
        self.released: list[str] = []
        self.owed = [kind for kind in ("schema", "array") if not getattr(column, f"released_{kind}")]
        self._keep: list[Any] = []
        buffers = column.buffers()
        # A copy of its own for each buffer, of exactly its size.
        pointers = (Pointer * max(1, len(buffers)))(
            *(
                None if data is None else self._own(ctypes.create_string_buffer(data, max(1, len(data))))
                for data in buffers
            )
        )
        self.array = Array(
            length=column.length,
            null_count=column.null_count,
            offset=column.offset,
            n_buffers=len(buffers) if column.n_buffers is None else column.n_buffers,
            n_children=column.n_children,
            buffers=None if column.no_buffers else self._own(pointers),
            release=None if column.released_array else self._callback("array", Array),
        )
        name = None if column.format is None else self._own(ctypes.create_string_buffer(column.format))
        other = Schema(
            format=self._own(ctypes.create_string_buffer(b"u")), release=self._callback("dictionary", Schema)
        )
        self.schema = Schema(
            format=name,
            name=self._bytes(b"\0"),
            flags=2,
            n_children=column.schema_children,
            dictionary=self._own(other) if column.dictionary else None,
            release=None if column.released_schema else self._callback("schema", Schema),
        )

    def _bytes(self, data: bytes) -> int:
        return self._own(ctypes.create_string_buffer(data, max(1, len(data))))

    def _own(self, item: Any) -> int:
        self._keep.append(item)
        return ctypes.addressof(item)

    def _callback(self, kind: str, structure: type[ctypes.Structure]) -> int | None:
        def release(pointer: int) -> None:
            self.released.append(kind)
            structure.from_address(pointer).release = None

        callback = Release(release)
        self._keep.append(callback)
        return ctypes.cast(callback, Pointer).value

    def close(self) -> None:
        """Release what nobody took, as a capsule's destructor would."""
        for kind, item in (("schema", self.schema), ("array", self.array)):
            if item.release:
                Release(item.release)(ctypes.addressof(item))
                assert self.released[-1] == kind


class ArrayProducer(Producer):
    """An object with `__arrow_c_array__`."""

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        return (
            new_capsule(ctypes.addressof(self.schema), b"arrow_schema", None),
            new_capsule(ctypes.addressof(self.array), b"arrow_array", None),
        )


class StreamProducer(Producer):
    """The same through `__arrow_c_stream__`, in one chunk; `fails` is the step that gives an error code."""

    def __init__(self, column: Column, fails: str = "") -> None:
        super().__init__(column)
        self.owed = [*self.owed, "stream"]
        step = ctypes.CFUNCTYPE(ctypes.c_int, Pointer, Pointer)
        given: list[str] = []

        def get_schema(_: int, out: int) -> int:
            if fails == "schema":
                return 22
            ctypes.memmove(out, ctypes.addressof(self.schema), ctypes.sizeof(Schema))
            self.schema.release = None
            return 0

        def get_next(_: int, out: int) -> int:
            if fails == "next":
                return 5
            ctypes.memset(out, 0, ctypes.sizeof(Array))
            if not given:
                given.append("array")
                ctypes.memmove(out, ctypes.addressof(self.array), ctypes.sizeof(Array))
                self.array.release = None
            return 0

        last_error = ctypes.CFUNCTYPE(Pointer, Pointer)(lambda _: None)
        callbacks = [step(get_schema), step(get_next), last_error]
        self._keep += callbacks
        places = [ctypes.cast(callback, Pointer).value for callback in callbacks]
        self.stream = Stream(*places, release=self._callback("stream", Stream))

    def close(self) -> None:
        super().close()
        if self.stream.release:
            Release(self.stream.release)(ctypes.addressof(self.stream))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return new_capsule(ctypes.addressof(self.stream), b"arrow_array_stream", None)


ROWS: list[str | None] = [
    "",
    "Ünï",
    None,
    "A line of well more than twelve bytes\nmail me@example.org  or 8.8.4.4",
    "e\u0301 \ufb01 42",
    "twelve bytes",
    "more words than there are in one shingle, once and again",
]


@dataclass(frozen=True)
class Damage:
    """A column, and the rows it must read as; None where it must be refused."""

    name: str
    column: Column
    rows: list[str | None] | None

    def rows_of(self, producer: Producer) -> list[str | None] | None:
        """`rows`; a stream that gives a released array says by it that it has ended."""
        return [] if self.column.released_array and isinstance(producer, StreamProducer) else self.rows


def _changed(layout: str, **changes: Any) -> Column:
    column = sound(layout, ROWS)
    for name, value in changes.items():
        assert hasattr(column, name)
        setattr(column, name, value)
    return column


def damages() -> Iterator[Damage]:
    """Every column to be tried."""
    for layout in ("u", "U", "vu"):
        yield from _unusual(layout)
        for name, column in (*_lies(layout), *(_bad_views() if layout == "vu" else _bad_offsets(layout))):
            yield Damage(f"{layout}: {name}", column, None)
    for layout in ("z", "Z", "vz"):  # binary, laid out as strings are
        yield from _unusual(layout)


def _unusual(layout: str) -> Iterator[Damage]:
    """Odd, but sound: these have an exact result."""
    whole = [row or "" for row in ROWS]
    yield Damage(f"{layout}: sound", _changed(layout), ROWS)
    yield Damage(f"{layout}: nulls counted", _changed(layout, null_count=1), ROWS)
    yield Damage(f"{layout}: nulls counted wrong", _changed(layout, null_count=6), ROWS)
    yield Damage(f"{layout}: no bitmap", _changed(layout, validity=None), whole)
    yield Damage(f"{layout}: no nulls, no bitmap", _changed(layout, validity=None, null_count=0), whole)
    yield Damage(f"{layout}: sliced", _changed(layout, offset=3, length=3), ROWS[3:6])
    yield Damage(f"{layout}: empty slice at the end", _changed(layout, offset=len(ROWS), length=0), [])
    yield Damage(f"{layout}: bits beyond the rows", _changed(layout, validity=b"\xfb"), ROWS)
    if layout == "vu":
        views = sound(layout, ROWS).views
        lying = [(length, b"lie!" + rest[4:] if length > 12 else rest) for length, rest in views]
        yield Damage("vu: prefixes that lie", _changed(layout, views=lying), ROWS)
        nonsense = [(-5, far(77, -1, b"")) if row is None else view for row, view in zip(ROWS, views, strict=True)]
        yield Damage("vu: nonsense under a null", _changed(layout, views=nonsense), ROWS)


def _lies(layout: str) -> Iterator[tuple[str, Column]]:
    """Fields that can't be true, of any layout."""
    for length in (-1, -(2**63), 2**50, 2**61, 2**63 - 1):
        yield f"length {length}", _changed(layout, length=length)
    for offset in (-1, -(2**63), 2**50, 2**63 - 1):
        yield f"offset {offset}", _changed(layout, offset=offset)
    yield "offset + length overflow", _changed(layout, offset=2**63 - 3, length=5)
    for count in (-1, 0, 1, 2, 2**40):
        yield f"n_buffers {count}", _changed(layout, n_buffers=count)
    yield "null_count below -1", _changed(layout, null_count=-2)
    yield "more nulls than rows", _changed(layout, null_count=len(ROWS) + 1)
    yield "nulls without a bitmap", _changed(layout, validity=None, null_count=2)
    yield "buffers null", _changed(layout, no_buffers=True)
    yield "offsets null", _changed(layout, no_offsets=True)
    yield "array with children", _changed(layout, n_children=2)
    yield "array with fewer than no children", _changed(layout, n_children=-1)
    yield "schema with children", _changed(layout, schema_children=1)
    yield "dictionary", _changed(layout, dictionary=True)
    yield "released schema", _changed(layout, released_schema=True)
    yield "released array", _changed(layout, released_array=True)
    for name in (None, b"", b"uu", b"u:", b"i", b"+s", b"\xff\xfe", b"w:12", b"n", b"u" * 5000):
        yield f"format {name if name is None else name[:8]!r}", _changed(layout, format=name)


def _bad_offsets(layout: str) -> Iterator[tuple[str, Column]]:
    good = sound(layout, ROWS).offsets
    most = 2**31 - 1 if layout == "u" else 2**63 - 1
    yield "negative first offset", _changed(layout, offsets=[-1, *good[1:]])
    yield "least first offset", _changed(layout, offsets=[-most - 1, *good[1:]])
    yield "all offsets negative", _changed(layout, offsets=[at - 1000 for at in good])
    for row in range(1, len(good)):
        yield f"offset {row} decreases", _changed(layout, offsets=[*good[:row], -7, *good[row + 1 :]])
    for row in range(1, len(good) - 1):
        yield f"offset {row} beyond the data", _changed(layout, offsets=[*good[:row], most, *good[row + 1 :]])
    yield "32-bit overflow", _changed(layout, offsets=[*good[:3], most, -most, *good[5:]])
    yield "data null", _changed(layout, data=None)
    yield "a buffer too many", _changed(layout, n_buffers=4)


def _bad_views() -> Iterator[tuple[str, Column]]:
    good = sound("vu", ROWS)
    size = len(good.blocks[0] or b"")
    for row in (0, 3, len(ROWS) - 1):
        for name, view in {
            "length -1": (-1, bytes(12)),
            "least length": (-(2**31), bytes(12)),
            "block 1 of 1": (20, far(1, 0, b"more")),
            "block -1": (20, far(-1, 0, b"more")),
            "greatest block": (20, far(2**31 - 1, 0, b"more")),
            "least block": (20, far(-(2**31), 0, b"more")),
            "offset -1": (20, far(0, -1, b"more")),
            "offset at the end": (20, far(0, size - 19, b"more")),
            "offset + length overflow": (2**31 - 1, far(0, 2**31 - 1, b"more")),
            "length beyond the block": (size + 1, far(0, 0, b"more")),
        }.items():
            yield f"row {row}: {name}", _changed("vu", views=[*good.views[:row], view, *good.views[row + 1 :]])
    yield "no block sizes", _changed("vu", block_sizes=None)
    yield "block null", _changed("vu", blocks=[None])
    yield "negative block size", _changed("vu", block_sizes=[-1])
    yield "no blocks", _changed("vu", blocks=[], block_sizes=[])

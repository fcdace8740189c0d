"""Records and faults of WARC files: one record's fault costs one record."""

from __future__ import annotations

import gzip
import io
import random

import pyarrow as pa
import pytest

from warcs import http, pack, page, record

pytest.importorskip("fastwarc")

from smolfast.crawl.reading.faults import Fault, Place
from smolfast.crawl.reading.members import Members
from smolfast.crawl.reading.records import Raw, Reached, find_first, read_records

START, END = Place(0), 1 << 60
HOWS = ("plain", "gzip", "zstd")


def read(data: bytes, start: Place = START, stop: int = END) -> tuple[list[str], list[Fault]]:
    """The addresses of the records, and the faults."""
    items = list(read_records(Members(pa.BufferReader(data)), start, stop))
    assert isinstance(items[-1], Reached)
    assert not any(isinstance(item, Reached) for item in items[:-1])
    return (
        [
            item.data.split(b"WARC-Target-URI: ")[1].split(b"\r\n")[0].decode()[-1]
            for item in items
            if isinstance(item, Raw)
        ],
        [item for item in items if isinstance(item, Fault)],
    )


PAGES = [page(number) for number in range(5)]


@pytest.mark.parametrize("how", HOWS)
def test_records_come_in_order_with_their_places(how: str) -> None:
    data = pack(PAGES, how)
    members = Members(pa.BufferReader(data))
    items = list(read_records(members, Place(0), END))
    assert [item.data + b"\r\n\r\n" for item in items[:-1] if isinstance(item, Raw)] == PAGES
    ends = [len(pack(PAGES[:number], how)) for number in range(6)]
    assert [item.place for item in items] == [Place(0, at) if how == "plain" else Place(at) for at in ends]


@pytest.mark.parametrize("how", HOWS)
def test_stretches_of_any_cut_hold_each_record_once(how: str) -> None:
    data = pack(PAGES * 5, how)
    members = Members(pa.BufferReader(data))
    for size in (1, 37, 200, 500, len(data)):
        found, wanted = [], Place(0)
        for start in range(0, len(data), size):
            first = find_first(members, start, start + size)
            if first is None:
                continue
            assert first == wanted
            *items, last = read_records(members, first, start + size)
            found += items
            assert isinstance(last, Reached)
            wanted = last.place
        assert len(found) == 25
        assert wanted == (Place(0, len(data)) if how == "plain" else Place(len(data)))


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (record(b"x" * 100, "http://example.org/b", length=20), "wrong Content-Length"),
        (record(b"x" * 100, "http://example.org/b", length=200), "Content-Length"),
        (record(b"x" * 100, "http://example.org/b", length=5_000_000), "Content-Length beyond the end"),
        (record(b"x" * 100, "http://example.org/b", length=5 << 30), "Content-Length"),
        (
            record(b"x" * 100, "http://example.org/b").replace(b"Content-Length: ", b"Content-Length: x"),
            "broken WARC header",
        ),
        (record(b"x" * 100, "http://example.org/b").replace(b"Content-Length", b"Content-Width"), "broken WARC header"),
        (b"nothing of a record\r\n\r\n", "no WARC record"),
    ],
)
def test_a_broken_record_is_named_and_costs_no_other(how: str, broken: bytes, reason: str) -> None:
    urls, (fault,) = read(pack([*PAGES[:2], broken, *PAGES[2:]], how))
    assert urls == list("01234")
    assert reason in fault.reason
    at = len(pack(PAGES[:2], how))
    assert fault.place == (Place(0, at) if how == "plain" else Place(at))


@pytest.mark.parametrize("how", ("gzip", "zstd"))
def test_a_damaged_member_costs_no_other(how: str) -> None:
    members = [pack([one], how) for one in PAGES]
    damaged = bytearray(members[2])
    damaged[len(damaged) // 2] ^= 0xFF
    damaged[len(damaged) // 2 + 3] ^= 0xFF
    urls, faults = read(b"".join([*members[:2], bytes(damaged), *members[3:]]))
    assert urls == list("0134")
    assert [fault.place for fault in faults] == [Place(len(b"".join(members[:2])))]


@pytest.mark.parametrize("how", HOWS)
def test_a_cut_off_end_is_one_fault(how: str) -> None:
    urls, (fault,) = read(pack(PAGES, how)[:-30])
    assert urls == list("0123")
    assert fault.place == (Place(0, 4 * len(PAGES[0])) if how == "plain" else Place(len(pack(PAGES[:4], how))))


@pytest.mark.parametrize("how", ("gzip", "zstd"))
@pytest.mark.parametrize("size", (50, 200, 333, 5000))
def test_records_cut_over_several_members_are_whole(how: str, size: int) -> None:
    pages = [page(number, "<p>" + "".join(random.Random(number).choices("abcdef ", k=900))) for number in range(9)]
    whole = b"".join(pages)
    pieces = [one[at : at + size] for one in pages for at in range(0, len(one), size)]
    across = [whole[at : at + size] for at in range(0, len(whole), size)]
    for cut in (pieces, across):
        members = Members(pa.BufferReader(pack(cut, how)))
        items, place = [], Place(0)
        for stop in range(0, members.size + 400, 400):
            *found, last = read_records(members, place, stop)
            items += found
            assert isinstance(last, Reached)
            place = last.place
        assert [item.data + b"\r\n\r\n" for item in items if isinstance(item, Raw)] == pages
        assert not any(isinstance(item, Fault) for item in items)


def test_a_cut_record_whose_rest_is_damaged_costs_no_other() -> None:
    broken = record(b"x" * 100, "http://example.org/b")
    damaged = bytearray(pack([broken[150:]]))
    damaged[12] ^= 0xFF
    urls, faults = read(pack([*PAGES[:2], broken[:150]]) + bytes(damaged) + pack(PAGES[2:]))
    assert urls == list("01234")
    assert faults
    assert {fault.place for fault in faults} == {Place(len(pack(PAGES[:2])))}


def test_zeros_behind_the_last_member_are_no_fault() -> None:
    assert read(pack(PAGES) + bytes(10_000)) == (list("01234"), [])


def test_many_records_in_one_member_come_before_its_damaged_end() -> None:
    urls, faults = read(gzip.compress(b"".join(PAGES)))
    assert (urls, faults) == (list("01234"), [])
    many = [page(number, "".join(random.Random(number).choices("abcdef ", k=5000))) for number in range(30)]
    urls, (fault,) = read(gzip.compress(b"".join(many))[:-5000])
    assert 10 < len(urls) < 30
    assert fault.reason == "cut off"
    assert fault.place.inner == sum(map(len, many[: len(urls)]))


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 100, b"no crawl" * 100, gzip.compress(b"no crawl"), b"\x1f\x8b", b"\x28\xb5\x2f\xfd"],
    ids=["empty", "zeros", "text", "gzip", "begin-of-gzip", "begin-of-zstd"],
)
def test_what_is_no_warc_has_no_records(data: bytes) -> None:
    urls, faults = read(data)
    assert not urls
    assert len(faults) == bool(data)


def test_a_member_that_explodes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smolfast.crawl.reading.records.MOST_UNPACKED", 4 << 20)
    bomb = gzip.compress(b"\r\n" * (8 << 20))
    urls, (fault,) = read(pack(PAGES[:2]) + bomb + pack(PAGES[2:]))
    assert urls == list("01234")
    assert fault == Fault(Place(len(pack(PAGES[:2]))), "member of more than 1 GiB")


@pytest.mark.parametrize("how", HOWS)
def test_a_record_that_is_too_long_is_passed_over(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smolfast.crawl.reading.records.MOST_RECORD", 100_000)
    urls, (fault,) = read(pack([*PAGES[:2], record(bytes(300_000), "http://example.org/b"), *PAGES[2:]], how))
    assert urls == list("01234")
    assert fault.reason == "record of more than 64 MiB"


@pytest.mark.parametrize("how", HOWS)
def test_a_long_member_is_read_in_several_stretches(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smolfast.crawl.reading.records.MOST_UNPACKED_CHUNK", 1000)
    data = pack([b"".join(PAGES)], how)
    members = Members(pa.BufferReader(data))
    place, urls = Place(0), 0
    for _ in range(10):
        *items, last = read_records(members, place, END)
        assert isinstance(last, Reached)
        urls, place = urls + len(items), last.place
        if place.member + place.inner >= len(data) and place.inner in (0, len(data)):
            break
    assert urls == 5


@pytest.mark.parametrize("how", HOWS)
def test_mutated_files_lose_what_is_mutated_alone(how: str) -> None:
    """Whatever bytes change, reading ends, and records that no change touched come out as they were."""
    members = [pack([one], how) for one in PAGES]
    generator = random.Random(how)
    for _ in range(300):
        chosen = generator.randrange(5)
        data = bytearray(members[chosen])
        for _ in range(generator.randint(1, 4)):
            at = generator.randrange(len(data))
            match generator.randrange(3):
                case 0:
                    data[at] = generator.randrange(256)
                case 1:
                    del data[at : at + generator.randint(1, 9)]
                case _:
                    data[at:at] = generator.randbytes(generator.randint(1, 9))
            if not data:
                break
        items = list(
            read_records(
                Members(pa.BufferReader(b"".join([*members[:chosen], bytes(data), *members[chosen + 1 :]]))),
                Place(0),
                END,
            )
        )
        whole = {item.data + b"\r\n\r\n" for item in items if isinstance(item, Raw)}
        missing = [number for number, one in enumerate(PAGES) if one not in whole and number != chosen]
        # A damaged head of the first member hides what kind of file this is; a plain record may take its neighbour in.
        assert missing in ([], [chosen + 1]) or chosen == 0, (chosen, missing)


def test_records_are_those_of_fastwarc() -> None:
    from fastwarc.warc import ArchiveIterator

    records = [
        *PAGES,
        record(b"a: b\r\n", kind="warcinfo"),
        record(http(b"x", "304 Not Modified"), "http://example.org/9"),
    ]
    for how in HOWS:
        theirs = [
            (one.stream_pos, one.record_id, one.reader.read())
            for one in ArchiveIterator(io.BytesIO(pack(records, how)), parse_http=False)
        ]
        ours = [
            (item.place.member + item.place.inner, item.data)
            for item in read_records(Members(pa.BufferReader(pack(records, how))), Place(0), END)
            if isinstance(item, Raw)
        ]
        assert [(at, content) for at, _, content in theirs] == [
            (at, data.split(b"\r\n\r\n", 1)[1]) for at, data in ours
        ]

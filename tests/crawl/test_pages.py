"""From records to pages: what is one, its charset, its text and what it says of itself."""

from __future__ import annotations

import gzip
import zlib

import pytest

from warcs import http, page, record

pytest.importorskip("fastwarc")

from smolfast.crawl.extraction.metadata import metadata_of
from smolfast.crawl.extraction.nesting import is_nested_too_deep
from smolfast.crawl.reading.charset import decode
from smolfast.crawl.reading.faults import Place
from smolfast.crawl.reading.pages import BadPage, NoPage, Page, page_of
from smolfast.crawl.reading.records import Raw


def of(data: bytes) -> Page | NoPage | BadPage:
    return page_of(Raw(Place(0), data.removesuffix(b"\r\n\r\n")))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (record(b"a: b", kind="warcinfo"), "warcinfo"),
        (record(b"GET / HTTP/1.1\r\n\r\n", kind="request"), "request"),
        (record(b"", kind="revisit"), "revisit"),
        (record(b"{}", kind="metadata"), "metadata"),
        (record(b"x", kind="own"), "unknown type"),
        (page(1, status="304 Not Modified"), "HTTP status 3xx"),
        (page(1, status="301 Moved", headers="Location: /\r\n"), "HTTP status 3xx"),
        (page(1, status="404 Not Found"), "HTTP status 4xx"),
        (page(1, status="500 Error"), "HTTP status 5xx"),
        (page(1, content_type="image/png"), "not HTML"),
        (page(1, content_type="application/json"), "not HTML"),
    ],
)
def test_what_is_no_page_is_counted(data: bytes, expected: str) -> None:
    assert of(data) == NoPage(expected)


def test_a_page_has_what_its_record_says() -> None:
    found = of(page(7, "<p>Grüße</p>"))
    assert isinstance(found, Page)
    assert (found.url, found.date, found.text) == ("http://example.org/7", "2024-01-02T03:04:05Z", "<p>Grüße</p>")
    assert (found.id, found.is_html, found.charset, found.charset_from) == (
        "<urn:uuid:http://example.org/7>",
        True,
        "utf-8",
        "bytes",
    )


def test_the_identified_type_counts_more_than_the_header() -> None:
    block = http(b"<p>x</p>", content_type="image/png")
    assert isinstance(of(record(block, headers="WARC-Identified-Payload-Type: text/html\r\n")), Page)
    assert of(record(http(b"<p>x</p>"), headers="WARC-Identified-Payload-Type: image/png\r\n")) == NoPage("not HTML")


def test_without_a_type_the_first_bytes_tell() -> None:
    block = b"HTTP/1.1 200 OK\r\n\r\n<!DOCTYPE html><html><body><p>x</p></body></html>"
    assert isinstance(of(record(block)), Page)
    assert of(record(b"HTTP/1.1 200 OK\r\n\r\n\x89PNG\r\n\x1a\n\0\0")) == NoPage("not HTML")


def test_text_of_wet_is_taken_as_it_is() -> None:
    found = of(record("Früh am Tag.".encode(), "http://example.org/1", "conversion"))
    assert isinstance(found, Page)
    assert (found.text, found.is_html) == ("Früh am Tag.", False)


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)


BODY = b"<p>hello</p>" * 50


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (gzip.compress(BODY), "Content-Encoding: gzip\r\n"),
        (zlib.compress(BODY), "Content-Encoding: deflate\r\n"),
        (chunked(BODY), "Transfer-Encoding: chunked\r\n"),
        (chunked(gzip.compress(BODY)), "Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n"),
        (BODY, "Content-Encoding: gzip\r\n"),
        (BODY, "Content-Encoding: br\r\n"),
        (BODY, "Content-Encoding: own\r\n"),
        (BODY, "Transfer-Encoding: chunked\r\n"),
        (BODY, "Content-Length: 7\r\n"),
    ],
    ids=[
        "gzip",
        "deflate",
        "chunked",
        "gzip-chunked",
        "named-gzip",
        "named-br",
        "named-own",
        "named-chunked",
        "wrong-length",
    ],  # gzip writes the time, and names of tests may not change
)
def test_encodings_are_taken_off_whether_they_are_there_or_only_named(body: bytes, headers: str) -> None:
    found = of(page(1, body, headers=headers))
    assert isinstance(found, Page)
    assert found.text == BODY.decode()


def test_a_body_that_explodes_is_not_unpacked_whole() -> None:
    bomb = gzip.compress(bytes(200 << 20), 9)
    found = of(page(1, bomb, headers="Content-Encoding: gzip\r\n"))
    assert isinstance(found, BadPage)
    assert found.reason == "page of more than 8 MiB"


def test_a_damaged_encoding_is_named() -> None:
    found = of(page(1, b"\x1f\x8b" + bytes(range(256)), headers="Content-Encoding: gzip\r\n"))
    assert isinstance(found, BadPage)
    assert found.reason == "broken content encoding"


@pytest.mark.parametrize("data", [record(b"no response", "http://example.org/1"), page(1, b" \r\n ")])
def test_a_page_without_content_is_named(data: bytes) -> None:
    assert isinstance(of(data), BadPage)


TEXT = (
    "<p>Žluťoučký kůň příšerně úpěl ďábelské ódy. Byl jednou jeden král a ten měl tři dcery, které byly krásné jako "
    "růže v zahradě, a když přišlo léto, chodily k řece prát prádlo.</p>"
)


@pytest.mark.parametrize(
    ("body", "header", "charset", "found_by"),
    [
        (TEXT.encode(), None, "utf-8", "bytes"),
        (TEXT.encode(), "iso-8859-1", "utf-8", "bytes"),  # a charset that lies
        (TEXT.encode("cp1250"), "windows-1250", "cp1250", "header"),
        (TEXT.encode("cp1250"), "utf-8", "cp1250", "detection"),
        (b'<meta charset="windows-1250">' + TEXT.encode("cp1250"), None, "cp1250", "page"),
        (b'<meta charset="windows-1250">' + TEXT.encode("cp1250"), "utf-8", "cp1250", "page"),
        (b'<?xml version="1.0" encoding="windows-1250"?>' + TEXT.encode("cp1250"), None, "cp1250", "page"),
        (
            b'<meta http-equiv="Content-Type" content="text/html; charset=windows-1250">' + TEXT.encode("cp1250"),
            "own-1",
            "cp1250",
            "page",
        ),
        (b'<meta charset="utf-16">' + TEXT.encode(), None, "utf-8", "bytes"),
        (b"\xef\xbb\xbf" + TEXT.encode(), "iso-8859-1", "utf-8", "bom"),
        (b"\xff\xfe" + TEXT.encode("utf-16-le"), "utf-8", "utf-16", "bom"),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), None, "utf-16", "bom"),
        ("日本語のページです。".encode("shift_jis"), "shift_jis", "shift_jis", "header"),
        ("日本語のページです。".encode("iso2022_jp"), "iso-2022-jp", "iso2022_jp", "header"),
    ],
)
def test_the_charset_is_found(body: bytes, header: str | None, charset: str, found_by: str) -> None:
    found = decode(body, header)
    assert (found.charset, found.found_by) == (charset, found_by)
    assert "Žluťoučký kůň příšerně" in found.text or "日本語のページです。" in found.text


def test_a_character_that_is_cut_off_is_left_out() -> None:
    assert decode(TEXT.encode()[: len("<p>Žluť".encode()) - 1], None).text == "<p>Žlu"


@pytest.mark.parametrize(
    "header", [None, "utf-8", "utf-16", "no such", "base64", "unicode_escape", "\0", "a" * 5000, "idna", "punycode"]
)
@pytest.mark.parametrize(
    "body", [bytes(range(256)), b"\x81\x8d\x8f\x90\x9d", b"\xff", b"\xff\xfe\x00", b"", b"\xed\xa0\x80", b"a\xf0\x9f"]
)
def test_any_bytes_become_text(body: bytes, header: str | None) -> None:
    decode(body, header).text.encode()


def test_what_a_page_says_of_itself() -> None:
    from resiliparse.parse.html import HTMLTree

    def about(head: str) -> tuple[str | None, ...]:
        html = f"<html><head>{head}</head><body><p>x</p></body></html>"
        return tuple(metadata_of(HTMLTree.parse(html), html, "http://example.org/a/b"))

    assert about("") == (None, None, None)
    assert about("<title> A  title\n of it </title>")[0] == "A title of it"
    assert (
        about('<meta property="article:published_time" content="2023-04-05T06:07:08+02:00">')[1]
        == "2023-04-05T06:07:08+02:00"
    )
    assert about('<meta name="Date" content="2023/4/5">')[1] == "2023-04-05"
    assert about('<script type="application/ld+json">{"datePublished": "2021-02-03"}</script>')[1] == "2021-02-03"
    assert about('<meta name="date" content="yesterday">')[1] is None
    assert about('<link rel="canonical" href="/c">')[2] == "http://example.org/c"
    assert about('<link rel="Canonical" href="https://other.org/">')[2] == "https://other.org/"
    assert about('<link rel="canonical" href="javascript:alert(1)">')[2] is None
    assert about('<link rel="canonical" href="http://[">')[2] is None


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<div>" * 100_000, True),
        ("<div>" * 100_000 + "</div>" * 100_000, True),
        ("</b>" * 200_000 + "<div>" * 2_000, True),
        ("<div></div>" * 100_000, False),
        ("<p>x" * 100_000, False),
        ("<br>" * 100_000, False),
        ("<ul>" + "<li>x" * 100_000, False),
        ("a < b " * 100_000, False),
        ("<svg><g>" + '<path d="M 0 0"/><circle r="1" />' * 2_000, False),
        ("<div/>" * 2_000, True),
        ('<path title="a>b/">' * 2_000, True),
        ("<div>" * 999, False),
        ("", False),
    ],
)
def test_deep_nesting_is_seen_without_a_tree(html: str, expected: bool) -> None:
    assert is_nested_too_deep(html) is expected

"""Fetching from hosts that stall, cut, lie, send in circles, or lead into the fetcher's own network."""

from __future__ import annotations

import dataclasses
import email.utils
import json
import socket
import ssl
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from made_pdfs import essay, make_pdf, sentence
from odd_hosts import Asked, Host, serving
from smolfast import SmolfastError
from smolfast.commands.main import main
from smolfast.pdf import Limits, extract_pdfs
from smolfast.pdf.cut import is_cut
from smolfast.pdf.fetch import addresses, request
from smolfast.pdf.fetch.addresses import is_public
from smolfast.pdf.fetch.fetcher import Fetcher
from smolfast.pdf.fetch.outcome import FETCHED, Outcome
from smolfast.pdf.fetch.robots import Robots
from smolfast.pdf.fetch.store import Store

QUICK = Limits(
    tries=2,
    connect_seconds=0.4,
    total_seconds=0.9,
    most_bytes=100_000,
    host_seconds=0,
    back_off=0.02,
    longest_wait=5,
    allow_private=True,
)


@pytest.fixture
def host() -> Iterator[Host]:
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_pdf(tmp_path_factory.mktemp("good") / "a.pdf", essay(0, 40)).read_bytes()


def fetch(folder: Path, urls: list[str], limits: Limits = QUICK) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}
    Fetcher(Store(folder), limits, seed=1).fetch(urls, lambda url, outcome: found.__setitem__(url, outcome))
    assert list(folder.glob(".*")) == [], "nothing unfinished is left"
    return found


def reasons(folder: Path, host: Host, *paths: str, limits: Limits = QUICK) -> list[str]:
    found = fetch(folder, [host.url(path) for path in paths], limits)
    return [found[host.url(path)].reason for path in paths]


def test_hosts_that_answer_badly(host: Host, good: bytes, tmp_path: Path) -> None:
    def stalls(asked: Asked) -> None:
        asked.give(200, good[:500], length=len(good))
        asked.host.ended.wait(5)

    def drips(asked: Asked) -> None:
        asked.give(200, good[:500], length=len(good))
        while not asked.host.ended.wait(0.05):
            asked.wfile.write(b"x")

    def drips_headers(asked: Asked) -> None:
        asked.wfile.write(b"HTTP/1.1 200 OK\r\nX-A: ")
        while not asked.host.ended.wait(0.05):
            asked.wfile.write(b"x")

    def goes_on(asked: Asked) -> None:
        asked.give(200, good, length=-1)
        for _ in range(400):
            asked.wfile.write(bytes(1000))

    host.answers = {
        "/good": lambda asked: asked.give(200, good, Content_Type="text/html"),
        "/stall": stalls,
        "/drip": drips,
        "/drip-headers": drips_headers,
        "/cut": lambda asked: asked.give(200, good[:500], length=len(good)),
        "/lie": lambda asked: asked.give(200, b"<html>" * 400, Content_Type="application/pdf"),
        "/short-lie": lambda asked: asked.give(200, b"<html>", Content_Type="application/pdf"),
        "/empty": lambda asked: asked.give(200),
        "/says-large": lambda asked: asked.give(200, good, length=10**12),
        "/large": goes_on,
        "/packed": lambda asked: asked.give(200, good, Content_Encoding="gzip"),
        "/circle": lambda asked: asked.give(302, Location="/elcric"),
        "/elcric": lambda asked: asked.give(302, Location="/circle"),
        "/nowhere": lambda asked: asked.give(302),
        "/file": lambda asked: asked.give(302, Location="file:///etc/passwd"),
        "/broken": lambda asked: asked.wfile.write(b"what?\r\n\r\n"),  # type: ignore[dict-item]
        "/hangs-up": lambda asked: None,
        "/moved": lambda asked: asked.give(301, Location=asked.host.url("/good#page=2")),
        "/unknown-length": lambda asked: asked.give(200, good, length=-1),
    }
    host.answers |= {
        f"/far{n}": (lambda asked, n=n: asked.give(307, Location=f"/far{n + 1}"))
        for n in range(9)  # type: ignore[misc]
    }
    expected = {
        "/good": FETCHED,
        "/stall": "timed out",
        "/drip": "timed out",
        "/drip-headers": "timed out",
        "/cut": "cut off",
        "/lie": "not a PDF",
        "/short-lie": "not a PDF",
        "/empty": "not a PDF",
        "/says-large": "too large",
        "/large": "too large",
        "/packed": "broken answer",
        "/circle": "redirects in a circle",
        "/far0": "too many redirects",
        "/nowhere": "broken answer",
        "/file": "no http address",
        "/missing": "HTTP 404",
        "/broken": "broken answer",
        "/hangs-up": "cut off",
        "/moved": FETCHED,
        "/unknown-length": FETCHED,
    }
    # Two at once, so that no host is given up for the others' sake.
    found: list[str] = []
    began = time.monotonic()
    paths = list(expected)
    for at in range(0, len(paths), 2):
        found += reasons(tmp_path / "store", host, *paths[at : at + 2])
    assert dict(zip(paths, found, strict=True)) == expected
    assert time.monotonic() - began < 20
    assert host.count["/cut"] == 2 and host.count["/lie"] == 1, "again only where that may help"
    store = Store(tmp_path / "store")
    known = fetch(tmp_path / "store", [host.url("/good")])[host.url("/good")]
    assert store.path(known).read_bytes() == good


def test_a_host_says_when(host: Host, good: bytes, tmp_path: Path) -> None:
    def busy(asked: Asked) -> None:
        if asked.times == 1:
            asked.give(429, Retry_After="1")
        else:
            asked.give(200, good)

    def by_date(asked: Asked) -> None:
        if asked.times == 1:
            asked.give(503, Retry_After=email.utils.formatdate(time.time() + 2, usegmt=True))
        else:
            asked.give(200, good)

    host.answers = {
        "/busy": busy,
        "/date": by_date,
        "/long": lambda asked: asked.give(429, Retry_After="86400"),
        "/always": lambda asked: asked.give(503),
    }
    for path, least in (("/busy", 1.0), ("/date", 0.9)):
        assert reasons(tmp_path, host, path) == [FETCHED]
        first, second = (when for when, asked, _ in host.asked if asked == path)
        assert second - first >= least
    assert reasons(tmp_path, host, "/long", "/always") == ["asked to wait too long", "HTTP 503"]
    assert host.count["/long"] == 1 and host.count["/always"] == 2


def test_a_host_is_asked_one_thing_at_a_time_with_pauses(host: Host, good: bytes, tmp_path: Path) -> None:
    host.answers = {f"/{n}": lambda asked: asked.give(200, good) for n in range(4)}
    limits = dataclasses.replace(QUICK, host_seconds=0.2)
    assert reasons(tmp_path, host, "/0", "/1", "/2", "/3", limits=limits) == [FETCHED] * 4
    times = [when for when, path, _ in host.asked if path != "/robots.txt"]
    assert min(b - a for a, b in pairwise(times)) >= 0.19
    assert host.count["/robots.txt"] == 1


def test_a_dead_host_is_given_up_and_costs_no_other(host: Host, good: bytes, tmp_path: Path) -> None:
    host.answers = {"/good": lambda asked: asked.give(200, good)}
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = [f"http://127.0.0.1:{unused.getsockname()[1]}/{n}" for n in range(8)]
        found = fetch(tmp_path, [*dead, host.url("/good")])
    assert [found[url].reason for url in dead] == ["can't connect"] * 5 + ["host given up"] * 3
    assert found[host.url("/good")].reason == FETCHED


def test_robots_txt_is_asked_and_obeyed(host: Host, good: bytes, tmp_path: Path) -> None:
    rules = (
        "User-agent: *\nDisallow: /\n\nUser-agent: Smolfast\nDisallow: /no*.pdf$\nAllow: /nobody.pdf\nCrawl-delay: 0.3"
    )
    host.answers = {
        "/robots.txt": lambda asked: asked.give(200, rules.encode()),
        "/a.pdf": lambda asked: asked.give(200, good),
        "/b.pdf": lambda asked: asked.give(200, good),
        "/nobody.pdf": lambda asked: asked.give(200, good),
        "/to": lambda asked: asked.give(302, Location="/not.pdf"),
        "/not.pdf": lambda asked: asked.give(200, good),
    }
    expected = [FETCHED, FETCHED, FETCHED, "robots.txt forbids it", "robots.txt forbids it"]
    assert reasons(tmp_path, host, "/a.pdf", "/b.pdf", "/nobody.pdf", "/not.pdf", "/to") == expected
    assert host.count["/not.pdf"] == 0
    times = [when for when, path, _ in host.asked if path in ("/a.pdf", "/b.pdf")]
    assert times[1] - times[0] >= 0.29
    assert host.asked[0][2]["user-agent"].startswith("smolfast/")
    host.answers["/robots.txt"] = lambda asked: asked.give(500)
    assert reasons(tmp_path, host, "/b.pdf") == ["robots.txt: HTTP 500"]


@pytest.mark.parametrize(
    ("rules", "allowed", "forbidden"),
    [
        ("", ["/"], []),
        ("User-agent: *\nDisallow:", ["/a"], []),
        ("User-agent: *\nDisallow: /", ["/robots.txt"], ["/", "/a?b"]),
        ("User-agent: x\nDisallow: /\nUser-agent: *\nDisallow: /b", ["/a"], ["/b", "/bc"]),
        ("User-agent: x\nUser-agent: robot\nDisallow: /a # a remark\n", ["/b"], ["/a"]),
        ("User-agent: robot\nDisallow: /a\nUser-agent: robot\nDisallow: /b", ["/c"], ["/a", "/b"]),
        ("User-agent: *\nDisallow: /a\nAllow: /a/b\nDisallow: /a/b/c", ["/a/b"], ["/a", "/a/b/c"]),
        ("User-agent: *\nAllow: /a\nDisallow: /a", ["/a"], []),
        ("User-agent: *\nDisallow: /*.pdf$", ["/a.pdfx", "/a.pdf?b"], ["/a.pdf", "/.pdf"]),
        ("User-agent: *\nDisallow: /a*b*c", ["/abd", "/acb"], ["/abc", "/axbxcx"]),
        ("User-agent: *\nDisallow: /%61%20b", ["/ab"], ["/a%20b"]),
        ("\ufeffUSER-AGENT : *\r\ndisallow:/a\r\nSitemap: x\r\n", ["/b"], ["/a"]),
        ("Disallow: /a", ["/a"], []),
    ],
)
def test_rules_of_robots_txt(rules: str, allowed: list[str], forbidden: list[str]) -> None:
    robots = Robots(rules, "robot")
    assert [path for path in (*allowed, *forbidden) if robots.allows(f"http://a.example{path}")] == allowed


def test_rules_that_are_meant_to_cost_time() -> None:
    robots = Robots("User-agent: *\nDisallow: /" + "*a" * 5000 + "b$", "robot")
    began = time.monotonic()
    assert robots.allows("http://a.example/" + "a" * 100_000)
    assert time.monotonic() - began < 2


def test_what_is_still_the_same_is_not_sent_again(host: Host, good: bytes, tmp_path: Path) -> None:
    def tagged(asked: Asked) -> None:
        same = asked.headers.get("If-None-Match") == '"1"'
        asked.give(304 if same else 200, b"" if same else good, ETag='"1"')

    def dated(asked: Asked) -> None:
        date = "Mon, 01 Jan 2024 00:00:00 GMT"
        same = asked.headers.get("If-Modified-Since") == date
        asked.give(304 if same else 200, b"" if same else good, Last_Modified=date)

    host.answers = {"/tag": tagged, "/date": dated}
    first = fetch(tmp_path, [host.url("/tag"), host.url("/date")])
    assert fetch(tmp_path, [host.url("/tag"), host.url("/date")]) == first
    # A file that was altered is no answer.
    store = Store(tmp_path)
    store.path(first[host.url("/tag")]).write_bytes(good[:-1])
    assert fetch(tmp_path, [host.url("/tag")])[host.url("/tag")] == first[host.url("/tag")]
    assert store.path(first[host.url("/tag")]).read_bytes() == good


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("240.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("2001:0:4136:e378:8000:63bf:80ff:fffe", False),
        ("what", False),
    ],
)
def test_addresses_of_the_public_network(address: str, public: bool) -> None:
    assert is_public(address) == public


def test_private_addresses_are_refused_where_they_are_connected_to(
    host: Host, good: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """127.0.0.1 is taken for public here, and 127.0.0.2 for what it is."""
    host.answers = {
        "/good": lambda asked: asked.give(200, good),
        "/in": lambda asked: asked.give(302, Location=asked.host.url("/secret", "127.0.0.2")),
        "/mapped": lambda asked: asked.give(302, Location=asked.host.url("/secret", "[::ffff:127.0.0.2]")),
        "/number": lambda asked: asked.give(302, Location=asked.host.url("/secret", "2130706434")),
        "/secret": lambda asked: asked.give(200, good),
    }
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.1" or is_public(address))
    limits = dataclasses.replace(QUICK, allow_private=False)
    assert reasons(tmp_path, host, "/good", "/in", "/mapped", "/number", limits=limits) == [
        FETCHED,
        *["private address"] * 3,
    ]
    # A name that is public when it is asked for the first time, and private from then on.
    looked_up = []

    def rebound(name: str, port: int, **options: Any) -> Any:
        looked_up.append(name)
        address = "127.0.0.1" if len(looked_up) == 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    url = host.url("/secret", "rebinds.example")
    assert fetch(tmp_path, [url], limits)[url].reason == "private address"
    assert looked_up == ["rebinds.example"] * 2, "robots.txt, then the file"
    assert host.count["/secret"] == 0
    assert not Limits().allow_private


# Of localhost alone, for a hundred years; made for this test, and good for nothing else.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBlTCCATugAwIBAgIUP3LQG5i+BRBl88Akr2rh4jd96SIwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEzMDEwMzgyNFoYDzIxMjYxMTA2
MTAzODI0WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASRFULa8LMwF00LoG2wCijWOVJCpzVMFitSIlGBzHAbPFf+on79o3Bj
PYaPHu76wv5cvySLHbn74JNVitWHdRAHo2kwZzAdBgNVHQ4EFgQUNud+hlCyjXWV
PX3uJlAQjzOoqUIwHwYDVR0jBBgwFoAUNud+hlCyjXWVPX3uJlAQjzOoqUIwDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
SAAwRQIhAJpscWF4MoEoSlJM4juhd15NDAevTCnqlQoYYbfrqoENAiBZzF6/vnAO
XQzIhvQepLsC9eUh7OoGdtv1zf9F0gqEmA==
-----END CERTIFICATE-----
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgv/sNqiRp9YHkfZEM
2bfhDDVTbBGHnazlWYpS4/tpk3uhRANCAASRFULa8LMwF00LoG2wCijWOVJCpzVM
FitSIlGBzHAbPFf+on79o3BjPYaPHu76wv5cvySLHbn74JNVitWHdRAH
-----END PRIVATE KEY-----
"""


def test_certificates_are_checked(good: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = tmp_path / "certificate.pem"
    certificate.write_text(CERTIFICATE)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with serving(tls) as host:
        host.answers = {"/a": lambda asked: asked.give(200, good)}
        url, other = (f"https://{name}:{host.port}/a" for name in ("localhost", "127.0.0.1"))
        assert fetch(tmp_path / "store", [url])[url].reason == "bad certificate"
        trusting = ssl.create_default_context(cafile=str(certificate))
        monkeypatch.setattr(request, "_trusted", lambda: trusting)
        assert fetch(tmp_path / "store", [url])[url].reason == FETCHED
        assert fetch(tmp_path / "store", [other])[other].reason == "bad certificate", "it is for another name"


def test_addresses_that_are_none(tmp_path: Path) -> None:
    urls = ["ftp://a.example/a", "http://", "https://user:word@a.example/", "http://a.example:99999/", "http://[::1/"]
    assert {one.reason for one in fetch(tmp_path, urls).values()} == {"no http address"}


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_a_list_of_addresses(host: Host, good: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host.answers = {"/a.pdf": lambda asked: asked.give(200, good, ETag="x")}
    (tmp_path / "list.txt").write_text(f"# manuals\n{host.url('/a.pdf')}\n\n{host.url('/missing.pdf')}\n")
    command = ["pdf", "--urls", str(tmp_path / "list.txt"), "-o", str(tmp_path / "out"), "--host-seconds", "0"]
    assert main([*command, "--threads", "1"]) == 0
    assert {row["reason"] for row in rows(tmp_path / "out" / "removed")} == {"not fetched: private address"}
    capsys.readouterr()
    assert main([*command, "--allow-private-addresses", "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fetched"] == 1
    (row,) = rows(tmp_path / "out" / "kept")
    assert row["id"] == row["url"] == row["path"] == host.url("/a.pdf")
    assert row["fetch"] == FETCHED and sentence(3)[:20] in row["text"] and row["pdf_bytes"] == len(good)
    (gone,) = rows(tmp_path / "out" / "removed")
    assert (gone["id"], gone["reason"]) == (host.url("/missing.pdf"), "not fetched: HTTP 404")
    # As an argument of its own, beside a file.
    make_pdf(tmp_path / "b.pdf", essay(50, 53))
    extract_pdfs([tmp_path / "b.pdf", host.url("/a.pdf")], tmp_path / "two", fetching=QUICK, threads=1)
    assert [row["id"] for row in rows(tmp_path / "two" / "kept")] == [str(tmp_path / "b.pdf"), host.url("/a.pdf")]


def test_what_is_cut_is_fetched_again(host: Host, good: bytes, tmp_path: Path) -> None:
    whole = make_pdf(tmp_path / "w.pdf", essay(50, 70)).read_bytes()
    host.answers = {
        "/cut": lambda asked: asked.give(200, good),
        "/marked": lambda asked: asked.give(200, whole),
        "/as-cut": lambda asked: asked.give(200, good[:700]),
        "/fine": lambda asked: asked.give(500),
    }
    contents = {"/cut": good[:900], "/marked": whole[:-1], "/as-cut": good[:800], "/gone": good[:850], "/fine": whole}
    table = {
        "url": [*map(host.url, contents), None],
        "content": [*contents.values(), good[:777]],
        "content_truncated": [None, "length", None, None, None, None],
    }
    pq.write_table(pa.table(table), tmp_path / "in.parquet")
    extract_pdfs([tmp_path / "in.parquet"], tmp_path / "out", refetch=True, fetching=QUICK, threads=1)
    kept = {row["url"]: row for row in rows(tmp_path / "out" / "kept")}
    gone = {row["url"]: row for row in rows(tmp_path / "out" / "removed")}
    assert {url: (row["fetch"], row["truncated"], row["pdf_bytes"]) for url, row in kept.items()} == {
        host.url("/cut"): (FETCHED, False, len(good)),
        host.url("/marked"): (FETCHED, False, len(whole)),
    }
    assert {url: (row["fetch"], row["reason"]) for url, row in gone.items()} == {
        host.url("/as-cut"): ("fetched, and no longer", "truncated"),
        host.url("/gone"): ("HTTP 404", "truncated"),
        host.url("/fine"): (None, "duplicate_file"),
        None: (None, "truncated"),
    }
    assert host.count["/fine"] == 0
    # Without being asked to, nothing is fetched.
    before = len(host.asked)
    extract_pdfs([tmp_path / "in.parquet"], tmp_path / "without", threads=1)
    assert len(host.asked) == before and not (tmp_path / "without" / ".fetched").exists()


def test_a_killed_run_asks_for_nothing_twice(
    host: Host, good: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.answers = {
        "/a": lambda asked: asked.give(200, good if asked.times == 1 else good + b"\n%other"),
        "/b": lambda asked: asked.give(404),
    }
    urls = [host.url("/a"), host.url("/b")]

    def stop(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("smolfast.cluster.engine.Pool", stop)
        with pytest.raises(KeyboardInterrupt):
            extract_pdfs([], tmp_path / "out", urls=urls, fetching=QUICK, threads=1)
    extract_pdfs([], tmp_path / "out", urls=urls, fetching=QUICK, threads=1)
    assert host.count["/a"] == 1 and host.count["/b"] == 1
    assert rows(tmp_path / "out" / "kept")[0]["pdf_bytes"] == len(good)


def test_a_full_disk_is_one_line(host: Host, good: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host.answers = {"/a": lambda asked: asked.give(200, good)}
    monkeypatch.setattr("smolfast.pdf.fetch.store.write_json", _full)
    with pytest.raises(SmolfastError, match="No space left"):
        fetch(tmp_path, [host.url("/a")])


def _full(*_: Any) -> None:
    raise SmolfastError("can't write x: No space left on device; free some")


def test_ends_that_are_missing(good: bytes) -> None:
    assert not is_cut(good)
    assert is_cut(good[:-10]) and is_cut(b"")
    assert is_cut(b"%PDF-1.4 startxref\n9999\n%%EOF")
    assert not is_cut(b"%PDF-1.4 startxref\n5\n%%EOF")
    assert is_cut(b"%PDF-1.4 <</Linearized 1 /L 5000>> startxref\n0\n%%EOF")

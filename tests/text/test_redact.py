"""`redact`: examples, and datatrove's formatter where it's installed."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolfast import SmolfastError, text

EMAIL, OTHER_EMAIL = text.EMAIL_REPLACEMENTS
IP, OTHER_IP = text.IP_REPLACEMENTS[:2]


@pytest.mark.parametrize(
    ("string", "expected"),
    [
        ("write to a.b+c@mail.example.co.uk.", f"write to {EMAIL}."),
        ("x@y.zz, x@y.zz; x@y.zz", f"{EMAIL}, {OTHER_EMAIL}; {EMAIL}"),
        ("not one: a@b, @c.de, a@-b.c, a..@b.c.", "not one: a@b, @c.de, a@-b.c, a..@b.c."),
        ("a..b@c.de", f"a..{EMAIL}"),
        ("éa@b.cd", "éa@b.cd"),
        ("é a@b.cd", f"é {EMAIL}"),
        ("a@[8.8.8.8] a@[1.2.3.x-y:]", f"{EMAIL} {OTHER_EMAIL}"),
        ("a@b-.cd a@b.c-", f"a@b-.cd {EMAIL}-"),
        ("8.8.8.8 and 1.1.1.1", f"{IP} and {OTHER_IP}"),
        ("v1.2.3 10.0.0.1 192.168.1.1 127.0.0.1", "v1.2.3 10.0.0.1 192.168.1.1 127.0.0.1"),
        ("08.8.8.8", "08.8.8.8"),
        ("1238.8.8.8.8 8.8.8.300", f"1{IP}.8 {OTHER_IP}0"),
        ("999.8.8.8", f"9{IP}"),
        ("224.0.0.1 100.64.0.1 192.0.0.9", f"{IP} 100.64.0.1 {OTHER_IP}"),
        ("", ""),
        ("@ . 1. .1 1.2.3.", "@ . 1. .1 1.2.3."),
    ],
)
def test_examples(string: str, expected: str) -> None:
    assert text.redact([string])[0].as_py() == expected


BYTES = [
    ".",
    ".",
    "..",
    "@",
    "@",
    "[",
    "]",
    ":",
    "-",
    "a",
    "Bc",
    "é",
    "0",
    "1",
    "8",
    "25",
    "255",
    "256",
    "300",
    " ",
    "_",
]
WHOLE = ["a@b.cd", "8.8.8.8", "10.1.2.3", "1.2.3.4.5", "x.y", "字", "01"]
PIECES = st.lists(st.sampled_from(BYTES + WHOLE), max_size=25).map("".join)


@settings(max_examples=1500, deadline=None)
@given(PIECES)
def test_datatrove_finds_the_same(string: str) -> None:
    pii = pytest.importorskip("datatrove.pipeline.formatters.pii", reason="datatrove isn't installed")
    for public_only in (True, False):
        formatter = pii.PIIFormatter(only_remove_public_ips=public_only)
        # Python 3.12 and older take 192.0.0.8 to 192.0.0.255 for public; the pieces hold none.
        assert text.redact([string], public_only=public_only)[0].as_py() == formatter.format(string)


def test_options() -> None:
    string = "a@b.cd 8.8.8.8 10.0.0.1"
    assert text.redact([string], emails=False)[0].as_py() == f"a@b.cd {IP} 10.0.0.1"
    assert text.redact([string], ips=False)[0].as_py() == f"{EMAIL} 8.8.8.8 10.0.0.1"
    own = text.redact([string], public_only=False, email_replacements=["<e>"], ip_replacements=["<1>", "<2>"])
    assert own[0].as_py() == "<e> <1> <2>"
    same = pa.array(["nothing here", None])
    assert text.redact(same) is same
    with pytest.raises(SmolfastError, match=re.escape("ip_replacements must be a list of one string or more")):
        text.redact([string], ip_replacements=[])

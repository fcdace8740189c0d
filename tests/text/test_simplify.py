"""`simplify` against a plain statement of datatrove's recipe, and against datatrove itself where it's installed."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import pyarrow as pa
import pytest
import unicodedata2
from hypothesis import given, settings
from hypothesis import strategies as st

from smolfast import text

KNOWN = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
PUNCTUATION = set("!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»") | {
    chr(c) for c in (*range(9), 9, 11, 12, *range(13, 32), *range(127, 160)) if c != 10
}
DIGIT = "[" + "".join(c for c in KNOWN if unicodedata2.category(c) == "Nd") + "]"
NUMBER = re.compile(f"{DIGIT}+(?:[.,،٫⎖⎗⎘]{DIGIT}+)?")
WEEKDAYS = re.compile("monday|tuesday|wednesday|thursday|friday|saturday|sunday")
MONTHS = re.compile("january|february|march|april|may|june|july|august|september|october|november|december")
OPTIONS = [
    "lowercase", "norm_numbers", "norm_weekdays", "norm_monthnames", "remove_punctuation", "norm_whitespace",
    "norm_unicode_diacritics",
]  # fmt: skip
DEFAULTS = {name: name not in ("norm_weekdays", "norm_monthnames") for name in OPTIONS}


pytestmark = pytest.mark.usefixtures("implementation")


def reference(string: str, options: dict[str, bool]) -> str:
    if options["lowercase"]:
        string = string.lower()
    for name, pattern, replacement in (
        ("norm_numbers", NUMBER, "0"),
        ("norm_weekdays", WEEKDAYS, "WEEKDAY"),
        ("norm_monthnames", MONTHS, "MONTH"),
    ):
        if options[name]:
            string = pattern.sub(replacement, string)
    if options["remove_punctuation"]:
        string = "".join(" " if c in PUNCTUATION else c for c in string)
    if options["norm_whitespace"]:
        string = re.sub(r"\s+", " ", string.strip())
    if options["norm_unicode_diacritics"]:
        decomposed = unicodedata2.normalize("NFD", string)
        string = "".join(c for c in decomposed if unicodedata2.category(c) != "Mn")
    return string.strip()


@pytest.mark.parametrize(("before", "after"), [("", ""), ("Éa ", " z."), ("1.", ",2"), ("a\u302e", "\u302e\u0301 ")])
def test_every_code_point(before: str, after: str) -> None:
    strings = [before + c + after for c in KNOWN]
    got = text.simplify(strings).to_pylist()
    if not before:
        assert got == [reference(s, DEFAULTS) for s in strings]
    else:
        special = [i for i, c in enumerate(KNOWN) if not "\u3400" <= c <= "\uabff" and c < "\U00020000"]
        assert [got[i] for i in special] == [reference(strings[i], DEFAULTS) for i in special]


MIXTURE = st.lists(
    st.one_of(
        st.sampled_from("aZ  \n\t.,'-0123٣५ΣσÉéİ한\u0301\u302e\u302f\U0001d165\u0327\u00a0\u2003\u200b…»¿\x1c\x85"),
        st.sampled_from(KNOWN),
        st.sampled_from(
            ["monday", "May", "augusthursday", "Friday", "fri\u0307day", "1,000.5", "3.", "٣٫٥", "sundaymay"]
        ),
    ),
    max_size=60,
).map("".join)


@settings(max_examples=500, deadline=None)
@given(strings=st.lists(MIXTURE, max_size=5), options=st.fixed_dictionaries({name: st.booleans() for name in OPTIONS}))
def test_mixtures_under_all_options(strings: list[str], options: dict[str, bool]) -> None:
    assert text.simplify(strings, **options).to_pylist() == [reference(s, options) for s in strings]
    assert text.simplify(strings).to_pylist() == [reference(s, DEFAULTS) for s in strings]


def test_weekdays_and_months() -> None:
    options = DEFAULTS | {"norm_weekdays": True, "norm_monthnames": True}
    strings = ["On Monday, 3 MAY 2024", "augusthursday", "maymonday", "sundaysunday mayo", "tuesda", "MARCH"]
    expected = [
        "on WEEKDAY 0 MONTH 0",
        "augusWEEKDAY",
        "MONTHWEEKDAY",
        "WEEKDAYWEEKDAY MONTHo",
        "tuesda",
        "MONTH",
    ]
    assert text.simplify(strings, **options).to_pylist() == expected
    assert [reference(s, options) for s in strings] == expected


def test_datatrove_itself() -> None:
    datatrove: Any = pytest.importorskip("datatrove.utils.text", reason="datatrove isn't installed")
    # It takes categories from Python's Unicode, in which a few marks (U+1171E, for one) had another.
    same = [c for c in KNOWN if unicodedata.category(c) == unicodedata2.category(c)]
    strings = [same[i] + "".join(same[i : i + 5]) + " 1.5 Ü" for i in range(0, len(same), 3)]
    assert text.simplify(strings).to_pylist() == [datatrove.simplify_text(s) for s in strings]


def test_nulls_and_unchanged_columns() -> None:
    same = pa.array(["already plain text", None, ""])
    assert text.simplify(same) is same
    assert text.simplify(pa.array([" A ", None])).to_pylist() == ["a", None]

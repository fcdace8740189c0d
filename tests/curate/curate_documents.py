"""Documents to judge: made of few words and odd separators, so that every check is met from both sides."""

from __future__ import annotations

import hypothesis.strategies as st

_WORDS = (
    "the be to of and that have with a I Frank ab c abc bc d über naïve lorem ipsum javascript JavaScript { [1] [12] "
    "[edit] [ [٣] terms of use privacy policy cookies use Use coo\u212aies uses … ... - • # ## . , ! ? ۔ 。 日本 語 😀 12 "
    "3.5 x xx yy | |-| « \u0301 \x00 K\u0130 Σας"
).split(" ") + ["[citation needed]"]
_ENDS = (
    [" "] * 8 + ["\n"] * 3 + ["\n\n", ". ", ".\n", "\r\n", "\x85", "\u2028", "\x0b", "\x1c", "\xa0", "\u3000", "\n\n\n"]
)
_ENDS += ["...\n", "…\n", "\n- ", "\n• ", "\t", ""]

_piece = st.builds(str.__add__, st.sampled_from(_WORDS), st.sampled_from(_ENDS))
_line = st.lists(_piece, min_size=1, max_size=8).map("".join)


@st.composite
def _repetitive(draw: st.DrawFn) -> str:
    lines = draw(st.lists(_line, min_size=1, max_size=4))
    order = draw(st.lists(st.integers(0, len(lines) - 1), max_size=25))
    return "".join(lines[i] + ("\n" if i % 2 else "\n\n") for i in order)


document = st.one_of(st.lists(_piece, max_size=60).map("".join), _repetitive(), st.text(max_size=40))
documents = st.lists(document, max_size=8)

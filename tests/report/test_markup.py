"""Escaping."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from smolfast.report.markup import Markup, command, escape, tag


@given(text=st.text(st.characters(codec=None), max_size=60))
def test_escaped_text_reads_back(text: str, fake: SimpleNamespace) -> None:
    html = tag("p", text, title=text)
    html.encode()  # no lone surrogate is left
    page = fake.page(html)
    read = "".join(page.text)[:-1] if text else ""
    assert read == (page.all("p")[0]["title"] or "")
    kept = [c for c in text if c.isprintable() and not 0xD800 <= ord(c) < 0xE000]
    assert [c for c in kept if c not in read] == []
    assert len(page.elements) == 1


def test_escape_is_not_applied_twice() -> None:
    assert tag("p", tag("b", "<"), ["&", None, 3], class_="a'\"") == '<p class="a&#x27;&quot;"><b>&lt;</b>&amp;3</p>'
    assert isinstance(escape("<"), Markup) and tag("meta", x=None, hidden=True) == "<meta hidden>"


def test_a_command_can_be_read_and_copied(fake: SimpleNamespace) -> None:
    page = fake.page(command("smolfast generate 'a b' --prompt <x>"))
    assert page.words == "smolfast generate 'a b' --prompt <x>Copy"
    assert page.all("button") == [{"type": "button", "class": "copy", "hidden": None}]
    assert page.all("pre") == [{"tabindex": "0"}]

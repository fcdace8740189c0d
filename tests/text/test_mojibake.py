"""`fix_mojibake`: text misread and read back, right text left alone, and ftfy where it's installed."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from smolfast import text


def misread(string: str, encoding: str) -> str:
    """UTF-8 taken for another encoding; holes of Windows-1252 as the WHATWG decoder fills them."""
    data = string.encode()
    if encoding == "latin-1":
        return data.decode("latin-1")
    return "".join(bytes([b]).decode("cp1252", "ignore") or chr(b) for b in data)


RIGHT = [
    "Déjà vu à l’été : « ça ira », dit-elle… À bientôt !",
    "Schöne Grüße aus Köln, Straße Nr. 5 – „weiß“",
    "El niño comió jamón. ¿Qué? ¡Sí!",
    "Привет, мир! Съешь ещё этих мягких булок",
    "日本語のテキスト、テスト。",
    "مرحبا بالعالم",
    "Zażółć gęślą jaźń",
    "“quoted” — it’s 20 € or £5… ™",
    "naïve café ½ × ¾ ± 3°",
    "Tiếng Việt có dấu",
]


@pytest.mark.parametrize("string", RIGHT)
@pytest.mark.parametrize("encoding", ["latin-1", "windows-1252"])
def test_misread_text_is_read_back(string: str, encoding: str) -> None:
    once = misread(string, encoding)
    assert text.fix_mojibake([once, misread(once, encoding)]).to_pylist() == [string, string]


def test_right_text_stays() -> None:
    strings = pa.array([*RIGHT, "à\u00a0« non »", "CAFÉ… É”", "plain", "", None, "é", "ÀÈÌÒÙ", "Ã", "MÊME Ça"])
    assert text.fix_mojibake(strings) is strings


def test_only_certain_stretches_change() -> None:
    mixed = "Привет: schÃ¶n und schön, â€œja“, Ãœber"
    assert text.fix_mojibake([mixed])[0].as_py() == "Привет: schön und schön, “ja“, Über"


LATIN = st.text(st.sampled_from("aé àçÇñßÉÂÃâ€œ”’…—«»\u00a0¡¿ƒ©®½²°ÿþŸŠžЖя字ع😀. "), max_size=25)


@settings(max_examples=500, deadline=None)
@given(string=LATIN, encoding=st.sampled_from(["latin-1", "windows-1252"]))
def test_whole_texts_agree_with_ftfy(string: str, encoding: str) -> None:
    ftfy = pytest.importorskip("ftfy", reason="ftfy isn't installed")
    assume(text.fix_mojibake([string])[0].as_py() == string)  # not itself like misread text
    wrong = misread(string, encoding)
    expected = ftfy.fix_encoding(wrong)
    got = text.fix_mojibake([wrong])[0].as_py()
    # What ftfy reads back right we read back too, but for the spaces that it takes for no-break spaces.
    if expected == string and " " not in wrong:
        assert got == string


def test_speed_does_not_collapse_on_nested_text() -> None:
    string = "é" * 200
    for _ in range(5):
        string = misread(string, "latin-1")
    assert text.fix_mojibake([string])[0].as_py() == "é" * 200

"""Languages by their codes: which words datatrove 0.10.1 cuts their texts into."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from smolfast.errors import SmolfastError


class Tokenizer(NamedTuple):
    """A kind of tokenizer, and its own code for the language."""

    kind: str  # spacy, stanza, thai, indic, kiwi, khmer, lao, tibetan, burmese or whitespace
    code: str


@cache
def _rows() -> list[list[str]]:
    text = (files("smolfast.curate") / "languages.tsv").read_text("utf-8")
    return [line.split("\t") for line in text.splitlines() if not line.startswith("#")]


@cache
def _assigned() -> dict[str, Tokenizer]:
    """By "slk_Latn", "slk", "sk_Latn" and "sk". Of codes in several scripts the last gives the short code, as there."""
    assigned: dict[str, Tokenizer] = {}
    for code, short, kind, own in _rows():
        language, _, script = code.partition("_")
        for name in (language, short) if short else (language,):
            if f"{name}_{script}" not in assigned:
                assigned[f"{name}_{script}"] = assigned[name] = Tokenizer(kind, own)
    return assigned


def tokenizer_of(language: str) -> Tokenizer:
    """The tokenizer that datatrove's assignment gives a language; "xx" is any, by the rules that languages share.

    Raises:
        SmolfastError: an unknown language, or one that it gives none.
    """
    if language == "xx":
        return Tokenizer("spacy", "xx")
    found = _assigned().get(language)
    if found is None:
        close = get_close_matches(language, list(_assigned()), 1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise SmolfastError(
            f"language {language!r} is unknown: {hint}Use a code such as en, sk or slk_Latn, xx for any other, or "
            'words="unicode"'
        )
    return found


def scripted(language: str) -> str:
    """ "slk_Latn" for "sk", "slk" and itself; an unknown code comes back as it is."""
    for code, short, _, _ in _rows():
        alone, _, script = code.partition("_")
        if language in (code, alone, short, f"{short}_{script}"):
            return code
    return language


def codes_of(language: str) -> tuple[str, ...]:
    """The code as it is, and those that mean the same: "slk_Latn", "slk" and "sk" for each of them."""
    whole = scripted(language)
    short = next((short for code, short, _, _ in _rows() if code == whole), "")
    return tuple(dict.fromkeys(name for name in (language, whole, whole.partition("_")[0], short) if name))

"""Text operations on columns of strings, in C++: exact by the Unicode standard, multi-threaded, Arrow in and out.

Every function takes any Arrow string column (an object with `__arrow_c_stream__` or `__arrow_c_array__`: pyarrow,
polars, duckdb, nanoarrow, …) of type string, large_string or string_view, chunked or sliced; such a column of binary
that holds UTF-8, or of categories (a dictionary); or a list, NumPy array, pandas Series, `datasets.Column` or other
sequence of `str` and None. It returns strings: a `pyarrow.ChunkedArray` for chunked input, a `pyarrow.Array` otherwise.
Nulls stay null. Chunks of strings in which nothing changes come back as they are, without a copy. Results don't depend
on `threads` (0: as many as there are CPUs to run on), on chunking, or on the CPU.

`errors` says what happens to bytes that aren't UTF-8, and to lone surrogates in a `str`: "fail" raises `SmolfastError`
naming the row and byte offset (or the index); "replace" puts U+FFFD there as the WHATWG decoder does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from smolfast import _native
from smolfast._native import spacy_languages, unicode_version
from smolfast.errors import SmolfastError
from smolfast.strings import Strings, importable, without_surrogates

__all__ = [
    "Cleaned",
    "casefold",
    "clean",
    "count_sentences",
    "fix_mojibake",
    "is_normalized",
    "lower",
    "normalize",
    "redact",
    "release_memory",
    "simplify",
    "spacy_languages",
    "unicode_version",
    "words",
]

Errors: TypeAlias = Literal["fail", "replace"]
Form: TypeAlias = Literal["NFC", "NFD", "NFKC", "NFKD"]


def normalize(
    strings: Strings,
    form: Form = "NFC",
    *,
    stream_safe: bool = False,
    threads: int = 0,
    errors: Errors = "fail",
) -> pa.Array | pa.ChunkedArray:
    """The strings in a Unicode normalisation form: UAX #15, of the version in `unicode_version`.

    With `stream_safe`, of text in the Stream-Safe Text Format of its section 13: U+034F is put into runs of more than
    30 nonstarters, so that readers with small buffers can normalise what comes out.

    Raises `SmolfastError` for an unknown form, a column that isn't of strings, or (errors="fail") text that isn't
    UTF-8.
    """
    return _apply(lambda source: _native.normalize(source, form, stream_safe, threads, errors), strings, errors)


def is_normalized(strings: Strings, form: Form = "NFC", *, threads: int = 0) -> pa.BooleanArray:
    """For each string whether it is in the form already; null for null. Raises as `normalize` with errors="fail"."""
    verdicts = np.frombuffer(_native.is_normalized(importable(strings), form, threads), np.uint8)
    return pa.array(verdicts == 1, mask=verdicts == 2)


def lower(strings: Strings, *, threads: int = 0, errors: Errors = "fail") -> pa.Array | pa.ChunkedArray:
    """Full lower case without locale, as `str.lower`: Unicode §3.13, with its one context, the final sigma."""
    return _apply(lambda source: _native.lower(source, threads, errors), strings, errors)


def casefold(strings: Strings, *, threads: int = 0, errors: Errors = "fail") -> pa.Array | pa.ChunkedArray:
    """Full case folding, as `str.casefold`: C and F of Unicode's CaseFolding."""
    return _apply(lambda source: _native.casefold(source, threads, errors), strings, errors)


def simplify(
    strings: Strings,
    *,
    lowercase: bool = True,
    norm_numbers: bool = True,
    norm_weekdays: bool = False,
    norm_monthnames: bool = False,
    remove_punctuation: bool = True,
    norm_whitespace: bool = True,
    norm_unicode_diacritics: bool = True,
    threads: int = 0,
    errors: Errors = "fail",
) -> pa.Array | pa.ChunkedArray:
    """The text that near-duplicates are compared by: datatrove 0.10.1's `simplify_text`, which FineWeb used.

    The options and their order are those of its `TextNormConfig`: lower case; numbers of any script become 0; English
    weekdays become WEEKDAY and months MONTH; punctuation and control characters become spaces; white space is collapsed
    and stripped; characters are canonically decomposed and nonspacing marks dropped. Equal to it byte for byte for
    characters that the Unicode version of its Python knows.
    """
    return _apply(
        lambda source: _native.simplify(
            source,
            lowercase=lowercase,
            norm_numbers=norm_numbers,
            norm_weekdays=norm_weekdays,
            norm_monthnames=norm_monthnames,
            remove_punctuation=remove_punctuation,
            norm_whitespace=norm_whitespace,
            norm_unicode_diacritics=norm_unicode_diacritics,
            threads=threads,
            errors=errors,
        ),
        strings,
        errors,
    )


class Cleaned(NamedTuple):
    """What `clean` gives: the strings, and for each rule how many characters it replaced or removed (form: strings)."""

    strings: pa.Array | pa.ChunkedArray
    counts: dict[str, int]


def clean(
    strings: Strings,
    *,
    form: Form | None = "NFC",
    line_endings: bool = True,
    control_characters: bool = True,
    zero_width: bool = True,
    spaces: bool = True,
    trailing_whitespace: bool = True,
    blank_lines: int | None = 1,
    threads: int = 0,
    errors: Errors = "fail",
) -> Cleaned:
    """Text made fit for training, by rules that can each be turned off; cleaning twice changes nothing.

    Args:
        line_endings: CR LF, CR, U+0085, U+2028 and U+2029 become LF.
        control_characters: general category Cc goes, but for tab and LF.
        zero_width: U+00AD, U+200B, U+2060 and U+FEFF go. Joiners stay: Persian, Indic scripts and emoji need them.
        spaces: the other characters of general category Zs become U+0020.
        trailing_whitespace: spaces and tabs at the ends of lines and of the text go.
        blank_lines: how many empty lines may follow each other; more go. None keeps them all.
        form: the normalisation form of what the other rules left; None for none.

    Raises `SmolfastError` as `normalize` does.
    """
    if blank_lines is not None and blank_lines < 0:
        raise SmolfastError(f"blank_lines is {blank_lines}; give 0 or more, or None to keep all blank lines")
    counts: dict[str, int] = {}

    def native(source: Strings) -> list[_native.ArrowStrings | None]:
        chunks, by_rule = _native.clean(
            source,
            form=form,
            line_endings=line_endings,
            control_characters=control_characters,
            zero_width=zero_width,
            spaces=spaces,
            trailing_whitespace=trailing_whitespace,
            blank_lines=-1 if blank_lines is None else blank_lines,
            threads=threads,
            errors=errors,
        )
        counts.update(by_rule)
        return chunks

    return Cleaned(_apply(native, strings, errors), counts)


# datatrove's PIIFormatter: addresses kept free as examples, and six that answered no ping when they were drawn.
EMAIL_REPLACEMENTS = ("email@example.com", "firstname.lastname@example.org")
IP_REPLACEMENTS = (
    "22.214.171.124",
    "126.96.36.199",
    "188.8.131.52",
    "184.108.40.206",
    "220.127.116.11",
    "18.104.22.168",
)


def redact(
    strings: Strings,
    *,
    emails: bool = True,
    ips: bool = True,
    public_only: bool = True,
    email_replacements: Sequence[str] = EMAIL_REPLACEMENTS,
    ip_replacements: Sequence[str] = IP_REPLACEMENTS,
    threads: int = 0,
    errors: Errors = "fail",
) -> pa.Array | pa.ChunkedArray:
    """E-mail and public IPv4 addresses replaced, as FineWeb's formatter finds them (datatrove 0.10.1, `PIIFormatter`).

    Replacements are used in turn, starting anew in each string, so that a string's result depends on nothing else
    (datatrove goes on from the string before). `public_only=False` replaces private and reserved addresses too.

    Raises `SmolfastError` for an empty list of replacements, and as `normalize` does.
    """
    for name, items in (("email_replacements", email_replacements), ("ip_replacements", ip_replacements)):
        if isinstance(items, str) or not items:
            raise SmolfastError(f'{name} must be a list of one string or more, for example ["[redacted]"]')
    return _apply(
        lambda source: _native.redact(
            source,
            emails=emails,
            ips=ips,
            public_only=public_only,
            email_replacements=list(email_replacements),
            ip_replacements=list(ip_replacements),
            threads=threads,
            errors=errors,
        ),
        strings,
        errors,
    )


def fix_mojibake(strings: Strings, *, threads: int = 0, errors: Errors = "fail") -> pa.Array | pa.ChunkedArray:
    """UTF-8 that was read as Windows-1252 or Latin-1, once or more often, read back where that's certain.

    A stretch is read back if its bytes in one of the two encodings are well-formed UTF-8 and it holds a neighbourhood
    of characters that ftfy 6.3's `badness` calls impossible in real text; or if all of the string outside ASCII is such
    bytes and the string is bad anywhere. Other encodings, spaces in place of no-break spaces, U+FFFD in place of lost
    bytes, and stray C1 control characters are left alone, which `ftfy.fix_encoding` treats as well.
    """
    return _apply(lambda source: _native.fix_mojibake(source, threads, errors), strings, errors)


def words(
    strings: Strings, *, rules: Literal["unicode", "spacy"] = "unicode", language: str = "en", threads: int = 0
) -> pa.LargeListArray | pa.ChunkedArray:
    """The words of each string as pairs of byte offsets [begin, end) into its UTF-8 form; null for null.

    By rules="unicode", word boundaries of UAX #29, of which only segments with a letter, number or alphabetic character
    are kept, and with Han, kana, Thai, Lao, Khmer and other scripts that write no spaces split per character (which
    keeps its marks). By rules="spacy", the tokens of spaCy 3.8's `blank(language)`, with punctuation, as datatrove
    0.10.1 takes them: stripped, and without those of white space alone. `spacy_languages` lists the languages.
    The type is large_list<fixed_size_list<uint32>[2]>. `smolfast.dedup` takes its shingles from the same words.

    Raises `SmolfastError` for rules or a language that there isn't, and for text that isn't UTF-8: offsets count the
    bytes given, so nothing can be replaced.
    """
    if rules not in ("unicode", "spacy"):
        raise SmolfastError(f"rules = {rules!r}: choose one of unicode, spacy")
    source = importable(strings)
    chunks = source.chunks if isinstance(source, pa.ChunkedArray) else [source]
    out = []
    found = _native.words(source, language if rules == "spacy" else None, threads)
    for chunk, (starts, edges) in zip(chunks, found, strict=True):
        pairs = pa.FixedSizeListArray.from_arrays(pa.array(edges), 2)
        nulls = [row is None for row in chunk] if isinstance(chunk, (list, tuple)) else chunk.is_null()
        out.append(pa.LargeListArray.from_arrays(pa.array(starts), pairs, mask=pa.array(nulls, pa.bool_())))
    if isinstance(source, pa.ChunkedArray):
        return pa.chunked_array(out, type=pa.large_list(pa.list_(pa.uint32(), 2)))
    return out[0]


def count_sentences(strings: Strings, *, language: str = "en", threads: int = 0) -> pa.Int64Array:
    """How many sentences each string has by spaCy's sentencizer, empty ones not counted; null for null.

    A sentence ends after a token that is one of its marks, such as the full stop, and the punctuation behind it. The
    tokens are those of `words` with rules="spacy". Raises `SmolfastError` as `words` does.
    """
    source = importable(strings)
    nulls = [row is None for row in source] if isinstance(source, (list, tuple)) else source.is_null()
    return pa.array(_native.count_sentences(source, language, threads), mask=np.asarray(nulls, bool))


def release_memory() -> None:
    """Give back what the functions here keep between calls: up to 256 MiB of freed outputs and 32 MiB of work space.

    The system takes the outputs' pages by itself when it runs short; until then they count as this process's memory.
    """
    _native.release_kept_memory()


def _apply(
    native: Callable[[Strings], list[_native.ArrowStrings | None]], strings: Strings, errors: Errors
) -> pa.Array | pa.ChunkedArray:
    source = importable(strings)
    if isinstance(source, (list, tuple)) and errors == "replace":
        source = without_surrogates(source)
    changed = native(source)
    if not isinstance(source, pa.ChunkedArray):
        (only,) = changed
        return source if only is None else pa.array(only)
    if all(chunk is None for chunk in changed):
        return source
    chunks = [source.chunk(i) if chunk is None else pa.array(chunk) for i, chunk in enumerate(changed)]
    types = {chunk.type for chunk in chunks}
    # One type for all chunks: 64-bit offsets where one needed them, or where views were rewritten.
    common = types.pop() if len(types) == 1 else pa.large_string()
    return pa.chunked_array([chunk if chunk.type == common else chunk.cast(common) for chunk in chunks], type=common)

"""Why a document stays or goes: every check's number beside its threshold, and what it counted, marked in the text."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smolfast import text as text_module
from smolfast.curate.explain.find import Finder, Found
from smolfast.curate.explain.marking import counted
from smolfast.curate.explain.marks import Span
from smolfast.curate.explain.pages import find_page
from smolfast.curate.files.folder import MANIFEST, read_manifest
from smolfast.curate.files.options import Check, Options
from smolfast.curate.files.scoring import QUALITY
from smolfast.curate.judging import judge
from smolfast.curate.languages import tokenizer_of
from smolfast.errors import SmolfastError
from smolfast.files import naming

_CONTEXT = 2
_WHOLE = 60
"""Lines up to which a text is shown whole."""
_RED, _PLAIN = "\x1b[1;31m", "\x1b[0m"


@dataclass(frozen=True)
class Verdict:
    """One check on the document."""

    filter: str
    reason: str
    signal: str
    value: float | None
    """None where there was nothing to measure."""
    threshold: float | None
    """None where the check is turned off."""
    above: bool
    """Whether what lies above the threshold goes, or what lies below."""
    fails: bool


@dataclass(frozen=True)
class Explanation:
    """One document, every check's verdict on it, and where the number of one of them comes from."""

    id: str
    document: int
    """The row's number over all inputs, from 0."""
    file: str
    row: int
    kept: bool
    language: str
    reason: str | None
    """Why it went."""
    checks: list[Verdict]
    check: str | None
    """The reason of the check that `marks` belong to."""
    text: str
    """As this check saw it: filters before it may have rewritten it."""
    marks: list[Span]
    """The first code point, and the one after the last, of each thing that the check counted."""

    def as_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    def report(self, *, colours: bool = False) -> str:
        """For people: what decided, a table of all checks, then the text with what was counted in «» or in red."""
        decided = next((check for check in self.checks if check.reason == self.reason), None)
        became = "kept" if self.kept else "removed"
        head = [f"{became:<9}{self.id}  ({self.file}, row {self.row})"]
        if self.reason is not None:
            head.append(f"{'reason':<9}{self.reason}{'' if decided is None else _said(decided)}")
        head.append(f"{'language':<9}{self.language}")
        return "\n".join([*head, "", *self._table(), "", *self._marked(colours=colours), ""])

    def _table(self) -> Iterator[str]:
        rows = [("check", "measured", "goes if", "")]
        for check in self.checks:
            compared = "off" if check.threshold is None else ""
            if check.threshold is not None:
                compared = f"{'>' if check.above else '<'} {_number(check.threshold)}"
            verdict = "fails" if check.fails else ""
            if check.reason == self.reason:
                verdict = "decided"
            rows.append((check.reason, "" if check.value is None else _number(check.value), compared, verdict))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        for row in rows:
            name, value, compared, verdict = row
            yield f"{name:<{widths[0]}}  {value:>{widths[1]}}  {compared:<{widths[2]}}  {verdict}".rstrip()

    def _marked(self, *, colours: bool) -> Iterator[str]:
        opening, closing = (_RED, _PLAIN) if colours else ("«", "»")
        if self.marks:
            how = "red" if colours else "«»"
            yield f"The text; in {how} what {self.check} counts:"
        else:
            yield "The text:" if self.check is None else f"The text; {self.check} counts nothing that can be marked:"
        yield ""
        pieces, at = [], 0
        for start, end in self.marks:
            pieces += [_printable(self.text[at:start]), _enclosed(self.text[start:end], opening, closing)]
            at = end
        lines = "".join([*pieces, _printable(self.text[at:])]).split("\n")
        if len(lines) <= _WHOLE:
            yield from lines
            return
        shown = {0, 1}
        for place, line in enumerate(lines):
            if opening in line:
                shown |= set(range(place - _CONTEXT, place + _CONTEXT + 1))
        before = -1
        for place in sorted(shown & set(range(len(lines)))):
            if place > before + 1:
                yield f"… {place - before - 1:,} lines"
            yield lines[place]
            before = place
        if before < len(lines) - 1:
            yield f"… {len(lines) - 1 - before:,} lines"


def explain(output: str | os.PathLike[str], name: str, *, check: str | None = None) -> Explanation:
    """Say what each check measured in a document, kept or removed, and mark what decided.

    Args:
        output: the folder that `curate_files` wrote.
        name: the document's id, or FILE:ROW (of those read, from 0) where it has none; of a page its id or URL. Of
            several of one id the first.
        check: the reason of the check to mark; by default the one that decided, or the one that came nearest to it.

    Raises:
        SmolfastError: no such output, document or check; or an input that has changed or moved, where a filter rewrote
            what was kept.
    """
    folder = Path(output)
    manifest = read_manifest(folder)
    with naming(folder / MANIFEST, "run curate again"):
        options = Options.of_manifest(manifest)
    of_crawl = "crawl" in manifest
    found = find_page(folder, name) if of_crawl else Finder(folder, manifest).find(name)
    column = options.language_column
    language = str(options.language if column is None else found.columns[column])
    judged = options.verdicts([found.original], language)
    (row,) = judged.to_pylist()
    stored = found.columns[options.text_column if found.kept else f"{options.prefix}reason"]
    # What is kept of a crawl is written once more behind the rules, which then see another text.
    as_before = found.kept if of_crawl else row["keep"] and _text(row, found) == stored
    if not (as_before if found.kept else row["reason"] == stored):
        raise SmolfastError(
            f"{found.file}, row {found.row} isn't judged as it was: it or smolfast has changed since; run curate again"
        )
    checks = options.checks(language)
    decided = None if of_crawl and found.kept else row["reason"]
    verdicts = [_verdict(one, row, decided) for one in checks]
    shown = _shown(verdicts, check, decided)
    text, spans = _marks(found.original, shown, options, language)
    return Explanation(
        name, found.document, found.file, found.row, found.kept, language, decided, verdicts,
        None if shown is None else shown.reason, text, spans,
    )  # fmt: skip


def _text(row: Mapping[str, Any], found: Found) -> str:
    """The text as filters left it."""
    return found.original if row.get("text") is None else str(row["text"])


def _marks(original: str, shown: Verdict | None, options: Options, language: str) -> tuple[str, list[Span]]:
    """The text that a check saw, and what it counted there."""
    if shown is None:
        return original, []
    rules = options.rules.of(language)
    names = [kind.name for kind in rules.filters]
    if shown.filter not in names and shown.filter != QUALITY:  # a model's score of the text as it came
        return original, []
    place = names.index(shown.filter) if shown.filter in names else len(names)
    text = original
    for kind in rules.filters[:place]:
        if kind.rewrites:  # of what it removes it gives back the text as it was, and the checks behind saw that
            alone = dataclasses.replace(rules, filters=(kind,))
            (text,) = judge([text], alone, language, words=options.words)["text"].to_pylist()
    if place == len(names):
        return text, []
    kind = rules.filters[place]
    alone = dataclasses.replace(rules, filters=(kind,))

    def of_lines(lines: Sequence[str], signal: str) -> Sequence[float]:
        table = judge(list(lines), alone, language, words=options.words, signals=True)
        return list(table[kind.column(signal)].to_pylist())

    signal = shown.signal.removeprefix(kind.column(""))
    words = _words(text, options.words, language) if "gram" in signal or signal == "alpha_words_ratio" else []
    return text, counted(signal, shown.reason, text, words, of_lines)


def _words(text: str, words: str, language: str) -> list[Span]:
    """The words that filters see, as code points."""
    if words == "whitespace":
        return [found.span() for found in re.finditer(r"\S+", text)]
    rules: dict[str, Any] = {}
    if words == "spacy":
        rules = {"rules": "spacy", "language": tokenizer_of(language).code}
    (pairs,) = text_module.words([text], **rules).to_pylist()
    # Code points begin at bytes that don't continue one.
    starts = np.frombuffer(text.encode(), np.uint8) & 0xC0 != 0x80
    code_points = np.concatenate([[0], np.cumsum(starts)])
    return [(int(code_points[begin]), int(code_points[end])) for begin, end in pairs]


def _verdict(check: Check, row: Mapping[str, Any], decided: str | None) -> Verdict:
    value = row[check.signal]
    if value is not None and math.isnan(value):
        value = None
    fails = check.undefined == decided if value is None else bool(check.takes(value))
    return Verdict(check.filter, check.reason, check.signal, value, check.threshold, check.above, fails)


def _shown(verdicts: Sequence[Verdict], asked: str | None, decided: str | None) -> Verdict | None:
    """The check to mark."""
    if asked is not None:
        found = [one for one in verdicts if one.reason == asked]
        if not found:
            known = ", ".join(dict.fromkeys(one.reason for one in verdicts))
            raise SmolfastError(f"no check of these rules gives {asked!r}; choose one of {known}")
        return found[0]
    if decided is not None:
        return next((one for one in verdicts if one.reason == decided), None)
    near = [one for one in verdicts if one.value is not None and one.threshold]
    return min(near, key=lambda one: abs(one.value - one.threshold) / abs(one.threshold), default=None)  # type: ignore


def _said(check: Verdict) -> str:
    if check.value is None or check.threshold is None:
        return f" ({check.filter})"
    side = "above" if check.above else "below"
    return f" ({check.filter}): {_number(check.value)} is {side} {_number(check.threshold)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.4g}"


def _enclosed(text: str, opening: str, closing: str) -> str:
    """A mark around each line, since a colour doesn't go on over the end of one; of line ends alone in front."""
    if not text.strip("\n"):
        return opening + closing + text
    return "\n".join(opening + line + closing if line else "" for line in _printable(text).split("\n"))


def _printable(text: str) -> str:
    """Characters that would act on a terminal, or hide there, by number."""
    return "".join(letter if letter in "\t\n" or letter.isprintable() else f"\\u{ord(letter):04x}" for letter in text)

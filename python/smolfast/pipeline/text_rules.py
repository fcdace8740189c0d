"""What `smolfast normalize` does to a column of text: the functions of `smolfast.text` by name, in one order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from smolfast import text
from smolfast.errors import SmolfastError

SWITCHES = ("line_endings", "control_characters", "zero_width", "spaces", "trailing_whitespace")
"""The rules of `smolfast.text.clean` that are on or off."""


@dataclass(frozen=True)
class TextRules:
    """Which functions to apply, in the order of the fields. Rules that are None are as `clean` and `redact` say.

    Attributes:
        fix_mojibake: read misread UTF-8 back, while its bytes are as they were misread.
        clean: all rules of `smolfast.text.clean`; the next six turn single ones on, or off.
        blank_lines: how many may follow each other; "all" keeps them.
        form: the Unicode normalisation form (Standard Annex 15), after cleaning; None for none.
        stream_safe: in the Stream-Safe Text Format.
        redact: replace e-mail and public IPv4 addresses, once spaces are plain; the next two choose one kind.
        public_only: leave private and reserved addresses.
        email_replacements, ip_replacements: put in turn in the place of addresses; `smolfast.text`'s own if empty.
        lower, casefold, simplify: for comparing; last, since they lose most.
        words: add a column `words` with the byte offsets of each word of the result.

    Raises:
        SmolfastError: settings that contradict each other.
    """

    fix_mojibake: bool = False
    clean: bool = False
    line_endings: bool | None = None
    control_characters: bool | None = None
    zero_width: bool | None = None
    spaces: bool | None = None
    trailing_whitespace: bool | None = None
    blank_lines: int | Literal["all"] | None = None
    form: text.Form | None = "NFC"
    stream_safe: bool = False
    redact: bool = False
    emails: bool | None = None
    ips: bool | None = None
    public_only: bool = True
    email_replacements: tuple[str, ...] = ()
    ip_replacements: tuple[str, ...] = ()
    lower: bool = False
    casefold: bool = False
    simplify: bool = False
    words: bool = False

    def __post_init__(self) -> None:
        if self.stream_safe and self.form is None:
            raise SmolfastError("stream-safe text is of a normalisation form; give one with form")
        for kind, replacements in (("emails", self.email_replacements), ("ips", self.ip_replacements)):
            if replacements and not self._redacts(kind):
                raise SmolfastError(f"replacements of {kind} are given, but {kind} are not redacted; turn {kind} on")

    def _redacts(self, kind: str) -> bool:
        chosen: bool | None = getattr(self, kind)
        return self.redact if chosen is None else chosen

    def cleaning(self) -> dict[str, bool | int | None]:
        """The rules of `smolfast.text.clean` as its arguments."""
        chosen = {name: getattr(self, name) for name in SWITCHES}
        blank_lines = (1 if self.clean else "all") if self.blank_lines is None else self.blank_lines
        return {
            **{name: self.clean if value is None else value for name, value in chosen.items()},
            "blank_lines": None if blank_lines == "all" else blank_lines,
        }

    def apply(self, column: pa.Array, counts: Counter[str], *, threads: int = 0) -> pa.Array:
        """The column as the rules make it; adds to `counts` what each rule of cleaning changed, as cleaned_RULE."""
        if self.fix_mojibake:
            column = text.fix_mojibake(column, threads=threads)
        cleaning = self.cleaning()
        used = {name for name, value in cleaning.items() if value is not None and value is not False}
        if used or self.clean:
            column, by_rule = text.clean(column, form=self.form, threads=threads, **cleaning)  # type: ignore[arg-type]
            used |= {"form"} if self.form else set()
            counts.update({f"cleaned_{rule}": changed for rule, changed in by_rule.items() if rule in used})
        elif self.form is not None and not self.stream_safe:
            column = text.normalize(column, self.form, threads=threads)
        if self.form is not None and self.stream_safe:
            column = text.normalize(column, self.form, stream_safe=True, threads=threads)
        emails, ips = self._redacts("emails"), self._redacts("ips")
        if emails or ips:
            column = text.redact(
                column,
                emails=emails,
                ips=ips,
                public_only=self.public_only,
                email_replacements=self.email_replacements or text.EMAIL_REPLACEMENTS,
                ip_replacements=self.ip_replacements or text.IP_REPLACEMENTS,
                threads=threads,
            )
        for name in ("lower", "casefold", "simplify"):
            if getattr(self, name):
                column = getattr(text, name)(column, threads=threads)
        return column

"""Documents judged by rules, natively."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from os import PathLike
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from smolfast import _native
from smolfast.curate.rules import Filter, Rules, load_rules
from smolfast.curate.words import Words, source_of
from smolfast.errors import SmolfastError
from smolfast.strings import Strings, importable, without_surrogates

METADATA = b"smolfast.curate"


def judge(
    strings: Strings,
    rules: str | PathLike[str] | Rules = "fineweb@0.10",
    language: str | None = None,
    *,
    words: Words = "spacy",
    signals: bool = False,
    threads: int = 0,
    errors: Literal["fail", "replace"] = "fail",
) -> pa.Table:
    """Which documents the rules keep, and why the others go: datatrove 0.10.1's decisions.

    Args:
        strings: a column of text, as `smolfast.text` takes it.
        rules: a name such as "fineweb@0.10", a file, or Rules; see `load_rules`.
        language: the text's language, "en", "sk", "slk_Latn", …, which says how words are cut. None: the rules' own, or
            "en".
        words: "spacy": the tokenizer that datatrove gives the language. "unicode": words of `smolfast.text`, for every
            language; decisions near a threshold may differ. "whitespace": what stands between white space. Or a
            function from a text to its words; rules that count sentences can't have that.
        signals: measure every number of every filter, also of documents that are removed. Takes longer.
        threads: 0 for as many as there are CPUs. The result doesn't depend on it.
        errors: what is done about bytes that aren't UTF-8, as in `smolfast.text`.

    Returns:
        A table of a row each: `keep` (bool); `reason` (dictionary of string), null where the document is kept; `text`
        (large_string) if a filter rewrites, as the filter that removed the document saw it or as all filters left it;
        with `signals` a column for each number (float64, counts int64), named FILTER_NUMBER. A number over nothing is
        NaN; null where there is no text to measure. Null rows are null in all columns.

    Raises:
        SmolfastError: unknown rules or language; text that isn't UTF-8; a document of 4 GiB or more.
    """
    if errors not in ("fail", "replace"):
        raise SmolfastError(f"errors {errors!r} is unknown; use one of: fail, replace")
    chosen = load_rules(rules, language)
    language = language or chosen.language or "en"
    source = importable(strings)
    if isinstance(source, (list, tuple)) and errors == "replace":
        source = without_surrogates(source)
    cut = source_of(words, language, chosen, source)
    judged = _judges(json.dumps(native_rules(chosen)), cut.kind, cut.language).judge(
        source,
        tokens=cut.tokens,
        token_ends=cut.ends,
        signals=signals,
        threads=threads,
        errors=errors,
    )
    columns = verdict_columns(judged["verdicts"], judged["reasons"], chosen)
    if judged["texts"] is not None:
        columns["text"] = pa.array(judged["texts"])
    values = iter(judged["signals"])
    for kind in chosen.filters if signals else ():
        for name in signal_names(kind):
            measured, numbers = next(values)
            assert measured == name  # the native filters measure what ours say
            columns[kind.column(name)] = _signal(numbers, name in kind.counts)
    table = pa.table(columns)
    described = {**describe(chosen), "words": words if isinstance(words, str) else "given", "language": language}
    return table.replace_schema_metadata({METADATA: json.dumps(described)})


@lru_cache(maxsize=4)
def _judges(rules: str, words: str, language: str) -> _native.Judges:
    """Judges by native rules, which remember words from one call to the next."""
    return _native.Judges(json.loads(rules), words=words, language=language)


def describe(rules: Rules) -> dict[str, Any]:
    """What a table of signals remembers: the filters' names and what of their parameters says what is measured."""
    return {
        "rules": f"{rules.name}@{rules.version}",
        "filters": [{"name": kind.name, **kind.measures()} for kind in rules.filters],
    }


def signal_names(kind: Filter) -> list[str]:
    """A filter's numbers, each once, in the order of its checks."""
    return list(dict.fromkeys(check.signal for check in kind.checks()))


def native_rules(rules: Rules) -> list[tuple[str, Mapping[str, Any]]]:
    """The rules as the native module takes them."""
    native: list[tuple[str, Mapping[str, Any]]] = []
    for kind in rules.filters:
        parameters = kind.parameters()
        for key in ("stop_chars", "symbols_to_remove"):
            if parameters.get(key) is not None:
                parameters[key] = "".join(parameters[key])
        native.append((kind.name, parameters))
    return native


def verdict_columns(verdicts: np.ndarray[Any, Any], reasons: list[str], rules: Rules) -> dict[str, pa.Array]:
    """`keep` and `reason` of verdicts: -1 null, 0 kept, else 1 + the place in `reasons`, which may name one twice."""
    names = reasons_of(rules)
    places = np.array([0, *(names.index(reason) for reason in reasons)], np.int32)
    indices = pa.array(places[np.maximum(verdicts, 0)], mask=verdicts <= 0)
    return {
        "keep": pa.array(verdicts == 0, mask=verdicts < 0),
        "reason": pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.string())),
    }


def reasons_of(rules: Rules) -> list[str]:
    """All reasons that the rules can give, each once."""
    checks = [check for kind in rules.filters for check in kind.checks()]
    return list(dict.fromkeys(reason for check in checks for reason in (check.undefined, check.reason) if reason))


def _signal(numbers: np.ndarray[Any, Any], is_count: bool) -> pa.Array:
    missing = numbers < 0
    if is_count:
        return pa.array(np.where(missing, 0, numbers).astype(np.int64), mask=missing)
    return pa.array(numbers, mask=missing)

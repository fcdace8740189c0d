"""Our decisions beside datatrove's, document by document: what differs, one line each."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from curate_peers import ALONE, BAD_WORDS, CODES, FORGOTTEN

from smolfast import curate

CORPORA = [*CODES, "mutated"]
SEQUENCES = ["fineweb", "fineweb2"]
FORGOTTEN_CAUSE = f"spaCy fails at {FORGOTTEN} but for the first time in a process, and datatrove cuts it out"
SYMBOLS = ["symbol_lines", "symbol_lines_all"]


@dataclass(frozen=True)
class Difference:
    """One document that a filter or a sequence judges otherwise than datatrove."""

    corpus: str
    document: str
    language: str
    filter: str
    ours: str
    theirs: str
    cause: str = "not known"

    def __str__(self) -> str:
        where = f"{self.corpus} {self.filter} {self.document} ({self.language})"
        return f"{where}: ours {self.ours}, theirs {self.theirs}; cause: {self.cause}"


def rules_of(name: str, language: str) -> curate.Rules | None:
    """Ours for a column of datatrove's decisions; None where FineWeb-2 has no numbers for the language."""
    code = CODES[language]
    if name == "fineweb":
        return curate.load_rules("fineweb@0.10")
    if name.startswith("fineweb2"):
        if language == "en":
            return None
        whole = curate.load_rules("fineweb-2@1", code)
        only = name.removeprefix("fineweb2_")
        return whole if name == "fineweb2" else _single(*(kind for kind in whole.filters if kind.name == only))
    made: dict[str, Any] = {
        "gopher_repetition": curate.GopherRepetition(),
        "gopher_quality": curate.GopherQuality(),
        "c4": curate.C4Quality(),
        "c4_any_end": curate.C4Quality(filter_no_terminal_punct=False),
        "c4_paragraphs": curate.C4Paragraphs(),
        "c4_bad_words": curate.C4BadWords(words=tuple(BAD_WORDS)),
        "fineweb_quality": curate.FineWebQuality(),
        "symbol_lines": curate.SymbolLines(symbols_to_remove=("|",), replace_char="\n"),
        "symbol_lines_all": curate.SymbolLines(),
    }
    return _single(made[name])


def _single(*filters: Any) -> curate.Rules:
    return curate.Rules("alone", "1", filters)


def theirs(peer: str, configs: Path, source: Path, out: Path) -> pa.Table:
    """datatrove's decisions on a corpus; made by its own environment where they aren't there yet."""
    script = Path(__file__).parent / "curate_peers.py"
    command = [peer, script, "decisions", source.stem, source, out, "--configs", configs]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    found, rows = pq.read_table(out), pq.read_metadata(source).num_rows
    if found.num_rows != rows:
        raise SystemExit(f"{out}: decisions on {found.num_rows:,} documents, {source} has {rows:,}; remove the folder")
    return found


def compared(
    corpus: str, table: pa.Table, decisions: pa.Table, words: str = "spacy"
) -> Iterator[tuple[str, int, list[Difference]]]:
    """For each filter and sequence: its name, how many documents were compared, and the differences.

    `decisions` may have a part of the corpus only: documents are matched by id.
    """
    place = {name: i for i, name in enumerate(table["id"].to_pylist())}
    corpus_rows = table.take([place[name] for name in decisions["id"].to_pylist()])
    languages = decisions["language"].to_pylist()
    for name in (*ALONE, *SYMBOLS, *SEQUENCES):
        count, differences = 0, []
        for language in sorted(set(languages)):
            rules = rules_of(name, language)
            if rules is None:
                continue
            rows = [i for i, other in enumerate(languages) if other == language]
            texts, expected = corpus_rows.take(rows), decisions.take(rows)
            judged = curate.judge(texts["text"], rules, CODES[language], words=words)  # type: ignore[arg-type]
            count += len(rows)
            found = _differences(corpus, language, name, texts["id"].to_pylist(), judged, expected)
            by_id = dict(zip(texts["id"].to_pylist(), texts["text"].to_pylist(), strict=True)) if found else {}
            for difference in found:
                known = FORGOTTEN in by_id[difference.document]
                differences.append(replace(difference, cause=FORGOTTEN_CAUSE) if known else difference)
        yield name, count, differences


def _differences(
    corpus: str, language: str, name: str, ids: list[str], judged: pa.Table, expected: pa.Table
) -> list[Difference]:
    reasons = judged["reason"].cast(pa.string()).to_pylist()
    wanted = [None] * len(ids) if name in SYMBOLS else expected[name].to_pylist()
    rewrites = f"{name}_text" in expected.column_names and "text" in judged.column_names
    texts = judged["text"].to_pylist() if rewrites else [None] * len(ids)
    wanted_texts = expected[f"{name}_text"].to_pylist() if rewrites else [None] * len(ids)
    found = []
    for document, ours, their, text, their_text in zip(ids, reasons, wanted, texts, wanted_texts, strict=True):
        if ours != their:
            found.append(Difference(corpus, document, language, name, str(ours), str(their)))
        elif their is None and text != their_text:
            at = next(
                (i for i, (a, b) in enumerate(zip(text, their_text, strict=False)) if a != b),
                min(len(text), len(their_text)),
            )
            left, right = (repr(t[max(0, at - 20) : at + 20]) for t in (text, their_text))
            found.append(Difference(corpus, document, language, name, f"text {left} at {at}", f"text {right}"))
    return found


def reasons(decisions: pa.Table, name: str) -> dict[str, int]:
    """How many documents datatrove keeps ("kept") and removes by reason."""
    return dict(Counter(reason or "kept" for reason in decisions[name].to_pylist()).most_common())

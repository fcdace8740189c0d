"""datatrove's decisions and speed; runs in datatrove's environment, where smolfast isn't.

    PEER/python benchmarks/curate_peers.py decisions LANGUAGE IN.parquet OUT --configs FOLDER [--piece 500]
    PEER/python benchmarks/curate_peers.py speed RULES LANGUAGE IN.parquet [--configs FOLDER]

`decisions` writes OUT/NNNN.parquet. For each document: what each filter alone says (null: kept), what it rewrites, and
the sequences of FineWeb and FineWeb-2. Words and n-grams are remembered while one document is judged, which changes
no result; `speed` runs datatrove as it is. FOLDER holds FineWeb-2's configs/*.yml.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

BAD_WORDS = [
    "stinkword",
    "smelly phrase",
    "a.b",
    "c++",
    "deprecated",
    "obsolete",
    "veraltet",
    "obsolète",
    "устарел",
    "przestarza\u0142e",
    "zastaral\u00fd",
    "\u00e4",
    "x*",
    "warning",
    "(c)",
    "na\u00efve",
]
# spaCy raises where it meets this word a second time in a process, and datatrove then takes it out of the text. So its
# decision depends on the documents before.
FORGOTTEN = "IS_ALPHA"
CODES = {
    "en": "en",
    "de": "deu_Latn",
    "fr": "fra_Latn",
    "ru": "rus_Cyrl",
    "pl": "pol_Latn",
    "cs": "ces_Latn",
    "sk": "slk_Latn",
    "xx": "gaz_Latn",
}
ALONE = [
    "gopher_repetition",
    "gopher_quality",
    "c4",
    "c4_any_end",
    "c4_paragraphs",
    "c4_bad_words",
    "fineweb_quality",
    "fineweb2_gopher_repetition",
    "fineweb2_fineweb_quality",
    "fineweb2_gopher_quality",
]
TEXTS = ["c4_text", "c4_any_end_text", "symbol_lines_text", "symbol_lines_all_text", "fineweb_text", "fineweb2_text"]
COLUMNS = [*ALONE, "fineweb", "fineweb_filter", "fineweb2", "fineweb2_filter", *TEXTS]


def filters(language: str, configs: Path | None) -> dict[str, Any]:
    """datatrove's, by the names of ALONE, and its two kinds of symbol lines."""
    from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter, c4_filters
    from datatrove.pipeline.formatters import SymbolLinesFormatter

    code = CODES.get(language, language)
    with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False) as file:
        file.write("\n".join(BAD_WORDS))
    c4_filters.cached_asset_path_or_download = lambda *_, **__: file.name
    made = {
        "gopher_repetition": GopherRepetitionFilter(language=code),
        "gopher_quality": GopherQualityFilter(language=code),
        "c4": c4_filters.C4QualityFilter(language=code),
        "c4_any_end": c4_filters.C4QualityFilter(filter_no_terminal_punct=False, language=code),
        "c4_paragraphs": c4_filters.C4ParagraphFilter(),
        "c4_bad_words": c4_filters.C4BadWordsFilter(default_language="en"),
        "fineweb_quality": FineWebQualityFilter(language=code),
        "symbol_lines": SymbolLinesFormatter(symbols_to_remove=["|"], replace_char="\n"),
        "symbol_lines_all": SymbolLinesFormatter(),
    }
    made["c4_bad_words"]._get_badwords("en")
    Path(file.name).unlink()
    if configs is not None and (configs / f"{code}.yml").exists():
        import yaml

        config = yaml.safe_load((configs / f"{code}.yml").read_text("utf-8"))
        made["fineweb2_gopher_repetition"] = GopherRepetitionFilter(
            language=code,
            dup_para_frac=0,
            dup_line_char_frac=0,
            dup_para_char_frac=0,
            dup_line_frac=config["dup_line_frac"],
            top_n_grams=config["top_n_grams"],
            dup_n_grams=config["dup_n_grams"],
        )
        made["fineweb2_fineweb_quality"] = FineWebQualityFilter(
            language=code,
            short_line_thr=999,
            char_duplicates_ratio=0.1,
            line_punct_thr=config["line_punct_thr"],
            new_line_ratio=config["new_line_ratio"],
        )
        made["fineweb2_gopher_quality"] = GopherQualityFilter(
            language=code,
            max_avg_word_length=config["max_avg_word_length"],
            min_avg_word_length=config["min_avg_word_length"],
            stop_words=config["stopwords"],
            max_non_alpha_words_ratio=config["max_non_alpha_words_ratio"],
            min_stop_words=2,
        )
    return made


def sequence(made: dict[str, Any], rules: str) -> list[Any]:
    names = {
        "fineweb": ["gopher_repetition", "gopher_quality", "c4_any_end", "fineweb_quality"],
        "fineweb-2": ["fineweb2_gopher_repetition", "fineweb2_fineweb_quality", "fineweb2_gopher_quality"],
    }[rules]
    return [made[name] for name in names]


# -- decisions ---------------------------------------------------------------------------------------------------------


def remember_words(language: str) -> tuple[Callable[[], None], Callable[[], Any]]:
    """Words and sentences of the document at hand are kept; returns what forgets them, and a zone for many documents.

    spaCy forgets every word's form at the end of a memory zone; datatrove opens one for each line.
    """
    from datatrove.utils.word_tokenizers import load_word_tokenizer, strip_strings

    tokenizer: Any = load_word_tokenizer(CODES.get(language, language))
    spacy = tokenizer.tokenizer
    zone, spacy.memory_zone = spacy.memory_zone, contextlib.nullcontext
    plain, span_tokenize = load_word_tokenizer.__wrapped__(CODES.get(language, language)), tokenizer.span_tokenize

    def word_tokenize(text: str) -> list[str]:
        if FORGOTTEN in text:
            return plain.word_tokenize(text)
        # Without the sentencizer, which changes no token.
        return strip_strings([token.text for token in spacy.tokenizer(text)])

    def spans_of(text: str) -> list[tuple[int, int]]:
        return plain.span_tokenize(text) if FORGOTTEN in text else span_tokenize(text)

    words, spans = functools.lru_cache(None)(word_tokenize), functools.lru_cache(None)(spans_of)
    tokenizer.word_tokenize, tokenizer.span_tokenize = words, spans

    def forget() -> None:
        words.cache_clear()
        spans.cache_clear()

    return forget, zone


def remember_grams() -> Callable[[], None]:
    """The same for what the repetition filter counts."""
    from datatrove.pipeline.filters import gopher_repetition_filter as repetition

    found: dict[tuple[Any, ...], Any] = {}
    held: list[Any] = []  # an id is another's when its owner is gone

    def by_identity(name: str) -> None:
        call = getattr(repetition, name)

        def remembered(elements: Any, *n: int) -> Any:
            key = (name, id(elements), *n)
            if key not in found:
                held.append(elements)
                found[key] = call(elements, *n)
            return found[key]

        setattr(repetition, name, remembered)

    for name in ("get_n_grams", "find_top_duplicate", "find_all_duplicate"):
        by_identity(name)

    def forget() -> None:
        found.clear()
        held.clear()

    return forget


def judge(made: dict[str, Any], text: str, code: str) -> dict[str, Any]:
    """One document's row."""
    from datatrove.data import Document
    from datatrove.utils.text import split_into_words

    row: dict[str, Any] = dict.fromkeys(COLUMNS)

    def decide(name: str, content: str) -> tuple[str | None, str]:
        document = Document(text=content, id="")
        try:
            found = made[name].filter(document)
        except Exception as error:
            return f"raises {type(error).__name__}", content
        return (found[1] if isinstance(found, tuple) else None if found else "?"), document.text

    row["tokens"] = len(split_into_words(text, code))
    for name in ALONE:
        if name in made:
            row[name], rewritten = decide(name, text)
            if row[name] is None and name.startswith("c4") and f"{name}_text" in row:
                row[f"{name}_text"] = rewritten
    for name in ("symbol_lines", "symbol_lines_all"):
        row[f"{name}_text"] = made[name].format(text)
    # Filters keep nothing between documents: on one text the sequence says what each filter alone has said.
    content = text
    for name in ("gopher_repetition", "gopher_quality", "c4_any_end", "fineweb_quality"):
        row["fineweb"] = row[name] if content == text else decide(name, content)[0]
        if row["fineweb"] is not None:
            row["fineweb_filter"] = name
            break
        content = row["c4_any_end_text"] if name == "c4_any_end" else content
    else:
        row["fineweb_text"] = content
    if "fineweb2_gopher_quality" in made:
        for name in ("fineweb2_gopher_repetition", "fineweb2_fineweb_quality", "fineweb2_gopher_quality"):
            row["fineweb2"] = row[name]
            if row["fineweb2"] is not None:
                row["fineweb2_filter"] = name
                break
        else:
            row["fineweb2_text"] = row["symbol_lines_text"]
    return row


def decisions(language: str, source: Path, out: Path, configs: Path | None, piece: int) -> None:
    from datatrove.utils.text import split_into_parts

    table = pq.read_table(source)
    out.mkdir(parents=True, exist_ok=True)
    languages = table["language"].to_pylist() if "language" in table.column_names else [language] * table.num_rows
    forget_grams = remember_grams()
    made: dict[str, dict[str, Any]] = {}
    forget, zones = {}, {}
    for which in sorted(set(languages)):
        made[which] = filters(which, configs)
        forget[which], zones[which] = remember_words(which)
    for start in range(0, table.num_rows, piece):
        path = out / f"{start // piece:04}.parquet"
        if path.exists():
            continue
        ids, texts = (table[name].slice(start, piece).to_pylist() for name in ("id", "text"))
        rows, began = [], time.process_time()
        with contextlib.ExitStack() as opened:
            for zone in zones.values():
                opened.enter_context(zone())
            for which, name, text in zip(languages[start : start + piece], ids, texts, strict=True):
                rows.append({"id": name, "language": which} | judge(made[which], text, CODES.get(which, which)))
                forget[which]()
                forget_grams()
            split_into_parts.cache_clear()
        fields = [(name, pa.large_string()) for name in ("id", "language", *COLUMNS)]
        unfinished = path.with_name(f"_{path.name}")
        pq.write_table(
            pa.Table.from_pylist(rows, pa.schema([*fields, ("tokens", pa.int64())])), unfinished, compression="zstd"
        )
        unfinished.rename(path)
        size = sum(map(len, texts))
        seconds = time.process_time() - began
        print(f"{path}: {len(rows)} documents, {size / 1e6:.1f} M characters, {seconds:.0f} s CPU", flush=True)


# -- speed -------------------------------------------------------------------------------------------------------------


def speed(rules: str, language: str, source: Path, configs: Path | None) -> dict[str, Any]:
    """datatrove's filters one after the other on the file's texts, as its pipeline calls them."""
    from datatrove.data import Document

    steps = sequence(filters(language, configs), rules)
    texts = pq.read_table(source)["text"].to_pylist()
    for step in steps:
        step.filter(Document(text="Words are loaded before the clock starts. " * 20, id=""))

    def run() -> tuple[int, int]:
        seen, kept = [0] * (len(steps) + 1), 0
        for text in texts:
            document = Document(text=text, id="")
            for i, step in enumerate(steps):
                seen[i] += 1
                found = step.filter(document)
                if found is not True:
                    break
            else:
                kept += 1
        return seen[len(steps) - 1], kept

    cpu, wall = time.process_time(), time.perf_counter()
    last, kept = run()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    size = sum(len(text.encode()) for text in texts)
    return {"bytes": size, "cpu": cpu, "wall": wall, "documents": len(texts), "kept": kept, "seen_by_the_last": last}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=["decisions", "speed"])
    parser.add_argument("arguments", nargs="+")
    parser.add_argument("--configs", type=Path)
    parser.add_argument("--piece", type=int, default=500)
    options = parser.parse_args()
    if options.job == "decisions":
        language, source, out = options.arguments
        decisions(language, Path(source), Path(out), options.configs, options.piece)
    else:
        rules, language, source = options.arguments
        print(json.dumps(speed(rules, language, Path(source), options.configs)))


if __name__ == "__main__":
    sys.exit(main())

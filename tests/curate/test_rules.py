"""Rules: by name, by file, and what is said of bad ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from smolfast import SmolfastError
from smolfast.curate import (
    C4Quality,
    FineWebQuality,
    GopherQuality,
    GopherRepetition,
    Rules,
    SymbolLines,
    load_rules,
)
from smolfast.curate.rules import shipped_rules
from smolfast.curate.rules.fineweb2 import PLACES, read_yaml

YAML = """\
dup_line_frac: 0.319
dup_n_grams:
- - 5
  - 0.176
- - 6
  - 0.165
language_score: 0.667
line_punct_thr: 0.0
max_avg_word_length: 11
max_non_alpha_words_ratio: 0.752
min_avg_word_length: 2
new_line_ratio: 0.214
stopwords:
- v
- 'no'
- "f\\xFCr"
- d'un
- 'l''un'
- "\\u2019\\U0001F600\\t\\""
- "-"
- "split\\
  \\ here"
top_n_grams:
- - 2
  - 0.316
"""


def test_fineweb_is_datatroves_defaults_without_terminal_punctuation() -> None:
    expected = (GopherRepetition(), GopherQuality(), C4Quality(filter_no_terminal_punct=False), FineWebQuality())
    assert load_rules("fineweb@0.10") == Rules("fineweb", "0.10", expected)


def test_fineweb_2_puts_a_languages_numbers_in_their_places() -> None:
    rules = load_rules("fineweb-2@1", "sk")
    assert rules == load_rules("fineweb-2@1", "slk_Latn") == load_rules("fineweb-2@1", "slk")
    repetition, fineweb, quality, symbols = rules.filters
    assert isinstance(repetition, GopherRepetition)
    assert (repetition.dup_line_frac, repetition.dup_para_frac, repetition.dup_line_char_frac) == (0.319, 0, 0)
    assert repetition.top_n_grams == ((2, 0.316), (3, 0.218), (4, 0.171))
    assert fineweb == FineWebQuality(
        line_punct_thr=0, short_line_thr=999, char_duplicates_ratio=0.1, new_line_ratio=0.214
    )
    assert isinstance(quality, GopherQuality)
    assert quality.stop_words == ("v", "a", "na", "sa", "je", "z", "roku", "s")
    assert symbols == SymbolLines(("|",), "\n")
    assert (rules.language, rules.language_score) == ("slk_Latn", 0.667)


@pytest.mark.parametrize("name", shipped_rules())
def test_toml_comes_back(name: str, tmp_path: Path) -> None:
    rules = load_rules(name, "pl" if name == "fineweb-2@1" else None)
    path = tmp_path / "own.toml"
    path.write_text(rules.to_toml(), "utf-8")
    assert load_rules(path) == rules


def test_yaml_of_fineweb_2_loads_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "xyz_Latn.yml"
    path.write_text(YAML, "utf-8")
    assert read_yaml(path) == yaml.safe_load(YAML)
    rules = load_rules(path)
    assert rules.language == "xyz_Latn"
    for kind in rules.filters:
        for key, (name, parameter) in PLACES.items():
            if name == kind.name:
                assert kind.parameters()[parameter] == yaml.safe_load(YAML)[key]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("- v\n", "- yes\n", r"line 14: not of the form"),
        ("- v\n", "- {a: b}\n", r"line 14: not of the form"),
        ("- v\n", "- a: b\n", r"line 14: not of the form"),
        ("- v\n", "- a # b\n", r"line 14: not of the form"),
        ("- v\n", '- "\\q"\n', r"line 14: not of the form"),
        ("- v\n", "  deeper: 1\n", r"line 14: not of the form"),
        ("stopwords:", "stop_words:", r"unknown key stop_words; use: dup_line_frac"),
        ("language_score: 0.667\n", "", r"language_score is missing"),
        ("dup_line_frac: 0.319", "dup_line_frac: many", r"dup_line_frac is 'many'; use a number"),
        ("  - 0.316", "  - a", r"top_n_grams is 'a'; use a number"),
    ],
)
def test_other_yaml_is_refused(old: str, new: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "abc_Latn.yml"
    path.write_text(YAML.replace(old, new), "utf-8")
    with pytest.raises(SmolfastError, match=said):
        load_rules(path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fineweb@0.3", r"of fineweb there is fineweb@0\.10; other versions"),
        ("fineweb", r"name the version: fineweb@0\.10"),
        ("finweb@0.10", r"did you mean fineweb@0\.10\?"),
        ("nothing.toml", r"nothing\.toml: can't be read"),
        ("nothing.yml", r"nothing\.yml: can't be read"),
    ],
)
def test_unknown_names(name: str, said: str) -> None:
    with pytest.raises(SmolfastError, match=said):
        load_rules(name)


def test_language_without_numbers() -> None:
    with pytest.raises(SmolfastError, match="name one of: deu_Latn"):
        load_rules("fineweb-2@1")
    with pytest.raises(SmolfastError, match=r"no numbers for language .xho..*YAML"):
        load_rules("fineweb-2@1", "xho")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[filter]\n", "not TOML"),
        ("name = 3\n[[filter]]\nname = 'symbol_lines'", "name is 3; use a string"),
        ("nam = 'a'", r"unknown key nam \(did you mean name\?\); use one of: name, version"),
        ("filter = 3", r"write \[\[filter\]\]"),
        ("name = 'a'", "no filter; give one of: gopher_repetition"),
        ("[[filter]]\nname = 'goper_quality'", r"did you mean gopher_quality\?\); use one of"),
        ("[[filter]]\nname = 'gopher_quality'\nmin_doc_word = 3", r"min_doc_word \(did you mean min_doc_words\?\)"),
        ("[[filter]]\nname = 'gopher_quality'\nmin_doc_words = 'a'", "min_doc_words is 'a'; use a number"),
        ("[[filter]]\nname = 'gopher_quality'\nmin_doc_words = nan", "min_doc_words is nan; use a number"),
        ("[[filter]]\nname = 'gopher_quality'\nstop_words = 'the'", "use a list of strings"),
        ("[[filter]]\nname = 'c4_quality'\nfilter_policy = 1", "filter_policy is 1; use true or false"),
        ("[[filter]]\nname = 'gopher_repetition'\ntop_n_grams = [2]", r"use a list of \[words, limit\]"),
        ("[[filter]]\nname = 'gopher_repetition'\ntop_n_grams = [[0, 1]]", "n-grams of 0 words; use 1 to 64"),
        ("[[filter]]\nname = 'gopher_repetition'\ntop_n_grams = [[2, 1], [2, 2]]", "names a size twice"),
        ("[[filter]]\nname = 'symbol_lines'\nsymbols_to_remove = ['||']", "each item must be one character"),
        ("[[filter]]\nname = 'symbol_lines'\nreplace_char = 1", "replace_char is 1; use a string"),
        ("[[filter]]\nname = 'c4_bad_words'", "words is empty"),
        ("[[filter]]\nname = 'c4_bad_words'\nwords = [' ']", "an empty word"),
        ("[[filter]]\nname = 'c4_paragraphs'\nmin_paragraph_len = 0", "must be 1 or more"),
        ("[[filter]]\nname = 'symbol_lines'\n[[filter]]\nname = 'symbol_lines'", "symbol_lines stands twice"),
    ],
)
def test_bad_files(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(SmolfastError, match=said):
        load_rules(path)

"""The study of needles: what its documents teach and leave out, what its recipe runs, what is drawn of its figures."""

from __future__ import annotations

import importlib.util
import random
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from smolfast.commands.main import _parser
from smolfast.commands.options import load_config
from smolfast.evaluate.needles.words import ADJECTIVES, NOISE, NOUNS, VALUES
from smolfast.files import read_json

STUDY = Path(__file__).parents[2] / "benchmarks" / "studies" / "long_context"


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"long_context_{name}", STUDY / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks its module up
    spec.loader.exec_module(module)
    return module


DOCUMENTS, DRAW, POSITIONS = script("documents"), script("draw"), script("positions")


def test_the_study_runs_commands_that_there_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(STUDY))
    lines = script("study").commands(tmp_path)
    written = {tmp_path / "documents" / f"{name}.parquet" for name in DOCUMENTS.SETS}
    parser = _parser()
    for line in lines:
        arguments = parser.parse_args([str(part) for part in line])
        if line[0] != "tokenize":
            load_config(arguments)
        # What a command reads, one before it wrote.
        for part in map(str, line[1:-1]):
            path = Path(part.split("=")[-1])
            if tmp_path in path.parents:
                assert any(path == made or made in path.parents for made in written), path
        written |= {Path(line[-1]), Path(f"{line[-1]}-tokenizer")}


@pytest.mark.parametrize("name", list(DOCUMENTS.SETS))
def test_documents_hold_no_word_of_the_test(name: str) -> None:
    kind = replace(DOCUMENTS.SETS[name], words=20_000)
    texts = list(DOCUMENTS.documents(kind))
    test = {word for text in (*ADJECTIVES, *NOUNS, *VALUES, *NOISE) for word in DOCUMENTS.words_of(text)}
    test |= DOCUMENTS.words_of("What is the secret word of the key? The secret word of the key is") - {"key"}
    assert test <= DOCUMENTS.FORBIDDEN
    assert not test & DOCUMENTS.words_of(" ".join(texts))
    assert texts == list(DOCUMENTS.documents(kind))
    assert texts != list(DOCUMENTS.documents(replace(kind, seed=kind.seed + 1)))


@pytest.mark.parametrize("once", [0.0, 1.0])
def test_what_is_asked_was_stated_before(once: float) -> None:
    asked = 0
    for seed in range(40):
        lines = DOCUMENTS.document(random.Random(seed), 120, once).splitlines()
        for at, line in enumerate(lines):
            if "? " in line:
                statement = line.split("? ")[1]
                assert statement in lines[:at] or any(other.endswith(f"? {statement}") for other in lines[:at])
                # The question names the key: what stands before the value begins with the question's end.
                last_asked = re.split(r"\? ", line)[0].split()[-1]
                assert last_asked.lower() in statement.lower().split()[:-1]
                asked += 1
                if once:
                    assert lines.count(statement) == 1
    assert asked > 40


def test_figures_are_those_of_a_lengthening() -> None:
    found = read_json(STUDY / "needles.json")
    assert found["before"]["context"] == 256 and found["after"]["context"] == 1024
    for result in found.values():
        assert result["lengths"] == [256, 512, 1024] and set(result["tasks"]) == {"needle"}
        assert result["samples"] == 40
    shares = {when: [sum(row) / len(row) for row in one["tasks"]["needle"]["right"]] for when, one in found.items()}
    assert (
        min(shares["after"]) >= 0.95 > 0.5 > shares["before"][1] > shares["before"][2] and shares["before"][0] >= 0.95
    )
    picture = DRAW.needles(found)
    assert picture.count("<rect") == 2 * 3 * len(found["before"]["depths"])
    assert picture == (DRAW.PICTURES / "long-context-needles.svg").read_text(encoding="utf-8")
    page = (STUDY.parents[2] / "docs" / "long-context.md").read_text(encoding="utf-8")
    assert all(row in page for row in DRAW.needle_rows(found))


def test_each_token_of_the_positions_stands_in_every_part_of_a_window() -> None:
    for length in (256, 400, 512, 700, 3000):
        first = POSITIONS.starts(length)
        begin, end = POSITIONS.counted(first)
        assert (begin < end) == (first[-1] >= 256) and first[-1] + 256 <= length
        for token in range(begin, end):
            places = [token - one for one in first if 0 <= token - one < 256]
            for low, high in ((16, 31), (32, 63), (64, 127), (128, 255)):
                assert sum(low <= place <= high for place in places) == (high - low + 1) // 16


def test_bits_fall_with_every_position_after_and_rise_beyond_the_trained_length_before() -> None:
    kept = read_json(STUDY / "positions.json")
    before, after = (
        {one["from"]: one["bits_per_byte"] for one in kept["models"][when]["positions"]} for when in ("before", "after")
    )
    assert kept["trained"] == 64 and before[32] + 0.2 < before[64] < before[128]
    assert after[1] > after[16] > after[32] > after[64] > after[128]
    picture = DRAW.positions(kept["models"], kept["trained"])
    assert picture == (DRAW.PICTURES / "long-context-positions.svg").read_text(encoding="utf-8")
    page = (STUDY.parents[2] / "docs" / "long-context.md").read_text(encoding="utf-8")
    assert all(row in page for row in DRAW.position_rows(kept["models"]))

"""Models in a run of curate: a language that isn't asked for goes first, low quality last; scores are signals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from smolfast import SmolfastError, classify
from smolfast.commands.main import main
from smolfast.curate import curate_files, explain

RULES = 'name = "short"\nversion = "1"\n\n[[filter]]\nname = "gopher_quality"\nmin_doc_words = 3\nmin_stop_words = 0\n'
TEXTS = {
    "a": "the proof of the lemma is here",
    "b": "der Beweis der Aussage ist hier",
    "c": "the lemma",
    "d": "the menu is login here",
    "e": "der login",
}


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    """Documents, rules, and a model of languages and one of quality."""
    small: dict[str, Any] = {"dim": 8, "epoch": 30, "bucket": 200, "lr": 0.5, "word_ngrams": 1}
    english, german = ["the proof is here", "the lemma of menu login"], ["der Beweis ist hier", "der Aussage"]
    classify.train({"en": english * 20, "de": german * 20}, tmp_path / "language.bin", **small)
    good, bad = ["proof lemma", "the lemma of proof here"], ["menu login", "login here is the menu"]
    classify.train({"good": good * 20, "bad": bad * 20}, tmp_path / "quality.bin", **small)
    rows = [{"id": name, "text": text} for name, text in TEXTS.items()]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "rules.toml").write_text(RULES)
    return {
        "inputs": [tmp_path / "in.jsonl"],
        "output": tmp_path / "out",
        "rules": tmp_path / "rules.toml",
        "language_model": tmp_path / "language.bin",
        "quality_model": tmp_path / "quality.bin",
        "quality_score": 0.5,
    }


def test_models_decide_before_the_rules_and_behind(given: dict[str, Any]) -> None:
    summary = curate_files(**given, signals=True)
    kept = pq.read_table(given["output"] / "kept").to_pylist()
    removed = {row["id"]: row for row in pq.read_table(given["output"] / "removed").to_pylist()}
    assert [row["id"] for row in kept] == ["a"]
    assert {name: row["reason"] for name, row in removed.items()} == {
        "b": "language",
        "c": "gopher_short_doc",
        "d": "quality",
        "e": "language",  # as the first that removes it
    }
    assert removed["b"]["value"] == removed["b"]["language_score"] < removed["b"]["threshold"] == 0.65
    assert removed["d"]["value"] == removed["d"]["quality_score"] < removed["d"]["threshold"] == 0.5
    assert [one["reason"] for one in summary.reasons] == ["language", "gopher_short_doc", "quality"]
    texts = list(TEXTS.values())
    for what, label in (("language", "en"), ("quality", "good")):
        model = classify.Model(given[f"{what}_model"])
        scores = dict(zip(TEXTS, model.scores(texts, [label])[label].to_pylist(), strict=True))
        assert {row["id"]: row[f"{what}_score"] for row in [*kept, *removed.values()]} == scores
    manifest = json.loads((given["output"] / "curate.json").read_text())
    assert {"language_score", "quality_score"} <= manifest["signals"].keys()
    said = explain(given["output"], "d")
    assert said.reason == "quality" and said.check == "quality" and said.text == TEXTS["d"]
    assert explain(given["output"], "b").check == "language"


def test_each_document_is_judged_for_its_own_language(given: dict[str, Any], tmp_path: Path) -> None:
    rows = [{"id": name, "text": text, "lang": "en" if name in "acd" else "deu_Latn"} for name, text in TEXTS.items()]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    del given["quality_model"], given["quality_score"]
    curate_files(**given, language_column="lang")
    reasons = {row["id"]: row["reason"] for row in pq.read_table(given["output"] / "removed").to_pylist()}
    assert reasons == {"c": "gopher_short_doc", "e": "gopher_short_doc"}
    assert explain(given["output"], "b").kept


def test_another_model_is_another_run(given: dict[str, Any]) -> None:
    curate_files(**given)
    before = given["quality_model"].read_bytes()
    curate_files(**given)
    given["quality_model"].write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    with pytest.raises(SmolfastError, match="holds the result of other input or settings"):
        curate_files(**given)


@pytest.mark.parametrize(("label", "least"), [("de", 0.65), ("deu_Latn", 0.821)])
def test_the_rules_threshold_is_for_glotlid(tmp_path: Path, label: str, least: float) -> None:
    classify.train({label: ["ein Haus"] * 9, "x": ["one house"] * 9}, tmp_path / "m.bin", dim=4, bucket=10)
    (tmp_path / "a.jsonl").write_text('{"text": "ein Haus"}\n')
    curate_files(
        [tmp_path / "a.jsonl"],
        tmp_path / "out",
        rules="fineweb-2@1",
        language="de",
        language_model=tmp_path / "m.bin",
    )
    checks = json.loads((tmp_path / "out" / "curate.json").read_text())["checks"]["de"]
    assert (checks[0]["signal"], checks[0]["threshold"]) == ("language_score", least)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"language_model": None, "language_score": 0.5}, "name its file with --language-model"),
        ({"quality_score": None}, "names no threshold of its own; give .*: --quality-score"),
        ({"quality_score": 1.5}, "quality_score = 1.5: give a share from 0 to 1"),
        ({"quality_label": "fine"}, "has no label 'fine'; name one of its own with --quality-label: "),
        ({"quality_model": None, "quality_score": None, "quality_label": "x"}, "with --quality-model"),
        ({"language": "cs"}, "has no label for the language 'cs'; it has en, de; give the language as it does"),
        ({"language_model": "none.bin"}, "none.bin: can't be opened"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, Any], changed: dict[str, Any], said: str) -> None:
    with pytest.raises(SmolfastError, match=said):
        curate_files(**{**given, **changed})
    assert not given["output"].exists()


def test_the_command_takes_them(given: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if name not in ("inputs",)]
    assert main(["curate", str(given["inputs"][0]), *options, "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["filter"] for one in found["reasons"]] == ["language", "gopher_quality", "quality"]

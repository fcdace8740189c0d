"""Rules on what a stage tells: a filter that keeps too little is seen, and what comes after it doesn't run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from smolfast.errors import SmolfastError, StopRunError, StopTrialError
from smolfast.pipeline.recipes import load_recipe, run
from smolfast.report.recipe.page import recipe_page

RECIPE = """
[stages.collect]
input = "texts"
min_document_bytes = 1

[stages.dedup]
needs = "collect"
monitors = [{metric = "kept_share", below = 0.05, reaction = "REACTION"MORE}]

[stages.after]
needs = "dedup"
python = "own:write"

[stages.aside]
needs = "collect"
python = "own:write"
"""
OWN = """
def write(inputs, output):
    (output / "out.txt").write_text("x")
    return {"letters": 1, "yes": True}


def stop(inputs, output):
    from smolfast.errors import StopTrialError
    raise StopTrialError("hopeless")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """100 texts that are equal: of them deduplication keeps 1 %."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("own", None)
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "texts").mkdir()
    write_texts(tmp_path, 1)
    return tmp_path


def write_texts(folder: Path, different: int) -> None:
    for number in range(100):
        words = " ".join(f"w{number % different}x{word}" for word in range(40))
        (folder / "texts" / f"{number}.txt").write_text(words)


def recipe(folder: Path, reaction: str, more: str = "") -> Path:
    path = folder / "r.toml"
    path.write_text(RECIPE.replace("REACTION", reaction).replace("MORE", more))
    return path


def events(out: Path) -> list[dict[str, Any]]:
    path = out / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def states(out: Path) -> dict[str, str]:
    return {stage["name"]: stage["state"] for stage in json.loads((out / "recipe.json").read_text())["stages"]}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_filter_that_keeps_one_percent_stops_the_run(folder: Path, jobs: int) -> None:
    out = folder / "out"
    graph = load_recipe(recipe(folder, "stop run"))
    for _ in range(2):  # done and unchanged it stops the run just as well
        outcome = run(graph, out, jobs=jobs)
        assert isinstance(outcome.failed["dedup"], StopRunError)
        assert "after" in outcome.blocked
        with pytest.raises(StopRunError, match=r"dedup failed: .* kept_share below 0.05 \(it is 0.01\); look at what"):
            outcome.check(out / "stages")
        assert events(out) == [
            {
                "stage": "dedup", "event": "monitor", "rule": "kept_share below 0.05", "metric": "kept_share",
                "value": 0.01, "reaction": "stop run",
            }
        ]  # fmt: skip
    assert (out / "dedup" / "kept.parquet").exists() and not (out / "after").exists()
    assert "kept_share below 0.05" in recipe_page(out)
    write_texts(folder, 100)
    outcome = run(graph, out, jobs=jobs)
    outcome.check(out / "stages")
    assert events(out) == [] and set(outcome.summaries) == {"collect", "dedup", "after", "aside"}


def test_a_trial_is_stopped_where_it_needs_the_stage(folder: Path) -> None:
    out = folder / "out"
    outcome = run(load_recipe(recipe(folder, "stop trial")), out)
    assert outcome.blocked == ["after"] and "aside" in outcome.summaries
    with pytest.raises(StopTrialError, match=r"stopped what needs it.*not run, for they need it: after"):
        outcome.check(out / "stages")


def test_a_note_changes_nothing(folder: Path) -> None:
    out = folder / "out"
    outcome = run(load_recipe(recipe(folder, "note")), out)
    outcome.check(out / "stages")
    assert [event["reaction"] for event in events(out)] == ["note"]
    assert set(states(out).values()) == {"done"}
    again = run(load_recipe(recipe(folder, "stop trial")), out)  # a rule is no part of what the stage is
    assert set(again.skipped) == {"collect", "aside"} and "dedup" in again.failed
    assert not again.summaries.keys() & {"after"}


def test_a_program_is_told_once(folder: Path) -> None:
    out, told = folder / "out", folder / "told"
    program = json.dumps([sys.executable, "-c", f"import sys; open({str(told)!r}, 'a').write(sys.stdin.read())"])
    graph = load_recipe(recipe(folder, "command", f", command = {program}"))
    for _ in range(2):
        run(graph, out).check(out / "stages")
    (line,) = told.read_text().splitlines()
    message = json.loads(line)
    assert (message["stage"], message["value"], message["run"]) == ("dedup", 0.01, str(out))
    failing = load_recipe(recipe(folder, "command", ', command = ["/no/such/program"]'))
    (folder / "texts" / "more.txt").write_text("one more text, so that the stage runs again")
    run(failing, out).check(out / "stages")
    assert [event["event"] for event in events(out)] == ["monitor", "monitor failed"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_stage_that_ends_a_trial_says_so_from_another_process(folder: Path, jobs: int) -> None:
    path = folder / "s.toml"
    path.write_text("[stages.a]\npython = 'own:stop'\n[stages.b]\npython = 'own:write'\n")
    outcome = run(load_recipe(path), folder / "out", jobs=jobs)
    assert type(outcome.failed["a"]) is StopTrialError and "b" in outcome.summaries


def test_a_number_that_a_stage_does_not_tell_is_said(folder: Path) -> None:
    path = folder / "s.toml"
    path.write_text("[stages.a]\npython = 'own:write'\nmonitors = [{metric = 'letter', above = 0}]\n")
    run(load_recipe(path), folder / "out").check(folder / "out" / "stages")
    assert events(folder / "out") == [{"stage": "a", "event": "monitor failed", "error": "it told no letter"}]


BAD = {
    "metric = 'kept_shar', below = 0.1": "did you mean 'kept_share'?",
    "metric = 'kept_share', belo = 0.1": "unknown key 'belo'; did you mean 'below'?",
    "metric = 'kept_share'": "one condition of above, below; this one has none",
    "metric = 'kept_share', below = 0.1, above = 2": "this one has above and below",
    "metric = 'kept_share', below = 0.1, reaction = 'stop'": "did you mean 'stop run'?",
    "metric = 'kept_share', below = 0.1, reaction = 'webhook'": "needs webhook = …",
    "metric = 'kept_share', below = 0.1, reaction = 'webhook', webhook = 'file:///x'": "is no http or https URL",
    "metric = 'kept_share', below = 0.9}, {metric = 'kept_share', above = 0.1": "leave no healthy kept_share",
}


@pytest.mark.parametrize("text", BAD)
def test_bad_rules_are_refused_with_their_line(folder: Path, text: str) -> None:
    path = folder / "r.toml"
    path.write_text(f"[stages.collect]\nmax_bytes = 9\nmonitors = [{{{text}}}]\n")
    with pytest.raises(SmolfastError, match=r"r\.toml:3: ") as error:
        load_recipe(path)
    assert BAD[text] in str(error.value)


def test_rules_that_are_no_list_are_refused(folder: Path) -> None:
    path = folder / "r.toml"
    path.write_text("[stages.collect]\nmonitors = 3\n")
    with pytest.raises(SmolfastError, match=r"r\.toml:2: monitors is a list of tables"):
        load_recipe(path)


def test_rules_of_a_training_stand_in_its_stage(folder: Path) -> None:
    path = folder / "r.toml"
    text = """
[stages.collect]
[stages.split]
needs = "collect"
[stages.tokenizer]
needs = "split"
[stages.tokenize]
needs = ["split", "tokenizer"]
[stages.train]
needs = "tokenize"
[[stages.train.monitors]]
metric = "METRIC"
above = 9.0
"""
    path.write_text(text.replace("METRIC", "loss"))
    graph = load_recipe(path)
    config, _, _ = graph.settings(graph.nodes["train"], graph.nodes["train"].table)
    assert [monitor.rule().words() for monitor in config.train.monitors] == ["loss above 9"]
    path.write_text(text.replace("METRIC", "lost"))
    with pytest.raises(SmolfastError, match=r"r\.toml:11: .*did you mean 'loss'"):
        load_recipe(path)

"""Ablations: planted effects are shown, others aren't, and what runs have in common runs once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from small_sweeps import SMALL
from smolfast.commands.main import main
from smolfast.errors import SmolfastError
from smolfast.pipeline.recipes import load_recipe
from smolfast.pipeline.sweeps.ablation import Ablation, ablate, read_changes
from smolfast.recipes import change_sets, find_changes

RECIPE = """
name = "planted"
[stages.shared]
python = "planted:shared"

[stages.score]
needs = "shared"
python = "planted:score"
effect = 0.0
number = 0
repeat = 0
other = 0

[stages.after]
needs = "score"
python = "planted:never"
"""
CODE = """
import random

def shared(inputs, output):
    with open("calls.txt", "a") as file:
        file.write("shared ")

def score(inputs, output, effect, number, repeat, other):
    if effect == "bad":
        raise ValueError("no such effect")
    noise = random.Random(f"{number} {effect} {repeat} {other}").gauss(0, 0.01)
    return {"loss": 3.0 + 0.3 * number + effect + noise, "width": None if effect > 0.1 else 5.0 - effect}
"""


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("planted", None)
    (tmp_path / "planted.py").write_text(CODE)
    (tmp_path / "planted.toml").write_text(RECIPE)
    for name, text in {
        "helps": "score.effect = -0.2",
        "hurts": "score.effect = 0.2",
        "nothing": "score.effect = 0.0001",
        "breaks": 'score.effect = "bad"',
    }.items():
        (tmp_path / f"{name}.toml").write_text(text)
    return tmp_path


def with_seeds(what: Ablation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A seed of a stage that is no training."""

    def graph(self: Ablation, change: Any = (), seed: int | None = None) -> Any:
        seeds = [] if seed is None else [f"score.number={seed}"]
        return load_recipe(
            self.recipe, settings=[*self.settings, *change, *seeds, *(["after.x=1"] if seed is None else [])]
        )

    monkeypatch.setattr(Ablation, "graph", graph)


def test_planted_effects(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = read_changes(
        [planted / f"{n}.toml" for n in ("helps", "hurts", "nothing", "breaks")], str(planted / "planted.toml")
    )
    what = Ablation(str(planted / "planted.toml"), changes, "score.loss", seeds=4)
    with_seeds(what, monkeypatch)
    found = ablate(what, planted / "out")
    assert [line.split(",")[0] for line in found["changes"]] == [
        "helps: better",
        "hurts: worse",
        "nothing: no difference shown",
        "breaks: failed",
    ]
    assert found["runs"] == 20 and found["failed"] == 4
    said = json.loads((planted / "out" / "ablation.json").read_text())
    helps = said["changes"][0]
    assert helps["low"] < -0.2 < helps["high"] < 0 and helps["pairs"] == 4
    assert said["winners"] == ["helps"]
    winners = load_recipe(planted / "out" / "winners.toml", profile="winners")
    assert winners.nodes["score"].table["effect"] == -0.2
    assert (planted / "calls.txt").read_text() == "shared "
    page = (planted / "out" / "ablation.html").read_text()
    assert "no difference shown" in page and "failed" in page and "winners.toml" in page


@pytest.mark.slow
def test_intervals_of_a_hundred_ablations_hold_the_truth(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole ablations, with noise of their own each: a planted effect of -0.02, and a change that does nothing."""
    recipe = str(planted / "planted.toml")
    (planted / "helps.toml").write_text("score.effect = -0.02")
    (planted / "nothing.toml").write_text("score.other = 1")
    changes = read_changes([planted / "helps.toml", planted / "nothing.toml"], recipe)
    held = {"helps": 0, "nothing": 0}
    shown = dict(held)
    for repeat in range(100):
        what = Ablation(recipe, changes, "score.loss", seeds=3, settings=(f"score.repeat={repeat}",))
        with_seeds(what, monkeypatch)
        ablate(what, planted / f"out-{repeat}")
        for row in json.loads((planted / f"out-{repeat}" / "ablation.json").read_text())["changes"]:
            truth = -0.02 if row["change"] == "helps" else 0.0
            held[row["change"]] += row["low"] <= truth <= row["high"]
            shown[row["change"]] += row["verdict"] != "no difference shown"
    assert held["helps"] >= 90 and held["nothing"] >= 90
    assert shown["nothing"] == 100 - held["nothing"] and shown["helps"] > shown["nothing"]


def test_further_numbers_are_compared_and_decide_nothing(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = str(planted / "planted.toml")
    changes = read_changes([planted / "helps.toml", planted / "hurts.toml", planted / "breaks.toml"], recipe)
    what = Ablation(recipe, changes, "score.loss", seeds=3, also=("score.width",))
    with_seeds(what, monkeypatch)
    found = ablate(what, planted / "out")
    said = json.loads((planted / "out" / "ablation.json").read_text())
    assert said["winners"] == ["helps"] and found["failed"] == 3
    assert said["also"]["score.width"]["baseline"] == [5.0, 5.0, 5.0]
    helps, hurts, breaks = (row["also"]["score.width"] for row in said["changes"])
    assert helps == {"mean": pytest.approx(0.2), "low": pytest.approx(0.2), "high": pytest.approx(0.2), "pairs": 3}
    assert hurts is breaks is None  # it told none
    assert "Also: score.width" in (planted / "out" / "ablation.html").read_text()
    # Another choice of them is the same ablation.
    ablate(Ablation(recipe, changes, "score.loss", seeds=3), planted / "out")
    with pytest.raises(SmolfastError, match=r"--also score: there is no stage"):
        ablate(Ablation(recipe, changes, "score.loss", seeds=1, also=("score",)), planted / "other")


@pytest.mark.parametrize("name", change_sets())
def test_sets_that_ship_go_with_their_recipe(name: str) -> None:
    recipe = "curation" if name == "curated" else "ablation"
    changes = read_changes([name], recipe)
    assert changes
    settings = ("raw.input=a",) if recipe == "curation" else ()
    for change in changes.values():
        Ablation(recipe, {}, "evaluate.bits_per_byte", settings=settings).graph(change, 1)


@pytest.mark.parametrize("name", ["code", "curated"])
def test_the_guide_says_what_came_out(name: str) -> None:
    root = Path(__file__).parents[3]
    said = json.loads((root / "benchmarks" / "studies" / "ablations" / f"{name}.json").read_text())
    guide = (root / "docs" / "experiments.md").read_text()
    assert len(said["changes"]) == sum(
        len(find_changes(one)) for one in change_sets() if (one == "curated") == (name == "curated")
    )
    for row in said["changes"]:
        mean = sum(said["values"][row["change"]]) / said["seeds"]
        interval = f"{row['mean']:+.3f} | {row['low']:+.3f} to {row['high']:+.3f} | {row['verdict']}"
        assert f"| {row['change']} | {mean:.3f} | {interval} |" in guide
        assert said["tokens"][row["change"]] == said["tokens"]["baseline"] == 204_800


def test_changes_of_every_type(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        'train.mixture = { "a b" = 0.5, c = 0.5 }\ntrain.mtp_weights = [1.0, 0.5]\n'
        'generate.prompt = "a \\"b\\" = ü \\U0001F600 \\u007f"\n'
        "train.tensorboard = true\n[[train.stages]]\nfraction = 1.0\nweights = { c = 1.0 }\n"
    )
    settings = read_changes([tmp_path / "c.toml"], "quickstart")["c"]
    graph = load_recipe("quickstart", settings=settings)
    assert graph.nodes["train"].table == {
        "mixture": {"a b": 0.5, "c": 0.5},
        "mtp_weights": [1.0, 0.5],
        "tensorboard": True,
        "stages": [{"fraction": 1.0, "weights": {"c": 1.0}}],
    }
    assert graph.nodes["generate"].table == {"prompt": 'a "b" = ü \U0001f600 \x7f'}


def test_settings_that_the_recipe_needs_come_first() -> None:
    what = Ablation("web-and-pdf", {}, "evaluate.bits_per_byte", settings=("web.input=a", "pdf.input=b"))
    graph = what.graph(["train.steps=5"], 2)
    assert graph.nodes["train"].table == {"steps": 5, "seed": 2} and "export" not in graph.nodes


def test_refused(planted: Path) -> None:
    recipe = str(planted / "planted.toml")
    with pytest.raises(SmolfastError, match=r"can't read the change .*; the sets that ship are activations"):
        read_changes([planted / "none.toml"], recipe)
    (planted / "empty.toml").touch()
    with pytest.raises(SmolfastError, match="changes nothing; write settings as in a profile"):
        read_changes([planted / "empty.toml"], recipe)
    with pytest.raises(SmolfastError, match="there is another change 'helps'"):
        read_changes([planted / "helps.toml", planted / "helps.toml"], recipe)
    (planted / "broken.toml").write_text("[")
    with pytest.raises(SmolfastError, match="is not valid TOML"):
        read_changes([planted / "broken.toml"], recipe)
    (planted / "other.toml").write_text("scroe.effect = 1")
    with pytest.raises(SmolfastError, match=r"the change other: --set scroe.effect=1: 'scroe' is no stage"):
        ablate(Ablation(recipe, read_changes([planted / "other.toml"], recipe), "score.loss", seeds=1), planted / "out")
    with pytest.raises(SmolfastError, match=r"there is no stage .scor.; did you mean 'score'"):
        ablate(Ablation(recipe, read_changes([planted / "helps.toml"], recipe), "scor.loss", seeds=1), planted / "out")


def test_of_trainings_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("low.toml").write_text("train.adamw_learning_rate = 0.0001\n")
    Path("short.toml").write_text("train.steps = 6\n")
    words = ["ablate", "quickstart", "low.toml", "short.toml", "-o", "out", "--objective", "evaluate.bits_per_byte"]
    words += ["--seeds", "2", "--quiet", "--json"]
    for setting in (*SMALL, "train.steps=12"):
        words += ["--set", setting]
    assert main(words) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["runs"] == 6 and first["failed"] == 0
    said = json.loads(Path("out/ablation.json").read_text())
    assert said["changes"][0]["mean"] > 0 and "note" not in said["changes"][0]
    assert "trained on" in said["changes"][1]["note"]  # fewer tokens: no fair comparison
    run = Path("out/run")
    assert (
        len(list(run.glob("train-*"))) == 6 and len(list(run.glob("tokens-*"))) == len(list(run.glob("split-*"))) == 1
    )
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert main([*words[:4], "-o", "out", "--objective", "evaluate.bytes"]) == 2
    assert "holds another ablation" in capsys.readouterr().err

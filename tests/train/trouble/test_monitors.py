"""Planted troubles: each rule acts as it says, a healthy run sees none, and what it did survives a kill."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import smolfast.train.loop
import smolfast.train.schedule
from smolfast.config import TrainConfig
from smolfast.errors import SmolfastError, StopRunError, StopTrialError
from smolfast.optim import MuonAdamW
from smolfast.train.loop import train
from smolfast.train.trouble import heads
from smolfast.train.trouble.monitors import place_of, values_of
from tiny_models import tiny

FAULT = 30
MODEL = tiny()
SETTINGS: dict[str, Any] = {
    "steps": 60,
    "sequence_length": 32,
    "batch_size": 8,
    "micro_batch_size": 8,
    "evaluate_every": 5,
    "checkpoint_every": 10,
    "keep_checkpoints": 10,
    "monitor_every": 20,
    "muon_learning_rate": 0.03,
    "adamw_learning_rate": 0.02,
    "spike_sigma": 1e9,  # what the guard sees has tests of its own
}
# fmt: off
EVERYTHING: list[dict[str, Any]] = [
    {"metric": "loss", "above": 20.0, "reaction": "stop run"},
    {"metric": "loss", "change_above": 3.0, "window": 4, "reaction": "lower rate"},
    {"metric": "gradient_norm", "above": 50.0, "window": 3, "reaction": "tighten clip"},
    {"metric": "held_out_loss", "above_minimum": 0.3, "looks": 3, "reaction": "stop trial"},
    {"metric": "attention.max_logit", "above": 100.0, "every": 2, "follow": True, "reaction": "lower rate"},
    {"metric": "attention.max_logit", "above": 90.0, "every": 4, "follow": True, "scope": "head",
     "reaction": "lower rate"},
    {"metric": "attention.max_logit", "above": 95.0, "every": 4, "follow": True, "scope": "head",
     "reaction": "tighten clip"},
    {"metric": "features.effective_rank", "below": 1.2, "reaction": "roll back"},
    {"metric": "features.dead_units", "above": 0.9, "reaction": "note"},
    {"metric": "tokens_per_second", "below": 1e-3, "reaction": "note"},
]
# fmt: on


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory, write_tokens: Any) -> Path:
    return Path(write_tokens(tmp_path_factory.mktemp("monitors") / "tokens"))


Run = Callable[..., Path]


@pytest.fixture(scope="module")
def run(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Trains with some monitors and settings; the run's folder."""

    def work(*monitors: dict[str, Any], output: Path | None = None, progress: Any = None, **changes: Any) -> Path:
        output = output or tmp_path_factory.mktemp("run")
        config = TrainConfig.model_validate(SETTINGS | changes | {"monitors": list(monitors)})
        train(tokens, output, model=MODEL, config=config, device="cpu", threads=1, progress=progress)
        return output

    return work


@pytest.fixture(scope="module")
def healthy(run: Run) -> Path:
    return run()


def lines(folder: Path, name: str = "events.jsonl") -> list[dict[str, Any]]:
    path = folder / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def numbers(folder: Path) -> list[dict[str, Any]]:
    left_out = ("seconds", "speed", "attention")
    return [{key: one for key, one in line.items() if key not in left_out} for line in lines(folder, "metrics.jsonl")]


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


@pytest.fixture
def rate_times_thirty(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = smolfast.train.schedule.rate_scale

    def rate(config: TrainConfig, step: int, steps: int) -> float:
        return sound(config, step, steps) * (30 if step >= FAULT else 1)

    monkeypatch.setattr(smolfast.train.loop, "rate_scale", rate)


def change_weights(monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, torch.Tensor], int], None]) -> None:
    """Do something to the weights after each step, counted from 1."""
    sound = MuonAdamW.step
    count = 0

    def step(optimizer: MuonAdamW) -> None:
        nonlocal count
        sound(optimizer)
        count += 1
        named = {
            name: parameter
            for group in optimizer.param_groups
            for name, parameter in zip(group["param_names"], group["params"], strict=True)
        }
        with torch.no_grad():
            change(named, count)

    monkeypatch.setattr(MuonAdamW, "step", step)


def test_a_healthy_run_sees_none_and_keeps_every_bit(run: Run, healthy: Path) -> None:
    watched = run(*EVERYTHING)
    assert lines(watched) == []
    assert weights(watched) == weights(healthy)
    assert numbers(watched) == numbers(healthy)
    looked = ["attention" in line for line in lines(watched, "metrics.jsonl")]
    assert looked == [step % 2 == 0 and step > 2 for step in range(1, 61)]
    heads = lines(watched, "metrics.jsonl")[-1]["attention"]["max_logit"]
    assert [len(layer) for layer in heads][:2] == [4, 4] and all(math.isfinite(x) for layer in heads for x in layer)


@pytest.mark.usefixtures("rate_times_thirty")
def test_a_rate_thirty_times_too_high_is_lowered(run: Run) -> None:
    rule = {
        "metric": "loss", "above_minimum": 1.0, "looks": 2, "rest": 5, "reaction": "lower rate", "factor": 0.1
    }  # fmt: skip
    folder = run(rule)
    events = lines(folder)
    first = events[0]
    assert (first["event"], first["metric"], first["reaction"], first["rate"]) == ("monitor", "loss", "lower rate", 0.1)
    assert FAULT + 2 <= first["step"] <= FAULT + 6
    assert [event["rate"] for event in events] == pytest.approx([0.1 ** (n + 1) for n in range(len(events))])
    assert all(later["step"] - before["step"] >= 5 for before, later in itertools.pairwise(events))
    rates = [line["muon_learning_rate"] for line in numbers(folder)]
    whole = [line["muon_learning_rate"] for line in numbers(run())]
    assert rates[: first["step"]] == whole[: first["step"]]
    assert rates[first["step"]] == pytest.approx(whole[first["step"]] * 0.1)


@pytest.mark.usefixtures("rate_times_thirty")
def test_a_slow_divergence_stops_the_trial_for_good(run: Run, tmp_path: Path) -> None:
    rule = {"metric": "held_out_loss", "above_minimum": 0.2, "looks": 3, "reaction": "stop trial"}
    stops = r"ended the training at step \d+: held_out_loss more than 0.2 above its minimum, 3 looks in a row"
    with pytest.raises(StopTrialError, match=stops):
        run(rule, output=tmp_path)
    (event,) = lines(tmp_path)
    assert event["step"] % 5 == 0 and event["step"] >= FAULT + 15
    losses = {line["step"]: line["held_out_loss"] for line in numbers(tmp_path) if "held_out_loss" in line}
    least = min(losses.values())
    last = [losses[event["step"] - back] for back in (10, 5, 0)]
    assert min(last) > least + 0.2 and event["value"] == last[-1]
    told = json.loads((tmp_path / "run.json").read_text())["stopped"]
    assert told == {key: value for key, value in event.items() if key != "event"}
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(StopTrialError, match=stops):  # and not a step further
        run(rule, output=tmp_path)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


@pytest.mark.usefixtures("rate_times_thirty")
def test_the_run_is_stopped(run: Run, tmp_path: Path) -> None:
    with pytest.raises(StopRunError, match="gradient_norm"):
        run({"metric": "gradient_norm", "above": 1e-9, "after": 7, "reaction": "stop run"}, output=tmp_path)
    assert len(numbers(tmp_path)) == lines(tmp_path)[0]["step"] == 8


def test_a_collapse_is_rolled_back_to_before_it_began(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def collapse(named: dict[str, torch.Tensor], count: int) -> None:
        if count == 33:
            embedding = named["model.embed_tokens.weight"]
            embedding[:] = embedding[1:2].clone()

    change_weights(monkeypatch, collapse)
    rule = {"metric": "held_out_loss", "above_minimum": 0.4, "looks": 2, "reaction": "roll back"}
    folder = run(rule, rollback_skip=3, rollback_rate=0.5, monitor_every=0)
    noted, back = lines(folder)
    assert (noted["step"], noted["event"]) == (40, "monitor")
    # The collapse showed at 35 first, so what was saved at 40 isn't gone back to.
    assert (back["step"], back["event"], back["back_to"]) == (40, "rollback", 30)
    assert (back["batches_skipped"], back["rate"]) == (13, 0.5)
    found = numbers(folder)
    assert [line["step"] for line in found] == list(range(1, 61))
    assert found[-1]["held_out_loss"] < found[29]["loss"]


def test_growing_logits_of_a_head_lower_the_rate_and_tighten_the_clip(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reading of Kimi K2's: the rate and the clipping follow the largest logit. QK-clip itself stands beside it."""

    def grow(named: dict[str, torch.Tensor], count: int) -> None:
        if FAULT <= count < FAULT + 12:
            named["model.layers.1.self_attn.q_proj.weight"][16:24] *= 1.6  # head 2 of 4

    change_weights(monkeypatch, grow)
    rules = [
        {"metric": "attention.max_logit", "above": 40.0, "reaction": "lower rate", "follow": True},
        {"metric": "attention.max_logit", "above": 60.0, "reaction": "tighten clip", "rest": 10, "factor": 0.5},
    ]
    folder = run(*rules)
    events = lines(folder)
    follows = [event for event in events if event["reaction"].startswith("lower rate")]
    assert follows[0]["reaction"] == "lower rate, following"
    assert (follows[0]["layer"], follows[0]["head"]) == (1, 2) and follows[0]["step"] > FAULT
    clips = [event for event in events if event["reaction"] == "tighten clip"]
    assert [event["gradient_clip"] for event in clips] == [0.5 ** (n + 1) for n in range(len(clips))] and clips
    assert (clips[0]["layer"], clips[0]["head"]) == (1, 2) and clips[0]["step"] >= follows[0]["step"]
    metrics, whole = lines(folder, "metrics.jsonl"), [line["muon_learning_rate"] for line in numbers(run())]
    lowered = 0
    for before, line, rate in zip(metrics[:-1], metrics[1:], whole[1:], strict=True):
        largest = max((max(layer) for layer in before.get("attention", {}).get("max_logit", [[0.0]])), default=0.0)
        assert line["muon_learning_rate"] == pytest.approx(rate * min(1.0, 40.0 / max(largest, 1e-9)))
        lowered += largest > 40
    assert lowered > 5


def test_a_head_whose_logits_grow_is_slowed_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other reading of K2: rate and clipping of each head by its own logit. What the step was is kept beside."""
    asked: list[tuple[dict[str, float], dict[str, float]]] = []

    def grow(named: dict[str, torch.Tensor], count: int) -> None:
        if FAULT <= count < FAULT + 12:
            named["model.layers.1.self_attn.q_proj.weight"][16:24] *= 1.6  # head 2 of 4

    change_weights(monkeypatch, grow)
    slowed, clipped = heads.slowed_heads, heads.clip_heads

    def clip(model: Any, factors: dict[str, float], largest: float) -> None:
        asked.append((factors, {}))
        clipped(model, factors, largest)

    def slow(model: Any, factors: dict[str, float]) -> Any:
        asked[-1] = (asked[-1][0], factors)
        return slowed(model, factors)

    monkeypatch.setattr(heads, "clip_heads", clip)
    monkeypatch.setattr(heads, "slowed_heads", slow)
    rule = {"metric": "attention.max_logit", "above": 40.0, "follow": True, "scope": "head"}
    folder = run(rule | {"reaction": "lower rate"}, rule | {"reaction": "tighten clip"})
    taken = asked[1:]
    first, second, *_ = lines(folder)
    assert {first["reaction"], second["reaction"]} == {"lower rate, following", "tighten clip, following"}
    assert (first["layer"], first["head"]) == (1, 2) and first["step"] > FAULT
    assert first["factor"] == pytest.approx(40 / first["value"])
    metrics = lines(folder, "metrics.jsonl")
    assert [line["muon_learning_rate"] for line in metrics] == [line["muon_learning_rate"] for line in numbers(run())]
    for before, (by_clip, by_rate) in zip(metrics[:-1], taken, strict=True):
        logits = before.get("attention", {}).get("max_logit", [])
        expected = {
            f"{layer}.{head}": pytest.approx(40 / value)
            for layer, heads in enumerate(logits)
            for head, value in enumerate(heads)
            if value > 40
        }
        assert by_clip == by_rate == expected
    assert sum(bool(by_rate) for _, by_rate in taken) > 5


def test_qk_clip_makes_the_rule_unneeded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def grow(named: dict[str, torch.Tensor], count: int) -> None:
        if FAULT <= count < FAULT + 12:
            named["model.layers.1.self_attn.q_proj.weight"][16:24] *= 1.6

    rule = {"metric": "attention.max_logit", "above": 80.0, "reaction": "stop run"}
    with monkeypatch.context() as patch, pytest.raises(StopRunError):
        change_weights(patch, grow)
        run(rule)
    change_weights(monkeypatch, grow)
    assert {event["event"] for event in lines(run(rule, qk_clip=20.0))} == {"qk_clip"}


@pytest.mark.usefixtures("rate_times_thirty")
def test_a_kill_changes_no_byte(run: Run, tmp_path: Path) -> None:
    """Windows, lowered rates, a tightened clip and a rest come back."""

    class Kill(BaseException):
        pass

    def at(step: int) -> Callable[[float, float, str], None]:
        def progress(done: float, total: float, note: str) -> None:
            if done == step:
                raise Kill

        return progress

    rules: list[dict[str, Any]] = [
        {"metric": "loss", "above_minimum": 0.5, "window": 3, "rest": 7, "reaction": "lower rate", "factor": 0.3},
        {"metric": "loss", "change_above": 0.3, "window": 6, "rest": 9, "reaction": "tighten clip"},
        {"metric": "held_out_loss", "above_minimum": 0.2, "looks": 2, "reaction": "roll back"},
        {"metric": "attention.max_logit", "above": 1.0, "follow": True, "reaction": "tighten clip", "every": 3},
        {
            "metric": "attention.max_logit",
            "above": 2.0,
            "follow": True,
            "scope": "head",
            "reaction": "lower rate",
            "every": 3,
        },
    ]
    whole, broken = run(*rules, clip="zclip"), tmp_path / "broken"
    assert {event["reaction"] for event in lines(whole) if event["event"] == "monitor"} > {"lower rate", "roll back"}
    for step in (8, 37, 44, 53):
        with pytest.raises(Kill):
            run(*rules, clip="zclip", output=broken, progress=at(step))
    run(*rules, clip="zclip", output=broken)
    assert numbers(broken) == numbers(whole)
    assert (broken / "events.jsonl").read_bytes() == (whole / "events.jsonl").read_bytes()
    assert weights(broken) == weights(whole)


def test_who_is_told_may_change_in_the_middle(run: Run, healthy: Path, tmp_path: Path) -> None:
    """A rule that decides is part of what a run is; one that only tells isn't, nor is its URL in the run's record."""

    class Kill(BaseException):
        pass

    def kill(done: float, total: float, note: str) -> None:
        if done == 35:
            raise Kill

    above = {"metric": "loss", "above": 1e-3, "rest": 1000}
    stop = {"metric": "loss", "above": 99.0, "reaction": "stop run"}
    hook = above | {"reaction": "webhook", "webhook": "http://127.0.0.1:9/password"}
    with pytest.raises(Kill):
        run(stop, hook, output=tmp_path, progress=kill)
    assert "password" not in (tmp_path / "run.json").read_text()
    run(above | {"reaction": "note"}, stop, hook, output=tmp_path)
    assert weights(tmp_path) == weights(healthy)
    told = [(event["step"], event["reaction"]) for event in lines(tmp_path) if event["event"] == "monitor"]
    assert told == [(3, "webhook"), (31, "note")]
    with pytest.raises(SmolfastError, match=r"another train\.monitors"):
        run(output=tmp_path)


def test_logits_beside_compiled_layers_change_no_bit(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled layers call no hooks, so the logits are those of a forward pass of their own. Here none is compiled."""
    from smolfast.train.process.compiled import CompiledLayers

    rule = {"metric": "attention.max_logit", "above": 1e6}
    hooked = run(rule, steps=12)
    init = CompiledLayers.__init__

    def pretend(self: CompiledLayers, *arguments: Any) -> None:
        init(self, *arguments)
        self.on = True

    monkeypatch.setattr(CompiledLayers, "__init__", pretend)
    aside = run(rule, steps=12)
    assert weights(aside) == weights(hooked)
    assert lines(aside, "metrics.jsonl")[-1]["attention"] == lines(hooked, "metrics.jsonl")[-1]["attention"]


def test_what_a_line_of_metrics_holds() -> None:
    line = {
        "loss": 2.0,
        "head_losses": [2.0, math.nan],
        "held_out_losses": {"a.b": 1.5, "c": None},
        "features": {"effective_rank": [3.0, math.nan]},
        "attention": {"max_logit": [[1.0, 2.0], [3.0, math.inf]]},
        "speed": {"tokens_per_second": 9.0, "mfu": 0.5},
    }
    assert values_of(line, "loss") == {"": 2.0}
    assert values_of(line, "held_out_loss") is None
    assert values_of(line, "head_losses") == {"0": 2.0}
    assert values_of(line, "held_out_losses") == {"a.b": 1.5}
    assert list(values_of(line, "features.effective_rank") or ()) == ["0", "1"]
    assert list(values_of(line, "attention.max_logit") or ()) == ["0.0", "0.1", "1.0", "1.1"]
    assert values_of(line, "mfu") == {"": 0.5}
    assert values_of(line | {"skipped": True}, "loss") is None
    assert place_of("loss", "") == {}
    assert place_of("attention.max_logit", "1.3") == {"layer": 1, "head": 3}
    assert place_of("features.dead_units", "1") == {"layer": 1}
    assert place_of("held_out_losses", "a.b") == {"source": "a.b"}


def test_rollbacks_that_do_not_help_end_the_trial(run: Run, tmp_path: Path) -> None:
    rule = {"metric": "loss", "above": 1e-9, "after": 12, "rest": 0, "reaction": "roll back"}
    with pytest.raises(StopTrialError):
        run(rule, output=tmp_path, max_rollbacks=2)
    assert [event["event"] for event in lines(tmp_path)] == ["monitor", "rollback"] * 2 + ["monitor"]
    assert isinstance(StopTrialError("x"), SmolfastError)

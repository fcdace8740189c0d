"""Conditions over windows, on series of numbers whose answer is known."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from smolfast.config import MonitorConfig, TrainConfig, load_config
from smolfast.errors import SmolfastError
from smolfast.monitors.watch import Watch


def watch(**settings: Any) -> Watch:
    return Watch(MonitorConfig(**{"metric": "loss", "rest": 0} | settings).rule())


def found(watch: Watch, *values: float) -> list[int]:
    """The looks, from 1 on, at which the rule acts."""
    steps = []
    for step, value in enumerate(values, 1):
        if watch.look(step, {"": value}) is not None:
            watch.act(step)
            steps.append(step)
    return steps


@pytest.mark.parametrize(
    ("settings", "values", "steps"),
    [
        ({"above": 2.0}, [1, 2, 2.5, 1, 3], [3, 5]),
        ({"below": 2.0}, [1, 2, 2.5, 1, 3], [1, 4]),
        ({"above": 2.0, "looks": 2}, [3, 1, 3, 3, 3, 3], [4, 6]),
        ({"above": 2.0, "window": 3}, [9, 0, 0, 0, 3, 4], [1 + 2, 6]),
        ({"above_minimum": 1.0}, [5, 3, 4, 4.5, 3, 2, 3.5], [4, 7]),
        ({"above_minimum": 1.0, "looks": 2}, [5, 3, 4.5, 4.5, 3, 4.5, 3], [4]),
        ({"below_maximum": 1.0}, [5, 3, 7, 6.5, 5.5], [2, 5]),
        ({"change_above": 2.0, "window": 2}, [0, 1, 2, 3.5, 5, 5], [4, 5]),
        ({"change_below": -2.0, "window": 1}, [9, 8, 5, 5, 2], [3, 5]),
        ({"change_above": 0.0}, [1, 1, 2], [3]),
        ({"above": 2.0, "rest": 3}, [3, 3, 3, 3, 3, 3, 3], [1, 4, 7]),
        ({"above": 2.0, "rest": 2, "looks": 2}, [3] * 8, [2, 5, 8]),
    ],
)
def test_conditions(settings: dict[str, Any], values: list[float], steps: list[int]) -> None:
    assert found(watch(**settings), *values) == steps


def test_each_part_is_watched_by_itself_and_the_worst_is_named() -> None:
    rule = watch(above=2.0, looks=2)
    assert rule.look(1, {"a": 3.0, "b": 1.0, "c": 3.0}) is None
    assert rule.look(2, {"a": 1.0, "b": 9.0, "c": 2.5}) is not None
    rule = watch(above=2.0, looks=2)
    for step in (1, 2):
        seen = rule.look(step, {"a": 3.0, "b": 5.0, "c": 1.0})
    assert seen is not None and (seen.part, seen.value, seen.parts, seen.since) == ("b", 5.0, 2, 1)


@pytest.mark.parametrize("condition", ["above", "below", "above_minimum", "change_above"])
def test_what_is_not_finite_meets_every_condition_and_is_forgotten(condition: str) -> None:
    rule = watch(**{condition: 2.0})
    assert found(rule, 2.0, 2.0, math.nan, 2.0, math.inf, 2.0) == [3, 5]
    json.dumps(rule.state(), allow_nan=False)


def test_a_factor_follows() -> None:
    rule = watch(above=10.0, follow=True, reaction="lower rate")
    factors = []
    for values in ({"a": 5.0}, {"a": 20.0, "b": 40.0}, {"a": 12.5}, {"a": math.nan}, {"a": 10.0}):
        rule.follow(values)
        factors.append(rule.factor)
    assert factors == [1.0, 0.25, 0.8, 0.8, 1.0]
    low = watch(below=10.0, follow=True, reaction="tighten clip")
    low.follow({"": 4.0})
    assert low.factor == 0.4


def test_memory_is_kept_at_any_moment() -> None:
    settings = {"above_minimum": 0.5, "window": 3, "looks": 2, "rest": 4}
    values = [math.sin(step) + step / 9 for step in range(60)]
    whole = found(watch(**settings), *values)
    assert len(whole) > 3
    for cut in range(60):
        first, second = watch(**settings), watch(**settings)
        before = found(first, *values[:cut])
        second.load(json.loads(json.dumps(first.state())))
        after = []
        for step, value in enumerate(values[cut:], cut + 1):
            if second.look(step, {"": value}) is not None:
                second.act(step)
                after.append(step)
        assert before + after == whole


BAD = {
    'metric="los",above=1': "did you mean 'loss'?",
    'metric="features.efective_rank",above=1': "did you mean 'features.effective_rank'?",
    'metric="loss",abov=1': "did you mean 'train.monitors.0.above'?",
    'metric="loss"': "this one has none",
    'metric="loss",above=1,below=0': "this one has above and below",
    'metric="loss",above=nan': "finite number",
    'metric="loss",above=1,window=0': "greater than or equal to 1",
    'metric="loss",above=1,looks=0': "greater than or equal to 1",
    'metric="loss",above=1,reaction="lower_rate"': "did you mean 'lower rate'?",
    'metric="loss",above=1,reaction="lower rate",factor=1.5': "less than 1",
    'metric="loss",above=1,factor=0.5': "factor goes with lower rate and tighten clip",
    'metric="loss",above=1,reaction="webhook"': "needs webhook = …",
    'metric="loss",above=1,reaction="command"': "needs command = …",
    'metric="loss",above=1,reaction="command",command=[" "]': "command names no program",
    'metric="loss",above=1,webhook="https://a"': "goes with reaction = 'webhook', and this one's is 'note'",
    'metric="loss",above=1,reaction="webhook",webhook="ftp://a/b"': "'ftp://a/b' is no http or https URL",
    'metric="loss",above=1,reaction="webhook",webhook="https://"': "is no http or https URL",
    'metric="loss",above=1,reaction="webhook",webhook="http://a:b/"': "is no http or https URL",
    'metric="loss",above=1,reaction="webhook",webhook="https://a",seconds=999': "less than or equal to 60",
    'metric="loss",above=1,follow=true': "follow needs",
    'metric="loss",above=0,follow=true,reaction="lower rate"': "follow needs a positive above",
    'metric="loss",above_minimum=1,follow=true,reaction="lower rate"': "follow needs",
    'metric="loss",above=1,follow=true,reaction="lower rate",looks=2': "leave out window and looks",
    'metric="held_out_loss",above=1,every=2': "every train.evaluate_every steps; leave out every",
    'metric="loss",above=1},{metric="loss",above=1': "monitors 0 and 1 are the same",
    'metric="loss",above=1},{metric="loss",below=2': "leave no healthy loss: every value is above 1 or below 2",
    'metric="loss",above=1,reaction="stop run"},{metric="loss",above=1,reaction="roll back"': (
        "want 'stop run' and 'roll back' at the same moment (loss above 1); choose one"
    ),
    'metric="loss",above=1,reaction="lower rate"},{metric="loss",above=1,reaction="roll back"': "choose one",
}


@pytest.mark.parametrize("text", BAD)
def test_bad_rules_are_refused_by_name(text: str) -> None:
    with pytest.raises(SmolfastError) as error:
        load_config(None, [f"train.monitors=[{{{text}}}]"])
    assert BAD[text] in str(error.value) and "train" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"evaluate_every": 0}, "monitor 0 looks at held_out_loss, and evaluate_every = 0 leaves it out"),
        ({"clip": "adagc"}, "monitor 1 tightens gradient_clip, which clip = 'adagc' doesn't use"),
    ],
)
def test_rules_that_the_settings_leave_without_effect(settings: dict[str, Any], said: str) -> None:
    monitors = [
        {"metric": "held_out_loss", "above": 9.0},
        {"metric": "loss", "above": 9.0, "reaction": "tighten clip"},
    ]
    with pytest.raises(ValueError, match=said):
        TrainConfig.model_validate({"monitors": monitors} | settings)


def test_rules_that_go_together_stand() -> None:
    """The same moment, a lower rate and a tighter clip, and someone told; bounds on both sides."""
    base = {"metric": "attention.max_logit", "above": 50.0}
    TrainConfig.model_validate(
        {
            "monitors": [
                base | {"reaction": "lower rate"},
                base | {"reaction": "tighten clip"},
                base | {"reaction": "webhook", "webhook": "https://example.org/x"},
                base | {"above": 90.0, "reaction": "roll back"},
                {"metric": "attention.max_logit", "below": 0.1, "reaction": "note"},
            ]
        }
    )


def test_settings_come_back_as_they_were_given() -> None:
    given = {"metric": "held_out_loss", "above_minimum": 0.05, "looks": 3, "reaction": "stop trial"}
    config = load_config(None, ['train.monitors=[{metric="held_out_loss", above_minimum=0.05, looks=3, '
                                'reaction="stop trial"}]'])  # fmt: skip
    assert config.model_dump(mode="json")["train"]["monitors"] == [given]
    assert type(config).model_validate(config.model_dump(mode="json")) == config

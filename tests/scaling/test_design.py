"""Planned runs against a plain grid of equal cost, on planted laws."""

from __future__ import annotations

import csv
import io
import tomllib
from pathlib import Path

import numpy as np
import pytest

from planted_laws import LAWS
from smolfast.config import ModelConfig, validate_config
from smolfast.errors import SmolfastError
from smolfast.model.flops import flops_per_token
from smolfast.model.network import SmolLM
from smolfast.pipeline import recipes
from smolfast.scaling.law import HOFFMANN, PUBLISHED, Array, Law
from smolfast.scaling.plans.design import optimal_design, spread
from smolfast.scaling.plans.planning import KNOWN, as_csv, as_recipe, measured_speed, plan
from smolfast.scaling.plans.shapes import Activation, ladder, step_law
from smolfast.scaling.plans.shapes import flops_per_token as between
from smolfast.scaling.solve import Problem, solve


def _plain_grid(smallest: float, cost: float, across: int) -> tuple[Array, Array]:
    """Sizes from the smallest on by lengths from 5 to 80 tokens a parameter, `across` of each, for the cost."""
    ratios = np.tile(np.geomspace(5, 80, across), across)

    def grid(largest: float) -> tuple[Array, Array, float]:
        sizes = np.repeat(np.geomspace(smallest, largest, across), across)
        each = between(sizes, vocab_size=4096, sequence_length=1024)
        return sizes, sizes * ratios, float((each * sizes * ratios).sum())

    low, high = smallest, 1e9
    for _ in range(60):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if grid(middle)[2] < cost else (low, middle)
    sizes, tokens, spent = grid(low)
    assert spent == pytest.approx(cost, rel=1e-3)
    return sizes, tokens


def _interval(law: Law, runs: tuple[Array, Array], target: tuple[float, float], repeats: int = 400) -> float:
    """Width of the 90 % interval of the log of what fits of noisy runs predict at the target."""
    problem = Problem.of(*runs, law.loss(*runs))
    truth = problem.centred(np.array([list(law.as_dict().values())]))
    logs = problem.y + np.random.default_rng(0).normal(0, 0.005, (repeats, len(problem.y)))
    found, _ = solve(problem, np.ones(logs.shape), np.repeat(truth, repeats, 0), logs=logs, near=True)
    predicted = [np.log(Law(*row).loss(*target)) for row in problem.natural(found)]
    return float(np.diff(np.quantile(predicted, [0.05, 0.95]))[0])


@pytest.mark.parametrize("law", LAWS)
def test_the_interval_is_at_most_six_tenths_of_a_plain_grids(law: Law) -> None:
    """By gradients, and by what fits of noisy runs say. Nothing is known of the law when the plan is made."""
    budget, to = 1e18, 1e20
    planned = plan(budget, to)
    n, d = (np.array([getattr(run, name) for run in planned.runs], np.float64) for name in ("params", "tokens"))
    cost = sum(run.flops for run in planned.runs)
    assert cost <= budget * 1.02
    aim = law.gradient(*planned.target)[None]
    ours = spread(law.gradient(n, d)[None], aim, range(len(n)))
    for across in (5, 6):  # one run more than ours, and twelve
        plain = _plain_grid(float(n.min()), cost, across)
        assert ours <= 0.55 * spread(law.gradient(*plain)[None], aim, range(across**2)), across
        assert _interval(law, (n, d), planned.target) <= 0.55 * _interval(law, plain, planned.target), across


def test_the_target_lies_between_those_of_the_laws() -> None:
    targets = [plan(1e18, 1e20, laws=laws, runs=8).target[0] for laws in ([PUBLISHED], [HOFFMANN], KNOWN)]
    assert targets[2] == pytest.approx((targets[0] * targets[1]) ** 0.5, rel=0.01)


def test_no_single_swap_makes_a_design_better() -> None:
    law = LAWS[1]
    n, r = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e6, 1e8, 8), np.geomspace(5, 100, 6)))
    cost = 6 * n * n * r
    budget = float(np.sort(cost)[:40].sum())
    target = law.compute_optimal(1e19)
    found = optimal_design([law], n, n * r, cost, target, budget=budget, runs=10)
    assert len(set(found.chosen)) == len(found.chosen) == 10 and found.cost <= budget
    rows, aim = law.gradient(n, n * r)[None], law.gradient(*target)[None]
    assert found.spread == pytest.approx(spread(rows, aim, found.chosen))
    for place in range(10):
        for other in set(range(len(n))) - set(found.chosen):
            swapped = [*found.chosen[:place], other, *found.chosen[place + 1 :]]
            if cost[swapped].sum() <= budget:
                assert spread(rows, aim, swapped) > found.spread * (1 - 1e-6)


def test_several_laws_are_averaged() -> None:
    n, r = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e6, 1e8, 8), np.geomspace(5, 100, 6)))
    cost = 6 * n * n * r
    budget = float(np.sort(cost)[:40].sum())
    found = optimal_design(LAWS, n, n * r, cost, (1e9, 2e10), budget=budget, runs=8)
    each = [spread(law.gradient(n, n * r)[None], law.gradient(1e9, 2e10)[None], found.chosen) for law in LAWS]
    assert found.spread == pytest.approx(float(np.exp(np.mean(np.log(each)))))


def test_budgets_that_buy_nothing() -> None:
    with pytest.raises(SmolfastError, match=r"a budget of 1e\+10 operations buys"):
        plan(1e10, 1e20)
    with pytest.raises(SmolfastError, match="far below the budget"):
        plan(1e20, 1e15)
    with pytest.raises(SmolfastError, match="plan at least 6"):
        plan(1e18, 1e20, runs=5)
    with pytest.raises(SmolfastError, match="give the fewest, then the most"):
        plan(1e18, 1e20, ratios=(20, 10))
    with pytest.raises(SmolfastError, match="budget = nan"):
        plan(float("nan"), 1e20)


@pytest.mark.parametrize("activation", ["swiglu", "relu2", "gelu"])
def test_a_plan_as_files(activation: Activation) -> None:
    planned = plan(1e18, 1e20, runs=8, activation=activation)
    rows = list(csv.DictReader(io.StringIO(as_csv(planned))))
    assert [float(row["tokens"]) for row in rows] == [run.tokens for run in planned.runs]
    stages = {name: stage for name, stage in tomllib.loads(as_recipe(planned))["stages"].items() if name[:4] == "run-"}
    assert len(stages) == 8
    for run, stage in zip(planned.runs, stages.values(), strict=True):
        assert stage.pop("kind") == "train" and stage.pop("needs") == "tokenize"
        config = validate_config({"model": stage.pop("model"), "train": stage})  # the settings are today's
        train = config.train
        assert config.model.activation == activation
        assert train.steps * train.batch_size * train.sequence_length == run.tokens
        exact = sum(flops_per_token(config.model, 4096, 1024).values()) * run.tokens
        assert run.flops == pytest.approx(exact)
        assert flops_per_token(config.model, 4096, 1024)["matrices"] / 6 == pytest.approx(run.params)


def test_the_recipe_is_one_that_run_takes(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(as_recipe(plan(1e18, 1e20, runs=8)))
    stages = {planned.node.name: planned.node for planned in recipes.plan(recipes.load_recipe(path), tmp_path / "out")}
    assert set(stages["fit"].needs) == {f"run-0{number}" for number in range(1, 9)}
    assert stages["run-03"].needs == ("tokenize",)


def test_models_by_size() -> None:
    shapes = ladder(5e4, 3e9, 30, vocab_size=4096, sequence_length=512)
    sizes = [shape.params for shape in shapes]
    assert len(sizes) >= 28 and sizes == sorted(sizes)
    assert sizes[0] == pytest.approx(5e4, rel=0.2) and sizes[-1] == pytest.approx(3e9, rel=0.02)
    for shape in shapes:
        assert between(shape.params, vocab_size=4096, sequence_length=512) == pytest.approx(
            shape.flops_per_token, rel=0.12
        )
        assert shape.flops_per_token > 6 * shape.params
    # The published law of rates: 1.79 N^−0.713 D^0.307, 0.58 D^0.571.
    assert step_law(1e9, 1e11) == pytest.approx((1.79e0 * 1e9**-0.713 * 1e11**0.307, 0.58 * 1e11**0.571))


def test_a_size_counts_the_matrices_that_there_are() -> None:
    """Three of a gated feed-forward part, two of another; and those of the network itself."""
    for activation in ("swiglu", "relu2", "gelu"):
        shape = ladder(1e5, 1e5, 1, vocab_size=64, sequence_length=16, activation=activation)[0]
        layers = SmolLM(ModelConfig(**shape.settings, mtp_heads=1), 64).model.layers
        assert sum(weight.numel() for weight in layers.parameters() if weight.ndim > 1) == shape.params
        assert shape.params == pytest.approx(1e5, rel=0.15)


def test_this_machine_has_a_speed() -> None:
    assert measured_speed(0.02) > 1e7

"""Runs that are unfit for a fit are named, with what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planted_laws import LAWS, equal_compute, noisy
from smolfast import scaling
from smolfast.errors import SmolfastError
from smolfast.scaling.check import check_runs


def good() -> list[Any]:
    params, tokens = equal_compute(LAWS[1], np.geomspace(1e17, 1e19, 4), sizes=5)
    return [params, tokens, noisy(LAWS[1], params, tokens, 0)]


def refuse(columns: list[Any], message: str, **options: Any) -> None:
    with pytest.raises(SmolfastError, match=message):
        check_runs(*columns, **options)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, -1.0])
@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_row_without_a_number(value: float, column: int) -> None:
    columns = good()
    columns[column][[3, 7]] = value
    refuse(columns, r"^row 3, row 7: a count or loss is missing.*give bad='drop' \(--bad drop\) to leave them out$")
    refuse(columns, "row 3, row 7", bad="keep")
    checked = check_runs(*columns, bad="drop")
    assert len(checked.params) == 18 and checked.dropped == {"no finite number above 0": [3, 7]}
    assert 3 not in checked.kept


def test_a_run_given_twice() -> None:
    columns = [np.append(column, column[2]) for column in good()]
    refuse(columns, "^b20: the same params, tokens and loss as an earlier run", names=[f"b{i}" for i in range(21)])
    assert check_runs(*columns, bad="drop").dropped == {"given twice": [20]}
    assert len(check_runs(*columns, bad="keep").params) == 21


def test_another_seed_is_no_run_given_twice() -> None:
    params, tokens, losses = good()
    columns = [np.append(params, params[2]), np.append(tokens, tokens[2]), np.append(losses, losses[2] * 1.001)]
    assert len(check_runs(*columns).params) == 21


def test_a_diverged_run() -> None:
    columns = good()
    columns[2][12] *= 1.6
    refuse(columns, "^row 12: over 10% more loss than a run of no more parameters and tokens, so it diverged")
    assert check_runs(*columns, bad="drop").dropped == {"diverged": [12]}
    assert check_runs(*columns, bad="keep").dropped == {}
    found = scaling.fit(*columns, bad="drop")
    assert found.alpha == pytest.approx(LAWS[1].alpha, abs=0.15) and "row 12" not in found.names


@pytest.mark.parametrize("count", [0, 1, 4])
def test_fewer_runs_than_parameters(count: int) -> None:
    columns = [column[:count] for column in good()]
    refuse(columns, f"^{count} runs, and the law has 5 parameters.*train at least {5 - count} more")


def test_one_size_only() -> None:
    params, tokens, losses = good()
    refuse([np.full(20, 1e8), tokens, losses], "1 different sizes, and A and alpha show in no fewer than 3", bad="keep")
    tokens[:] = np.where(np.arange(20) % 2, 1e9, 3e9)
    refuse([params, tokens, losses], "2 different numbers of tokens, and B and beta", bad="keep")


@pytest.mark.parametrize("unit", [1e-6, 1e-9])
def test_tokens_in_millions(unit: float) -> None:
    params, tokens, losses = good()
    refuse([params, tokens * unit, losses], r"tokens a parameter.*are they in millions or billions\?.*--implausible")
    assert len(check_runs(params, tokens * unit, losses, plausible=False).params) == 20


def test_shapes_and_types() -> None:
    params, tokens, losses = good()
    refuse([params[:-1], tokens, losses], "params, tokens and losses are of 19, 20, 20 runs")
    refuse([params.reshape(4, 5), tokens, losses], r"params has the shape \[4, 5\]")
    refuse([params, ["many"] * 20, losses], "tokens has something that is no number")
    refuse([params, tokens, losses], "choose fail, drop or keep", bad="ignore")


def test_intervals_take_more_runs() -> None:
    columns = [column[[0, 2, 4, 7, 12, 16, 19]] for column in good()]
    found = scaling.fit(*columns)
    assert found.alpha > 0
    with pytest.raises(SmolfastError, match="7 runs give no interval: with 5 parameters it takes 8"):
        found.interval("alpha")


def test_options() -> None:
    with pytest.raises(SmolfastError, match=r"delta = 0: give a number above 0"):
        scaling.fit(*good(), delta=0)
    with pytest.raises(SmolfastError, match=r"bootstraps = 3"):
        scaling.fit(*good(), bootstraps=3)
    with pytest.raises(SmolfastError, match="groups has 1 entries for 20 runs"):
        scaling.fit(*good(), groups=[1])


def test_a_design_that_cannot_tell_alpha_from_beta() -> None:
    params = np.geomspace(1e6, 1e9, 20)
    tokens = 20 * params * np.exp(np.random.default_rng(0).normal(0, 0.05, 20))
    found = scaling.fit(params, tokens, noisy(LAWS[0], params, tokens, 0))
    assert any("can't tell alpha from beta" in line for line in scaling.warnings(found))
    params, tokens, losses = good()
    assert not any("alpha" in line for line in scaling.warnings(scaling.fit(params, tokens, losses)))


def test_which_runs_matter() -> None:
    params, tokens, losses = good()
    losses = LAWS[1].loss(params, tokens)
    losses[-1] *= 1.05
    found = scaling.fit(params, tokens, losses, names=[f"run {i}" for i in range(20)])
    runs = scaling.diagnose(found)
    assert sum(run.leverage for run in runs) == pytest.approx(5)
    assert all(0 <= run.leverage <= 1 for run in runs)
    worst = max(runs, key=lambda run: abs(run.residual))
    assert worst.name == "run 19" and worst.residual == pytest.approx(np.log(1.05), abs=1e-3)
    assert any("run 19 lies" in line for line in scaling.warnings(scaling.fit(params, tokens, losses * np.where(
        np.arange(20) == 19, 1.03, 1.0), names=[f"run {i}" for i in range(20)])))  # fmt: skip

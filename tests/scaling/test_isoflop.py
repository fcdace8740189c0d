"""Parabolas, and how far they are off without any noise."""

from __future__ import annotations

import numpy as np
import pytest

from planted_laws import LAWS, equal_compute
from smolfast import scaling
from smolfast.errors import SmolfastError
from smolfast.scaling.isoflop import isoflop
from smolfast.scaling.law import Law


def test_a_centred_grid_has_no_bias_in_the_exponent_but_one_in_the_size() -> None:
    law = LAWS[0]
    params, tokens = equal_compute(law)
    found = isoflop(params, tokens, law.loss(params, tokens), law)
    assert len(found.parabolas) == 8 and found.skipped == ()
    assert found.bias == pytest.approx(0, abs=1e-9) and found.exponent == pytest.approx(law.exponent)
    assert abs(found.factor - 1) > 0.02


@pytest.mark.parametrize("law", LAWS)
def test_a_grid_that_drifts_from_the_centre_is_biased_without_noise(law: Law) -> None:
    budgets = np.geomspace(1e18, 1e21, 5)
    # Sizes around N ∝ C^0.6, twice too large at the start: the law's own exponent is 0.45 to 0.53.
    centres = 2 * law.compute_optimal(1e18)[0] * (budgets / 1e18) ** 0.6
    params = (centres[:, None] * np.geomspace(1 / 8, 8, 12)).ravel()
    tokens = np.repeat(budgets, 12) / 6 / params
    losses = law.loss(params, tokens)
    found = isoflop(params, tokens, losses, law)
    assert found.exponent == pytest.approx(law.exponent + found.bias)
    assert found.bias > 0.007 and found.factor > 1.05
    # The fit of the same runs is exact.
    assert abs(scaling.fit(params, tokens, losses).exponent - law.exponent) < 1e-9


def test_a_wider_grid_is_further_off() -> None:
    law = LAWS[0]
    factors = []
    for width in (2.0, 8.0, 32.0):
        params, tokens = equal_compute(law, width=width)
        factors.append(abs(np.log(isoflop(params, tokens, law.loss(params, tokens), law).factor)))
    assert factors[0] < factors[1] < factors[2]


def test_budgets_without_a_lowest_point() -> None:
    law = LAWS[0]
    params, tokens = equal_compute(law, np.geomspace(1e17, 1e19, 3), sizes=5)
    losses = law.loss(params, tokens)
    losses[:5] = 5 - losses[:5]
    found = isoflop(params, tokens, losses, law)
    assert len(found.parabolas) == 2 and found.skipped == pytest.approx((1e17,))
    with pytest.raises(SmolfastError, match="at least two budgets of three sizes or more each, and the runs have 1"):
        isoflop(params[:10], tokens[:10], losses[:10], law)

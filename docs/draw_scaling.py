"""Draws `docs/pictures/scaling.svg`: a planted law, a plan's small runs with noise, and what their fit predicts.

python docs/draw_scaling.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from smolfast import scaling
from smolfast.scaling.law import Array
from smolfast.scaling.plans.planning import plan

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "pictures" / "scaling.svg"
BUDGET, TARGET, RUNS, NOISE = 1e18, 1e20, 16, 0.005
_WIDTH, _HEIGHT = 440, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 428, 34, 250
_STYLE = (
    "text{font:12.5px ui-sans-serif,system-ui,sans-serif;fill:#52606d}"
    ".title{font-size:15px;font-weight:600;fill:#1f2933}"
    ".band{fill:#0f766e;opacity:.22}.fit{stroke:#0f766e;stroke-width:2.5;fill:none}.run{fill:#b45309}"
    ".law{stroke:#1f2933;stroke-width:1.5;stroke-dasharray:4 3;fill:none}.grid{stroke:#cbd2d9}"
    "@media (prefers-color-scheme:dark){text{fill:#9aa5b1}.title{fill:#e4e7eb}.band{fill:#2dd4bf}.fit{stroke:#2dd4bf}"
    ".run{fill:#fbbf24}.law{stroke:#e4e7eb}.grid{stroke:#3e4c59}}"
)


def drawn() -> str:
    """The picture as SVG."""
    law = scaling.PUBLISHED
    runs = plan(BUDGET, TARGET, runs=RUNS).runs
    params, tokens = (np.array([getattr(run, name) for run in runs], np.float64) for name in ("params", "tokens"))
    losses = law.loss(params, tokens) * np.exp(np.random.default_rng(0).normal(0, NOISE, len(runs)))
    fit = scaling.fit(params, tokens, losses, bad="keep", resample="residuals")
    flops = np.log10(6 * params * tokens)
    x = np.linspace(flops.min(), np.log10(TARGET), 60)
    best = [fit.law.compute_optimal(10**at) for at in x]
    found = [fit.predict(*point, noise=False) for point in best]
    least, most = 2.0, float(losses.max()) + 0.2

    def across(at: float) -> float:
        return float(_LEFT + (at - x[0]) / (x[-1] - x[0]) * (_RIGHT - _LEFT))

    def down(loss: float) -> float:
        return _TOP + (most - loss) / (most - least) * (_BOTTOM - _TOP)

    def path(values: list[float], places: Array = x) -> str:
        return " ".join(f"{across(at):.1f},{down(value):.1f}" for at, value in zip(places, values, strict=True))

    true = [float(law.loss(*law.compute_optimal(10**at))) for at in x]
    band = path([one.high for one in found]) + " " + path([one.low for one in found][::-1], x[::-1])
    grid = [f'<line class="grid" x1="{_LEFT}" x2="{_RIGHT}" y1="{down(y):.1f}" y2="{down(y):.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{down(y) + 4:.1f}" text-anchor="end">{y}</text>'
            for y in range(2, int(most) + 1)]  # fmt: skip
    ticks = [f'<text x="{across(at):.1f}" y="{_BOTTOM + 18}" text-anchor="middle">1e{at}</text>'
             for at in range(int(np.ceil(x[0])), int(x[-1] + 1e-9) + 1, 2)]  # fmt: skip
    dots = [f'<circle class="run" cx="{across(at):.1f}" cy="{down(loss):.1f}" r="4"/>'
            for at, loss in zip(flops, losses, strict=True)]  # fmt: skip
    end = found[-1]
    words = (
        f"{len(runs)} runs of {BUDGET:.0e} operations in all, with {NOISE:.1%} of noise. At {TARGET:.0e} operations "
        f"their fit predicts a loss of {end.low:.3f} to {end.high:.3f}; the planted law has {true[-1]:.3f}."
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="t d">',
        f'<title id="t">Small runs and what they predict</title><desc id="d">{words}</desc><style>{_STYLE}</style>',
        '<text class="title" x="10" y="20">Loss, as small runs predict it</text>',
        *grid,
        *ticks,
        f'<polygon class="band" points="{band}"/>',
        f'<polyline class="fit" points="{path([one.value for one in found])}"/>',
        f'<polyline class="law" points="{path(true)}"/>',
        *dots,
        f'<text x="{_LEFT}" y="{_HEIGHT - 8}">operations; dots: runs; line: fit, 90 % band; dashed: truth</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def main() -> None:
    """Write the picture."""
    PICTURE.write_text(drawn(), encoding="utf-8")
    print(f"wrote {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

"""A plan of runs: models, tokens, rates and batches, chosen so that a larger run's loss is predicted surest."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from smolfast.errors import SmolfastError
from smolfast.scaling.fitting import check_count
from smolfast.scaling.inverse import PerToken, best_point
from smolfast.scaling.law import HOFFMANN, PUBLISHED, Law
from smolfast.scaling.plans.design import optimal_design, spread
from smolfast.scaling.plans.shapes import Activation, Shape, flops_per_token, ladder, step_law

KNOWN = (PUBLISHED, HOFFMANN)
RUNS = 24
_SIZES, _LENGTHS = 25, 18
_SMALLEST = 1 / 500
_LEAST_STEPS = 100
# What the default configuration trains, whose rates are known to be good: the Step Law says how others differ.
_BASE_PARAMS, _BASE_TOKENS = 860_160, 440 * 64 * 64
_MUON_RATE, _ADAMW_RATE = 0.05, 0.03
_MOST_LAWS = 12
_BYTES_A_TOKEN = 6


@dataclass(frozen=True)
class PlannedRun:
    """A run to train.

    Attributes:
        settings: of the model. tokens: rounded to whole steps. flops: exact, of training.
    """

    name: str
    settings: dict[str, Any]
    params: float
    tokens: int
    flops: float
    steps: int
    batch_size: int
    micro_batch_size: int
    muon_learning_rate: float
    adamw_learning_rate: float


@dataclass(frozen=True)
class Plan:
    """Runs to train for a prediction.

    Attributes:
        target: N and D that are to be predicted. flops: of all runs. spread: noise of the prediction in units
            of that of one run's log loss. plain: the same of a plain grid for the same cost.
    """

    runs: tuple[PlannedRun, ...]
    target: tuple[float, float]
    flops: float
    spread: float
    plain: float
    vocab_size: int
    sequence_length: int


def plan(
    budget: float,
    to: float,
    *,
    laws: Sequence[Law] = KNOWN,
    runs: int = RUNS,
    vocab_size: int = 4096,
    sequence_length: int = 1024,
    activation: Activation = "swiglu",
    smallest: float | None = None,
    ratios: tuple[float, float] = (4.0, 320.0),
    micro_batch_size: int = 8,
    seed: int = 0,
) -> Plan:
    """Choose runs of at most `budget` operations in all, for a prediction at the best model of `to` operations.

    Args:
        laws: what the law may be: a fit's draws, or the two published ones where nothing is known yet.
        runs: at most so many. vocab_size, sequence_length, activation: of the runs, for exact operations.
        smallest: N of the smallest model; a 500th of the target's if None. Laws bend where models are very small.
        ratios: fewest and most tokens a parameter.

    Raises:
        SmolfastError: numbers out of range; a budget that buys too few runs.
    """
    check_count("budget", budget)
    check_count("to", to)
    if to < budget / 1000:
        raise SmolfastError(f"the target of {to:.3g} operations is far below the budget of {budget:.3g}: train it")
    if not 0 < ratios[0] < ratios[1]:
        raise SmolfastError(f"tokens a parameter from {ratios[0]:g} to {ratios[1]:g}: give the fewest, then the most")
    laws = [laws[index] for index in np.linspace(0, len(laws) - 1, min(len(laws), _MOST_LAWS)).astype(int)]

    def per_token(params: Any) -> Any:
        return flops_per_token(params, vocab_size=vocab_size, sequence_length=sequence_length, activation=activation)

    target = _middle(laws, to, per_token)
    least = smallest or target[0] * _SMALLEST
    most = max(least * 8, _middle(laws, budget, per_token)[0])
    shapes = ladder(least, most, _SIZES, vocab_size=vocab_size, sequence_length=sequence_length, activation=activation)
    lengths = np.geomspace(*ratios, _LENGTHS)
    pairs = [(shape, shape.params * ratio) for shape in shapes for ratio in lengths]
    params = np.array([shape.params for shape, _ in pairs])
    tokens = np.array([length for _, length in pairs])
    costs = np.array([shape.flops_per_token * length for shape, length in pairs])
    design = optimal_design(laws, params, tokens, costs, target, budget=budget, runs=runs, seed=seed)
    chosen = sorted((pairs[index] for index in design.chosen), key=lambda pair: (pair[0].params, pair[1]))
    planned = tuple(
        _planned(f"run-{number:02d}", shape, length, sequence_length, micro_batch_size)
        for number, (shape, length) in enumerate(chosen, 1)
    )
    plain = _plain_grid(laws, shapes, target, budget, len(chosen))
    total = sum(run.flops for run in planned)
    return Plan(planned, target, total, design.spread, plain, vocab_size, sequence_length)


def _middle(laws: Sequence[Law], flops: float, per_token: PerToken) -> tuple[float, float]:
    """The best N for so many operations, in the middle of what the laws say, and the D that goes with it.

    A law of middle parameters would be none that fits the runs: A pulls at alpha, and B at beta.
    """
    size = float(np.exp(np.median([np.log(best_point(law, flops, per_token)[0]) for law in laws])))
    return size, flops / float(per_token(size))


def _planned(name: str, shape: Shape, tokens: float, sequence_length: int, micro_batch_size: int) -> PlannedRun:
    rate, batch = step_law(shape.params, tokens)
    base = step_law(_BASE_PARAMS, _BASE_TOKENS)[0]
    windows = tokens / sequence_length
    most = max(1, int(windows / _LEAST_STEPS))
    size = max(1, min(round(batch / sequence_length), most))
    micro = min(micro_batch_size, size)
    size = max(micro, size // micro * micro)
    steps = max(1, round(windows / size))
    seen = steps * size * sequence_length
    return PlannedRun(
        name, shape.settings, shape.params, seen, shape.flops_per_token * seen, steps, size, micro,
        float(f"{_MUON_RATE * rate / base:.4g}"), float(f"{_ADAMW_RATE * rate / base:.4g}"),
    )  # fmt: skip


def _plain_grid(laws: Sequence[Law], shapes: Sequence[Shape], target: tuple[float, float], budget: float,
                runs: int) -> float:  # fmt: skip
    """The spread of a grid of sizes by tokens a parameter for the same cost: what one would do without a plan."""
    widths = max(3, round(runs**0.5))
    ratios = np.geomspace(5, 80, max(3, runs // widths))
    sizes = np.log([shape.params for shape in shapes])
    least, most = sizes[0], sizes[-1]
    each = np.array([shape.flops_per_token for shape in shapes])

    def grid(largest: float) -> tuple[Any, Any, float]:
        n = np.repeat(np.linspace(least, largest, widths), len(ratios))
        d = np.exp(n) * np.tile(ratios, widths)
        return np.exp(n), d, float((np.exp(np.interp(n, sizes, np.log(each))) * d).sum())

    low, high = least, most
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if grid(middle)[2] < budget else (low, middle)
    n, d, _ = grid(low)
    rows = np.stack([law.gradient(n, d) for law in laws])
    return spread(rows, np.stack([law.gradient(*target) for law in laws]), range(len(n)))


def as_csv(planned: Plan) -> str:
    """A line for each run, with an empty column for its loss: `smolfast scaling fit` reads it when that is filled."""
    names = "name,params,tokens,flops,loss,width,layers,steps,batch_size,muon_learning_rate,adamw_learning_rate"
    lines = [names]
    for run in planned.runs:
        lines.append(
            f"{run.name},{run.params:.0f},{run.tokens},{run.flops:.6g},,{run.settings['hidden_size']},"
            f"{run.settings['num_hidden_layers']},{run.steps},{run.batch_size},{run.muon_learning_rate:g},"
            f"{run.adamw_learning_rate:g}"
        )
    return "\n".join(lines) + "\n"


def as_recipe(planned: Plan) -> str:
    """The runs as a recipe that `smolfast run` takes, from text to the fit of their losses, in TOML."""
    longest = max(run.tokens for run in planned.runs)
    lines = [
        f"# {len(planned.runs)} runs, {planned.flops:.4g} operations in all, to predict {planned.target[0]:.4g}",
        f"# parameters on {planned.target[1]:.4g} tokens. The longest run takes {longest:,} tokens.",
        "",
        "[stages.collect]",
        "input = []  # files, folders or URLs of text; none for this installation's own, which is little",
        f"max_bytes = {_BYTES_A_TOKEN * longest}  # {_BYTES_A_TOKEN} for each token",
        "",
        "[stages.dedup]",
        'needs = "collect"',
        "",
        "[stages.split]",
        'needs = "dedup"',
        "",
        "[stages.tokenizer]",
        'needs = "split"',
        f"vocab_size = {planned.vocab_size}",
        "",
        "[stages.tokenize]",
        'needs = ["split", "tokenizer"]',
        "",
    ]
    for run in planned.runs:
        model = {**run.settings, "max_position_embeddings": planned.sequence_length, "mtp_heads": 1}
        train = {
            "steps": run.steps,
            "sequence_length": planned.sequence_length,
            "batch_size": run.batch_size,
            "micro_batch_size": run.micro_batch_size,
            "muon_learning_rate": run.muon_learning_rate,
            "adamw_learning_rate": run.adamw_learning_rate,
            "mtp_weights": [1.0],
        }
        lines += [f"[stages.{run.name}]", 'kind = "train"', 'needs = "tokenize"', *_settings(train), ""]
        lines += [f"[stages.{run.name}.model]", *_settings(model), ""]
    names = [run.name for run in planned.runs]
    words = [
        "smolfast",
        "scaling",
        "fit",
        *(f"${{{name}.output}}" for name in names),
        "--resample",
        "residuals",
        "-o",
        "${output}",
    ]
    lines += ["[stages.fit]", f"needs = {json.dumps(names)}", f"command = {json.dumps(words)}"]
    return "\n".join(lines) + "\n"


def _settings(settings: dict[str, Any]) -> list[str]:
    return [f"{key} = {json.dumps(value)}" for key, value in settings.items()]


def measured_speed(seconds: float = 0.3) -> float:
    """Operations a second that this machine reaches in products of numpy's, on all of numpy's threads."""
    size = 768
    a, b = (np.random.default_rng(seed).random((size, size), np.float32) for seed in (0, 1))
    a @ b
    best, until = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.perf_counter()
        a @ b
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best

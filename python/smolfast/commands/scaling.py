"""`smolfast scaling`: fit the law of loss by size and tokens, plan the runs for it, predict larger ones."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smolfast.commands.options import as_words
from smolfast.commands.parsers import add_named, at_least, command, output_path
from smolfast.errors import SmolfastError

if TYPE_CHECKING:
    from smolfast.scaling.fitting import Fit, Interval
    from smolfast.scaling.runs import Runs


def add_scaling(commands: Any) -> None:
    """The parser of `smolfast scaling`, and of its verbs."""
    parser = add_named(commands, "scaling")
    verbs = parser.add_subparsers(
        title="commands", required=True, metavar="fit|plan|predict", parser_class=type(parser)
    )
    _add_fit(verbs)
    _add_plan(verbs)
    _add_predict(verbs)


def _add_runs(parser: argparse.ArgumentParser, nargs: str = "+") -> None:
    parser.add_argument(
        "runs",
        nargs=nargs,
        type=Path,
        metavar="RUN",
        help="folders of `smolfast train`, folders of these, CSV files (params, tokens or flops, loss), or a fit.json",
    )
    parser.add_argument(
        "--column", action="append", type=_column, default=[], metavar="OURS=NAME",
        help="what a CSV file calls params, tokens, loss, flops, unique, name or group",
    )  # fmt: skip
    parser.add_argument("--embeddings", action="store_true", help="count embeddings as parameters, too")
    parser.add_argument(
        "--bad", choices=("fail", "drop", "keep"), default="fail",
        help="runs with no loss, given twice, or diverged: stop, leave them out, or take them (default: fail)",
    )  # fmt: skip
    parser.add_argument(
        "--implausible", action="store_true", help="take tokens and parameters as they are, whatever their ratio"
    )
    parser.add_argument(
        "--bootstraps", type=at_least(100), default=1000, metavar="N", help="samples of the intervals (default: 1000)"
    )
    parser.add_argument(
        "--resample", choices=("runs", "residuals"), default="runs",
        help="what samples draw: runs, or for runs of a plan their residuals (default: runs)",
    )  # fmt: skip
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="of the samples (default: 0)")


def _add_model(parser: Any) -> None:
    parser.add_argument(
        "--vocab", type=at_least(2), metavar="V", help="count operations exactly, of models with this vocabulary"
    )
    parser.add_argument(
        "--sequence", type=at_least(1), default=1024, metavar="S", help="tokens a window, for that (default: 1024)"
    )


def _add_fit(verbs: Any) -> None:
    parser = command(verbs, "fit", _fit, "Fit L(N, D) = E + A / N^alpha + B / D^beta, with intervals.", _after_fit)
    _add_runs(parser)
    parser.add_argument(
        "--held-out", type=Path, action="append", default=[], metavar="RUN",
        help="runs that the fit isn't to see: what it predicts for them, and what came",
    )  # fmt: skip
    parser.add_argument("--planned", type=Path, metavar="FILE", help="a plan's CSV file, whose runs the page shows")
    parser.add_argument("-o", "--output", type=output_path, metavar="DIR", help="folder for fit.json and report.html")


def _add_plan(verbs: Any) -> None:
    parser = command(verbs, "plan", _plan, "Choose the runs after which a larger one's loss is predicted surest.")
    _add_runs(parser, "*")
    parser.set_defaults(extra="config")
    parser.add_argument(
        "--budget", type=_positive, required=True, metavar="FLOPS", help="operations of all runs together, like 1e18"
    )
    parser.add_argument(
        "--to", type=_positive, required=True, metavar="FLOPS", help="predict the best model of so many operations"
    )
    parser.add_argument("--most", type=at_least(6), default=24, metavar="N", help="at most so many runs (default: 24)")
    parser.add_argument("--vocab", type=at_least(2), default=4096, metavar="V", help="vocabulary (default: 4096)")
    parser.add_argument(
        "--sequence", type=at_least(8), default=1024, metavar="S", help="tokens a window (default: 1024)"
    )
    parser.add_argument(
        "--activation", choices=("swiglu", "relu2", "gelu"), default="swiglu",
        help="of the models' feed-forward parts (default: swiglu)",
    )  # fmt: skip
    parser.add_argument(
        "--smallest", type=_positive, metavar="N", help="parameters of the smallest (default: the target's / 500)"
    )
    parser.add_argument(
        "--ratio", type=_positive, nargs=2, default=(4.0, 320.0), metavar=("LEAST", "MOST"),
        help="tokens a parameter (default: 4 320)",
    )  # fmt: skip
    parser.add_argument(
        "--speed", type=_positive, metavar="FLOPS", help="operations a second (default: measured here, times --mfu)"
    )
    parser.add_argument(
        "--mfu", type=_positive, default=0.3, metavar="SHARE", help="of what is measured here (default: 0.3)"
    )
    parser.add_argument("--price", type=_positive, metavar="P", help="of an hour, for the cost")
    parser.add_argument(
        "-o", "--output", type=output_path, metavar="FILE", help="write FILE: .csv, or .toml for stages of a recipe"
    )


def _add_predict(verbs: Any) -> None:
    parser = command(verbs, "predict", _predict, "Say what loss a run will have, or what to train for one.")
    _add_runs(parser)
    parser.add_argument("--params", type=_positive, metavar="N", help="parameters, like 3e9")
    parser.add_argument("--tokens", type=_positive, metavar="D", help="training tokens, like 11e12")
    parser.add_argument(
        "--loss", type=_positive, metavar="L", help="with --params: the tokens that it takes to get there"
    )
    parser.add_argument(
        "--flops", type=_positive, metavar="C", help="the best parameters and tokens for so many operations"
    )
    parser.add_argument(
        "--over-training", type=_positive, metavar="K",
        help="with --flops: the smallest model that is as good for K times the operations",
    )  # fmt: skip
    parser.add_argument("--level", type=_positive, default=0.9, metavar="P", help="of the intervals (default: 0.9)")
    _add_model(parser)


def _fit(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.scaling import diagnose, isoflop, warnings
    from smolfast.scaling.files import write_fit
    from smolfast.scaling.page import HeldOut, describe_isoflop, write_page
    from smolfast.scaling.runs import read_runs

    fitted, runs = _fitted(arguments)
    flops = None if runs is None else _of_rows(fitted, runs)
    result: dict[str, Any] = {"runs": len(fitted.losses), "objective": f"{fitted.objective:.10g}"}
    for name in ("E", "A", "B", "alpha", "beta", "exponent"):
        value = float(getattr(fitted, name))
        try:
            found = fitted.interval(name)
            result[name] = found.as_dict() if arguments.json else f"{value:.5g} ({found.low:.5g} to {found.high:.5g})"
        except SmolfastError as error:
            result[name] = value if arguments.json else f"{value:.5g}"
            result["intervals"] = str(error)
    try:
        parabolas = isoflop(fitted.params, fitted.tokens, fitted.losses, fitted.law, flops)
        result["parabolas"] = describe_isoflop(parabolas, fitted.exponent)
    except SmolfastError as error:
        result["parabolas"] = str(error)
    if runs is not None:
        result |= _repeated(arguments, fitted, runs)
    most = diagnose(fitted)[0]
    result["matters_most"] = f"{most.name}: without it alpha {most.alpha:+.4f}, beta {most.beta:+.4f}"
    result |= {f"dropped, {reason}": names for reason, names in _dropped(fitted, runs).items()}
    result["warnings"] = warnings(fitted)
    held_out = []
    if arguments.held_out:
        others = read_runs(arguments.held_out, columns=dict(arguments.column), embeddings=arguments.embeddings)
        for name, n, d, loss in zip(others.names, others.params, others.tokens, others.losses, strict=True):
            held_out.append(HeldOut(name, float(n), float(d), float(loss), fitted.predict(float(n), float(d))))
        result["held_out"] = [
            f"{run.name}: predicted {run.predicted.value:.4f} ({run.predicted.low:.4f} to {run.predicted.high:.4f}), "
            f"came {run.loss:.4f}, {'inside' if run.inside else 'outside'}"
            for run in held_out
        ]
    if arguments.output is not None:
        planned = None if arguments.planned is None else read_runs([arguments.planned])
        points = [] if planned is None else list(zip(planned.params, planned.tokens, strict=True))
        arguments.output.mkdir(parents=True, exist_ok=True)
        write_fit(arguments.output / "fit.json", fitted)
        write_page(arguments.output / "report.html", fitted, flops=flops, planned=points, held_out=held_out)
    return result


def _after_fit(arguments: argparse.Namespace, result: Mapping[str, Any]) -> list[str]:
    if arguments.output is None:
        return []
    return [
        f"open {arguments.output / 'report.html'} in a browser",
        as_words(
            "smolfast", "scaling", "predict", arguments.output / "fit.json", "--params", "3e9", "--tokens", "11e12"
        ),
    ]


def _repeated(arguments: argparse.Namespace, fitted: Fit, runs: Runs) -> dict[str, Any]:
    """What repetition costs, where some runs repeat their text and enough others don't."""
    from smolfast.scaling.fitting import fit
    from smolfast.scaling.repeated import ONCE, fit_repeated

    again = runs.tokens > ONCE * runs.unique
    if not again.any():
        return {}
    kept = [index for index, name in enumerate(runs.names) if name in fitted.names]
    once, more = [i for i in kept if not again[i]], [i for i in kept if again[i]]
    try:
        base = fit(
            runs.params[once], runs.tokens[once], runs.losses[once], names=[runs.names[i] for i in once],
            groups=[runs.groups[i] for i in once], plausible=False, bootstraps=arguments.bootstraps,
            seed=arguments.seed,
        )  # fmt: skip
        found = fit_repeated(base, runs.params[more], runs.tokens[more], runs.losses[more], runs.unique[more])
    except SmolfastError as error:
        return {"repeated": f"{len(more)} runs repeat their text, and the law takes it as new; {error}"}
    ends = [f"{half.value:.4g} ({half.low:.4g} to {half.high:.4g})" for half in (found.tokens_half, found.params_half)]
    return {
        "repeated": f"{found.runs} runs repeat their text: R*_D = {ends[0]}, R*_N = {ends[1]}; of the {len(once)} "
        f"others alone alpha is {base.alpha:.4g}, beta {base.beta:.4g}"
    }


def _plan(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.files import write_text
    from smolfast.scaling.plans.planning import KNOWN, as_csv, as_recipe, measured_speed, plan

    if arguments.output is not None and arguments.output.suffix not in (".csv", ".toml"):
        raise SmolfastError(f"{arguments.output}: name a file that ends in .csv or .toml")
    laws = _fitted(arguments)[0].draws if arguments.runs else KNOWN
    found = plan(
        arguments.budget, arguments.to, laws=laws, runs=arguments.most, vocab_size=arguments.vocab,
        sequence_length=arguments.sequence, activation=arguments.activation, smallest=arguments.smallest,
        ratios=tuple(arguments.ratio), seed=arguments.seed,
    )  # fmt: skip
    speed = arguments.speed or measured_speed() * arguments.mfu
    hours = found.flops / speed / 3600
    if arguments.output is not None:
        write_text(arguments.output, as_csv(found) if arguments.output.suffix == ".csv" else as_recipe(found))
    rows = [
        {
            "run": run.name, "params": f"{run.params:.3g}", "tokens": f"{run.tokens:.3g}", "flops": f"{run.flops:.3g}",
            "width": run.settings["hidden_size"], "layers": run.settings["num_hidden_layers"], "steps": run.steps,
            "hours": f"{run.flops / speed / 3600:.3g}",
        }
        for run in found.runs
    ]  # fmt: skip
    return {
        "law": "of the runs" if arguments.runs else "the two published ones (Hoffmann et al., theirs and fitted anew)",
        "target": f"{found.target[0]:.4g} parameters, {found.target[1]:.4g} tokens",
        "operations": f"{found.flops:.4g}",
        "interval": f"{found.spread / found.plain:.2f} times that of a plain grid of equal cost",
        "time": f"{hours:.3g} hours at {speed:.3g} operations a second",
        **({} if arguments.price is None else {"cost": f"{hours * arguments.price:.4g}"}),
        "planned": rows,
        **({} if arguments.output is None else {"written": str(arguments.output)}),
    }


def _predict(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.scaling.inverse import compute_optimal, six_n, smallest_model
    from smolfast.scaling.plans.shapes import flops_per_token

    given = {
        name for name in ("params", "tokens", "loss", "flops", "over_training") if getattr(arguments, name) is not None
    }
    allowed = ({"params", "tokens"}, {"params", "loss"}, {"flops"}, {"flops", "over_training"})
    if given not in allowed:
        raise SmolfastError(
            "give --params and --tokens for a loss, --params and --loss for tokens, or --flops (with --over-training) "
            "for the best model"
        )
    fitted, _ = _fitted(arguments)
    level = arguments.level

    def per_token(params: Any) -> Any:
        return flops_per_token(params, vocab_size=arguments.vocab, sequence_length=arguments.sequence)

    reckonings: list[tuple[str, Any]] = [("", six_n)]
    if arguments.vocab is not None:
        reckonings = [("exact ", per_token), ("6 N D ", six_n)]
    result: dict[str, Interval] = {}
    if given == {"params", "tokens"}:
        result["loss"] = fitted.predict(arguments.params, arguments.tokens, level)
        result["law"] = fitted.predict(arguments.params, arguments.tokens, level, noise=False)
    elif given == {"params", "loss"}:
        result["tokens"] = fitted.tokens_for(arguments.params, arguments.loss, level)
    else:
        for words, reckoning in reckonings:
            found = (
                compute_optimal(fitted, arguments.flops, reckoning, level)
                if arguments.over_training is None
                else smallest_model(fitted, arguments.flops, arguments.over_training, reckoning, level)
            )
            result |= {f"{words}{name}": value for name, value in found.items()}
    shown: dict[str, Any] = {
        name: one.as_dict() if arguments.json else f"{one.value:.5g} ({one.low:.5g} to {one.high:.5g})"
        for name, one in result.items()
    }
    if given == {"params", "tokens"}:
        shown["operations"] = f"{6 * arguments.params * arguments.tokens:.4g} by 6 N D"
        if arguments.vocab is not None:
            shown["operations"] += f", {float(per_token(arguments.params)) * arguments.tokens:.4g} exactly"
    return shown | {"level": level}


def _fitted(arguments: argparse.Namespace) -> tuple[Fit, Runs | None]:
    """The fit that the arguments name, and the runs unless it comes from a file of its own."""
    from smolfast.scaling.files import is_fit, read_fit
    from smolfast.scaling.fitting import fit
    from smolfast.scaling.runs import read_runs

    if any(is_fit(path) for path in arguments.runs):
        if len(arguments.runs) > 1:
            raise SmolfastError("a fit stands alone; give one fit.json, or runs")
        return read_fit(arguments.runs[0]), None
    runs = read_runs(
        arguments.runs, columns=dict(arguments.column), embeddings=arguments.embeddings,
        unfinished="drop" if arguments.bad == "drop" else "fail",
    )  # fmt: skip
    fitted = fit(
        runs.params, runs.tokens, runs.losses, names=runs.names, groups=runs.groups, bad=arguments.bad,
        plausible=not arguments.implausible, bootstraps=arguments.bootstraps, seed=arguments.seed,
        resample=arguments.resample,
    )  # fmt: skip
    return fitted, runs


def _of_rows(fitted: Fit, runs: Runs) -> Any:
    """The operations of the runs that were kept."""
    import numpy as np

    left = {row for rows in fitted.dropped.values() for row in rows}
    return np.array([flops for row, flops in enumerate(runs.flops) if row not in left])


def _dropped(fitted: Fit, runs: Runs | None) -> dict[str, Any]:
    if runs is None:
        return dict(fitted.dropped)
    return {**{reason: [runs.names[row] for row in rows] for reason, rows in fitted.dropped.items()}, **runs.dropped}


def _column(text: str) -> tuple[str, str]:
    ours, equals, name = text.partition("=")
    known = ("params", "tokens", "loss", "flops", "unique", "name", "group")
    if not equals or ours not in known:
        raise argparse.ArgumentTypeError(f"{text!r} is not OURS=NAME with one of {', '.join(known)}")
    return ours, name


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value

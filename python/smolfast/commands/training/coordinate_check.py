"""`smolfast train --coordinate-check`: whether activations stay level while a model becomes wider, or deeper."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from smolfast.commands.parsers import at_least
from smolfast.errors import SmolfastError
from smolfast.progress import Console

if TYPE_CHECKING:
    from smolfast.config import Config, ModelConfig
    from smolfast.train.parametrization.coordinate_check import Sizes

PAGE = "coordinate-check.html"
_FACTORS = (0.5, 1, 2, 4)


def add_coordinate_check(parser: argparse.ArgumentParser) -> None:
    """The options of the check."""
    group = parser.add_argument_group("coordinate check, without TOKENS")
    group.add_argument(
        "--coordinate-check",
        action="store_true",
        help=f"take the first steps in several widths on made-up tokens, and say how activations change (-o: {PAGE})",
    )
    group.add_argument(
        "--widths", metavar="W,W,…", help="widths to compare (default: half, once, twice and four times train's base)"
    )
    group.add_argument("--depths", metavar="L,L,…", help="layers to compare, instead of widths")
    group.add_argument("--check-steps", type=at_least(1), default=4, metavar="N", help="steps (default: 4)")
    group.add_argument("--check-seeds", type=at_least(1), default=3, metavar="N", help="runs of a shape (default: 3)")


def check_coordinates(arguments: argparse.Namespace, config: Config) -> Mapping[str, Any]:
    """The table of what changed by how much, and the page where an output is given."""
    from smolfast.train.parametrization.coordinate_check import coordinate_check

    if arguments.tokens:
        raise SmolfastError("train --coordinate-check takes no TOKENS: it makes some up; leave them away")
    name, places, shapes = _shapes(arguments, config)
    console = Console(quiet=arguments.quiet)
    found = coordinate_check(
        config, shapes, steps=arguments.check_steps, seeds=arguments.check_seeds, progress=console.progress("check")
    )
    result: dict[str, Any] = {
        "parametrization": config.train.parametrization,
        "optimizer": config.train.optimizer,
        name: places,
        "activations": [
            {
                "activation": one.kind,
                **{str(place): f"{shape[-1]:.3g}" for place, shape in zip(places, one.change, strict=True)},
                "slope": f"{one.slope(places):+.2f}",
                "spread": f"{one.spread:.0%}",
                "chance": _percent(max(one.chance)),
            }
            for one in found
        ],
    }
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
        write_page(arguments.output / PAGE, found, name, places, config)
        result["page"] = str(arguments.output / PAGE)
    return result


def _percent(share: float) -> str:
    return "unknown" if math.isnan(share) else f"{share:.0%}"


def _shapes(arguments: argparse.Namespace, config: Config) -> tuple[str, list[int], list[ModelConfig]]:
    from smolfast.train.parametrization.coordinate_check import at_depth, at_width

    if arguments.depths is not None:
        if arguments.widths is not None:
            raise SmolfastError("give --widths or --depths; one of them changes at a time")
        places = _numbers("--depths", arguments.depths)
        return "layers", places, [at_depth(config.model, layers) for layers in places]
    if arguments.widths is None:
        places = [int(config.train.base_hidden_size * factor) for factor in _FACTORS]
    else:
        places = _numbers("--widths", arguments.widths)
    return "widths", places, [at_width(config.model, width) for width in places]


def _numbers(option: str, text: str) -> list[int]:
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise SmolfastError(f"{option} {text}: give whole numbers, such as 64,128,256") from None
    if found[0] < 1 or len(found) < 2:
        raise SmolfastError(f"{option} {text}: give two numbers or more, all above 0")
    return found


def write_page(path: Any, found: list[Sizes], name: str, places: list[int], config: Config) -> None:
    """A curve for each step: level ones are what is wanted."""
    from smolfast.report.charts import Series, line_chart
    from smolfast.report.document import document, save_page
    from smolfast.report.markup import markup, table
    from smolfast.report.section import Section

    x = [float(place) for place in places]
    sections = []
    for one in found:
        charts = []
        for key, title, values in (("size", "Size", one.size), ("change", "Change since the start", one.change)):
            series = [
                Series(f"after step {step}", x, [shape[step] for shape in values], step % 6)
                for step in range(0 if key == "size" else 1, len(values[0]))
            ]
            charts.append(
                line_chart(
                    f"{one.kind}-{key}", title, "Root mean square of the activation.", series, x_name=name,
                    y_name="root mean square", from_zero=True,
                )
            )  # fmt: skip
        sections.append(Section(one.kind, one.kind.capitalize(), markup(charts)))
    rows = [[one.kind, f"{one.slope(places):+.3f}", f"{one.spread:.1%}", _percent(max(one.chance))] for one in found]
    summary = table(
        "Change after the last step",
        ("Activation", f"Slope by {name}", "Largest over smallest, less 1", "Standard error by seeds"),
        rows,
    )
    train = config.train
    save_page(
        path,
        document(
            "smolfast coordinate check",
            [Section("summary", "How level it is", summary), *sections],
            "the first steps of training on made-up tokens",
            f"{train.parametrization}, {train.optimizer}, base {train.base_hidden_size} × {train.base_layers}",
        ),
    )

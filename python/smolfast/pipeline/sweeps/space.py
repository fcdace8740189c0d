"""Which values a setting may take in a sweep, as `NAME=RANGE`."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from smolfast.config import parse_value
from smolfast.errors import SmolfastError

_RANGE = re.compile(
    r"(?:(?P<kind>log|int|log-int):)?(?P<low>[^.,\s]*(?:\.\d[^.,\s]*)?)\.\.(?P<high>[^,\s:]+)(?::(?P<step>[^,\s]+))?"
)
_SYNTAX = "NAME=LOW..HIGH, NAME=log:LOW..HIGH, NAME=int:LOW..HIGH or NAME=A,B,…"


@dataclass(frozen=True)
class Parameter:
    """A setting and its values: a range, or a list.

    Attributes:
        kind: "float", "log", "int", "log-int" or "choice".
        steps: how many values of a range a grid takes; 0 where it gives no number.
    """

    name: str
    kind: str
    low: float = 0.0
    high: float = 0.0
    choices: tuple[Any, ...] = ()
    steps: int = 0

    def values(self) -> list[Any]:
        """Its values in a grid, evenly spread; of a logarithmic range evenly in the logarithm.

        Raises:
            SmolfastError: a range that says not how many.
        """
        if self.kind == "choice":
            return list(self.choices)
        if not self.steps:
            raise SmolfastError(
                f"--param {self.name}: a grid needs a list, or a range with a number of values such as 0.01..0.1:5"
            )
        log = self.kind.startswith("log")
        low, high = (math.log(self.low), math.log(self.high)) if log else (self.low, self.high)
        places = [low + (high - low) * index / max(1, self.steps - 1) for index in range(self.steps)]
        found = [math.exp(place) if log else place for place in places]
        found[0], found[-1] = (self.low, self.high) if self.steps > 1 else (found[0], found[0])
        if self.kind.endswith("int"):
            return sorted({round(value) for value in found})
        return [float(f"{value:.6g}") for value in found]

    def first(self) -> Any:
        """A value that it may take."""
        if self.kind == "choice":
            return self.choices[0]
        return int(self.low) if self.kind.endswith("int") else self.low

    def last(self) -> Any:
        """Another one, at its other end."""
        if self.kind == "choice":
            return self.choices[-1]
        return int(self.high) if self.kind.endswith("int") else self.high

    def distribution(self) -> Any:
        """As optuna has it."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.kind == "choice":
            return CategoricalDistribution(self.choices)
        if self.kind.endswith("int"):
            return IntDistribution(int(self.low), int(self.high), log=self.kind == "log-int")
        return FloatDistribution(self.low, self.high, log=self.kind == "log")

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        if self.kind == "choice":
            return {"name": self.name, "kind": self.kind, "choices": list(self.choices)}
        return {"name": self.name, "kind": self.kind, "low": self.low, "high": self.high, "steps": self.steps}


def parse_parameter(text: str) -> Parameter:
    """`train.muon_learning_rate=log:0.005..0.08`, `model.num_hidden_layers=int:2..8`, `curate.rules=a,b`.

    Raises:
        SmolfastError: another form, an empty range, one value alone.
    """
    name, equals, values = (part.strip() for part in text.partition("="))
    if not equals or not name or not values:
        raise SmolfastError(f"--param {text}: give {_SYNTAX}")
    if found := _RANGE.fullmatch(values):
        return _range(text, name, found)
    parts = [parse_value(part.strip()) for part in values.split(",")]
    if len(parts) < 2 or len({str(part) for part in parts}) < len(parts):
        raise SmolfastError(f"--param {text}: a list has two different values or more; or give {_SYNTAX}")
    return Parameter(name, "choice", choices=tuple(parts))


def _range(text: str, name: str, found: re.Match[str]) -> Parameter:
    kind = found["kind"] or "float"
    try:
        low, high = (float(found[side].replace("_", "")) for side in ("low", "high"))
        steps = int(found["step"] or 0)
    except ValueError:
        raise SmolfastError(f"--param {text}: a range is of two numbers; give {_SYNTAX}") from None
    if not (math.isfinite(low) and math.isfinite(high)) or low >= high:
        raise SmolfastError(f"--param {text}: the range is empty; the first number is the lower one")
    if kind.startswith("log") and low <= 0:
        raise SmolfastError(f"--param {text}: a logarithmic range begins above 0")
    if kind.endswith("int") and (low != int(low) or high != int(high)):
        raise SmolfastError(f"--param {text}: its ends are whole numbers")
    if found["step"] and steps < 1:
        raise SmolfastError(f"--param {text}: a grid takes one value or more of it")
    return Parameter(name, kind, low, high, steps=steps)


def grid(parameters: Sequence[Parameter]) -> Iterator[dict[str, Any]]:
    """Every combination, the last parameter changing first."""
    names = [parameter.name for parameter in parameters]
    for values in itertools.product(*(parameter.values() for parameter in parameters)):
        yield dict(zip(names, values, strict=True))

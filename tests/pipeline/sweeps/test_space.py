"""Values of a sweep's parameters, and what is no range."""

from __future__ import annotations

import pytest

from smolfast.errors import SmolfastError
from smolfast.pipeline.sweeps.space import Parameter, grid, parse_parameter


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("train.muon_learning_rate=log:0.005..0.08", Parameter("train.muon_learning_rate", "log", 0.005, 0.08)),
        ("a.b=0.5..1.5", Parameter("a.b", "float", 0.5, 1.5)),
        ("a.b=-2..3", Parameter("a.b", "float", -2.0, 3.0)),
        ("a.b=1e-4..1e-2", Parameter("a.b", "float", 1e-4, 1e-2)),
        ("a.b=int:2..8", Parameter("a.b", "int", 2.0, 8.0)),
        ("a.b=log-int:16..1_024:4", Parameter("a.b", "log-int", 16.0, 1024.0, steps=4)),
        ("curate.rules=a,b", Parameter("curate.rules", "choice", choices=("a", "b"))),
        ("a.b = 1, 2.5, true", Parameter("a.b", "choice", choices=(1, 2.5, True))),
    ],
)
def test_forms(text: str, found: Parameter) -> None:
    assert parse_parameter(text) == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a", "give NAME=LOW..HIGH"),
        ("a=", "give NAME=LOW..HIGH"),
        ("=1..2", "give NAME=LOW..HIGH"),
        ("a=1", "two different values or more"),
        ("a=1,1", "two different values or more"),
        ("a=2..1", "the range is empty"),
        ("a=1..1", "the range is empty"),
        ("a=x..y", "a range is of two numbers"),
        ("a=1..nan", "the range is empty"),
        ("a=1..inf", "the range is empty"),
        ("a=log:0..1", "begins above 0"),
        ("a=int:1.5..3", "whole numbers"),
        ("a=1..2:0", "one value or more"),
        ("a=1..2:x", "two numbers"),
        ("a=lgo:1..2", "two numbers|two different"),
    ],
)
def test_no_range(text: str, says: str) -> None:
    with pytest.raises(SmolfastError, match=says):
        parse_parameter(text)


def test_grids() -> None:
    parameters = [parse_parameter("a=log:0.01..1:3"), parse_parameter("b=int:1..4:4"), parse_parameter("c=x,y")]
    found = list(grid(parameters))
    assert len(found) == 24 and found[0] == {"a": 0.01, "b": 1, "c": "x"} and found[-1] == {"a": 1.0, "b": 4, "c": "y"}
    assert sorted({one["a"] for one in found}) == [0.01, 0.1, 1.0]
    with pytest.raises(SmolfastError, match=r"a grid needs a list, or a range with a number of values"):
        list(grid([parse_parameter("a=0..1")]))

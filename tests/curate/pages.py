"""Pages made by code: good ones, and one kind for each of many reasons."""

from __future__ import annotations

import random
from typing import Any

KINDS = ("good", "rewritten", "short", "hashes", "repeated", "lorem", "curly", "list", "empty")


def sentence(generator: random.Random) -> str:
    a, b, c, d, e, f = (
        f"{generator.choice('bdfgklmnprst')}{generator.choice('aeiou')}{generator.randrange(10**4)}en" for _ in range(6)
    )
    return f"The {a} of {b} was {c} to the {d} and it had {e} with {f}."


def good(generator: random.Random) -> str:
    return "\n".join(" ".join(sentence(generator) for _ in range(4)) for _ in range(3))


def page(kind: str, generator: random.Random) -> str:
    """A page of a kind; only the first two stay under FineWeb's rules."""
    text = good(generator)
    if kind == "rewritten":
        return f"{text}\nPlease turn on javascript in your browser now."
    if kind == "short":
        return sentence(generator)
    if kind == "hashes":
        return f"{text} {'#' * 60}"
    if kind == "repeated":
        return "\n".join([sentence(generator)] * 8)
    if kind == "lorem":
        return f"{text}\nThen came lorem ipsum dolor and so on."
    if kind == "curly":
        return f"{text}\nfunction all of it () {{ return the rest }}"
    if kind == "list":
        return "\n".join(sentence(generator)[:-1] for _ in range(12))
    return "" if kind == "empty" else text


def rows(count: int, seed: int = 1) -> list[dict[str, Any]]:
    """Rows of all kinds by turns, with an id, a score and the kind."""
    generator = random.Random(seed)
    return [
        {"id": f"d{i}", "text": page(kind, generator), "score": i * 37 % 101, "kind": kind}
        for i, kind in ((i, KINDS[i % len(KINDS)] if i % 4 == 0 else "good") for i in range(count))
    ]

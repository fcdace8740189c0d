"""`${…}` in settings: values of a fan-out, and outputs and summaries of other stages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")


def replace(value: Any, resolve: Callable[[str], Any]) -> Any:
    """A setting with each `${NAME}` replaced by what `resolve` gives for it, in lists and tables too.

    A text that is one reference alone becomes the value itself, whatever its type; inside a longer text the value is
    written out. What `resolve` gives back as it is (`${NAME}`) stays.
    """
    if isinstance(value, dict):
        return {key: replace(item, resolve) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [replace(item, resolve) for item in value]
    if not isinstance(value, str):
        return value
    if whole := _REFERENCE.fullmatch(value):
        return resolve(whole[1])
    return _REFERENCE.sub(lambda found: str(resolve(found[1])), value)


def names(value: Any) -> Iterator[str]:
    """Every NAME that stands as `${NAME}` in a setting."""
    if isinstance(value, dict):
        for item in value.values():
            yield from names(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from names(item)
    elif isinstance(value, str):
        yield from _REFERENCE.findall(value)

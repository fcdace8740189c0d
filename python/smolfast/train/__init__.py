"""The training loop (`loop.py`), and one small file for each of its ideas. Public are `train` and `align`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smolfast.train.loop import train
    from smolfast.train.preferences.align import align

__all__ = ["align", "train"]


def __getattr__(name: str) -> Any:
    """Loads the loop, and torch with it, when it is wanted: a plan of stages needs neither."""
    if name == "align":
        from smolfast.train.preferences.align import align

        return align
    if name != "train":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from smolfast.train.loop import train

    return train

"""One model of several of one shape: averages, SLERP, TIES, Model Stock; and the average of a run's checkpoints."""

from __future__ import annotations

from smolfast.merge.checkpoints import average_checkpoints
from smolfast.merge.folders import merge
from smolfast.merge.methods import METHODS

__all__ = ["METHODS", "average_checkpoints", "merge"]

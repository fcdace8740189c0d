"""Experiments on recipes: sweeps over settings, and ablations of one change at a time.

`space` says which values a setting may take, `sharing` lets trials share the stages that they have in common, `asking`
lets optuna choose the next values, `trials` are the records, `sweep` and `ablation` run them, `statistics` says what a
difference means.
"""

from __future__ import annotations

from smolfast.pipeline.sweeps.ablation import ablate
from smolfast.pipeline.sweeps.sweep import sweep

__all__ = ["ablate", "sweep"]

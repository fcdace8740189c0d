"""Scaling laws: fit them with their uncertainty, plan the runs that tell most, predict the next one. No torch."""

from __future__ import annotations

from smolfast.scaling.diagnostics import diagnose, warnings
from smolfast.scaling.fitting import Fit, Interval, fit
from smolfast.scaling.isoflop import IsoFlop, isoflop
from smolfast.scaling.law import PUBLISHED, Law

__all__ = ["PUBLISHED", "Fit", "Interval", "IsoFlop", "Law", "diagnose", "fit", "isoflop", "warnings"]

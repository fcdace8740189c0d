"""Optimisers: Muon for matrices, AdamW for the rest, and QK-clip against exploding attention logits."""

from __future__ import annotations

from smolfast.optim.muon import Muon
from smolfast.optim.muon_adamw import MuonAdamW, assign_algorithm

__all__ = ["Muon", "MuonAdamW", "assign_algorithm"]

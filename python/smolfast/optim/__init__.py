"""Optimisers: Muon for matrices, AdamW for the rest, and QK-clip against exploding attention logits."""

from __future__ import annotations

from smolfast.optim.muon import Muon
from smolfast.optim.muon_adamw import MuonAdamW, assign_algorithm
from smolfast.optim.qk_clip import MuonClip, qk_clip_

__all__ = ["Muon", "MuonAdamW", "MuonClip", "assign_algorithm", "qk_clip_"]

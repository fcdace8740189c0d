"""The network: its layers, its files in transformers' layout, its export, and the text it writes."""

from __future__ import annotations

from smolfast.model.network import PackedBatch, SmolLM
from smolfast.model.pretrained import load_pretrained, save_pretrained

__all__ = ["PackedBatch", "SmolLM", "load_pretrained", "save_pretrained"]

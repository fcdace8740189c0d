"""The path by which a model's files were known first. They live in `smolfast.model`."""

from __future__ import annotations

from smolfast.model.pretrained import load_pretrained, save_pretrained

__all__ = ["load_pretrained", "save_pretrained"]

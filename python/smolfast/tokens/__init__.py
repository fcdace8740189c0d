"""Tokens: train or load a tokenizer, turn documents and conversations into token files, and read those."""

from __future__ import annotations

from smolfast.tokens.conversations import tokenize_conversations
from smolfast.tokens.files import PackedWindows, TokenFile, tokenize
from smolfast.tokens.tokenizer import load_tokenizer, train_tokenizer

__all__ = ["PackedWindows", "TokenFile", "load_tokenizer", "tokenize", "tokenize_conversations", "train_tokenizer"]

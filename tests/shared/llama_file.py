"""A GGUF file in llama.cpp itself, by the C functions that llama-cpp-python hands out: tokens and logits."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_F32 = 0  # ggml_type
_WITHOUT_FLASH = 0  # llama_flash_attn_type; the other way mixes values in 16 bits
_silent: Any = None


class LlamaFile:
    """A loaded file, with a cache of 32-bit numbers so that it rounds no more than its weights do."""

    def __init__(self, path: Path, *, context: int = 256, vocabulary_only: bool = False, threads: int = 1) -> None:
        import llama_cpp

        global _silent
        self._c = llama_cpp
        if _silent is None:
            llama_cpp.llama_backend_init()
            _silent = llama_cpp.llama_log_callback(lambda *_: None)
            llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
        how = llama_cpp.llama_model_default_params()
        how.vocab_only = vocabulary_only
        how.use_extra_bufts = False  # its code for AMX crashes on matrices of fewer than 32 rows
        self._model = llama_cpp.llama_model_load_from_file(os.fsencode(path), how)
        if not self._model:
            raise ValueError(f"llama.cpp doesn't load {path}")
        self._vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        self.rows = llama_cpp.llama_vocab_n_tokens(self._vocabulary)
        self._context = None
        if not vocabulary_only:
            with_ = llama_cpp.llama_context_default_params()
            with_.n_ctx = with_.n_batch = with_.n_ubatch = context
            with_.n_threads = with_.n_threads_batch = threads
            with_.type_k = with_.type_v = _F32
            with_.flash_attn_type = _WITHOUT_FLASH
            self._context = llama_cpp.llama_init_from_model(self._model, with_)
            if not self._context:
                raise ValueError(f"llama.cpp makes no context of {context} tokens for {path}")

    def close(self) -> None:
        """Free what C holds."""
        if self._context is not None:
            self._c.llama_free(self._context)
        self._c.llama_model_free(self._model)

    def tokens(self, text: str, *, special: bool = False) -> list[int]:
        """The ids of a text.

        Args:
            special: whether `<|endoftext|>` in it is that token.
        """
        data = text.encode("utf-8", "surrogatepass")
        room = (self._c.llama_token * (len(data) + 8))()
        count = self._c.llama_tokenize(self._vocabulary, data, len(data), room, len(room), True, special)
        return list(room[:count])

    def ends(self, token: int) -> bool:
        """Whether generation stops at a token."""
        return bool(self._c.llama_vocab_is_eog(self._vocabulary, token))

    def logits(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """Next-token logits [T, V] of one text."""
        self._c.llama_memory_clear(self._c.llama_get_memory(self._context), True)
        return self._decode(tokens, 0)

    def greedy(self, tokens: Sequence[int], count: int) -> list[int]:
        """The likeliest tokens after a text, until one ends it."""
        return self.continued(tokens, count, self.ends)

    def continued(self, tokens: Sequence[int], count: int, ends: Callable[[int], bool] = lambda _: False) -> list[int]:
        """As `greedy`, with ends of one's own, or none."""
        new: list[int] = []
        last = self.logits(tokens)[-1]
        while len(new) < count:
            token = int(last.argmax())
            if ends(token):
                break
            new.append(token)
            last = self._decode([token], len(tokens) + len(new) - 1)[-1]
        return new

    def _decode(self, tokens: Sequence[int], start: int) -> npt.NDArray[np.float32]:
        batch = self._c.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for place, token in enumerate(tokens):
            batch.token[place], batch.pos[place] = token, start + place
            batch.n_seq_id[place], batch.seq_id[place][0], batch.logits[place] = 1, 0, True
        failed = self._c.llama_decode(self._context, batch)
        if failed:
            raise ValueError(f"llama_decode returned {failed}")
        found = self._c.llama_get_logits(self._context)
        rows = np.ctypeslib.as_array(found, shape=(len(tokens), self.rows)).copy()
        self._c.llama_batch_free(batch)
        return rows

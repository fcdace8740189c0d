"""How much each input of a matrix matters: the mean of its square over a user's text, llama.cpp's importance matrix."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from smolfast.edge.tensors import gguf_name
from smolfast.errors import SmolfastError
from smolfast.io.documents import find_sources, read_batches
from smolfast.model.network import PackedBatch, SmolLM
from smolfast.tokens.tokenizer_folder import TokenizerFolder, encode

# As llama.cpp's own tool: beyond a hundred windows of 512 tokens little changes.
MOST_TOKENS = 50_000
_WINDOW = 512


def importance_of(model: SmolLM, windows: Sequence[npt.NDArray[np.int64]]) -> dict[str, npt.NDArray[np.float32]]:
    """Mean square of each input [H], by llama.cpp's name of the matrix that it goes into.

    Args:
        windows: runs of tokens, each a text of its own.
    """
    sums: dict[str, Tensor] = {}

    def adding(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def add(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            squares = inputs[0].detach().double().square().reshape(-1, inputs[0].shape[-1]).sum(0)
            sums[name] = sums.get(name, torch.zeros_like(squares)) + squares

        return add

    hooks = []
    for module_name, module in model.named_modules():
        if isinstance(module, nn.Linear) and (name := gguf_name(module_name)) is not None:
            hooks.append(module.register_forward_pre_hook(adding(name)))
    tokens = 0
    makes_logits = "token_embd.weight" if model.config.tie_word_embeddings else "output.weight"
    try:
        with torch.no_grad():
            for window in windows:
                states = model.hidden_states(PackedBatch.from_documents([window]), heads=1)[0].double()
                squares = states.square().sum(0)
                sums[makes_logits] = sums.get(makes_logits, torch.zeros_like(squares)) + squares
                tokens += len(window)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: (total / tokens).float().numpy() for name, total in sums.items()}


def windows_of(
    texts: Sequence[str | os.PathLike[str]], tokenizer: TokenizerFolder, context: int
) -> list[npt.NDArray[np.int64]]:
    """The first `MOST_TOKENS` tokens of documents, in windows that the model can read.

    Raises:
        SmolfastError: the files can't be read, or hold no text.
    """
    windows: list[npt.NDArray[np.int64]] = []
    left, size = MOST_TOKENS, min(_WINDOW, context)
    for source in find_sources(list(texts)):
        for batch in read_batches(source, columns=[]):
            column: Any = batch.column("text")
            for text in column.to_pylist():
                ids = encode(tokenizer.tokenizer, [text])[0]
                if isinstance(ids, str):
                    raise SmolfastError(f"the tokenizer can't encode a text of {source.path} ({ids}); leave it out")
                ids = ids[:left]
                windows += [np.array(ids[start : start + size]) for start in range(0, len(ids), size)]
                left -= len(ids)
                if left <= 0:
                    return windows
    if not windows:
        raise SmolfastError(f"{', '.join(map(str, texts))}: there is no text to measure by; give files with text")
    return windows

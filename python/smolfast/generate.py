"""Continue a prompt with an exported model: a key/value cache, greedy or sampled, the same text for the same seed."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smolfast.config import GenerateConfig
from smolfast.errors import SmolfastError
from smolfast.files import write_json
from smolfast.model import KeyValueCache, SmolLM
from smolfast.pretrained import load_pretrained
from smolfast.tokenizer import END_OF_DOCUMENT, load_tokenizer
from smolfast.workers import Workers


def generate(
    export: str | os.PathLike[str], output: str | os.PathLike[str], config: GenerateConfig, *, seed: int = 0
) -> dict[str, Any]:
    """`complete` a prompt and write the result into a folder as `sample.json`."""
    result = complete(export, config, seed=seed)
    del result["tokens_per_second"]  # equal runs write equal files
    write_json(Path(output) / "sample.json", result)
    return result


def complete(export: str | os.PathLike[str], config: GenerateConfig, *, seed: int = 0) -> dict[str, Any]:
    """Continue `config.prompt`.

    Args:
        export: the folder that `smolfast.export.export` wrote.

    Returns:
        prompt, text (the continuation alone), seed, temperature, tokens, tokens_per_second (the prompt's reading
        included, the model's loading not).

    Raises:
        SmolfastError: unreadable files, an empty prompt.
    """
    tokenizer = load_tokenizer(export)
    # One thread: a token's matrices are too small to share out, and the text doesn't depend on the machine's CPUs.
    with Workers(threads=1):
        model = load_pretrained(Path(export))
        started = time.perf_counter()
        new = generate_tokens(
            model,
            tokenizer.encode(config.prompt, add_special_tokens=False).ids,
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            seed=seed,
            end_of_document=tokenizer.token_to_id(END_OF_DOCUMENT),
        )
        seconds = time.perf_counter() - started
    return {
        "prompt": config.prompt,
        "text": tokenizer.decode(new),
        "seed": seed,
        "temperature": config.temperature,
        "tokens": len(new),
        "tokens_per_second": round(len(new) / seconds, 1),
    }


@torch.no_grad()
def generate_tokens(
    model: SmolLM,
    prompt: Sequence[int],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    end_of_document: int | None = None,
) -> list[int]:
    """Tokens after the prompt, up to the end of the document (left out) or `max_new_tokens`.

    When the model's context is full, its second half is read again as a context of its own, so text can be of any
    length; of a longer prompt only the end is read.

    Args:
        temperature: logits are divided by it; 0 takes the likeliest token each time.

    Raises:
        SmolfastError: an empty prompt: there is nothing to predict from.
    """
    if not prompt:
        raise SmolfastError("the prompt is empty; give at least one character")
    context = model.config.max_position_embeddings
    weight = model.unembedding
    capacity = min(context, len(prompt) + max_new_tokens)
    cache = KeyValueCache(model.config, capacity, weight.device, weight.dtype)
    generator = torch.Generator().manual_seed(seed)
    tokens = list(prompt)
    pending = tokens[-context:]
    while len(tokens) < len(prompt) + max_new_tokens:
        if cache.length + len(pending) > context:
            cache.length = 0
            pending = tokens[-max(1, context // 2) :]
        logits = model.extend(torch.tensor(pending, device=weight.device), cache).double().cpu()
        token = draw_token(logits, temperature, generator)
        if token == end_of_document:
            break
        tokens.append(token)
        pending = [token]
    return tokens[len(prompt) :]


def draw_token(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    """The likeliest token at temperature 0, else one drawn from softmax(logits [V] / temperature)."""
    if temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=generator))

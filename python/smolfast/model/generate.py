"""Continue a prompt with an exported model: a key/value cache, greedy or sampled, the same text for the same seed."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smolfast.config import GenerateConfig
from smolfast.errors import SmolfastError
from smolfast.files import write_json
from smolfast.io.keep_apart import check_apart
from smolfast.model.network import KeyValueCache, SmolLM
from smolfast.model.pretrained import load_pretrained
from smolfast.tokens.chat.chat_tokens import ChatTokens, encode_conversation
from smolfast.tokens.tokenizer_folder import encode, open_tokenizer, refuse_another_vocabulary
from smolfast.workers import Workers


def generate(
    export: str | os.PathLike[str], output: str | os.PathLike[str], config: GenerateConfig, *, seed: int = 0
) -> dict[str, Any]:
    """`complete` a prompt and write the result into a folder as `sample.json`."""
    check_apart(output, [export])
    result = complete(export, config, seed=seed)
    del result["tokens_per_second"]  # equal runs write equal files
    write_json(Path(output) / "sample.json", result)
    return result


def complete(
    export: str | os.PathLike[str],
    config: GenerateConfig,
    *,
    seed: int = 0,
    chat: bool = False,
    tokenizer: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Continue `config.prompt`, or answer it.

    Args:
        export: the folder that `smolfast.model.export.export` wrote.
        chat: the prompt is a user's message, to be answered in a turn of the assistant's (see
            `smolfast.tokens.chat.chat_template`). With the flag /no_think at its end the answer has no thought.
        tokenizer: the folder of another one than the export's own; then `export` may be any model folder.

    Returns:
        prompt, text (the continuation alone), seed, temperature, tokens, tokens_per_second (the prompt's reading
        included, the model's loading not).

    Raises:
        SmolfastError: unreadable files, an empty prompt.
    """
    folder = open_tokenizer(export if tokenizer is None else tokenizer)
    if tokenizer is not None:
        refuse_another_vocabulary(Path(export), folder.fingerprint, str(tokenizer))
    ends = {folder.end_of_document}
    if chat:
        ends = ChatTokens(folder).ends
        message = config.prompt.rstrip()
        turn = {"role": "user", "content": message.removesuffix("/no_think").rstrip()}
        prompt, _ = encode_conversation([turn], folder, thinking=not message.endswith("/no_think"), answer_next=True)
    else:
        encoded = encode(folder.tokenizer, [config.prompt])[0]
        if isinstance(encoded, str):
            raise SmolfastError(f"the tokenizer of {folder.path} can't encode the prompt ({encoded}); give another one")
        prompt = encoded
    # One thread: a token's matrices are too small to share out, and the text doesn't depend on the machine's CPUs.
    with Workers(threads=1):
        model = load_pretrained(Path(export))
        if folder.vocab_size > model.vocab_size:
            raise SmolfastError(
                f"{folder.path}: the tokenizer has ids up to {folder.vocab_size - 1}, the model a vocabulary of "
                f"{model.vocab_size}; export the model again with its own tokenizer"
            )
        known = torch.zeros(model.vocab_size, dtype=torch.bool)
        known[list(folder.tokenizer.get_vocab().values())] = True
        started = time.perf_counter()
        new = generate_tokens(
            model,
            prompt,
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            seed=seed,
            ends=ends,
            known=known,
        )
        seconds = time.perf_counter() - started
    return {
        "prompt": config.prompt,
        "text": folder.tokenizer.decode(new),
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
    ends: Collection[int] = (),
    known: Tensor | None = None,
) -> list[int]:
    """Tokens after the prompt, up to its end (left out) or `max_new_tokens`.

    When the model's context is full, its second half is read again as a context of its own, so text can be of any
    length; of a longer prompt only the end is read.

    Args:
        ends: tokens at which the text ends.
        known: bool [V], the ids that stand for a token; rows of padding and gaps are never drawn. None for all.
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
        if known is not None:
            logits = logits.masked_fill(~known, -torch.inf)
        token = draw_token(logits, temperature, generator)
        if token in ends:
            break
        tokens.append(token)
        pending = [token]
    return tokens[len(prompt) :]


def draw_token(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    """The likeliest token at temperature 0, else one drawn from softmax(logits [V] / temperature)."""
    if temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=generator))

"""A model that answers conversations token by token, and keeps what it has read for the next turn."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from smolfast.errors import SmolfastError
from smolfast.model.generate import draw_token
from smolfast.model.network import KeyValueCache
from smolfast.model.pretrained import load_pretrained
from smolfast.tokens.chat.chat_tokens import ChatTokens, Conversation, encode_pieces
from smolfast.tokens.chat.messages import as_messages
from smolfast.tokens.tokenizer_folder import open_tokenizer
from smolfast.workers import Workers

Message = Mapping[str, Any]
"""A role and its content, as `smolfast.tokens.chat.messages` takes them."""


# Some templates begin the thought themselves.
_OPENED = "<think>\n"


@dataclass(frozen=True)
class Outcome:
    """How an answer ended.

    Attributes:
        why: "end": the model ended its turn; "limit": `max_new_tokens`; "context": its context is full.
        tokens, seconds: of the answer, without reading the question.
        read: tokens of the conversation that weren't in the cache yet.
        forgotten: messages at the beginning that had no room any more.
    """

    why: Literal["end", "limit", "context"]
    tokens: int
    seconds: float
    read: int
    forgotten: int


class Session:
    """A model folder with its tokenizer, one conversation at a time.

    Args:
        folder: a folder of `smolfast export` whose tokenizer has a chat template.
        temperature: 0 takes the likeliest token each time. seed: of what is drawn.
        max_new_tokens: of one answer.

    Raises:
        SmolfastError: a file is missing or damaged, or the tokenizer has neither a chat template nor turns.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        temperature: float = 0.7,
        seed: int = 0,
        max_new_tokens: int = 512,
    ) -> None:
        path = Path(folder)
        self._temperature, self._most = temperature, max_new_tokens
        opened = open_tokenizer(path)
        self._tokenizer, self._byte_level = opened.tokenizer, opened.lossless
        self._chat = ChatTokens(opened)
        self._ends = self._chat.ends
        self._model = load_pretrained(path)
        if opened.vocab_size > self._model.vocab_size:
            raise SmolfastError(
                f"{path}: the tokenizer has ids up to {opened.vocab_size - 1}, the model a vocabulary of "
                f"{self._model.vocab_size}; export the model again with its own tokenizer"
            )
        self._known = torch.zeros(self._model.vocab_size, dtype=torch.bool)
        self._known[list(opened.tokenizer.get_vocab().values())] = True
        self._context = self._model.config.max_position_embeddings
        self._cache = KeyValueCache(self._model.config, self._context, "cpu", self._model.unembedding.dtype)
        self._read: list[int] = []
        self._generator = torch.Generator().manual_seed(seed)
        self.parameters = sum(parameter.numel() for parameter in self._model.model.parameters())
        self.last: Outcome | None = None

    def answer(self, messages: Sequence[Message], *, thinking: bool = True) -> Iterator[str]:
        """The next turn's text, piece by piece as it comes. `last` says afterwards how it ended.

        What the conversation has in common with what was read before isn't read again. Where it is too long for the
        context, its oldest turns are left out. The caller may stop at any piece.

        Raises:
            SmolfastError: a message has another form, or the last one alone is too long.
        """
        prompt, forgotten, opened = self._prompt(messages, thinking)
        self.last = None
        if opened:
            yield opened
        common = _common(prompt, self._read)
        common = min(common, len(prompt) - 1)  # one token at least gives the next one's logits
        self._cache.length = common
        self._read = prompt[:common]
        pending, new = prompt[common:], 0
        read, began, why = len(pending), time.perf_counter(), "limit"
        text = _Text(self._tokenizer, self._byte_level)
        while new < self._most:
            if self._cache.length + len(pending) > self._context:
                why = "context"
                break
            token = self._next(pending)
            if new == 0:
                began = time.perf_counter()
            if token in self._ends:
                why = "end"
                break
            pending, new = [token], new + 1
            if piece := text.add(token):
                yield piece
        if rest := text.rest():
            yield rest
        self.last = Outcome(why, new, time.perf_counter() - began, read, forgotten)  # type: ignore[arg-type]

    @torch.no_grad()
    def _next(self, pending: list[int]) -> int:
        self._cache.length = len(self._read)  # what a stopped pass had begun counts for nothing
        # A token's matrices are too small to share out, and one thread gives the same text on every machine.
        with Workers(threads=1):
            logits = self._model.extend(torch.tensor(pending), self._cache).double()
        self._read += pending
        return draw_token(logits.masked_fill(~self._known, -torch.inf), self._temperature, self._generator)

    def _prompt(self, messages: Sequence[Message], thinking: bool) -> tuple[list[int], int, str]:
        """Tokens, how many messages had no room, and a thought's beginning where the template has given it."""
        listed = as_messages(messages)
        system = [message for message in listed[:1] if message["role"] == "system"]
        turns = listed[len(system) :]
        forgotten = 0
        while True:
            conversation = Conversation([*system, *turns], variables={"enable_thinking": thinking})
            pieces = self._chat.pieces(conversation, answer_next=True)
            tokens, _ = encode_pieces(pieces, self._chat.folder)
            if len(tokens) < self._context:
                return tokens, forgotten, _OPENED if str(pieces[-1].said).endswith(_OPENED) else ""
            if len(turns) <= 1:
                raise SmolfastError(
                    f"the message takes {len(tokens)} tokens with all around it, the model reads {self._context}; "
                    "give a shorter one"
                )
            first = 2 if turns[1]["role"] == "assistant" else 1
            turns, forgotten = turns[first:], forgotten + first


class _Text:
    """Text of tokens that come one by one; letters that are split over tokens wait for their end."""

    def __init__(self, tokenizer: Any, byte_level: bool) -> None:
        self._tokenizer, self._byte_level = tokenizer, byte_level
        self._tokens: list[int] = []
        self._said = 0

    def add(self, token: int) -> str:
        self._tokens.append(token)
        text = self._tokenizer.decode(self._tokens)
        if text.endswith("\ufffd"):
            return ""
        return self._new(text)

    def rest(self) -> str:
        return self._new(self._tokenizer.decode(self._tokens))

    def _new(self, text: str) -> str:
        new, self._said = text[self._said :], len(text)
        # A break begins anew, so that long answers aren't decoded from their beginning each time. Decoders of other
        # kinds drop a blank where a text begins.
        if text.endswith("\n") and self._byte_level:
            self._tokens, self._said = [], 0
        return str(new)


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    for place, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return place
    return min(len(first), len(second))

"""Conversations as tokens, and which of them are learned: those that the chat template marks as the assistant's.

Special tokens come from the template alone: the same characters in a message are plain characters. The ids are those of
transformers' `apply_chat_template`, and the mask is its assistant mask.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from smolfast.errors import SmolfastError
from smolfast.tokens.chat.chat_template import TURN_END, ChatTemplate, Marks
from smolfast.tokens.chat.messages import as_messages, as_tools, covering, plain, unused
from smolfast.tokens.encoding import Encoder
from smolfast.tokens.tokenizer_folder import TokenizerFolder, encode, is_of_the_library

# What changes how a conversation reads or is learned from. A template that doesn't speak of it would drop it.
_MEANT = ("tool_calls", "function_call", "reasoning_content", "weight", "train", "audio", "images", "videos")
_NOTHING: tuple[Any, ...] = (None, "", [], {}, True, 1)


class Piece(NamedTuple):
    """A part of a conversation.

    Attributes:
        said: a text to encode, or the id of a special token.
        learned: whether all of it is.
        spans: parts of the text that are learned, from character to character, where its tokens may reach over their
            edges. A token is learned if one of its characters is.
    """

    said: str | int
    learned: bool
    spans: tuple[tuple[int, int], ...] = ()


class Conversation(NamedTuple):
    """What a conversation is made of.

    Attributes:
        messages: in the form of `as_messages`. tools: JSON schemas of what the assistant may call.
        variables: further ones for the template, such as {"enable_thinking": False}.
    """

    messages: Any
    tools: Any = None
    variables: Mapping[str, Any] = {}


class ChatTokens:
    """Writes conversations with the template of a tokenizer's folder.

    Raises:
        SmolfastError: as `ChatTemplate`.
    """

    def __init__(self, folder: TokenizerFolder) -> None:
        self.folder, self.template = folder, ChatTemplate(folder)
        added = folder.tokenizer.get_added_tokens_decoder()
        self._special = {token.content: index for index, token in added.items() if index in folder.special}
        self._pattern = covering(list(self._special))

    @property
    def ends(self) -> set[int]:
        """Tokens at which the assistant's turn ends."""
        found = {
            self.folder.end_of_document,
            self.folder.tokenizer.token_to_id(TURN_END),
            self.folder.id_of("eos_token"),
        }
        return {index for index in found if index is not None}

    def pieces(self, conversation: Conversation, *, answer_next: bool = False, all_meant: bool = False) -> list[Piece]:
        """A conversation as texts and special tokens.

        Args:
            answer_next: close with the beginning of an answer, for the model to go on.
            all_meant: refuse what the template would drop without a word.

        Raises:
            SmolfastError: no list of messages, or the template refuses it; names the message.
        """
        try:
            return self._pieces(conversation, answer_next, all_meant)
        except RecursionError as error:
            raise SmolfastError("the conversation's values lie too deep in each other") from error

    def _pieces(self, conversation: Conversation, answer_next: bool, all_meant: bool) -> list[Piece]:
        texts: list[str] = []

        def collect(text: str) -> str:
            texts.append(text)
            return text

        listed = as_messages(conversation.messages)
        messages = [plain(message, f"message {number}", collect) for number, message in enumerate(listed, 1)]
        tools = plain(as_tools(conversation.tools), "a tool", collect)
        variables = {key: value for key, value in conversation.variables.items() if value is not None}
        variables = plain(variables, "a variable of the template", collect)
        if all_meant:
            self._refuse_to_drop(messages, tools)
        # What looks like a special token is written with stand-ins, so that the template's own can be told from it.
        whole = "".join(texts)
        forged = sorted(set(self._pattern.findall(whole)))
        begin, end, *others = unused(whole, 2 + len(forged))
        stand_ins = dict(zip(forged, others, strict=True))
        if forged:

            def hide(text: str) -> str:
                return self._pattern.sub(lambda found: stand_ins[found.group()], text)

            messages, tools, variables = (plain(value, "", hide) for value in (messages, tools, variables))
        options: dict[str, Any] = {"tools": tools, "variables": variables}
        marks = Marks(begin, end)
        try:
            text = self.template.render(messages, marks, answer_next=answer_next, **options)
        except SmolfastError as error:
            where = self.template.refusal(messages, **options)
            raise SmolfastError(f"{where}: {error}" if where else str(error)) from error
        return list(self._cut(text, marks, {ord(mark): token for token, mark in stand_ins.items()}))

    def _refuse_to_drop(self, messages: Sequence[Mapping[str, Any]], tools: Any) -> None:
        source = self.template.source(bool(tools))
        if tools and "tools" not in source:
            raise SmolfastError("it has tools, which the chat template has no form for")
        for number, message in enumerate(messages, 1):
            for key in _MEANT:
                if key not in source and message.get(key) not in _NOTHING:
                    raise SmolfastError(f"message {number} has '{key}', which the chat template has no form for")

    def _cut(self, text: str, marks: Marks, back: Mapping[int, str]) -> Iterator[Piece]:
        parts: list[tuple[str, bool]] = []
        learned = False
        for part in re.split(f"([{marks.begin}{marks.end}]|{self._pattern.pattern})", text):
            if part in marks:
                learned = part == marks.begin
            elif part in self._special:
                yield from self._joined(parts)
                yield Piece(self._special[part], learned)
                parts = []
            elif part:
                parts.append((part.translate(back), learned))
        yield from self._joined(parts)

    def _joined(self, parts: Sequence[tuple[str, bool]]) -> Iterator[Piece]:
        """Texts that stand together between special tokens, cut where that changes no id."""
        groups: list[list[tuple[str, bool]]] = []
        for part in parts:
            if groups and not self._can_cut(groups[-1][-1][0], part[0]):
                groups[-1].append(part)
            else:
                groups.append([part])
        for group in groups:
            if len(group) == 1:
                yield Piece(*group[0])
                continue
            spans, length = [], 0
            for text, learned in group:
                if learned:
                    spans.append((length, length + len(text)))
                length += len(text)
            yield Piece("".join(text for text, _ in group), False, tuple(spans))

    def _can_cut(self, before: str, after: str) -> bool:
        """Whether the known patterns part words here: one line break, then no blank."""
        return (
            self.folder.known_words
            and before.endswith("\n")
            and not before[-2:-1].isspace()
            and not after[:1].isspace()
        )


def encode_conversation(
    messages: Any,
    folder: TokenizerFolder,
    *,
    tools: Any = None,
    thinking: bool | None = None,
    answer_next: bool = False,
    variables: Mapping[str, Any] | None = None,
) -> tuple[list[int], list[bool]]:
    """Tokens of a conversation by the tokenizer's own chat template, and which of them are learned.

    Args:
        messages: as `smolfast.tokens.chat.messages.as_messages` takes them. tools: as `as_tools` takes them.
        thinking: the template's `enable_thinking`; None leaves it out.
        answer_next: close with the beginning of an answer, for the model to go on.
        variables: further ones for the template.

    Raises:
        SmolfastError: a tokenizer without turns, messages that the template refuses or the tokenizer can't encode.
    """
    given = {**(variables or {}), **({} if thinking is None else {"enable_thinking": thinking})}
    return encode_pieces(
        ChatTokens(folder).pieces(Conversation(messages, tools, given), answer_next=answer_next), folder
    )


def encode_pieces(pieces: Sequence[Piece], folder: TokenizerFolder) -> tuple[list[int], list[bool]]:
    """Tokens of a conversation's pieces, and which of them are learned.

    Raises:
        SmolfastError: a text that the tokenizer can't encode.
    """
    encoded = iter(encode(folder.tokenizer, [p.said for p in pieces if isinstance(p.said, str) and not p.spans]))
    tokens: list[int] = []
    learned: list[bool] = []
    for piece in pieces:
        if piece.spans:
            ids, flags = encode_spans(piece, folder)
        else:
            found = [piece.said] if isinstance(piece.said, int) else next(encoded)
            if isinstance(found, str):
                raise cant_encode(str(piece.said), found)
            ids, flags = found, [piece.learned] * len(found)
        tokens += ids
        learned += flags
    return tokens, learned


def encode_all(
    conversations: Sequence[Sequence[Piece]], encoder: Encoder
) -> Iterator[tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_]] | SmolfastError]:
    """Tokens of many conversations' pieces and which of them are learned, encoded together; of one that the tokenizer
    can't encode, why."""
    texts = [p.said for pieces in conversations for p in pieces if isinstance(p.said, str) and not p.spans]
    found = encoder.encode(texts)
    encoded = enumerate(found.split())
    for pieces in conversations:
        parts, flags = [np.empty(0, np.uint32)], [np.empty(0, bool)]
        reason: SmolfastError | None = None
        for piece in pieces:
            if piece.spans:
                try:
                    ids, flag = map(np.array, encode_spans(piece, encoder.folder))
                except SmolfastError as error:
                    reason = reason or error
                    continue
            elif isinstance(piece.said, int):
                ids, flag = np.array([piece.said]), np.array([piece.learned])
            else:
                number, ids = next(encoded)
                flag = np.full(len(ids), piece.learned)
                if number in found.refused and reason is None:
                    reason = cant_encode(piece.said, found.refused[number])
            parts.append(ids.astype(np.uint32))
            flags.append(flag.astype(bool))
        yield reason or (np.concatenate(parts), np.concatenate(flags))


def encode_spans(piece: Piece, folder: TokenizerFolder) -> tuple[list[int], list[bool]]:
    """Tokens of a piece with spans, and which of them are learned.

    Raises:
        SmolfastError: the tokenizer can't encode it.
    """
    text = str(piece.said)
    try:
        found = folder.tokenizer.encode(text, add_special_tokens=False)
    except BaseException as error:
        if not is_of_the_library(error):
            raise
        raise cant_encode(text, " ".join(str(error).split())[:200]) from error
    reach = found.offsets
    return list(found.ids), [any(low < end and begin < high for begin, end in piece.spans) for low, high in reach]


def cant_encode(text: str, reason: str) -> SmolfastError:
    """The error for a text of a conversation that the tokenizer refuses."""
    return SmolfastError(f"the tokenizer can't encode {text[:40]!a} ({reason})")

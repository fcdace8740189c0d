"""Conversations as tokens: the turns of ChatML, SmolLM3's two modes of reasoning, and which tokens are learned.

    <|im_start|>system
    Reasoning mode: /think

    You are helpful.<|im_end|>
    <|im_start|>user
    How many?<|im_end|>
    <|im_start|>assistant
    <think>
    …
    </think>
    Three.<|im_end|>

With `/no_think` every answer begins with an empty thought, which is given and not learned. The mode is the flag
`/think` or `/no_think` in the system message, else `/think`. Learned are what the assistant says and the end of its
turn.

Turns are marked by special tokens that text can't forge: the same characters in a message are plain characters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from smolfast.errors import SmolfastError
from smolfast.tokens.tokenizer_folder import encode, not_utf8

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
NO_THOUGHT = "<think>\n\n</think>\n"
ROLES = ("system", "user", "assistant")
# What a message may carry beside its text and the turns have no form for: dropping it would change what is learned.
_UNSPOKEN = (
    *(
        "tool_calls",
        "function_call",
        "tool_call_id",
        "tools",
        "functions",
        "reasoning_content",
        "reasoning",
        "thinking",
    ),
    *("audio", "images", "weight", "train"),
)

# The same for transformers' apply_chat_template; `generation` marks what its assistant mask counts.
CHAT_TEMPLATE = """\
{%- set ns = namespace(mode="/think", system="") -%}
{%- if messages[0].role == "system" -%}
  {%- if "/no_think" in messages[0].content -%}{%- set ns.mode = "/no_think" -%}{%- endif -%}
  {%- set ns.system = messages[0].content.replace("/no_think", "").replace("/think", "").strip() -%}
{%- elif enable_thinking is defined and not enable_thinking -%}
  {%- set ns.mode = "/no_think" -%}
{%- endif -%}
{{- "<|im_start|>system\\nReasoning mode: " + ns.mode -}}
{%- if ns.system -%}{{- "\\n\\n" + ns.system -}}{%- endif -%}
{{- "<|im_end|>\\n" -}}
{%- for message in messages -%}
  {%- if message.role == "user" -%}
    {{- "<|im_start|>user\\n" + message.content + "<|im_end|>\\n" -}}
  {%- elif message.role == "assistant" -%}
    {{- "<|im_start|>assistant\\n" -}}
    {%- if ns.mode == "/no_think" -%}{{- "<think>\\n\\n</think>\\n" -}}{%- endif -%}
    {%- generation -%}{{- message.content + "<|im_end|>" -}}{%- endgeneration -%}
    {{- "\\n" -}}
  {%- elif message.role != "system" or not loop.first -%}
    {{- raise_exception("roles are system (first), user and assistant") -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- "<|im_start|>assistant\\n" -}}
  {%- if ns.mode == "/no_think" -%}{{- "<think>\\n\\n</think>\\n" -}}{%- endif -%}
{%- endif -%}
"""


def encode_conversation(
    messages: Sequence[Mapping[str, Any]],
    tokenizer: Tokenizer,
    *,
    thinking: bool = True,
    answer_next: bool = False,
) -> tuple[list[int], list[bool]]:
    """Tokens of a conversation, and which of them are learned.

    Args:
        messages: each with a role (system, only first; user; assistant) and its content, a text.
        tokenizer: from `load_tokenizer`, with the tokens of turns.
        thinking: the mode of reasoning where there is no system message.
        answer_next: close with the beginning of an answer, for the model to go on.

    Raises:
        SmolfastError: a tokenizer without the tokens of turns, or messages of another form.
    """
    said = conversation_pieces(messages, *turn_tokens(tokenizer), thinking=thinking, answer_next=answer_next)
    encoded = iter(encode(tokenizer, [piece for piece, _ in said if isinstance(piece, str)]))
    tokens: list[int] = []
    learned: list[bool] = []
    for piece, is_learned in said:
        ids = [piece] if isinstance(piece, int) else next(encoded)
        if isinstance(ids, str):
            raise cant_encode(str(piece), ids)
        tokens += ids
        learned += [is_learned] * len(ids)
    return tokens, learned


def conversation_pieces(
    messages: Sequence[Mapping[str, Any]], start: int, end: int, *, thinking: bool = True, answer_next: bool = False
) -> list[tuple[str | int, bool]]:
    """A conversation as texts to encode and as special tokens, each with whether it is learned.

    Args:
        start, end: the tokens of `turn_tokens`. The others as `encode_conversation`.

    Raises:
        SmolfastError: messages of another form.
    """
    pieces: list[tuple[str | int, bool]] = []

    def say(text: str, learned: bool = False) -> None:
        pieces.append((text, learned))

    mode, system = "/think" if thinking else "/no_think", ""
    for index, message in enumerate(messages):
        _check(index, message)
    if messages and messages[0]["role"] == "system":
        text = messages[0]["content"]
        mode = "/no_think" if "/no_think" in text else "/think"
        system = text.replace("/no_think", "").replace("/think", "").strip()
        messages = messages[1:]
    given = NO_THOUGHT if mode == "/no_think" else ""
    pieces.append((start, False))
    say(f"system\nReasoning mode: {mode}" + (f"\n\n{system}" if system else ""))
    pieces.append((end, False))
    for message in messages:
        say("\n")
        pieces.append((start, False))
        if message["role"] == "assistant":
            say(f"assistant\n{given}")
            say(message["content"], learned=True)
            pieces.append((end, True))
        else:
            say(f"user\n{message['content']}")
            pieces.append((end, False))
    say("\n")
    if answer_next:
        pieces.append((start, False))
        say(f"assistant\n{given}")
    return pieces


def cant_encode(text: str, reason: str) -> SmolfastError:
    """The error for a text of a conversation that the tokenizer refuses."""
    return SmolfastError(f"the tokenizer can't encode {text[:40]!a} ({reason})")


def turn_tokens(tokenizer: Tokenizer) -> tuple[int, int]:
    """The tokens that begin and end a turn.

    Raises:
        SmolfastError: the tokenizer has none.
    """
    start, end = tokenizer.token_to_id(TURN_START), tokenizer.token_to_id(TURN_END)
    if start is None or end is None:
        raise SmolfastError(
            f"the tokenizer has no {TURN_START} and {TURN_END}; train one with tokenizer.chat = true, or take the "
            "tokenizer of a chat model"
        )
    return start, end


def _check(index: int, message: Any) -> None:
    where = f"message {index + 1}"
    if not isinstance(message, Mapping):
        raise SmolfastError(f"{where} is no object with a role and a text as content, but of type {_type(message)}")
    unspoken = next((key for key in _UNSPOKEN if message.get(key) not in (None, "", [], {}, True, 1)), None)
    if unspoken is not None:
        raise SmolfastError(f"{where} has '{unspoken}', which the turns have no form for")
    role, content = message.get("role"), message.get("content")
    if not isinstance(content, str):
        raise SmolfastError(f"{where} is no object with a role and a text as content: its content is {_type(content)}")
    if role not in ROLES:
        raise SmolfastError(f"{where} has the role {role!r}; roles are {', '.join(ROLES)}")
    if role == "system" and index:
        raise SmolfastError(f"{where} is the system's; only the first can be")
    if problem := not_utf8(content):
        raise SmolfastError(f"{where} is {problem}")


def _type(value: Any) -> str:
    names = {type(None): "null or missing", dict: "an object", bool: "a truth value", list: "a list", str: "a text"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)

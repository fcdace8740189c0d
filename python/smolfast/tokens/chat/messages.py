"""Conversations as files and programs have them, in the form that chat templates take."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from smolfast.errors import SmolfastError
from smolfast.tokens.tokenizer_folder import not_utf8

# ShareGPT's names, and who they are for chat templates.
_SHAREGPT = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "bot", "model", "assistant", "function_call"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "function_response"), "tool"),
    "system": "system",
}
# A message's thought has one of these names; templates read the first.
_THOUGHTS = ("reasoning_content", "thinking", "reasoning")


def as_messages(messages: Any, column: str = "messages") -> list[dict[str, Any]]:
    """Messages as chat templates take them: role, content and whatever else they have, without nulls.

    ShareGPT's `from` and `value` become role and content, with `human` as user and `gpt` as assistant. A thought is
    `reasoning_content`, under whichever name it came.

    Raises:
        SmolfastError: no list of messages; names the message.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes):
        raise SmolfastError(f"no list of messages under '{column}'")
    if not messages:
        raise SmolfastError(f"the list of messages under '{column}' is empty")
    return [_as_message(message, f"message {number}") for number, message in enumerate(messages, 1)]


def as_tools(tools: Any) -> list[Any] | None:
    """Functions that the assistant may call, as JSON schemas: from such, from functions, or from JSON text of a list.

    A function needs type hints and a docstring that describes its arguments, as transformers reads them.

    Raises:
        SmolfastError: something else.
    """
    if isinstance(tools, str):
        try:
            tools = json.loads(tools) if tools.strip() else None
        except ValueError as error:
            raise SmolfastError("the tools are a text that isn't JSON; give a list of JSON schemas") from error
    if not tools:
        return None
    if not isinstance(tools, Sequence):
        raise SmolfastError("the tools are no list; give a list of JSON schemas")
    return [_schema(tool) if callable(tool) else tool for tool in tools]


def plain(value: Any, where: str, change: Callable[[str], str] | None = None) -> Any:
    """A value out of texts, numbers, lists and objects alone, which is all that a template may see.

    Args:
        change: applied to every text, keys among them.

    Raises:
        SmolfastError: a value of another type, or a text that isn't UTF-8.
    """
    if isinstance(value, str):
        if problem := not_utf8(value):
            raise SmolfastError(f"{where} is {problem}")
        return str(value) if change is None else change(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {plain(key, where, change): plain(item, where, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, where, change) for item in value]
    raise SmolfastError(f"{where} has a value of type {type(value).__name__}; give text, numbers, lists and objects")


def unused(characters: str, count: int) -> list[str]:
    """So many characters of a private area that a text doesn't hold."""
    taken = set(characters)
    found = list(islice((chr(code) for code in range(0xF0000, 0xFFFFE) if chr(code) not in taken), count))
    if len(found) < count:
        raise SmolfastError("the conversation holds every character of Unicode's private area; leave it out")
    return found


def covering(tokens: Sequence[str]) -> re.Pattern[str]:
    """What finds tokens in a text, longer ones first."""
    return re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) or "(?!)")


def _as_message(message: Any, where: str) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise SmolfastError(f"{where} is no object with a role and a content, but {_kind(message)}")
    found = {key: value for key, value in message.items() if value is not None}
    if "role" not in found and isinstance(found.get("from"), str) and "value" in found:
        role, content = found.pop("from"), found.pop("value")
        found = {"role": _SHAREGPT.get(role.lower(), role), "content": content, **found}
        if role == "function_call":
            found = _with_call(found)
    if "role" not in found:
        raise SmolfastError(f"{where} has no role")
    if not isinstance(found["role"], str):
        raise SmolfastError(f"{where} has a role that is {_kind(found['role'])}")
    thought = next((found[name] for name in _THOUGHTS if name in found), None)
    if thought is not None:
        found["reasoning_content"] = thought
    return found


def _with_call(message: dict[str, Any]) -> dict[str, Any]:
    """A call that ShareGPT writes as JSON in the text; as it is where it isn't such."""
    try:
        calls = json.loads(message["content"])
    except (TypeError, ValueError):
        return message
    calls = calls if isinstance(calls, list) else [calls]
    if not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls):
        return message
    return {**{key: value for key, value in message.items() if key != "content"}, "tool_calls": calls}


def _schema(function: Any) -> Any:
    try:
        from transformers.utils.chat_template_utils import get_json_schema
    except ImportError as error:
        raise SmolfastError(
            "a function as a tool needs transformers, which reads its docstring; pip install transformers, or give a "
            "JSON schema"
        ) from error
    try:
        return get_json_schema(function)
    except Exception as error:  # DocstringParsingException, TypeHintParsingException: of a private module
        name = getattr(function, "__name__", type(function).__name__)
        raise SmolfastError(f"the tool {name} has no JSON schema: {' '.join(str(error).split())[:200]}") from error


def _kind(value: Any) -> str:
    names = {type(None): "null", dict: "an object", bool: "a truth value", list: "a list", str: "a text"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)

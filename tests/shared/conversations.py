"""Made conversations of every form that chat templates take: tools, nulls, thoughts, flags, parts, odd text."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

TEXTS = (
    "What is argparse?",
    "2 + 2",
    "",
    "  spaced  ",
    "\n\nafter breaks\r\n",
    "\n \n odd \t blanks",
    "\u3000全角\u00a0の\n空白",
    '"quoted" \\ back <b>&amp;</b>',
    "{{ x }} {% if y %} {# z #}",
    "👩‍👩‍👧 naïve Größe ✓ 한국어",
    "# Title\n\n- item\n\n```python\ndef f():\n    return 'ok'\n```\n",
    "hello /think there",
    "why? /no_think",
    "a</think>b",
    "</tool_call> <tool_response>",
    "\x00\x1b[0m\ufeff",
)
TOOLS: tuple[Any, ...] = (
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": 'The weather of a "city"',
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "Größe <x>"}, "days": {"type": "integer"}},
                "required": ["city"],
            },
        },
    },
    {"name": "add", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}},
    '{"name": "as text"}',
)


def made(count: int, seed: int = 0) -> Iterator[tuple[list[dict[str, Any]], dict[str, Any]]]:
    """Conversations, and what else `apply_chat_template` is given."""
    draw = random.Random(seed)
    for _ in range(count):
        yield _conversation(draw), _options(draw)


def _text(draw: random.Random) -> Any:
    if draw.random() < 0.02:
        return draw.choice(TEXTS) * 400
    if draw.random() < 0.1:
        parts: list[Any] = [{"type": "text", "text": draw.choice(TEXTS)} for _ in range(draw.randrange(3))]
        return [*parts, draw.choice(TEXTS)] if draw.random() < 0.2 else parts
    return draw.choice(TEXTS)


def _options(draw: random.Random) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if draw.random() < 0.4:
        options["enable_thinking"] = draw.random() < 0.5
    if draw.random() < 0.4:
        options["tools"] = list(draw.sample(TOOLS[:2], draw.randrange(1, 3)))
    elif draw.random() < 0.2:
        options[draw.choice(("xml_tools", "python_tools"))] = list(TOOLS)
    if draw.random() < 0.1:
        options["custom_instructions"] = draw.choice(TEXTS)
    return options


def _conversation(draw: random.Random) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if draw.random() < 0.5:
        role = "developer" if draw.random() < 0.1 else "system"
        flag = draw.choice(("", "", " /think", "/no_think", "\n/no_think\n"))
        messages.append({"role": role, "content": draw.choice(TEXTS) + flag})
    for _ in range(draw.randrange(1, 5)):
        messages.append({"role": "user", "content": _text(draw)})
        if draw.random() < 0.05:
            messages.append({"role": "system", "content": _text(draw)})
        if draw.random() < 0.3:
            messages += _with_tools(draw)
        messages.append(_answer(draw))
    if draw.random() < 0.3:
        messages.append({"role": "user", "content": _text(draw)})
    if draw.random() < 0.05:  # what a service may leave at null
        messages[0]["name"] = messages[-1]["tool_calls"] = None
    return messages


def _answer(draw: random.Random) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": _text(draw)}
    kind = draw.random()
    if kind < 0.2:
        message["content"] = f"<think>\n{draw.choice(TEXTS)}\n</think>\n{draw.choice(TEXTS)}"
    elif kind < 0.4:
        message[draw.choice(("reasoning_content", "reasoning", "thinking"))] = draw.choice(TEXTS)
    elif kind < 0.45:
        message |= {"content": None, "reasoning_content": "only a thought"}
    elif kind < 0.55:
        message[draw.choice(("weight", "train"))] = draw.choice((0, 1)) if kind < 0.5 else draw.choice((False, True))
    if "weight" in message:
        message["weight"] = int(message["weight"])
    elif "train" in message:
        message["train"] = bool(message["train"])
    return message


def _with_tools(draw: random.Random) -> list[dict[str, Any]]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": draw.choice((None, "", "Let me see.", "<think>\nhm\n</think>\n")),
    }
    if draw.random() < 0.2:
        del message["content"]
    if draw.random() < 0.3:
        message["reasoning_content"] = draw.choice(TEXTS)
    calls = [_call(draw) for _ in range(draw.randrange(1, 4))]
    if draw.random() < 0.1:
        message["function_call"] = calls[0]["function"]
        calls = calls[:1]
    else:
        message["tool_calls"] = calls if draw.random() < 0.8 else [call["function"] for call in calls]
    answers = [
        {"role": draw.choice(("tool", "tool", "ipython", "function")), "tool_call_id": "c1", "content": _result(draw)}
        for _ in calls
    ]
    return [message, *answers]


def _call(draw: random.Random) -> dict[str, Any]:
    arguments: Any = draw.choice(
        (
            {},
            {"city": draw.choice(TEXTS), "days": 3},
            {"nested": {"list": [1, 2.5, True, False, None, "x"], "empty": []}, "größe": "✓"},
            json.dumps({"city": draw.choice(TEXTS)}),
            json.dumps({"city": "Köln"}, ensure_ascii=False, indent=1),
            "",
        )
    )
    function = {"name": draw.choice(("get_weather", "add", "größe")), "arguments": arguments}
    if draw.random() < 0.1:
        del function["arguments"]
    return {"type": "function", "id": "c1", "function": function}


def _result(draw: random.Random) -> Any:
    return draw.choice((_text(draw), {"sunny": True, "degrees": 21.5, "größe": [1, "é"]}, None, "42"))

"""A tokenizer's chat template: conversations as text, and which of it the assistant says.

A template is a Jinja program that transformers and llama.cpp run too. Ours, `chat_template.jinja`, is taken for
tokenizers that have the tokens of turns and no template:

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

With `/no_think` an answer without a thought begins with an empty one, which is given and not learned. The mode is the
flag `/think` or `/no_think` in the system message, else `enable_thinking`, else `/think`. What the assistant says is
marked by `{% generation %}`, as transformers' assistant mask has it: its answer and the end of its turn.

Templates come from others, so they run in Jinja's sandbox and see plain values alone.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from smolfast.errors import SmolfastError
from smolfast.files import naming
from smolfast.tokens.tokenizer_folder import TOKENIZER_CONFIG, TokenizerFolder, read_object

if TYPE_CHECKING:
    from jinja2 import Template

TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE_FILE = "chat_template.jinja"
FURTHER_TEMPLATES = "additional_chat_templates"
CHAT_TEMPLATE = Path(__file__).with_name(CHAT_TEMPLATE_FILE).read_text(encoding="utf-8")
_MARKS = "_marks_of_what_is_said"


class Marks(NamedTuple):
    """Two characters that a conversation doesn't hold; they stand around what the assistant says."""

    begin: str
    end: str


def templates_of(folder: Path) -> dict[str, str]:
    """The templates of a tokenizer's folder by name, where transformers looks for them; "default" is the usual one.

    Raises:
        SmolfastError: a file can't be read, or holds something else.
    """
    settings = folder / TOKENIZER_CONFIG
    given = read_object(settings).get("chat_template") if settings.is_file() else None
    with naming(settings, "save it again with transformers"):
        named = {entry["name"]: entry["template"] for entry in given} if isinstance(given, list) else {"default": given}
    found: dict[str, str] = {}
    for name, template in named.items():
        if isinstance(template, str):
            found[str(name)] = template
        elif template is not None:
            raise SmolfastError(f"{settings}: chat_template is not a text; save it again with transformers")
    for path in [folder / CHAT_TEMPLATE_FILE, *sorted((folder / FURTHER_TEMPLATES).glob("*.jinja"))]:
        if path.is_file():
            with naming(path, "save it again as UTF-8"):
                found["default" if path.parent == folder else path.stem] = path.read_text(encoding="utf-8")
    return found


class ChatTemplate:
    """What a tokenizer's folder writes conversations with.

    Attributes:
        own: whether the folder has it, or smolfast's is taken.

    Raises:
        SmolfastError: the folder has none, and its tokenizer no tokens of turns for smolfast's.
    """

    def __init__(self, folder: TokenizerFolder) -> None:
        self._folder = folder
        self._sources = templates_of(folder.path)
        self.own = "default" in self._sources
        if not self.own:
            if any(folder.tokenizer.token_to_id(token) is None for token in (TURN_START, TURN_END)):
                raise SmolfastError(
                    f"{folder.path} has no chat template, and its tokenizer no {TURN_START} and {TURN_END} for "
                    "smolfast's; train one with tokenizer.chat = true, or take the tokenizer of a chat model"
                )
            self._sources["default"] = CHAT_TEMPLATE

    def source(self, tools: bool = False) -> str:
        """The program, for conversations with or without tools."""
        return self._sources.get("tool_use" if tools else "default", self._sources["default"])

    @property
    def marks_answers(self) -> bool:
        """Whether it says which part is the assistant's."""
        return all("endgeneration" in self.source(tools) for tools in (False, True))

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        marks: Marks,
        *,
        tools: Sequence[Any] | None = None,
        answer_next: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """A conversation as text, with marks around what the assistant says.

        Args:
            messages: of `smolfast.tokens.chat.messages.as_messages`. tools: JSON schemas.
            answer_next: close with the beginning of an answer, for the model to go on.
            variables: further ones for the template, such as {"enable_thinking": False}.

        Raises:
            SmolfastError: the template refuses the conversation; says with which words.
        """
        template = _compiled(self.source(bool(tools)))
        try:
            return template.render(
                {
                    **self._folder.names,
                    "documents": None,
                    **(variables or {}),
                    "messages": messages,
                    "tools": tools,
                    "add_generation_prompt": answer_next,
                    _MARKS: marks,
                }
            )
        except MemoryError:
            raise
        except Exception as error:  # whatever a template does with values that it didn't expect
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise SmolfastError(f"the chat template refuses the conversation: {reason}") from error

    def refusal(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> str:
        """Which message is refused first, where the whole conversation is: "message 3", or "" if it can't be told."""
        for count in range(1, len(messages) + 1):
            try:
                self.render(messages[:count], Marks("", ""), **options)
            except SmolfastError:
                return f"message {count}"
        return ""


@lru_cache(maxsize=8)
def _compiled(source: str) -> Template:
    import jinja2
    import jinja2.ext
    import jinja2.sandbox
    from jinja2 import nodes
    from jinja2.parser import Parser

    class Generation(jinja2.ext.Extension):
        """`{% generation %}`: transformers' tag around what the assistant says."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            call = self.call_method("_marked", [nodes.ContextReference()])
            return nodes.CallBlock(call, [], [], body).set_lineno(line)

        @staticmethod
        def _marked(context: Any, caller: Callable[[], str]) -> str:
            marks: Marks = context[_MARKS]
            return f"{marks.begin}{caller()}{marks.end}"

    # As transformers sets it up.
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _as_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    try:
        return environment.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise SmolfastError(
            f"the chat template is no Jinja program (line {error.lineno}: {error.message}); correct it, or save the "
            "tokenizer again with transformers"
        ) from error


def _as_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Without Jinja's own escapes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(reason: str) -> None:
    raise ValueError(reason)

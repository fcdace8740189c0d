"""Compare rendered conversations at length: ours, transformers' apply_chat_template, and llama.cpp's.

python tests/check_chats.py TOKENIZER [--count 2000] [--llama-source FOLDER] [--template FILE.jinja…]

TOKENIZER is a folder with turns (`smolfast tokenize --set tokenizer.chat=true`). Text has to be equal, or refused by
all; ids and the mask of what is learned too. llama-cpp-python's own renderer, which is Jinja in Python, is asked where
it is installed. With a source tree of llama.cpp its Jinja engine in C++ is compiled into `build/llama_jinja` and asked
as well. `--template` compares the text of further templates.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "shared"))

from conversations import made
from smolfast.errors import SmolfastError
from smolfast.tokens.chat.chat_template import CHAT_TEMPLATE
from smolfast.tokens.chat.chat_tokens import ChatTokens, Conversation, encode_pieces
from smolfast.tokens.chat.messages import as_messages
from smolfast.tokens.tokenizer_folder import open_tokenizer

Render = Callable[[list[dict[str, Any]], dict[str, Any]], str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--llama-source", type=Path)
    parser.add_argument("--template", type=Path, nargs="*", default=[])
    arguments = parser.parse_args()
    import transformers

    theirs = transformers.AutoTokenizer.from_pretrained(arguments.tokenizer)
    folder = open_tokenizer(arguments.tokenizer)
    chat = ChatTokens(folder)
    if chat.template.source() != CHAT_TEMPLATE:
        print("the tokenizer's own template is compared, not smolfast's")
    bad = check_ids(chat, theirs, arguments.count)
    names = {index: token for token, index in folder.tokenizer.get_vocab().items()}

    def ours(messages: list[dict[str, Any]], options: dict[str, Any]) -> str:
        pieces = chat.pieces(split(messages, options), answer_next=options.get("add_generation_prompt", False))
        return "".join(names[piece.said] if isinstance(piece.said, int) else piece.said for piece in pieces)

    engines = engines_of(arguments.llama_source, theirs)
    for template in [chat.template.source(), *(path.read_text(encoding="utf-8") for path in arguments.template)]:

        def reference(messages: list[dict[str, Any]], options: dict[str, Any], template: str = template) -> str:
            return str(theirs.apply_chat_template(messages, chat_template=template, tokenize=False, **options))

        asked = {name: render(template) for name, render in engines.items()}
        if template == chat.template.source():
            asked["smolfast"] = ours
        bad += compare(reference, asked, arguments.count)
    return 1 if bad else 0


def split(messages: list[dict[str, Any]], options: dict[str, Any]) -> Conversation:
    variables = {key: value for key, value in options.items() if key not in ("tools", "add_generation_prompt")}
    return Conversation(messages, options.get("tools"), variables)


def check_ids(chat: ChatTokens, theirs: Any, count: int) -> int:
    """How many conversations have other ids or another mask than transformers gives."""
    found: Counter[str] = Counter()
    for messages, options in made(count, seed=1):
        try:
            expected = theirs.apply_chat_template(
                messages, return_dict=True, return_assistant_tokens_mask=True, **options
            )
        except Exception:  # whatever a template raises
            expected = None
        try:
            ours = encode_pieces(chat.pieces(split(messages, options)), chat.folder)
        except SmolfastError:
            found["refused by both" if expected is None else "refused by ours alone"] += 1
            continue
        if expected is None:
            found["refused by theirs alone"] += 1
        elif ours[0] != expected["input_ids"]:
            found["other ids"] += 1
        else:
            found["equal" if list(map(int, ours[1])) == expected["assistant_masks"] else "another mask"] += 1
    print(f"ids and mask: {dict(found)}")
    return sum(count for what, count in found.items() if what not in ("equal", "refused by both"))


def compare(reference: Render, engines: dict[str, Render], count: int) -> int:
    """How many texts differ from transformers', by engine; the first of each is shown."""
    bad = 0
    for name, render in engines.items():
        found: Counter[str] = Counter()
        for number, (messages, options) in enumerate(made(count, seed=2)):
            options["add_generation_prompt"] = number % 2 == 0
            results = [attempt(each, messages, options) for each in (reference, render)]
            same = "equal" if results[0] == results[1] else "different"
            found["refused by both" if results == [None, None] else same] += 1
            if results[0] != results[1] and found["different"] == 1:
                shown = [json.dumps(messages, ensure_ascii=False), str(options), *map(repr, results)]
                print(*(text[:600] for text in shown), sep="\n  ")
        print(f"text, transformers and {name}: {dict(found)}", flush=True)
        bad += found["different"]
    return bad


def given(messages: list[dict[str, Any]], template: str) -> list[dict[str, Any]]:
    """What llama.cpp's engines are given. Nulls stay for ours; other templates may write them out, as "None"."""
    found = as_messages(messages)
    if template != CHAT_TEMPLATE:
        return found
    nulls = [{key: None for key, value in message.items() if value is None} for message in messages]
    return [{**none, **message} for none, message in zip(nulls, found, strict=True)]


def attempt(render: Render, messages: list[dict[str, Any]], options: dict[str, Any]) -> str | None:
    try:
        return render(messages, dict(options))
    except Exception:  # whatever a template raises
        return None


def engines_of(source: Path | None, theirs: Any) -> dict[str, Callable[[str], Render]]:
    """llama.cpp's engines that can be asked: from a template to what renders conversations."""
    tokens = {key: value for key, value in theirs.special_tokens_map.items() if isinstance(value, str)}
    engines: dict[str, Callable[[str], Render]] = {}
    if importlib.util.find_spec("llama_cpp"):

        def in_python(template: str) -> Render:
            from llama_cpp.llama_chat_format import Jinja2ChatFormatter

            def render(messages: list[dict[str, Any]], options: dict[str, Any]) -> str:
                answer_next = options.pop("add_generation_prompt", False)
                formatter = Jinja2ChatFormatter(template, tokens["eos_token"], tokens["bos_token"], answer_next)
                return str(formatter(messages=given(messages, template), **options).prompt)

            return render

        engines["llama-cpp-python"] = in_python
    if source is not None:
        program = compiled(source)

        def in_cpp(template: str) -> Render:
            def render(messages: list[dict[str, Any]], options: dict[str, Any]) -> str:
                values = {"messages": given(messages, template), "tools": None, **tokens, **options}
                program.stdin.write(json.dumps({"template": template, "input": values}) + "\n")
                program.stdin.flush()
                found = json.loads(program.stdout.readline())
                if isinstance(found, dict):
                    raise ValueError(found["error"])
                return str(found)

            return render

        engines["llama.cpp"] = in_cpp
    return engines


def compiled(source: Path) -> Any:
    """llama.cpp's engine as a process that reads and writes lines."""
    root = next((path.parent.parent for path in sorted(source.rglob("jinja/runtime.h"))), None)
    if root is None:
        raise SystemExit(f"{source} holds no llama.cpp with a Jinja engine (common/jinja)")
    program = Path("build") / "llama_jinja"
    program.parent.mkdir(exist_ok=True)
    sources = [*(root / "jinja").glob("*.cpp"), root / "json.cpp", root / "unicode.cpp"]
    words = ["g++", "-O1", "-std=c++17", str(Path(__file__).parent / "shared" / "llama_jinja.cpp"), *map(str, sources)]
    include = [root, root.parent / "vendor", root.parent / "ggml" / "include", root.parent / "include"]
    if not program.exists():
        subprocess.run([*words, *(f"-I{path}" for path in include), "-pthread", "-o", str(program)], check=True)
    return subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

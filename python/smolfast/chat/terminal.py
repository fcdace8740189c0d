"""A chat in the terminal: answers as they come, thoughts folded to a line, Ctrl-C ends an answer and not the chat."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any, TextIO

from smolfast.chat.session import Session
from smolfast.chat.thoughts import Thoughts
from smolfast.errors import SmolfastError
from smolfast.progress import has_colours

HELP = "/new begins anew, /think and /no_think set the mode, /thoughts shows or folds thoughts, Ctrl-D ends"


class Terminal:
    """Reads messages from a stream and writes answers to another.

    Args:
        as_json: an answer is a line of JSON: answer, thought, why, tokens.
        show_thoughts: as they come, and not as one line that counts their words.
    """

    def __init__(
        self,
        session: Session,
        source: TextIO,
        out: TextIO,
        *,
        system: str | None = None,
        thinking: bool = True,
        show_thoughts: bool = False,
        as_json: bool = False,
        quiet: bool = False,
    ) -> None:
        self._session, self._source, self._out = session, source, out
        self._system = system
        self._thinking, self._shows, self._as_json, self._quiet = thinking, show_thoughts, as_json, quiet
        self._asks = source.isatty() and out.isatty() and not as_json
        self._colours = has_colours(out)
        self._messages: list[dict[str, str]] = []

    def run(self) -> int:
        """Answer until the source ends; give how many answers there were."""
        answers = 0
        for line in self._lines():
            message = line.strip()
            if not message or self._command(message):
                continue
            if message.endswith("/no_think"):
                message, thinking = message.removesuffix("/no_think").rstrip(), False
            else:
                thinking = self._thinking
            self._messages.append({"role": "user", "content": message})
            try:
                self._messages.append({"role": "assistant", "content": self._answer(thinking)})
                answers += 1
            except SmolfastError as error:
                if not self._asks:
                    raise
                self._messages.pop()
                self._note(str(error))
        return answers

    def _lines(self) -> Iterator[str]:
        while True:
            try:
                line = input("> ") if self._asks else self._source.readline()
            except EOFError:
                self._write("\n")
                return
            except KeyboardInterrupt:
                if not self._asks:
                    raise
                self._note("\nCtrl-D ends the chat")
                continue
            if not line and not self._asks:
                return
            yield line

    def _command(self, word: str) -> bool:
        if word == "/new":
            self._messages = []
            self._note("begun anew")
        elif word in ("/think", "/no_think"):
            self._thinking = word == "/think"
            self._note(f"mode {word}")
        elif word == "/thoughts":
            self._shows = not self._shows
            self._note("thoughts are shown" if self._shows else "thoughts are folded")
        elif word == "/help":
            self._note(HELP)
        else:
            return False
        return True

    def _answer(self, thinking: bool) -> str:
        told = Thoughts()
        said: list[str] = []
        thought: list[str] = []
        spoken: list[str] = []
        system = [] if self._system is None else [{"role": "system", "content": self._system}]
        pieces = self._session.answer([*system, *self._messages], thinking=thinking)
        stopped = False
        try:
            for piece in pieces:
                said.append(piece)
                for part in told.feed(piece):
                    self._show(part.text, part.thought, thought, spoken)
        except KeyboardInterrupt:
            if not self._asks:
                raise
            stopped = True
        for part in told.end():
            self._show(part.text, part.thought, thought, spoken)
        if not spoken and thought and not self._as_json:
            self._unfold(thought)
        self._end(stopped, thought, spoken)
        return "".join(said)

    def _show(self, text: str, is_thought: bool, thought: list[str], spoken: list[str]) -> None:
        if is_thought:
            thought.append(text)
            if self._as_json:
                return
            if self._shows:
                self._write(self._dim(text))
            elif self._asks:
                self._write(f"\r{self._dim(self._folded(thought))}")
            return
        if not spoken and thought and not self._as_json:
            self._unfold(thought)
        spoken.append(text)
        if not self._as_json:
            self._write(text)

    def _unfold(self, thought: list[str]) -> None:
        """The line that stands for the thoughts, before the answer begins."""
        if self._shows:
            self._write("\n")
        elif self._asks:
            self._write(f"\r{self._dim(self._folded(thought))}\n")
        else:
            self._write(f"{self._folded(thought)}\n")

    @staticmethod
    def _folded(thought: list[str]) -> str:
        return f"[thought: {len(''.join(thought).split()):,} words]"

    def _end(self, stopped: bool, thought: list[str], spoken: list[str]) -> None:
        last = self._session.last
        if self._as_json:
            values: dict[str, Any] = {"answer": "".join(spoken), "thought": "".join(thought)}
            if last is not None:
                values |= {"why": last.why, "tokens": last.tokens, "forgotten": last.forgotten}
            self._write(json.dumps(values, ensure_ascii=False) + "\n")
            return
        self._write("\n")
        if stopped:
            self._note("stopped")
        elif last is not None:
            rate = last.tokens / max(last.seconds, 1e-9)
            why = {"limit": ", stopped at --max-new-tokens", "context": ", its context is full"}.get(last.why, "")
            lost = f", {last.forgotten} old messages had no room" if last.forgotten else ""
            self._note(f"{last.tokens} tokens, {rate:,.1f} tokens/s{why}{lost}")

    def _note(self, text: str) -> None:
        if self._asks and not self._quiet:
            self._write(self._dim(text) + "\n")

    def _dim(self, text: str) -> str:
        return f"\x1b[2m{text}\x1b[0m" if self._colours else text

    def _write(self, text: str) -> None:
        with contextlib.suppress(UnicodeEncodeError):
            self._out.write(text)
            self._out.flush()
            return
        self._out.write(text.encode(self._out.encoding or "ascii", "replace").decode(self._out.encoding or "ascii"))
        self._out.flush()

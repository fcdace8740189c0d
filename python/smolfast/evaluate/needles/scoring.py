"""How often a model goes on with the right answer, by task, length and depth."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import xxhash

from smolfast.config import NeedlesConfig
from smolfast.errors import SmolfastError
from smolfast.evaluate.needles.tasks import TASKS, Encode, Haystack, Prompt, TooShortError
from smolfast.evaluate.needles.words import NOISE
from smolfast.files import write_json
from smolfast.io.documents import find_sources, read_batches
from smolfast.io.keep_apart import check_apart
from smolfast.model.network import PackedBatch, SmolLM
from smolfast.model.pretrained import load_pretrained
from smolfast.tokens.tokenizer_folder import TokenizerFolder, encode, open_tokenizer, refuse_another_vocabulary
from smolfast.workers import Workers

PathLike = str | os.PathLike[str]
# Lines of a haystack: as many as the longest prompts need many times over, read from the start of the documents.
_MOST_BYTES = 4 << 20
_NOISE_LINES = 997


@dataclass(frozen=True)
class _Cell:
    task: str
    length: int
    depth: float


def evaluate_needles(
    model: PathLike,
    output: PathLike,
    config: NeedlesConfig,
    *,
    tokenizer: PathLike | None = None,
    haystack: PathLike | None = None,
    text_column: str = "text",
    errors: str = "fail",
    seed: int = 0,
    threads: int = 0,
    progress: Callable[[float, float, str], None] | None = None,
) -> dict[str, Any]:
    """Ask a model for needles; write `needles.json` into a folder and return what it holds.

    An answer is right where every token of it is the likeliest after those before: what greedy writing gives.

    Args:
        model: a model folder; the export's own tokenizer is taken unless one is given.
        haystack: documents whose lines needles are put between; sentences of this package's if None.
        text_column, errors: how to read them, as `read_batches`.
        seed: of keys, values and places. threads: prompts at once; the result doesn't depend on it.

    Returns:
        context (the model's), lengths, depths, samples (of each cell), tokens (read), and tasks: for each the share
        that is right as `accuracy`, and `right` [lengths][depths]. Lengths beyond the model's context are asked too.
        Of the default lengths those without room are left out.

    Raises:
        SmolfastError: unreadable files, a length that has no room, a haystack without text.
    """
    check_apart(output, [path for path in (model, tokenizer, haystack) if path is not None])
    folder = open_tokenizer(model if tokenizer is None else tokenizer)
    refuse_another_vocabulary(Path(model), folder.fingerprint, str(folder.path))

    def ids(text: str) -> list[int]:
        found = encode(folder.tokenizer, [text])[0]
        if isinstance(found, str):
            raise SmolfastError(f"the tokenizer of {folder.path} can't encode {text!r} ({found}); give another one")
        return found

    with Workers(threads) as workers:
        network = load_pretrained(Path(model))
        if folder.vocab_size > network.vocab_size:
            raise SmolfastError(
                f"{folder.path}: the tokenizer has ids up to {folder.vocab_size - 1}, {model} a vocabulary of "
                f"{network.vocab_size}; give the tokenizer that the model was trained with"
            )
        context = network.config.max_position_embeddings
        draw = _Drawer(config, _haystack(folder, haystack, text_column, errors), ids, seed)
        lengths = draw.with_room(list(config.lengths) or sorted({max(1, context // part) for part in (4, 2, 1)}))
        cells = [_Cell(task, length, depth) for task in config.tasks for length in lengths for depth in config.depths]
        prompts = [(cell, draw.prompt(cell, sample)) for cell in cells for sample in range(config.samples)]
        known = torch.zeros(network.vocab_size, dtype=torch.bool)
        known[list(folder.tokenizer.get_vocab().values())] = True
        right: dict[_Cell, int] = dict.fromkeys(cells, 0)
        answers = workers.map(lambda prompt: answers_right(network, prompt[1], known), prompts)
        for done, ((cell, _), is_right) in enumerate(zip(prompts, answers, strict=True), 1):
            right[cell] += is_right
            if progress is not None:
                progress(done, len(prompts), cell.task)
    result = {
        "context": context,
        "lengths": lengths,
        "depths": list(config.depths),
        "samples": config.samples,
        "tokens": sum(len(prompt.tokens) + len(prompt.answer) for _, prompt in prompts),
        "tasks": {task: _table(task, lengths, config, right) for task in config.tasks},
    }
    write_json(Path(output) / "needles.json", result)
    return result


@torch.no_grad()
def answers_right(model: SmolLM, prompt: Prompt, known: torch.Tensor | None = None) -> bool:
    """Whether greedy writing after the prompt gives the answer: one pass over both, since each token is right only
    where all before it were."""
    tokens = torch.tensor([*prompt.tokens, *prompt.answer[:-1]]).numpy()
    states_TH = model.hidden_states(PackedBatch.from_documents([tokens]), heads=1)[0]
    logits_AV = F.linear(states_TH[-len(prompt.answer) :], model.unembedding)
    if known is not None:
        logits_AV = logits_AV.masked_fill(~known, -torch.inf)
    return logits_AV.argmax(-1).tolist() == prompt.answer


@dataclass(frozen=True)
class _Drawer:
    """Draws the prompts of all cells."""

    config: NeedlesConfig
    haystack: Haystack
    encode: Encode
    seed: int

    def prompt(self, cell: _Cell, sample: int) -> Prompt:
        chance = _chance(self.seed, cell, sample)
        return TASKS[cell.task](self.haystack, self.encode, cell.length, cell.depth, chance)

    def with_room(self, lengths: Sequence[int]) -> list[int]:
        """Those lengths that all tasks have room in.

        Raises:
            SmolfastError: one that the settings name has none, or none of them has; says which would do.
        """
        found = [length for length in lengths if self._least(length) == length]
        short = [length for length in lengths if length not in found]
        if short and (self.config.lengths or not found):
            least = short[-1]
            while (needed := self._least(least)) > least:  # another length draws other words
                least = needed
            raise TooShortError(short[-1], least)
        return found

    def _least(self, length: int) -> int:
        """What the longest of the prompts takes without a haystack; the length if that is more."""
        least = length
        for task in self.config.tasks:
            for depth in self.config.depths:
                for sample in range(self.config.samples):
                    try:
                        self.prompt(_Cell(task, length, depth), sample)
                    except TooShortError as error:
                        least = max(least, error.least)
        return least


def _chance(seed: int, cell: _Cell, sample: int) -> random.Random:
    name = f"{seed} {cell.task} {cell.length} {cell.depth} {sample}"
    return random.Random(xxhash.xxh3_64_intdigest(name.encode()))


def _table(task: str, lengths: Sequence[int], config: NeedlesConfig, right: dict[_Cell, int]) -> dict[str, Any]:
    shares = [[right[_Cell(task, length, depth)] / config.samples for depth in config.depths] for length in lengths]
    return {"accuracy": sum(map(sum, shares)) / (len(lengths) * len(config.depths)), "right": shares}


def _haystack(folder: TokenizerFolder, path: PathLike | None, text_column: str, errors: str) -> Haystack:
    if path is None:
        order = random.Random(0)
        texts = [f"{order.choice(NOISE)}\n" for _ in range(_NOISE_LINES)]
    else:
        texts = list(_lines(path, text_column, errors))
        if not texts:
            raise SmolfastError(f"{path} has no line of text to hide needles in; give other documents")
    kept: list[list[int]] = []
    kept_texts: list[str] = []
    for text, found in zip(texts, encode(folder.tokenizer, texts), strict=True):
        if not isinstance(found, str) and found:
            kept.append(found)
            kept_texts.append(text)
    if not kept:
        raise SmolfastError(f"the tokenizer of {folder.path} can't encode a line of {path}; give other documents")
    return Haystack(kept, kept_texts)


def _lines(path: PathLike, text_column: str, errors: str) -> Iterator[str]:
    taken = 0
    for source in find_sources([path]):
        for batch in read_batches(source, text_column=text_column, columns=[], errors=errors):
            for text in batch.column(text_column).to_pylist():
                for line in (text or "").splitlines():
                    if line.strip():
                        yield f"{line}\n"
                        taken += len(line)
                if taken > _MOST_BYTES:
                    return

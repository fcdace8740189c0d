"""Token files of preferences: of each pair the chosen answer's document, then the rejected one's, prompts included."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xxhash

from smolfast.errors import SmolfastError
from smolfast.files import fingerprint, naming, read_json, write_json
from smolfast.progress import ProgressCallback
from smolfast.tokens.chat.chat_tokens import ChatTokens, Conversation, Piece, encode_all
from smolfast.tokens.encoding import Encoder, with_encoder
from smolfast.tokens.files import INDEX_FILE, describe, npy_file, token_type
from smolfast.tokens.pair_rows import Pair, read_pairs
from smolfast.tokens.tokenizer_folder import open_tokenizer

PAIRS_FILE = "pairs.json"
"""Says what the folder was made from; the last file to be written."""
SPLITS = ("train", "held_out")
# So many pairs are encoded at once.
_BATCH = 256
_Pieces = list[Piece]


@dataclass(frozen=True)
class PairRules:
    """What decides which pairs there are.

    Attributes:
        longest: tokens of a document at most, prompt and end included.
        too_long: what is done about longer ones: "fail"; "cut" the prompt's beginning, of both documents alike; "skip".
        errors: what is done about a pair that teaches nothing or has another form: "fail" or "skip".
        held_out_fraction: share of the pairs that go to `held_out`: those whose prompt's hash is below it, so that
            pairs of one prompt stay together.
    """

    longest: int
    too_long: Literal["fail", "cut", "skip"] = "fail"
    errors: Literal["fail", "skip"] = "fail"
    held_out_fraction: float = 0.05


def encode_pairs(
    pairs: str | os.PathLike[str],
    tokenizer_folder: str | os.PathLike[str],
    output_folder: str | os.PathLike[str],
    rules: PairRules,
    *,
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Encode preferences as `smolfast.tokens.pair_rows` reads them; nothing is done where that is done already.

    Document 2i of a token file is pair i's chosen answer, document 2i + 1 its rejected one. `NAME.learned.npy` marks
    the answers, with the token that ends them: of a text the end of the document, of a conversation that of the turn.
    There is no `held_out` if no pair fell to it.

    Returns:
        pairs, held_out_pairs, pairs_cut, and pairs_skipped by reason.

    Raises:
        SmolfastError: input that can't be read, a pair that the rules refuse, no pair to train on, another folder in
            the way.
    """
    folder = Path(output_folder)
    tokenizer = open_tokenizer(tokenizer_folder)
    made_from = {"pairs": fingerprint(pairs), "tokenizer": tokenizer.fingerprint, "rules": vars(rules)}
    if (folder / PAIRS_FILE).exists():
        found = read_json(folder / PAIRS_FILE)
        with naming(folder / PAIRS_FILE, "delete that folder"):
            if different := [name for name, value in made_from.items() if found.get(name) != value]:
                raise SmolfastError(
                    f"{folder} was made from other {different[0]}; choose another output or delete that folder"
                )
            return dict(found["summary"])

    def write(encoder: Encoder) -> dict[str, Any]:
        return _write(_checked(pairs, encoder, rules), encoder, folder, rules, progress)

    summary, said = with_encoder(tokenizer, write)
    summary |= said
    if not summary["pairs"]:
        remedy = "give more pairs" + (", or set align.held_out_fraction=0" if summary["held_out_pairs"] else "")
        raise SmolfastError(f"{pairs} leaves no pair to train on ({_reasons(summary)}); {remedy}")
    write_json(folder / PAIRS_FILE, {**made_from, "summary": summary})
    return summary


@dataclass(frozen=True)
class _Encoded:
    """A pair's prompt and answers: tokens, and of each answer's which are learned; UTF-8 bytes of both documents."""

    prompt: npt.NDArray[np.uint32]
    answers: tuple[tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_]], ...]
    text_bytes: int

    @property
    def longest(self) -> int:
        """Tokens of the longer document, its end included."""
        return len(self.prompt) + max(len(tokens) for tokens, _ in self.answers)


def _write(
    pairs: Iterator[_Encoded | str], encoder: Encoder, folder: Path, rules: PairRules,
    progress: ProgressCallback | None,
) -> dict[str, Any]:  # fmt: skip
    dtype = token_type(encoder.folder.vocab_size)
    lengths: dict[str, list[int]] = {name: [0] for name in SPLITS}
    skipped: Counter[str] = Counter()
    text_bytes: Counter[str] = Counter()
    cut = read = 0
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as files:
        add = {
            name: (
                files.enter_context(npy_file(folder / f"{name}.tokens.npy", dtype)),
                files.enter_context(npy_file(folder / f"{name}.learned.npy", np.dtype("|b1"))),
            )
            for name in SPLITS
        }
        for pair in pairs:
            read += 1
            if isinstance(pair, str):
                skipped[pair] += 1
                continue
            over = max(0, pair.longest - rules.longest)
            cut += bool(over)
            kept_by = pair.prompt if len(pair.prompt) else pair.answers[0][0]
            share = xxhash.xxh3_64_intdigest(kept_by.tobytes()) / 2**64
            name = SPLITS[share < rules.held_out_fraction]
            text_bytes[name] += pair.text_bytes
            for tokens, learned in pair.answers:
                prompt = pair.prompt[over:]
                add[name][0](np.concatenate([prompt, tokens]).astype(dtype))
                add[name][1](np.concatenate([np.zeros(len(prompt), bool), learned]))
                lengths[name].append(len(prompt) + len(tokens))
            if progress is not None and read % _BATCH == 0:
                progress(0, 1, f"pairs: {read:,}")
    index: dict[str, Any] = {}
    for name, found in lengths.items():
        starts = np.cumsum(found, dtype=np.int64)
        if len(starts) > 1:
            with npy_file(folder / f"{name}.documents.npy", np.dtype("<i8")) as add_starts:
                add_starts(starts)
            index[name] = {"documents": len(starts) - 1, "tokens": int(starts[-1]), "utf8_bytes": text_bytes[name]}
    write_json(folder / INDEX_FILE, {**describe(encoder.folder), "learned": True, "files": index})
    return {
        "pairs": len(lengths["train"]) // 2,
        "held_out_pairs": len(lengths["held_out"]) // 2,
        **({"pairs_cut": cut} if cut else {}),
        **({"pairs_skipped": dict(skipped)} if skipped else {}),
    }


def _reasons(summary: Mapping[str, Any]) -> str:
    skipped = summary.get("pairs_skipped", {})
    said = [f"{count:,} {reason}" for reason, count in skipped.items()]
    return ", ".join([*said, f"{summary['held_out_pairs']:,} held out"])


def _checked(path: str | os.PathLike[str], encoder: Encoder, rules: PairRules) -> Iterator[_Encoded | str]:
    """Each pair that can be learned from, or in a word why it is left out.

    Raises:
        SmolfastError: a pair that the rules refuse, with the row.
    """
    writer = _Writer(encoder)
    for batch in _batches(path):
        for where, found in _encode(batch, writer):
            problem, reason = (str(found), "of another form") if isinstance(found, SmolfastError) else _problem(found)
            if not isinstance(found, SmolfastError) and not problem:
                over = found.longest - rules.longest
                # Of the prompt a token stays, from which the answer's first is predicted.
                fits = over <= 0 or (rules.too_long == "cut" and over < len(found.prompt))
                if fits or rules.too_long != "fail":
                    yield found if fits else "too long"
                    continue
                raise SmolfastError(
                    f"{where}: the pair takes {found.longest:,} tokens, and train.sequence_length allows "
                    f"{rules.longest:,}; raise it, or set align.too_long=cut (the prompt's beginning) or skip"
                )
            if rules.errors == "skip":
                yield reason
                continue
            raise SmolfastError(f"{where}: {problem}; correct it, or set align.errors=skip to leave such pairs out")


def _problem(pair: _Encoded) -> tuple[str, str]:
    """Why nothing can be learned from a pair, at length and in a word."""
    (chosen, said), (rejected, also) = pair.answers
    for name, learned in (("chosen", said), ("rejected", also)):
        if np.count_nonzero(learned) <= 1:  # its end alone
            return f"its '{name}' answer is empty", "with an empty answer"
    if np.array_equal(chosen, rejected):
        return "its two answers are equal", "of equal answers"
    return "", ""


def _batches(path: str | os.PathLike[str]) -> Iterator[list[tuple[str, Pair | SmolfastError]]]:
    batch: list[tuple[str, Pair | SmolfastError]] = []
    for row in read_pairs(path):
        batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    yield batch


def _encode(
    batch: Iterable[tuple[str, Pair | SmolfastError]], writer: _Writer
) -> Iterator[tuple[str, _Encoded | SmolfastError]]:
    cut: list[tuple[str, tuple[_Pieces, _Pieces, _Pieces] | SmolfastError]] = []
    for where, pair in batch:
        try:
            cut.append((where, pair if isinstance(pair, SmolfastError) else writer.pieces(pair)))
        except SmolfastError as error:
            cut.append((where, error))
    written = [part for _, parts in cut if not isinstance(parts, SmolfastError) for part in parts]
    encoded = encode_all(written, writer.encoder)
    for where, parts in cut:
        if isinstance(parts, SmolfastError):
            yield where, parts
            continue
        of_prompt, *of_answers = (
            sum(len(piece.said.encode()) for piece in part if isinstance(piece.said, str)) for part in parts
        )
        found = [next(encoded) for _ in parts]
        refused = [each for each in found if isinstance(each, SmolfastError)]
        if refused:
            yield where, refused[0]
            continue
        prompt, *answers = (each for each in found if not isinstance(each, SmolfastError))
        yield where, _Encoded(prompt[0], tuple(answers), 2 * of_prompt + sum(of_answers))


@dataclass
class _Writer:
    """Writes pairs as texts and tokens."""

    encoder: Encoder

    @cached_property
    def _chat(self) -> ChatTokens:  # only where there is a conversation: not every tokenizer has turns
        return ChatTokens(self.encoder.folder)

    def pieces(self, pair: Pair) -> tuple[_Pieces, _Pieces, _Pieces]:
        """Prompt, chosen and rejected, each with what of it is learned.

        Raises:
            SmolfastError: messages of another form, or a tokenizer without turns.
        """
        end = self.encoder.folder.end_of_document
        if isinstance(pair.prompt, str):

            def text(answer: object) -> _Pieces:
                return [Piece(str(answer), True), Piece(end, True)]

            return [Piece(pair.prompt, False)], text(pair.chosen), text(pair.rejected)
        given = sum(map(_learned_parts, self._conversation(pair.prompt))) if pair.prompt else 0
        (chosen, first), (rejected, other) = (
            _answered(self._conversation([*pair.prompt, *answer]), given)
            for answer in (pair.chosen, pair.rejected)
            if not isinstance(answer, str)
        )
        shared = 0
        while shared < min(first, other) and chosen[shared].said == rejected[shared].said:
            shared += 1
        last = Piece(end, False)
        return chosen[:shared], [*chosen[shared:], last], [*rejected[shared:], last]

    def _conversation(self, messages: Sequence[Any]) -> _Pieces:
        return self._chat.pieces(Conversation(list(messages)), all_meant=True)


def _learned_parts(piece: Piece) -> int:
    return int(piece.learned) + len(piece.spans)


def _answered(pieces: _Pieces, given: int) -> tuple[_Pieces, int]:
    """A conversation of which the assistant's first `given` parts aren't learned, and the piece in which the first that
    is begins.

    Raises:
        SmolfastError: there is none.
    """
    found: _Pieces = []
    begin = len(pieces)
    for at, piece in enumerate(pieces):
        parts = _learned_parts(piece)
        if parts > given:
            begin = min(begin, at)
            found.append(piece._replace(spans=piece.spans[given:]))
        else:
            found.append(piece._replace(learned=False, spans=()))
        given = max(0, given - parts)
    if begin == len(pieces):
        raise SmolfastError("one of its two answers has nothing that the assistant says")
    return found, begin

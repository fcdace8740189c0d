"""Token files: one flat array of token ids with document boundaries, memory-mapped; and the windows cut from them."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smolfast.cluster import Engine, open_engine
from smolfast.errors import SmolfastError
from smolfast.files import atomic_path, describe_os_error, is_plain_name, read_json, write_json
from smolfast.io.background import Background
from smolfast.io.keep_apart import check_apart
from smolfast.io.sources import one_line
from smolfast.io.stores.output import to_stores
from smolfast.progress import ProgressCallback
from smolfast.tokens.document_encoder import DocumentEncoder, closed, counted
from smolfast.tokens.encoding import Encoded, Encoder, with_encoder
from smolfast.tokens.tokenizer_folder import TokenizerFolder, open_tokenizer

INDEX_FILE = "tokens.json"
_READING = ("text_column", "errors")


@to_stores(output="output_folder")
def tokenize(
    documents: Mapping[str, str | os.PathLike[str]],
    tokenizer_folder: str | os.PathLike[str],
    output_folder: str | os.PathLike[str],
    *,
    text_column: str = "text",
    errors: str = "fail",
    engine: str | Engine = "local",
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Encode each input file of documents into a token file of that name, every document closed by `<|endoftext|>`.

    Any tokenizer that `smolfast.tokens.tokenizer_folder` takes will do; in another's the end of a document may have
    another name. Writes, for each name, `NAME.tokens.npy` (little-endian uint16 [N], or uint32 when an id passes
    65,535) and `NAME.documents.npy` (int64 [D + 1]: where each document starts, and N at the end), then `tokens.json`.
    Streams: memory doesn't grow with the text, except for eight bytes a document. Encodes natively where that
    gives the ids of `tokenizers` (`smolfast.tokens.fast_encoder`).

    Args:
        documents: name → file, folder or URL of documents, such as {"train": …, "held_out": …}.
        errors: what to do with a text that isn't UTF-8 or is missing: "fail", "replace" or "skip", as `read_batches`.
            "skip" also leaves out a document that the tokenizer can't encode; otherwise that is an error.
        engine: "local", or "ray" for a cluster, as `smolfast.cluster.open_engine` takes it; the same bytes.

    Returns:
        documents_in, bytes_in, documents_out, bytes_out (of the token arrays), vocab_size (the largest id + 1), and
        per name NAME_tokens and NAME_bytes_per_token. Where there are any: unused_ids (gaps between the ids),
        documents_replaced and documents_skipped; the losses of `DocumentEncoder`, as NAME_changed_documents and so on;
        native_encoder_not_used, if its ids turned out to be others.

    Raises:
        SmolfastError: input that can't be read, an input without documents, a bad tokenizer, a full disk.
    """
    chosen = open_engine(engine)
    check_apart(output_folder, [*documents.values(), tokenizer_folder])

    def write(encoder: Encoder) -> dict[str, Any]:
        return _write(encoder, documents, Path(output_folder), text_column, errors, chosen, progress)

    summary, said = with_encoder(open_tokenizer(tokenizer_folder), write)
    return {**summary, **said}


def _write(
    encoder: Encoder,
    documents: Mapping[str, str | os.PathLike[str]],
    folder: Path,
    text_column: str,
    errors: str,
    engine: Engine,
    progress: ProgressCallback | None,
) -> dict[str, Any]:
    tokenizer = encoder.folder
    dtype = token_type(tokenizer.vocab_size)
    files: dict[str, dict[str, Any]] = {}
    repairs: Counter[str] = Counter()
    losses: dict[str, Any] = {}
    for position, (name, path) in enumerate(documents.items()):
        reader = DocumentEncoder(encoder, text_column=text_column, errors=errors)
        lengths: list[npt.NDArray[np.int64]] = []
        tokens = 0
        with npy_file(folder / f"{name}.tokens.npy", dtype) as append, Background() as writing:
            for found in reader.encode(path, engine):
                lengths.append(np.diff(found.ends, prepend=0) + 1)
                writing.submit(partial(_append, append, found, tokenizer.end_of_document, dtype))
                tokens += int(lengths[-1].sum())
                if progress is not None:
                    progress(position, len(documents), f"{name}: {tokens:,} tokens")
        starts = np.concatenate([np.zeros(1, np.int64), *lengths]).cumsum()
        if len(starts) == 1:
            raise SmolfastError(f"{path} holds no documents to tokenize; give another file")
        with npy_file(folder / f"{name}.documents.npy", np.dtype("<i8")) as append:
            append(starts)
        files[name] = {
            "documents": len(starts) - 1,
            "tokens": tokens,
            "utf8_bytes": reader.utf8_bytes,
            **({"refused": reader.refused} if reader.refused else {}),
            **{what: count for what, count in reader.losses.items() if count},
        }
        repairs += reader.repairs
        losses |= counted(name, reader.losses)
    reading = {"text_column": text_column, "errors": errors}
    write_json(folder / INDEX_FILE, {**describe(tokenizer), "reading": reading, "files": files})
    documents_out = sum(file["documents"] for file in files.values())
    unused = tokenizer.vocab_size - tokenizer.tokens
    return {
        "documents_in": documents_out + repairs["skipped"],
        "bytes_in": sum(file["utf8_bytes"] for file in files.values()),
        "documents_out": documents_out,
        "bytes_out": sum(file["tokens"] for file in files.values()) * dtype.itemsize,
        "vocab_size": tokenizer.vocab_size,
        **({"unused_ids": unused} if unused else {}),
        **{f"{name}_tokens": file["tokens"] for name, file in files.items()},
        **{f"{name}_bytes_per_token": round(f["utf8_bytes"] / f["tokens"], 4) for name, f in files.items()},
        **counted("documents", repairs),
        **losses,
    }


def _append(
    append: Callable[[npt.NDArray[Any]], None], found: Encoded, end_of_document: int, dtype: np.dtype[Any]
) -> None:
    append(closed(found, end_of_document, dtype))


def token_type(vocab_size: int) -> np.dtype[Any]:
    """The type of a token file's ids."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def describe(tokenizer: TokenizerFolder) -> dict[str, Any]:
    """What tokens.json says of a tokenizer."""
    return {
        "vocab_size": tokenizer.vocab_size,
        "end_of_document": tokenizer.end_of_document,
        "vocabulary": tokenizer.fingerprint,
    }


@dataclass(frozen=True)
class TokenFile:
    """A token file, memory-mapped and read-only.

    Attributes:
        path: the file of `tokens`.
        tokens: uint16 or uint32 [N]; every document ends with `end_of_document`.
        document_starts: int64 [D + 1]; document i is `tokens[document_starts[i]:document_starts[i + 1]]`.
        utf8_bytes: bytes of the text that the N tokens stand for (end tokens stand for none).
        vocab_size: every id is below this.
        end_of_document: the id of `<|endoftext|>`, or of what the tokenizer has for it.
        learned: bool [N], which tokens are to be predicted; None for all.
        vocabulary: the tokenizer's fingerprint; None in files of earlier versions.
        text_column, errors: how the documents were read.
        refused: which of the documents that were read are left out, since the tokenizer couldn't encode them.
        changed_documents: how many don't come back from their tokens as they were.
    """

    path: Path
    tokens: npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
    document_starts: npt.NDArray[np.int64]
    utf8_bytes: int
    vocab_size: int
    end_of_document: int
    learned: npt.NDArray[np.bool_] | None = None
    vocabulary: str | None = None
    text_column: str = "text"
    errors: str = "fail"
    refused: tuple[int, ...] = ()
    changed_documents: int = 0

    @classmethod
    def open(cls, folder: str | os.PathLike[str], name: str) -> TokenFile:
        """Open the token file `name` of a folder that `tokenize` wrote.

        Reads the boundaries and the last token of every document, not all tokens; `PackedWindows` checks ids as it
        gathers them.

        Raises:
            SmolfastError: missing, truncated, corrupt or inconsistent files.
        """
        index_path = Path(folder) / INDEX_FILE
        if not is_plain_name(name):
            raise SmolfastError(f"a token file can't be named {name!r}; give a name without a path")
        index = read_json(index_path)
        try:
            vocab_size, end = int(index["vocab_size"]), int(index["end_of_document"])
            file = index["files"][name]
            counts = {key: int(file[key]) for key in ("documents", "tokens", "utf8_bytes")}
            reading = {key: str(value) for key, value in index.get("reading", {}).items() if key in _READING}
            refused = tuple(int(place) for place in file.get("refused", ()))
            changed = int(file.get("changed_documents", 0))
            vocabulary = index.get("vocabulary")
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            others = index.get("files") if isinstance(index, dict) else None
            there = [] if not isinstance(others, dict) or name in others else sorted(map(str, others))
            remedy = f"it has {', '.join(there)}" if there else "tokenize again"
            raise SmolfastError(f"{index_path} describes no token file '{name}'; {remedy}") from error
        path = Path(folder) / f"{name}.tokens.npy"
        tokens = _load_npy(path, ("<u2", "<u4"), counts["tokens"])
        starts_path = Path(folder) / f"{name}.documents.npy"
        starts = _load_npy(starts_path, ("<i8",), counts["documents"] + 1)
        ordered = len(starts) > 1 and starts[0] == 0 and starts[-1] == len(tokens) and bool(np.all(np.diff(starts) > 0))
        if not ordered:
            raise SmolfastError(f"{starts_path} does not fit {path.name}; tokenize again")
        if not np.all(tokens[starts[1:] - 1] == end):
            raise SmolfastError(f"{path} has a document that does not end with token {end}; tokenize again")
        learned_path = Path(folder) / f"{name}.learned.npy"
        learned = _load_npy(learned_path, ("|b1",), len(tokens)) if index.get("learned") else None
        return cls(
            path,
            tokens,
            starts,
            counts["utf8_bytes"],
            vocab_size,
            end,
            learned,
            vocabulary if isinstance(vocabulary, str) else None,
            **reading,
            refused=refused,
            changed_documents=changed,
        )

    @property
    def ids(self) -> tuple[int, int, str | None]:
        """What the ids mean: vocab_size, end_of_document, vocabulary."""
        return self.vocab_size, self.end_of_document, self.vocabulary

    @property
    def documents(self) -> int:
        """How many documents there are."""
        return len(self.document_starts) - 1

    def lengths(self, documents: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Tokens of each of these documents, the end token included."""
        found: npt.NDArray[np.int64] = self.document_starts[documents + 1] - self.document_starts[documents]
        return found

    def documents_of(self, least: int) -> npt.NDArray[np.int64]:
        """The numbers of the documents of at least so many tokens."""
        return np.flatnonzero(np.diff(self.document_starts) >= least)


class PackedWindows:
    """Training batches of packed windows; any step's batch from (seed, step) alone.

    Each epoch puts the documents in a new order and reads them as one stream of N tokens. Window w is tokens w·S to
    (w + 1)·S of that stream, both included: S inputs and, one further on, their S targets, so that neighbouring
    windows share one token, and every token but the first is a target exactly once. The windows of an epoch are
    shuffled too, or a long document would fill a batch alone. What doesn't fill a batch at the end of an epoch, fewer
    than B·S + 1 tokens, is left out; it differs from epoch to epoch.

    Of some documents alone the stream is theirs.

    Orders come from sorting SplitMix64 hashes of (seed, epoch, index), so they don't depend on numpy's version.
    """

    def __init__(
        self,
        tokens: TokenFile,
        sequence_length: int,
        batch_size: int,
        seed: int,
        documents: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """
        Args:
            sequence_length: S, inputs per window.
            batch_size: B, windows per step.
            documents: numbers of the documents to read; None for all.

        Raises:
            SmolfastError: the file has too few tokens for one batch.
        """
        self.tokens = tokens
        self.sequence_length = sequence_length
        self.batch_size = batch_size
        self.seed = seed
        self._documents = np.arange(tokens.documents) if documents is None else documents
        self._windows_in_file = self._count()
        self.steps_per_epoch = self._windows_in_file // batch_size
        if self.steps_per_epoch == 0:
            raise self._too_little()
        self._epoch = -1

    def batch(self, step: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """The batch of a step, counted from 0 over all epochs.

        Returns:
            tokens int64 [B, S + 1], and document_ids int32 [B, S + 1]: 0 for the document that a window begins in,
            then one more with each further document.

        Raises:
            SmolfastError: an id that is not in the vocabulary, in a file that was altered.
        """
        if step < 0:
            raise ValueError(f"step = {step} is negative")
        tokens, document_ids, _ = self.windows(step * self.batch_size, self.batch_size)
        return tokens, document_ids

    def windows(
        self, first: int, count: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Windows `first` to `first + count`, counted from 0 over all epochs, batch by batch.

        Returns:
            tokens and document_ids as from `batch`, and where the tokens stand in the token file, int64 [B, S + 1].

        Raises:
            SmolfastError: as `batch`.
        """
        per_epoch = self.steps_per_epoch * self.batch_size
        parts: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
        while count > 0 or not parts:
            epoch, inner = divmod(first, per_epoch)
            taken = min(count, per_epoch - inner)
            parts.append(self._locate(epoch, inner, taken))
            first, count = first + taken, count - taken
        positions, places = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        tokens = self.tokens.tokens[positions].astype(np.int64)
        if tokens.size and int(tokens.max()) >= self.tokens.vocab_size:
            raise SmolfastError(
                f"{self.tokens.path} has token {int(tokens.max())} in a vocabulary of {self.tokens.vocab_size}; "
                "tokenize again"
            )
        return tokens, (places - places[:, :1]).astype(np.int32), positions

    def learned(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_] | None:
        """Which of the tokens at these places of the file are to be predicted, like `positions`; None for all."""
        return None if self.tokens.learned is None else self.tokens.learned[positions]

    def _count(self) -> int:
        """How many windows an epoch has."""
        return max(0, self._tokens_read() - 1) // self.sequence_length

    def _tokens_read(self) -> int:
        return int(self.tokens.lengths(self._documents).sum())

    def _too_little(self) -> SmolfastError:
        length, size = self.sequence_length, self.batch_size
        return SmolfastError(
            f"too little text to train on: {self.tokens.path} has {self._tokens_read()} tokens, need at least "
            f"{length * size + 1}; give more text or lower train.sequence_length ({length}) × train.batch_size ({size})"
        )

    def _locate(self, epoch: int, first: int, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Positions in the file, and places of their documents in the epoch's order, both [B, S + 1]."""
        if epoch != self._epoch:
            self._start_epoch(epoch)
        windows = self._windows[first : first + count]
        positions = windows[:, None] * self.sequence_length + np.arange(self.sequence_length + 1)
        places = np.searchsorted(self._ends, positions, side="right")
        return positions + self._shifts[places], places

    def _start_epoch(self, epoch: int) -> None:
        starts = self.tokens.document_starts
        order = self._documents[shuffled(len(self._documents), self.seed, 2 * epoch)]
        lengths = self.tokens.lengths(order)
        # The document at each place of the stream ends here; from a position in the stream to one in the file.
        self._ends = np.cumsum(lengths)
        self._shifts = starts[order] - (self._ends - lengths)
        self._windows = shuffled(self._windows_in_file, self.seed, 2 * epoch + 1)
        self._epoch = epoch


def shuffled(count: int, seed: int, stream: int) -> npt.NDArray[np.int64]:
    """A permutation of range(count): int64 [count]."""
    key = _splitmix64(np.array([seed % 2**64], np.uint64)) ^ np.uint64(stream)
    keys = np.arange(count, dtype=np.uint64)
    keys += _splitmix64(key)
    return np.argsort(_splitmix64(keys), kind="stable")


def _splitmix64(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """One output of SplitMix64 (Steele, Lea and Flood 2014) for each state; wraps modulo 2⁶⁴."""
    z = state + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@contextlib.contextmanager
def npy_file(path: Path, dtype: np.dtype[Any]) -> Iterator[Callable[[npt.NDArray[Any]], None]]:
    """Give a function that appends to a one-dimensional .npy file, which is whole or absent in the end."""
    length = 0
    with atomic_path(path) as temporary, temporary.open("wb") as file:

        def write_header() -> None:
            # numpy pads the header with blanks so that the length can grow in place.
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)}
            file.seek(0)
            np.lib.format.write_array_header_1_0(file, header)

        def append(values: npt.NDArray[Any]) -> None:
            nonlocal length
            file.write(np.ascontiguousarray(values, dtype).data)
            length += len(values)

        write_header()
        yield append
        write_header()


def _load_npy(path: Path, dtypes: Sequence[str], length: int) -> npt.NDArray[Any]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise SmolfastError(f"can't read {path}: {describe_os_error(error)}") from error
    except Exception as error:  # numpy raises whatever its parsers do: ValueError, EOFError, TypeError, zip errors
        raise SmolfastError(f"{path} is corrupt or truncated ({one_line(error)}); tokenize again") from error
    if not isinstance(array, np.ndarray) or array.dtype not in [np.dtype(d) for d in dtypes]:
        raise SmolfastError(f"{path} is not an array of {' or '.join(dtypes)}; tokenize again")
    if array.shape != (length,):
        raise SmolfastError(f"{path} has shape {array.shape}, but {INDEX_FILE} says ({length},); tokenize again")
    return array

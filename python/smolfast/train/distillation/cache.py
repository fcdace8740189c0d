"""A teacher's next-token distributions over token files, a few draws a position, as parquet; written once, read often.

The folder that `write_cache` makes:
    cache.json              the teacher, the tokens' fingerprint, draws, temperature, seed, context
    NAME.00000.parquet …    a part for each run of whole documents of about `PART_TOKENS` tokens

With `layers` a row also has `features`, fp16 [layers × width]: the outputs of these layers of the teacher, each times
one random matrix whose products keep distances (Johnson and Lindenstrauss). 0 at a document's last position.

A row is a position of the token file: `tokens`, the distinct tokens drawn for what comes next, and `counts`, how often
each was drawn (random sampling knowledge distillation, arXiv 2503.16870: the shares' mean is the distribution). The
last position of a document, after which nothing of it comes, has none.

Parts are written whole and in order, and each depends on its own documents and the seed alone: a run that was stopped
goes on with the first part that isn't there.
"""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import xxhash
from torch import Tensor

from smolfast.distill import StoredTeacher, sample_teacher
from smolfast.errors import SmolfastError
from smolfast.files import fingerprint, is_plain_name, naming, read_json, write_json
from smolfast.io.keep_apart import check_apart
from smolfast.io.parquet.writer import BatchWriter
from smolfast.io.sources import one_line
from smolfast.model.pretrained import refuse_pickled
from smolfast.progress import ProgressCallback
from smolfast.tokens.files import TokenFile
from smolfast.train.run.parts_on_disk import claim, part_name, parts_of

INDEX_FILE = "cache.json"
PART_TOKENS = 1 << 20
# Logits of a forward pass, at most: 16 MiB in fp32.
_BATCH_LOGITS = 1 << 22
MAX_SAMPLES = 255
"""Counts are stored in a byte."""


def write_cache(
    teacher: str | os.PathLike[str],
    tokens: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    name: str = "train",
    samples: int = 50,
    temperature: float = 1.0,
    context: int = 0,
    seed: int = 0,
    layers: Sequence[int] = (),
    features: int = 64,
    device: str = "cpu",
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Run a causal language model of transformers over a token file and store draws from what it predicts.

    Documents are read in windows of `context` tokens that overlap by half, so that a position sees between half a
    window and a whole one, or all of its document before it.

    Args:
        teacher: a folder or hub name for `AutoModelForCausalLM`. Its vocabulary is that of the tokens; what it has
            beyond (padding rows) is left out.
        tokens: the folder that `smolfast.tokens.tokenize` wrote. name: which of its files.
        output: the cache's folder; made, or continued if it holds the same cache.
        samples: draws a position, up to 255.
        temperature: of the teacher's distribution; the loss must use the same.
        layers: of the teacher, counted from 1, whose outputs are stored too, for `distill.layer_weight`; features: the
            numbers of each that a position takes, two bytes each.
        context: tokens of a window; 0 takes the teacher's `max_position_embeddings`, up to 2,048.

    Returns:
        tokens, pairs_per_token, bytes, bytes_per_token (parquet on disk), parts, parts_resumed.

    Raises:
        SmolfastError: an unreadable teacher or one of another vocabulary, bad options, another cache in the way.
    """
    if not 1 <= samples <= MAX_SAMPLES:
        raise SmolfastError(f"distill-cache: samples = {samples} is outside 1 to {MAX_SAMPLES}; counts take a byte")
    if temperature <= 0:
        raise SmolfastError(f"distill-cache: temperature = {temperature} must be above 0")
    check_apart(output, [tokens, teacher])
    file = TokenFile.open(tokens, name)
    model = _load_teacher(teacher, file.vocab_size, device)
    limit = int(getattr(model.config, "max_position_embeddings", 0) or 2048)
    if context > limit or context == 1 or context < 0:
        raise SmolfastError(f"distill-cache: context = {context} must lie between 2 and the teacher's {limit}")
    settings = {
        "teacher": _describe(teacher),
        "name": name,
        "tokens": fingerprint(file.path),
        "samples": samples,
        "temperature": temperature,
        "context": context or min(limit, 2048),
        "seed": seed,
        "vocab_size": file.vocab_size,
        **_of_layers(layers, features, model),
    }
    folder = Path(output)
    claim(folder, INDEX_FILE, settings)
    parts = list(parts_of(file.document_starts, PART_TOKENS))
    resumed = 0
    for part, (first, last) in enumerate(parts):
        path = folder / part_name(name, part)
        if path.exists():
            resumed += 1
        else:
            _write_part(path, file, model, range(first, last), settings)
        if progress is not None:
            progress(float(file.document_starts[last]), float(len(file.tokens)), f"{name} part {part + 1}")
    write_json(folder / INDEX_FILE, {**settings, "parts": len(parts)})
    paths = [folder / part_name(name, part) for part in range(len(parts))]
    size = sum(path.stat().st_size for path in paths)
    pairs = sum(_values(path) for path in paths) - file.documents  # parquet counts an empty list as a value
    return {
        "tokens": len(file.tokens),
        "pairs_per_token": round(pairs / len(file.tokens), 2),
        "bytes": size,
        "bytes_per_token": round(size / len(file.tokens), 2),
        "parts": len(parts),
        "parts_resumed": resumed,
    }


@dataclass(frozen=True)
class TeacherCache:
    """A finished cache, unpacked into an unnamed file that is memory-mapped: memory doesn't grow with the text.

    Attributes:
        starts: int64 [N + 1]; position i's pairs are tokens[starts[i]:starts[i + 1]].
        tokens: uint16 or uint32; counts: uint8, each position's summing to `samples`.
        features: float16 [N, layers, width]; without layers [N, 0, 0].
    """

    settings: dict[str, Any]
    starts: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
    counts: npt.NDArray[np.uint8]
    features: npt.NDArray[np.float16]

    @classmethod
    def open(cls, folder: str | os.PathLike[str], file: TokenFile) -> TeacherCache:
        """Open the cache of a token file.

        Raises:
            SmolfastError: no finished cache, or one of other tokens; a damaged part.
        """
        path = Path(folder)
        settings = read_json(path / INDEX_FILE)
        if not isinstance(settings, dict) or "parts" not in settings:
            raise SmolfastError(f"{path} holds no finished cache; run the same smolfast distill-cache again")
        if settings.get("tokens") != fingerprint(file.path):
            raise SmolfastError(
                f"{path} was made from other tokens than {file.path}; run smolfast distill-cache on these"
            )
        with naming(path / INDEX_FILE, "delete that folder and make it again"):
            if not is_plain_name(settings["name"]) or not 0 <= int(settings["parts"]) <= len(file.tokens):
                raise ValueError("the name or number of parts can't be right")
            if int(settings["samples"]) < 1:
                raise ValueError("fewer samples than one")
        paths = [path / part_name(settings["name"], part) for part in range(int(settings["parts"]))]
        lengths = np.empty(len(file.tokens), np.int64)
        at = 0
        shape = (len(settings.get("layers", ())), int(settings.get("features", 0)))
        with (
            tempfile.TemporaryFile(dir=path) as flat_tokens,
            tempfile.TemporaryFile(dir=path) as flat_counts,
            tempfile.TemporaryFile(dir=path) as flat_features,
        ):
            for tokens, counts, features in (group for part in paths for group in _row_groups(part, shape)):
                if at + len(tokens) > len(lengths):
                    raise SmolfastError(
                        f"{path} has more rows than {file.path} has tokens; delete it and make it again"
                    )
                lengths[at : at + len(tokens)] = np.diff(tokens.offsets.to_numpy())
                at += len(tokens)
                flat_tokens.write(tokens.flatten().to_numpy().tobytes())
                flat_counts.write(counts.flatten().to_numpy().tobytes())
                flat_features.write(features.tobytes())
            if at != len(lengths):
                raise SmolfastError(f"{path} has {at:,} rows for {len(lengths):,} tokens; delete it and make it again")
            flat_tokens.flush()
            flat_counts.flush()
            flat_features.flush()
            return cls(
                settings,
                np.concatenate([np.zeros(1, np.int64), lengths.cumsum()]),
                np.memmap(flat_tokens, _dtype(file.vocab_size), "r"),
                np.memmap(flat_counts, np.uint8, "r"),
                np.memmap(flat_features, np.float16, "r", shape=(at, *shape))
                if shape[0]
                else np.zeros((at, 0, 0), "f2"),
            )

    def features_at(self, positions: npt.NDArray[np.int64]) -> Tensor:
        """The features of positions [N] of the token file, fp32 [N, layers, width]."""
        return torch.from_numpy(self.features[positions].astype(np.float32))

    def at(self, positions: npt.NDArray[np.int64]) -> StoredTeacher:
        """The pairs of positions [...] of the token file: tokens and shares [..., m], shares of 0 filling up."""
        flat = positions.reshape(-1)
        lengths = self.starts[flat + 1] - self.starts[flat]
        width = max(1, int(lengths.max(initial=0)))
        places = np.arange(width)
        there = places < lengths[:, None]
        source = np.where(there, self.starts[flat][:, None] + places, 0)
        tokens = np.where(there, self.tokens[source], 0).astype(np.int64)
        shares = np.where(there, self.counts[source], 0).astype(np.float32) / np.float32(self.settings["samples"])
        shape = (*positions.shape, width)
        return StoredTeacher(
            torch.from_numpy(tokens.reshape(shape)), torch.from_numpy(shares.reshape(shape)), unbiased=True
        )


def _load_teacher(teacher: str | os.PathLike[str], vocab_size: int, device: str) -> Any:
    try:
        from transformers import AutoModelForCausalLM
    except ModuleNotFoundError as error:
        raise SmolfastError("distill-cache needs transformers; install it with: pip install transformers") from error
    refuse_pickled(Path(teacher))
    try:
        model = AutoModelForCausalLM.from_pretrained(os.fspath(teacher), use_safetensors=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise SmolfastError(
            f"can't load the teacher {os.fspath(teacher)} ({one_line(error)}); give a folder or hub name of a causal "
            "language model"
        ) from error
    if model.config.vocab_size < vocab_size:
        raise SmolfastError(
            f"the teacher {os.fspath(teacher)} has a vocabulary of {model.config.vocab_size}, the tokens one of "
            f"{vocab_size}; tokenize with the teacher's tokenizer"
        )
    network: Any = model
    return network.to(device).eval()


def _describe(teacher: str | os.PathLike[str]) -> str:
    """A folder's name and fingerprint, or a hub name."""
    path = Path(teacher)
    return f"{path.name} {fingerprint(path)}" if path.is_dir() else os.fspath(teacher)


def _write_part(path: Path, file: TokenFile, model: Any, documents: range, settings: dict[str, Any]) -> None:
    token_type = pa.uint16() if file.vocab_size <= 1 << 16 else pa.uint32()
    columns = [("tokens", pa.list_(token_type)), ("counts", pa.list_(pa.uint8()))]
    width = len(settings.get("layers", ())) * settings.get("features", 0)
    if width:
        columns.append(("features", pa.list_(pa.float16())))
    schema = pa.schema(columns)
    digest = xxhash.xxh3_64_intdigest(f"{settings['seed']} {documents.start}".encode())
    generator = torch.Generator(model.device).manual_seed(digest % 2**63)
    with BatchWriter(path, schema) as writer:
        for document in documents:
            start, end = file.document_starts[document : document + 2]
            ids = file.tokens[start:end].astype(np.int64)
            for stored, features in _predict(model, ids, generator, settings):
                writer.write(_batch(stored, features, settings["samples"], schema))
            writer.write(_batch(None, np.zeros((1, width), np.float16), 0, schema))


@torch.inference_mode()
def _predict(
    model: Any, ids: npt.NDArray[np.int64], generator: torch.Generator, settings: dict[str, Any]
) -> Iterator[tuple[StoredTeacher, npt.NDArray[np.float16]]]:
    """Draws and features [n, width] for every position of a document but the last, in order, some at a time."""
    layers: list[int] = settings.get("layers", [])
    context, vocabulary = settings["context"], settings["vocab_size"]
    windows = list(_windows(len(ids) - 1, context))
    together = max(1, _BATCH_LOGITS // (context * vocabulary))
    for at in range(0, len(windows), together):
        batch = windows[at : at + together]
        longest = max(end - start for start, _, end in batch)
        inputs = torch.zeros((len(batch), longest), dtype=torch.int64)
        mask = torch.zeros_like(inputs)
        for row, (start, _, end) in enumerate(batch):
            inputs[row, : end - start] = torch.from_numpy(ids[start:end])
            mask[row, : end - start] = 1
        with _outputs_of(model, layers) as outputs:
            logits = model(
                input_ids=inputs.to(model.device), attention_mask=mask.to(model.device), use_cache=False
            ).logits

        drawn = sample_teacher(
            _new(logits[..., :vocabulary], batch),
            settings["samples"],
            temperature=settings["temperature"],
            generator=generator,
        )
        projected = [
            _new(states.float(), batch) @ _projection(states.shape[-1], settings).to(states.device)
            for states in outputs
        ]
        features = torch.cat([*projected, logits.new_zeros((len(drawn.tokens), 0))], 1).to(torch.float16)
        if not torch.isfinite(features).all():
            raise SmolfastError(
                f"distill-cache: outputs of the teacher's layers {', '.join(map(str, layers))} pass the range of fp16; "
                "leave the largest out of --layers"
            )
        yield drawn, features.cpu().numpy()


def _new(values: Tensor, windows: Sequence[tuple[int, int, int]]) -> Tensor:
    """Of values [B, S, …] by window, those of positions that no window before had, [n, …]."""
    return torch.cat([values[row, new - start : end - start] for row, (start, new, end) in enumerate(windows)])


def _of_layers(layers: Sequence[int], features: int, model: Any) -> dict[str, Any]:
    """What the settings say of layers; nothing without any, as a cache of an earlier version has it."""
    if not layers:
        return {}
    count = len(_blocks(model))
    if bad := [number for number in layers if not 1 <= number <= count]:
        raise SmolfastError(f"distill-cache: layer {bad[0]} of a teacher of {count} layers; they are counted from 1")
    if len(set(layers)) < len(layers) or features < 1:
        raise SmolfastError("distill-cache: give each layer once, and at least one feature")
    return {"layers": list(layers), "features": features}


def _blocks(model: Any) -> Any:
    """The layers of a model of transformers."""
    inner = model.get_decoder() if hasattr(model, "get_decoder") else model.base_model
    for name in ("layers", "h", "blocks"):
        if hasattr(inner, name):
            return getattr(inner, name)
    raise SmolfastError("distill-cache: the teacher's layers aren't where they are looked for; leave --layers out")


@contextlib.contextmanager
def _outputs_of(model: Any, layers: Sequence[int]) -> Iterator[list[Tensor]]:
    """A list that gets the outputs of layers [B, S, T] in a forward pass, in this order: `output_hidden_states` has a
    norm in the last one."""
    found: list[Any] = [None] * len(layers)

    def keep(place: int, output: Any) -> None:
        found[place] = output[0] if isinstance(output, tuple) else output

    blocks = _blocks(model) if layers else []
    hooks = [
        blocks[number - 1].register_forward_hook(lambda _, __, output, place=place: keep(place, output))
        for place, number in enumerate(layers)
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _projection(width: int, settings: Mapping[str, Any]) -> Tensor:
    """The random matrix [width, features]; the same for every layer and part."""
    generator = torch.Generator().manual_seed(settings["seed"])
    count: int = settings["features"]
    return torch.randn((width, count), generator=generator).mul_(1 / math.sqrt(count))


def _windows(count: int, context: int) -> Iterator[tuple[int, int, int]]:
    """First, first whose prediction is new, and one past the last position of windows over `count` positions."""
    start = done = 0
    while done < count:
        end = min(start + context, count)
        yield start, done, end
        done, start = end, start + context // 2


def _batch(
    stored: StoredTeacher | None, features: npt.NDArray[np.float16], samples: int, schema: pa.Schema
) -> pa.RecordBatch:
    """Rows of pairs; one without any for None."""
    further = []
    if "features" in schema.names:
        offsets = pa.array(np.arange(len(features) + 1) * features.shape[1], pa.int32())
        further = [pa.ListArray.from_arrays(offsets, pa.array(features.reshape(-1), pa.float16()))]
    if stored is None:
        return pa.record_batch([*(pa.array([[]], field.type) for field in list(schema)[:2]), *further], schema=schema)
    counts = (stored.probabilities * samples).round().to(torch.uint8).cpu().numpy()
    there = counts > 0
    offsets = pa.array(np.concatenate([[0], there.sum(1).cumsum()]), pa.int32())
    tokens = _numpy(stored.tokens)[there]
    columns = (tokens, counts[there])
    arrays = [
        pa.ListArray.from_arrays(offsets, pa.array(values, field.type.value_type))
        for values, field in zip(columns, list(schema)[:2], strict=True)
    ]
    return pa.record_batch([*arrays, *further], schema=schema)


def _numpy(tensor: Tensor) -> npt.NDArray[np.int64]:
    return tensor.cpu().numpy()


def _dtype(vocab_size: int) -> np.dtype[Any]:
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def _row_groups(
    path: Path, shape: tuple[int, int]
) -> Iterator[tuple[pa.ListArray, pa.ListArray, npt.NDArray[np.float16]]]:
    names = ["tokens", "counts", *(["features"] if shape[0] else [])]
    try:
        with path.open("rb") as stream, pq.ParquetFile(stream, page_checksum_verification=True) as part:
            for group in range(part.num_row_groups):
                table = part.read_row_group(group, columns=names)
                features = np.empty((table.num_rows, *shape), np.float16)
                if shape[0]:
                    features = table["features"].combine_chunks().flatten().to_numpy().reshape(features.shape)
                yield table["tokens"].combine_chunks(), table["counts"].combine_chunks(), features
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise SmolfastError(f"{path} is missing or damaged ({one_line(error)}); delete it and make it again") from error


def _values(path: Path) -> int:
    with path.open("rb") as stream:
        metadata = pq.read_metadata(stream)
    return sum(metadata.row_group(group).column(1).num_values for group in range(metadata.num_row_groups))

"""What a reference says of pairs of answers, as parquet; computed once, read at every step.

The folder that `write_reference` makes:
    reference.json             the model's fingerprint, those of the token files, how many parts each has
    train.00000.parquet …      a part for each run of whole pairs of about `PART_TOKENS` tokens
    held_out.00000.parquet …

A row is a pair: `chosen` and `rejected`, the log-probability in fp32 of each token of the answer. Since all tokens are
there, one cache serves every loss, β and weighting.

Parts are written whole and in order: a run that was stopped goes on with the first part that isn't there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from smolfast.errors import SmolfastError
from smolfast.files import fingerprint, naming, read_json, write_json
from smolfast.io.parquet.writer import BatchWriter
from smolfast.io.sources import one_line
from smolfast.model.network import SmolLM
from smolfast.model.pretrained import load_pretrained
from smolfast.ops import log_probabilities
from smolfast.progress import ProgressCallback
from smolfast.train.preferences.pairs import PairBatch, Pairs
from smolfast.train.run.parts_on_disk import claim, part_name, parts_of

INDEX_FILE = "reference.json"
PART_TOKENS = 1 << 20
# Tokens of a forward pass, about.
_BATCH_TOKENS = 1 << 13
_SCHEMA = pa.schema([(name, pa.list_(pa.float32())) for name in ("chosen", "rejected")])


def write_reference(
    model: str | os.PathLike[str],
    pairs: Mapping[str, Pairs],
    output: str | os.PathLike[str],
    *,
    device: torch.device | str = "cpu",
    progress: ProgressCallback | None = None,
) -> None:
    """Run a model over pairs and store what it says; nothing is done where that is done already.

    Args:
        model: a folder that `load_pretrained` reads. pairs: by the name of their token file.
        output: the cache's folder; made, or continued if it holds the same cache.

    Raises:
        SmolfastError: an unreadable model, one of a smaller vocabulary, or one that gives no finite numbers; another
            cache in the way.
    """
    folder = Path(output)
    files = {name: fingerprint(each.file.path) for name, each in pairs.items()}
    settings = {"model": fingerprint(model), "pairs": files}
    claim(folder, INDEX_FILE, settings)
    if "parts" in read_json(folder / INDEX_FILE):
        return
    network = load_pretrained(Path(model), device).requires_grad_(False)
    counts = {}
    for name, each in pairs.items():
        if network.vocab_size < each.file.vocab_size:
            raise SmolfastError(
                f"the reference {model} has a vocabulary of {network.vocab_size}, the pairs one of "
                f"{each.file.vocab_size}; give one that was trained with the pairs' tokenizer"
            )
        parts = list(parts_of(each.file.document_starts[::2], PART_TOKENS))
        for part, (first, last) in enumerate(parts):
            path = folder / part_name(name, part)
            if not path.exists():
                with BatchWriter(path, _SCHEMA) as writer:
                    for batch in _batches(each, first, last, device):
                        writer.write(_rows(network, batch, model))
            if progress is not None:
                progress(last, len(each), f"reference: {name} part {part + 1}")
        counts[name] = len(parts)
    write_json(folder / INDEX_FILE, {**settings, "parts": counts})


class Reference:
    """A finished cache of some pairs: of each of the two sides, what the reference says of all answers' tokens."""

    def __init__(self, folder: str | os.PathLike[str], name: str, pairs: Pairs) -> None:
        """
        Raises:
            SmolfastError: no finished cache, one of other pairs, or a damaged part.
        """
        path = Path(folder)
        settings = read_json(path / INDEX_FILE)
        with naming(path / INDEX_FILE, "delete that folder and make it again"):
            if "parts" not in settings:
                raise SmolfastError(f"{path} holds no finished cache; run the same smolfast train again")
            if settings["pairs"].get(name) != fingerprint(pairs.file.path):
                raise SmolfastError(f"{path} was made from other pairs; give another --reference-cache")
            parts = [path / part_name(name, part) for part in range(int(settings["parts"][name]))]
        read = [_values(part) for part in parts]
        self._values = [np.concatenate([part[side] for part in read]) for side in (0, 1)]
        self._ends = [np.concatenate([[0], pairs.lengths[side::2].cumsum()]) for side in (0, 1)]
        for values, ends in zip(self._values, self._ends, strict=True):
            if len(values) != ends[-1] or not np.isfinite(values).all():
                raise SmolfastError(f"{path} doesn't hold what its pairs need; delete it and make it again")

    def at(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The answers' tokens of pairs, in the order of `Pairs.batch`: all chosen answers, then all rejected ones."""
        both = zip(self._values, self._ends, strict=True)
        return np.concatenate([values[ends[n] : ends[n + 1]] for values, ends in both for n in numbers.tolist()])


def _batches(pairs: Pairs, first: int, last: int, device: torch.device | str) -> Iterator[PairBatch]:
    for start, end in parts_of(pairs.file.document_starts[::2][first : last + 1], _BATCH_TOKENS):
        yield pairs.batch(np.arange(first + start, first + end), device)


@torch.inference_mode()
def _rows(model: SmolLM, pairs: PairBatch, folder: str | os.PathLike[str]) -> pa.RecordBatch:
    batch = pairs.batch
    values = log_probabilities(model.hidden_states(batch, 1)[0], model.unembedding, batch.targets)
    values = values[batch.targets >= 0].float().cpu()
    if not torch.isfinite(values).all():
        raise SmolfastError(f"the reference {folder} gives log-probabilities that are no numbers; give another model")
    ends = np.concatenate([[0], pairs.lengths.cpu().numpy().cumsum()]).astype(np.int32)
    middle, array = len(ends) // 2, values.numpy()
    columns = [
        pa.ListArray.from_arrays(pa.array(offsets - offsets[0]), pa.array(array[offsets[0] : offsets[-1]]))
        for offsets in (ends[: middle + 1], ends[middle:])
    ]
    return pa.record_batch(columns, schema=_SCHEMA)


def _values(path: Path) -> list[npt.NDArray[np.float32]]:
    try:
        with path.open("rb") as stream, pq.ParquetFile(stream, page_checksum_verification=True) as part:
            table = part.read()
            return [table[name].combine_chunks().flatten().to_numpy() for name in _SCHEMA.names]
    except (OSError, pa.ArrowException, KeyError) as error:
        raise SmolfastError(f"{path} is missing or damaged ({one_line(error)}); delete it and make it again") from error

"""Model folders that become one: whether they fit each other, and the new folder, written tensor by tensor."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smolfast.errors import SmolfastError
from smolfast.files import naming, read_json, write_json, write_text
from smolfast.io.keep_apart import check_apart
from smolfast.merge.methods import METHODS, NEEDS_BASE, Method, linear, model_stock, slerp, ties
from smolfast.merge.tensor_files import Entry, read_entries, write_tensors
from smolfast.model.hub_config import OWN_KEYS, SHARED_KEYS, from_hub_config
from smolfast.model.pretrained import MTP_WEIGHTS, SHARDS_INDEX, WEIGHTS, refuse_pickled
from smolfast.tokens.tokenizer_folder import TOKENIZER, open_tokenizer

PIECE = 1 << 17
"""Numbers of a tensor in memory at once, of each model."""
STORED = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Not part of a model's files, or of one of the models alone.
_LEFT = ("config.json", "README.md", WEIGHTS, SHARDS_INDEX, MTP_WEIGHTS)
_SHAPE = tuple(
    key
    for key in (*SHARED_KEYS, *OWN_KEYS, "yarn_factor")
    if key not in ("max_position_embeddings", "initializer_range")
)


def merge(
    models: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    method: str = "linear",
    base: str | os.PathLike[str] | None = None,
    weights: Sequence[float] | None = None,
    t: float = 0.5,
    density: float = 0.2,
    dtype: str | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Write a folder with the merge of models of one shape. In memory are a few MB of each at a time.

    config.json is that of the first model, the tokenizer's files those of the first that has them. Further prediction
    heads are merged where all models have them, else left out.

    Args:
        models: folders of SmolLM3's or Llama's shape, as `smolfast export` writes them; two or more.
        method: "linear": the weighted mean. "slerp": the point at `t` on the arc between two. "ties": the base, and the
            largest differences from it, where models agree on the sign. "model-stock": between the base and the mean,
            by the angles of the differences.
        base: what the models were trained from; "ties" and "model-stock" need it.
        weights: one for each model, for "linear" and "ties"; equal ones if not given.
        t: for "slerp", from 0, the first, to 1, the second.
        density: for "ties", the share of each tensor's differences that is kept, 0 < density <= 1.
        dtype: "float32", "bfloat16" or "float16"; each tensor's own in the first model if not given.
        progress: called with tensors done, their number, and a name.

    Returns:
        method, models, tensors, parameters, files; `mtp_left_out`, the folder without further heads, if one lacks them.

    Raises:
        SmolfastError: a folder is missing, damaged or of another kind; the models differ in shape, in the names of
            their tensors or in their tokenizers; a weight is NaN or infinite; settings that don't fit the method.
    """
    paths = [Path(model) for model in models]
    weights = _check_settings(paths, method, base, weights, t, density, dtype)
    everything = [*([Path(base)] if base is not None else []), *paths]
    check_apart(output, everything)
    folders = [_Folder(path) for path in everything]
    for other in folders[1:]:
        folders[0].check_fits(other)
    chosen = _method(method, weights, t, density)
    target = Path(output)
    target.mkdir(parents=True, exist_ok=True)
    first = folders[0]
    lacking = next((folder.path for folder in folders if not folder.heads), None)
    parts = {WEIGHTS: [folder.weights for folder in folders]}
    if lacking is None:
        parts[MTP_WEIGHTS] = [folder.heads for folder in folders]
    total, done, parameters = sum(len(part[0]) for part in parts.values()), 0, 0
    stored = None if dtype is None else STORED[dtype]

    def told(before: int) -> Callable[[int, str], object]:
        return lambda at, name: progress(before + at, total, name) if progress is not None else None

    for name, found in parts.items():
        write_merged(target / name, found, chosen, stored, told(done))
        done += len(found[0])
        if name == WEIGHTS:
            parameters = sum(entry.size for entry in found[0].values())
    config = dict(first.config)
    if lacking is not None and "mtp_heads" in config:
        config["mtp_heads"] = 1
    if dtype is not None:
        config |= {"dtype": dtype, "torch_dtype": dtype}
    write_json(target / "config.json", config)
    _copy_beside(next((folder for folder in folders if (folder.path / TOKENIZER).is_file()), first).path, target)
    write_text(target / "README.md", _card(method, everything, base is not None, weights, t, density, parameters))
    result: dict[str, Any] = {
        "method": method,
        "models": [str(path) for path in paths],
        "tensors": total,
        "parameters": parameters,
        "files": sorted(path.name for path in target.iterdir()),
    }
    if lacking is not None and any(folder.heads for folder in folders):
        result["mtp_left_out"] = f"{lacking} has no further heads"
    return result


def write_merged(
    path: Path,
    models: Sequence[Mapping[str, Entry]],
    method: Method,
    stored: torch.dtype | None,
    progress: Callable[[int, str], object],
) -> None:
    """Merge tensor by tensor into a safetensors file; `stored` is the type of all, None for that in the first model."""
    layout = {name: (stored or entry.dtype, entry.shape) for name, entry in models[0].items()}

    def numbers() -> Iterator[Tensor]:
        for done, name in enumerate(layout):
            progress(done, name)
            entries = [model[name] for model in models]

            def pieces(entries: list[Entry] = entries, name: str = name) -> Iterator[list[Tensor]]:
                for start in range(0, entries[0].size, PIECE):
                    stop = min(start + PIECE, entries[0].size)
                    yield [_finite(entry, entry.read(start, stop).double(), name) for entry in entries]

            combine = method(pieces)
            for found in pieces():
                merged = combine(found).to(layout[name][0])
                if not torch.isfinite(merged).all():
                    raise SmolfastError(f"{name} leaves the range of {str(layout[name][0])[6:]}; give --dtype float32")
                yield merged
        progress(len(layout), "")

    with path.open("wb") as file:
        write_tensors(file, layout, numbers())


def _finite(entry: Entry, piece: Tensor, name: str) -> Tensor:
    if not torch.isfinite(piece).all():
        raise SmolfastError(f"{entry.file}: {name} holds NaN or infinity; merge without that model")
    return piece


class _Folder:
    """One model: its shape, where its tensors lie, and its tokenizer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        place = path / "config.json"
        if not place.is_file() and (path / "model/config.json").is_file():
            raise SmolfastError(f"{path} is the folder of a run; give {path / 'model'}")
        with naming(place, "export the model again"):
            self.config: dict[str, Any] = read_json(place)
            self.shape, self.rows = from_hub_config(self.config, place)
        refuse_pickled(path)
        if not (path / WEIGHTS).exists() and (path / SHARDS_INDEX).exists():
            with naming(path / SHARDS_INDEX, "download the folder again"):
                names = sorted({Path(name).name for name in read_json(path / SHARDS_INDEX)["weight_map"].values()})
            self.weights = {name: entry for file in names for name, entry in read_entries(path / file).items()}
        else:
            self.weights = read_entries(path / WEIGHTS)
        if self.shape.tie_word_embeddings:
            self.weights.pop("lm_head.weight", None)  # some files hold it a second time
        self.heads = read_entries(path / MTP_WEIGHTS) if (path / MTP_WEIGHTS).exists() else {}
        self.tokenizer = open_tokenizer(path).fingerprint if (path / TOKENIZER).is_file() else self._trained_on()

    def _trained_on(self) -> str | None:
        """The vocabulary that the record of its training names, where it lies beside the folder."""
        record = self.path.absolute().parent / "run.json"
        found = read_json(record) if record.is_file() else None
        return found.get("vocabulary") if isinstance(found, dict) else None

    def check_fits(self, other: _Folder) -> None:
        """Raise SmolfastError where two models can't be merged."""
        between = f"{self.path} and {other.path} can't be merged"
        if self.tokenizer and other.tokenizer and self.tokenizer != other.tokenizer:
            raise SmolfastError(f"{between}: their tokenizers differ, so equal rows mean other tokens")
        for key in (*_SHAPE, *(["mtp_kind"] if self.heads and other.heads else [])):
            ours, theirs = getattr(self.shape, key), getattr(other.shape, key)
            if ours != theirs:
                raise SmolfastError(f"{between}: {key} is {ours} in the first and {theirs} in the second")
        both = [(self.weights, other.weights)]
        if self.heads and other.heads:
            both.append((self.heads, other.heads))
        for ours, theirs in both:
            for name in itertools.chain(ours, theirs):
                if name not in ours or name not in theirs:
                    lacks = other.path if name in ours else self.path
                    raise SmolfastError(f"{between}: {lacks} has no tensor {name}")
                if ours[name].shape != theirs[name].shape:
                    raise SmolfastError(
                        f"{between}: {name} is {list(ours[name].shape)} in the first and {list(theirs[name].shape)} in "
                        "the second"
                    )


def _check_settings(
    paths: Sequence[Path], method: str, base: Any, weights: Sequence[float] | None, t: float, density: float, dtype: Any
) -> list[float]:
    if method not in METHODS:
        raise SmolfastError(f"there is no method {method!r}; give one of {', '.join(METHODS)}")
    least = 1 if method == "ties" else 2
    if len(paths) < least or (method == "slerp" and len(paths) != 2):
        raise SmolfastError(
            f"{method} takes {'two' if method == 'slerp' else f'{least} or more'} models, not {len(paths)}"
        )
    same = [str(path) for path in [*paths, *([Path(base)] if base is not None else [])]]
    resolved = [os.path.realpath(path) for path in same]
    for at, path in enumerate(resolved):
        if path in resolved[:at]:
            raise SmolfastError(f"{same[at]} is given twice; name each model once, and weigh it by its weight")
    if (base is not None) != (method in NEEDS_BASE):
        raise SmolfastError(
            f"{method} needs the model that the others were trained from; give --base DIR"
            if base is None
            else f"{method} has no base; leave out --base, or choose one of {', '.join(NEEDS_BASE)}"
        )
    if weights is not None and method not in ("linear", "ties"):
        raise SmolfastError(f"{method} takes no weights; leave out --weights, or choose linear or ties")
    if weights is not None and len(weights) != len(paths):
        raise SmolfastError(f"{len(weights)} weights for {len(paths)} models; give one for each")
    found = [1.0] * len(paths) if weights is None else [float(weight) for weight in weights]
    low = 0.0 if method == "ties" else -float("inf")
    if not all(low < weight < float("inf") for weight in found) or abs(sum(found)) < 1e-9:
        rule = "above 0" if method == "ties" else "finite, and their sum isn't 0"
        raise SmolfastError(f"weights {found}: give numbers that are {rule}")
    if not 0 <= t <= 1:
        raise SmolfastError(f"t = {t} is not from 0 to 1")
    if not 0 < density <= 1:
        raise SmolfastError(f"density = {density} is not above 0 and at most 1")
    if dtype is not None and dtype not in STORED:
        raise SmolfastError(f"there is no dtype {dtype!r}; give one of {', '.join(STORED)}")
    return found


def _method(method: str, weights: Sequence[float], t: float, density: float) -> Method:
    if method == "linear":
        return linear(weights)
    if method == "slerp":
        return slerp(t)
    return ties(weights, density) if method == "ties" else model_stock


def _copy_beside(source: Path, target: Path) -> None:
    """The tokenizer, the chat template, generation_config.json: all small files of JSON and text."""
    for path in sorted(source.iterdir()):
        if path.is_file() and path.name not in _LEFT and path.suffix in (".json", ".jinja", ".txt", ".model"):
            shutil.copyfile(path, target / path.name)


def _card(
    method: str,
    folders: Sequence[Path],
    based: bool,
    weights: Sequence[float],
    t: float,
    density: float,
    parameters: int,
) -> str:
    how = {
        "linear": f"the mean with the weights {', '.join(f'{weight:g}' for weight in weights)}",
        "slerp": f"SLERP at {t:g} from the first to the second",
        "ties": f"TIES with density {density:g} and the weights {', '.join(f'{weight:g}' for weight in weights)}",
        "model-stock": "Model Stock",
    }[method]
    rows = "".join(
        f"- {path.absolute().name}{' (the base)' if based and not at else ''}\n" for at, path in enumerate(folders)
    )
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [smolfast, merge]
---

# A merge of {parameters:,} parameters

Made with `smolfast merge`: {how}, of

{rows}"""

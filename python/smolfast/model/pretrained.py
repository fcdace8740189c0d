"""Model folders as transformers lays them out: config.json, model.safetensors, further heads in a file beside them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from smolfast.config import ModelConfig
from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error, naming, read_json, write_json
from smolfast.io.sources import one_line
from smolfast.model.hub_config import OWN_KEYS, SHARED_KEYS, from_hub_config, to_hub_config
from smolfast.model.network import SmolLM
from smolfast.tokens.tokenizer_folder import refuse_another_vocabulary

WEIGHTS = "model.safetensors"
SHARDS_INDEX = "model.safetensors.index.json"
MTP_WEIGHTS = "mtp_heads.safetensors"
_MTP_PREFIX = "mtp_heads."
# What decides which parameters a model has and what they mean: all but a longer context and how weights were drawn.
_MAY_DIFFER = ("rope_theta", "max_position_embeddings", "initializer_range")
_SHAPE = tuple(key for key in (*SHARED_KEYS, *OWN_KEYS) if key not in _MAY_DIFFER)
_UP, _GATE = ".mlp.up_proj.weight", ".mlp.gate_proj.weight"


def save_pretrained(model: SmolLM, folder: Path, *, end_of_document: int) -> None:
    """Write config.json, model.safetensors and, if there are further heads, mtp_heads.safetensors into a folder.

    Args:
        end_of_document: the token that ends a document, and generation.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    extra = {name: weights.pop(name) for name in list(weights) if name.startswith(_MTP_PREFIX)}
    weights |= {gate: weights[up].clone() for gate, up in gates_of(model.config, weights).items()}
    _write(folder / WEIGHTS, weights)
    if extra:
        _write(folder / MTP_WEIGHTS, extra)
    write_json(folder / "config.json", to_hub_config(model, end_of_document))


def gates_of(config: ModelConfig, names: Iterable[str]) -> dict[str, str]:
    """The gates that transformers is given for ReLU², and of each the weight that it repeats; none for others."""
    return {name.replace(_UP, _GATE): name for name in names if name.endswith(_UP) and config.activation == "relu2"}


def load_pretrained(folder: Path, device: torch.device | str = "cpu") -> SmolLM:
    """Read a model folder: one that `save_pretrained` wrote, with its further heads if they are there, or one of
    transformers that holds a SmolLM3- or Llama-shaped model, in one file or in shards. Weights become fp32.

    Raises:
        SmolfastError: a file is missing or damaged, or the configuration is of another kind of model; names the file
            and the key.
    """
    config_path = folder / "config.json"
    with naming(config_path, "export the model again"):
        config, vocab_size = from_hub_config(read_json(config_path), config_path)
    weights = _read_weights(folder)
    if config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)  # some files hold it a second time
    if config.activation == "relu2":
        _drop_gates(weights, folder)
    if (folder / MTP_WEIGHTS).exists():
        weights |= _read(folder / MTP_WEIGHTS)
    elif config.mtp_kind != "shared":
        config = config.model_copy(update={"mtp_heads": 1})
    try:
        with torch.device("meta"):
            model = SmolLM(config, vocab_size)
        model.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:  # a size beyond 64 bits is any of these
        problem = str(error).splitlines()[-1].strip()
        raise SmolfastError(
            f"{folder / WEIGHTS} does not fit {config_path}: {problem}; export the model again"
        ) from error
    return model.requires_grad_(True).to(device).eval()


def _drop_gates(weights: dict[str, Tensor], folder: Path) -> None:
    """Leave out the gates that transformers is given for ReLU², which are what they gate."""
    for name in [name for name in weights if name.endswith(_GATE)]:
        gate, up = weights.pop(name), weights.get(name.replace(_GATE, _UP))
        if up is None or not torch.equal(gate, up):
            raise SmolfastError(
                f"{folder / WEIGHTS}: {name} is not the same as its up_proj, so the model is gated and not ReLU²; "
                "give the folder that smolfast wrote"
            )


def shape_settings(folder: Path) -> list[str]:
    """The settings, as overrides of a configuration, with which a model has the shape of a folder's.

    Raises:
        SmolfastError: as `load_pretrained`, as far as config.json goes.
    """
    with naming(folder / "config.json", "export the model again"):
        config, _ = from_hub_config(read_json(folder / "config.json"), folder / "config.json")
    settings = [f"model.{key}={json.dumps(value)}" for key, value in config.model_dump(mode="json").items()]
    if config.mtp_heads == 1:
        settings.append("train.mtp_weights=[1.0]")
    return settings


def initial_rows(folder: Path, vocab_size: int, vocabulary: str | None) -> int:
    """How many rows the embedding of a model to go on from has: as many as the tokens need, or more, as padding.

    Args:
        vocab_size, vocabulary: of the token files.

    Raises:
        SmolfastError: it has fewer, or was trained on another vocabulary; or as `load_pretrained` on config.json.
    """
    with naming(folder / "config.json", "export the model again"):
        rows = from_hub_config(read_json(folder / "config.json"), folder / "config.json")[1]
    if rows < vocab_size:
        raise SmolfastError(
            f"{folder} has a vocabulary of {rows}, the tokens one of {vocab_size}; tokenize with the model's own "
            "tokenizer"
        )
    refuse_another_vocabulary(folder, vocabulary, "the folder of tokens")
    return rows


def initial_weights(model: SmolLM, folder: Path) -> None:
    """Put the weights of a model folder into a new model, to go on training.

    Rotary base, YaRN and context may differ (a longer context), and so may the further heads: those that the folder
    lacks stay random.

    Raises:
        SmolfastError: the folder can't be read, its weights aren't all finite, or its model has another shape or
            another number of rows.
    """
    source = load_pretrained(folder)
    for name, weight in source.named_parameters():
        if not torch.isfinite(weight).all():
            raise SmolfastError(f"{folder}: the weight {name} holds NaN or infinity; go on from another model")
    for key in _SHAPE:
        theirs, ours = getattr(source.config, key), getattr(model.config, key)
        if theirs != ours:
            raise SmolfastError(f"{folder} has {key} = {theirs} and the configuration {ours}; set model.{key}={theirs}")
    if source.vocab_size != model.vocab_size:
        raise SmolfastError(
            f"{folder} has a vocabulary of {source.vocab_size}, the tokens one of {model.vocab_size}; tokenize with "
            "the model's own tokenizer"
        )
    weights = source.state_dict()
    if source.config.mtp_kind != model.config.mtp_kind:
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(_MTP_PREFIX)}
    model.load_state_dict(weights, strict=False)


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    path.write_bytes(safetensors.torch.save(tensors, metadata={"format": "pt"}))


# Run by the user, on a file that the user trusts; tensors that share memory are written apart.
_CONVERT = (
    "import sys, pathlib, torch, safetensors.torch as s; p = pathlib.Path(sys.argv[1]); s.save_file({k: v.clone() for "
    "f in p.glob(sys.argv[2]) for k, v in torch.load(f, 'cpu', weights_only=True).items()}, "
    "p / 'model.safetensors', {'format': 'pt'})"
)
_PICKLED = ("pytorch_model*.bin", "*.bin", "*.pt", "*.pth", "*.ckpt")


def refuse_pickled(folder: Path) -> None:
    """Raise SmolfastError, with the command that converts them, for a folder whose weights are pickled alone."""
    if (folder / WEIGHTS).exists() or (folder / SHARDS_INDEX).exists():
        return
    for pattern in _PICKLED:
        names = sorted(
            path.name for path in folder.glob(pattern) if path.is_file() and path.name != "training_args.bin"
        )
        if names:
            command = shlex.join(["python", "-c", _CONVERT, str(folder), pattern])
            raise SmolfastError(
                f"{folder / names[0]} holds its weights by pickle, which can run code and is never loaded here; if you "
                f"trust the file, convert it to {WEIGHTS} beside it: {command}"
            )


def _read_weights(folder: Path) -> dict[str, Tensor]:
    refuse_pickled(folder)
    if (folder / WEIGHTS).exists() or not (folder / SHARDS_INDEX).exists():
        return _read(folder / WEIGHTS)
    index = read_json(folder / SHARDS_INDEX)
    try:
        names = sorted({Path(name).name for name in index["weight_map"].values()})
    except (KeyError, TypeError, AttributeError) as error:
        raise SmolfastError(f"{folder / SHARDS_INDEX} has no weight_map; download the folder again") from error
    weights: dict[str, Tensor] = {}
    for name in names:
        weights |= _read(folder / name)
    return weights


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise SmolfastError(f"{path} is missing; give a folder from smolfast export or train")
    try:
        return safetensors.torch.load_file(path)
    except OSError as error:
        raise SmolfastError(f"can't read {path}: {describe_os_error(error)}") from error
    except (SafetensorError, RuntimeError, ValueError, KeyError, AttributeError, MemoryError) as error:
        raise SmolfastError(f"{path} is damaged ({one_line(error)}); export or train again") from error

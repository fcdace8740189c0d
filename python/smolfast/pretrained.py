"""Model folders as transformers lays them out: config.json, model.safetensors, further heads in a file beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from smolfast.config import ModelConfig
from smolfast.errors import SmolfastError
from smolfast.files import read_json, write_json
from smolfast.model import SmolLM, rope_layers

WEIGHTS = "model.safetensors"
MTP_WEIGHTS = "mtp_heads.safetensors"
_MTP_PREFIX = "mtp_heads."
# The keys of config.json that carry our configuration under their own names.
_SHARED_KEYS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "no_rope_layer_interval",
    "rope_theta",
    "max_position_embeddings",
    "rms_norm_eps",
    "initializer_range",
    "tie_word_embeddings",
)


def save_pretrained(model: SmolLM, folder: Path, *, end_of_document: int) -> None:
    """Write config.json, model.safetensors and, if there are further heads, mtp_heads.safetensors into a folder.

    Args:
        end_of_document: the token that ends a document, and generation.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    extra = {name: weights.pop(name) for name in list(weights) if name.startswith(_MTP_PREFIX)}
    _write(folder / WEIGHTS, weights)
    if extra:
        _write(folder / MTP_WEIGHTS, extra)
    write_json(folder / "config.json", transformers_config(model, end_of_document))


def transformers_config(model: SmolLM, end_of_document: int) -> dict[str, Any]:
    """config.json of a `SmolLM3ForCausalLM`.

    Both `rope_parameters` (transformers 5) and `rope_theta` (transformers 4) are given: a reader that misses its own
    key silently takes θ = 2,000,000. Likewise `dtype` and `torch_dtype`, and `no_rope_layers` (1 where a layer
    rotates) beside its interval.
    """
    config = model.config
    dtype = str(model.unembedding.dtype).removeprefix("torch.")
    return {
        "architectures": ["SmolLM3ForCausalLM"],
        "model_type": "smollm3",
        "vocab_size": model.vocab_size,
        **{key: getattr(config, key) for key in _SHARED_KEYS},
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "no_rope_layers": [int(rotates) for rotates in rope_layers(config)],
        "layer_types": ["full_attention"] * config.num_hidden_layers,
        "use_sliding_window": False,
        "sliding_window": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "rope_scaling": None,
        "use_cache": True,
        "bos_token_id": None,
        "eos_token_id": end_of_document,
        "pad_token_id": None,
        "dtype": dtype,
        "torch_dtype": dtype,
    }


def load_pretrained(folder: Path, device: torch.device | str = "cpu") -> SmolLM:
    """Read a folder that `save_pretrained` wrote, with its multi-token heads if they are there.

    Raises:
        SmolfastError: a file is missing or damaged, or the configuration isn't one of ours; names the file and the key.
    """
    config_path = folder / "config.json"
    values = read_json(config_path)
    if not isinstance(values, dict) or values.get("model_type") != "smollm3":
        raise SmolfastError(
            f"{config_path} is not the configuration of a smollm3 model; give a folder from export or train"
        )
    missing = [key for key in (*_SHARED_KEYS, "vocab_size") if key not in values]
    if missing:
        raise SmolfastError(f"{config_path} has no {missing[0]}; give a folder from smolfast export or train")
    weights = _read(folder / WEIGHTS)
    if (folder / MTP_WEIGHTS).exists():
        weights |= _read(folder / MTP_WEIGHTS)
    heads = {name.split(".")[1] for name in weights if name.startswith(_MTP_PREFIX)}
    config = ModelConfig(**{key: values[key] for key in _SHARED_KEYS}, mtp_heads=1 + len(heads))
    model = SmolLM(config, int(values["vocab_size"]))
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        problem = str(error).splitlines()[-1].strip()
        raise SmolfastError(
            f"{folder / WEIGHTS} does not fit {config_path}: {problem}; export the model again"
        ) from error
    return model.to(device).eval()


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    path.write_bytes(safetensors.torch.save(tensors, metadata={"format": "pt"}))


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise SmolfastError(f"{path} is missing; give a folder from smolfast export or train")
    try:
        return safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise SmolfastError(f"{path} is damaged ({error}); export or train again") from error

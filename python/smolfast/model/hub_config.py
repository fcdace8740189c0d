"""config.json of transformers' SmolLM3 and Llama, from and to a `ModelConfig`.

A model that SmolLM3 has no place for gets a type of its own, so that transformers refuses it and computes nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from smolfast.config import ModelConfig
from smolfast.errors import SmolfastError
from smolfast.model.network import SmolLM, rope_layers
from smolfast.model.rope import yarn_context

# The keys of config.json that carry our configuration under their own names.
SHARED_KEYS = (
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
# What only this package's models have; each with its default in a file that says nothing.
OWN_KEYS = ("activation", "norm", "qk_norm")
OWN_TYPE = "smolfast"
_NEEDED = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
# What transformers takes where a file says nothing: modelling code of version 5.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "smollm3": {
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
        "initializer_range": 0.02,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "no_rope_layer_interval": 4,
        "rope_theta": 2_000_000.0,
    },
    "llama": {
        "max_position_embeddings": 2048,
        "initializer_range": 0.02,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "rope_theta": 10_000.0,
    },
    OWN_TYPE: {},
}
# Settings that change what a model computes and that ours doesn't have, with the only value it can take.
_ONLY: dict[str, tuple[Any, ...]] = {
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "use_sliding_window": (False,),
    "pretraining_tp": (1,),
}
# transformers gates: down(act(gate(x)) · up(x)). Of ReLU² it is given the same weights for both.
_ACTS = {"swiglu": "silu", "relu2": "relu", "gelu": "gelu"}
_YARN_ONLY: dict[str, tuple[Any, ...]] = {
    "beta_fast": (32, None),
    "beta_slow": (1, None),
    "mscale": (None,),
    "mscale_all_dim": (None,),
    "truncate": (True,),
    "partial_rotary_factor": (1,),
}


def to_hub_config(model: SmolLM, end_of_document: int) -> dict[str, Any]:
    """config.json of a `SmolLM3ForCausalLM`, or of a `SmolLM` of this package where that can't hold the model.

    Both `rope_parameters` (transformers 5) and `rope_theta` with `rope_scaling` (transformers 4) are given: a reader
    that misses its own key silently takes θ = 2,000,000. Likewise `dtype` and `torch_dtype`, and `no_rope_layers` (1
    where a layer rotates) beside its interval.
    """
    config = model.config
    dtype = str(model.unembedding.dtype).removeprefix("torch.")
    yarn: dict[str, Any] | None = None
    if config.yarn_factor != 1:
        yarn = {
            "rope_type": "yarn",
            "factor": config.yarn_factor,
            "original_max_position_embeddings": yarn_context(config),
        }
    ours = config.beyond_transformers() is not None
    return {
        "architectures": ["SmolLM" if ours else "SmolLM3ForCausalLM"],
        "model_type": OWN_TYPE if ours else "smollm3",
        "vocab_size": model.vocab_size,
        **{key: getattr(config, key) for key in SHARED_KEYS},
        "hidden_act": _ACTS[config.activation],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "no_rope_layers": [int(rotates) for rotates in rope_layers(config)],
        "layer_types": ["full_attention"] * config.num_hidden_layers,
        "use_sliding_window": False,
        "sliding_window": None,
        "rope_parameters": {**(yarn or {"rope_type": "default"}), "rope_theta": config.rope_theta},
        "rope_scaling": yarn,
        "use_cache": True,
        "bos_token_id": None,
        "eos_token_id": end_of_document,
        "pad_token_id": None,
        "dtype": dtype,
        "torch_dtype": dtype,
        "mtp_kind": config.mtp_kind,
        "mtp_heads": config.mtp_heads,
        **{key: value for key in OWN_KEYS if (value := getattr(config, key)) != ModelConfig.model_fields[key].default},
    }


def from_hub_config(values: Any, path: Path) -> tuple[ModelConfig, int]:
    """The model that a config.json of type smollm3, llama or smolfast describes, and its vocabulary.

    Args:
        values: the JSON value. path: its file, for messages.

    Raises:
        SmolfastError: another type of model, a missing key, or a setting that this package's model doesn't have.
    """
    kind = values.get("model_type") if isinstance(values, dict) else None
    if kind not in _DEFAULTS:
        raise SmolfastError(
            f"{path} is not the configuration of a smollm3 or llama model but of {kind!r}; give a folder from export "
            "or train, or of a SmolLM3- or Llama-shaped model"
        )
    if values.get("quantization_config"):
        raise SmolfastError(
            f"{path}: the weights are quantized; give the model's folder from before, or load it with transformers"
        )
    missing = [key for key in _NEEDED if key not in values]
    if missing:
        raise SmolfastError(f"{path} has no {missing[0]}; give a folder from smolfast export or train")
    for key, allowed in _ONLY.items():
        _refuse_other(values, key, allowed, path)
    known = {**_DEFAULTS[kind], **{key: value for key, value in values.items() if value is not None}}
    known.setdefault("num_key_value_heads", known["num_attention_heads"])
    known.setdefault("head_dim", known["hidden_size"] // known["num_attention_heads"])
    if kind == "llama":  # rotates everywhere
        known["no_rope_layer_interval"] = known["num_hidden_layers"] + 1
    settings = {key: known[key] for key in SHARED_KEYS} | _rope(values, known, path)
    settings |= {key: known[key] for key in ("mtp_kind", "mtp_heads", *OWN_KEYS) if key in known}
    try:
        config = ModelConfig(**{"mtp_heads": 1, **settings})
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "settings"
        raise SmolfastError(f"{path}: {where}: {problem['msg']}; the file is damaged or not of such a model") from error
    _refuse_other(values, "hidden_act", (_ACTS[config.activation],), path)
    rotates = known.get("no_rope_layers")
    if kind != "llama" and rotates is not None and [bool(layer) for layer in rotates] != rope_layers(config):
        raise SmolfastError(
            f"{path}: no_rope_layers is not every {config.no_rope_layer_interval}th layer; only regular intervals can "
            "be loaded"
        )
    return config, int(values["vocab_size"])


def _rope(values: Mapping[str, Any], known: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Our settings of the rotary embedding, from `rope_parameters` or from `rope_theta` and `rope_scaling`."""
    given = values.get("rope_parameters") or values.get("rope_scaling") or {}
    kind = given.get("rope_type", given.get("type", "default"))
    settings: dict[str, Any] = {"rope_theta": given.get("rope_theta", known["rope_theta"])}
    if kind == "default":
        return settings
    if kind != "yarn":
        raise SmolfastError(f"{path}: rotary embedding of type {kind!r}; only default and yarn can be loaded")
    for key, allowed in _YARN_ONLY.items():
        _refuse_other(given, key, allowed, path)
    settings["yarn_context"] = given.get("original_max_position_embeddings") or known["max_position_embeddings"]
    settings["yarn_factor"] = given.get("factor") or known["max_position_embeddings"] / settings["yarn_context"]
    if (scale := given.get("attention_factor")) is not None:
        from smolfast.model.rope import attention_scale

        config = ModelConfig(yarn_factor=settings["yarn_factor"])
        if abs(scale - attention_scale(config)) > 1e-6:
            raise SmolfastError(f"{path}: attention_factor = {scale}; only YaRN's own factor can be loaded")
    return settings


def _refuse_other(values: Mapping[str, Any], key: str, allowed: tuple[Any, ...], path: Path) -> None:
    if key in values and values[key] not in allowed:
        raise SmolfastError(f"{path}: {key} = {values[key]!r}; only {allowed[0]!r} can be loaded")

"""int8 and int4 weights in safetensors, laid out as compressed-tensors has it: transformers, vLLM and SGLang load them.

Each row of a matrix (int8), or each run of 32 of its weights (int4), has a scale of its own. Among scales a little
smaller than the largest weight asks for, the one with the least squared error is taken. Nothing is calibrated.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from smolfast.edge.weights import Kept, table
from smolfast.files import read_json, write_json, write_text
from smolfast.model.export import export
from smolfast.model.pretrained import MTP_WEIGHTS, WEIGHTS

BITS = {"int8": 8, "int4": 4}
GROUP = 32
_LAYERS = "model.layers."
# Of the largest weight: small groups lose more by wide steps than by one weight that is cut.
_SHARES = [1 - step / 40 for step in range(13)]
_REST = torch.bfloat16


def export_compressed(
    model: str | os.PathLike[str], tokenizer: str | os.PathLike[str], output: str | os.PathLike[str], kind: str
) -> dict[str, Any]:
    """Write the folder of `smolfast.model.export.export` with the layers' matrices in 8 or 4 bits.

    Embeddings and norms are bfloat16. Further prediction heads are left out. A matrix whose rows are no whole groups
    of 32 stays bfloat16, and is named.

    Args:
        kind: "int8" or "int4".

    Returns:
        quantize, parameters, bits_per_weight, tensor_types (rows of tensor, layers, type, shape, bytes, why), left_out.

    Raises:
        SmolfastError: as `export`.
    """
    folder = Path(output)
    summary = export(model, tokenizer, folder)
    (folder / MTP_WEIGHTS).unlink(missing_ok=True)
    weights = safetensors.torch.load_file(folder / WEIGHTS)
    packed: dict[str, Tensor] = {}
    kept, whole = [], []
    for name, weight in weights.items():
        module, shape = name.removesuffix(".weight"), tuple(weight.shape)
        if module.startswith(_LAYERS) and weight.ndim == 2 and (kind == "int8" or shape[1] % GROUP == 0):
            parts = pack(weight, BITS[kind], GROUP if kind == "int4" else shape[1])
            packed |= {f"{module}.{part}": tensor for part, tensor in parts.items()}
            size = sum(tensor.nbytes for tensor in parts.values())
            kept.append(Kept(_as_in_gguf(module), shape, kind, size))
            continue
        packed[name] = weight.to(_REST)
        why = "embeddings and norms stay whole"
        if weight.ndim == 2 and module.startswith(_LAYERS):
            whole.append(module)
            why = f"rows of {shape[1]} are no whole groups of {GROUP}"
        kept.append(Kept(_as_in_gguf(module), shape, "bf16", packed[name].nbytes, why))
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(packed, metadata={"format": "pt"}))
    config = read_json(folder / "config.json")
    dtype = str(_REST).removeprefix("torch.")
    config |= {"mtp_heads": 1, "dtype": dtype, "torch_dtype": dtype}
    write_json(folder / "config.json", {**config, "quantization_config": _described(kind, whole)})
    card = folder / "README.md"
    write_text(card, _card(card.read_text(encoding="utf-8"), kind))
    extra = summary["mtp_parameters"]
    return {
        "quantize": kind,
        "parameters": summary["parameters"],
        "bits_per_weight": round(8 * sum(tensor.bytes for tensor in kept) / summary["parameters"], 2),
        "tensor_types": table(kept),
        **({"left_out": [f"further prediction heads, {extra:,} parameters"]} if extra else {}),
    }


def pack(weight: Tensor, bits: int, group: int) -> dict[str, Tensor]:
    """A matrix [N, H] as integers of `bits` bits, from −2^(bits−1), 32 bits at a time, with a scale for each group.

    Returns:
        weight_packed: int32 [N, H · bits / 32 rounded up]; the first weight lies in the lowest bits.
        weight_scale: bfloat16 [N, H / group]. weight_shape: int64 [2].
    """
    groups = weight.float().reshape(len(weight), -1, group)
    most = 2 ** (bits - 1) - 1
    largest = groups.abs().amax(-1, keepdim=True).clamp(min=1e-12) / most
    best = torch.full_like(largest, torch.inf)
    chosen = torch.ones_like(largest)
    for share in _SHARES:
        scale = (largest * share).to(_REST).float()
        error = (_steps(groups, scale, most) * scale - groups).square().sum(-1, keepdim=True)
        chosen, best = torch.where(error < best, scale, chosen), torch.minimum(error, best)
    steps = _steps(groups, chosen, most).flatten(1).to(torch.int64) + most + 1
    each = 32 // bits
    padded = torch.nn.functional.pad(steps, (0, -steps.shape[1] % each)).reshape(len(steps), -1, each)
    words = (padded << torch.arange(0, 32, bits)).sum(-1)
    return {
        "weight_packed": torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32),
        "weight_scale": chosen.squeeze(-1).to(_REST),
        "weight_shape": torch.tensor(weight.shape),
    }


def _steps(groups: Tensor, scale: Tensor, most: int) -> Tensor:
    return (groups / scale).round().clamp(-most - 1, most)


def _described(kind: str, whole: list[str]) -> dict[str, Any]:
    """compressed-tensors' configuration: symmetric integers, nothing done to activations."""
    weights: dict[str, Any] = {"num_bits": BITS[kind], "type": "int", "symmetric": True, "dynamic": False}
    weights |= {"strategy": "group", "group_size": GROUP} if kind == "int4" else {"strategy": "channel"}
    scheme = {"targets": ["Linear"], "weights": weights, "input_activations": None, "output_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": scheme},
        "ignore": ["lm_head", *whole],
        "kv_cache_scheme": None,
    }


def _as_in_gguf(module: str) -> str:
    """A module's name as `table` groups them: layer, then part."""
    if not module.startswith(_LAYERS):
        return module
    layer, part = module.removeprefix(_LAYERS).split(".", 1)
    return f"blk.{layer}.{part}"


def _card(text: str, kind: str) -> str:
    how = "a scale for each row" if kind == "int8" else f"a scale for each {GROUP} weights"
    note = (
        f"\n## Quantized\n\nThe matrices of the layers are {kind}, {how}, without calibration. transformers needs "
        "compressed-tensors and accelerate to load them.\n"
    )
    return text.rstrip("\n") + "\n" + note

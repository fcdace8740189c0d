"""What llama.cpp computes from a GGUF file, in plain torch: the truth that written files are held to without it.

Rotation pairs neighbouring rows, every 4th layer of `smollm3` goes without, and all else comes from the file's keys.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gguf
import torch
from torch import Tensor


class GgufModel:
    """Keys and fp32 weights of a file."""

    def __init__(self, path: Path) -> None:
        reader = gguf.GGUFReader(path)
        self.keys: dict[str, Any] = {name: field.contents() for name, field in reader.fields.items()}
        self.types = {tensor.name: tensor.tensor_type.name.lower() for tensor in reader.tensors}
        self.weights = {
            tensor.name: torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy()).reshape(
                [int(size) for size in reversed(tensor.shape)]
            )
            for tensor in reader.tensors
        }

    def key(self, name: str, default: Any = None) -> Any:
        """A key of the file's architecture."""
        return self.keys.get(f"{self.keys['general.architecture']}.{name}", default)

    def logits(self, tokens: Tensor) -> Tensor:
        """Next-token logits [T, V] of one text."""
        x = self.weights["token_embd.weight"][tokens]
        for layer in range(self.key("block_count")):
            x = x + self._attention(self._norm(x, f"blk.{layer}.attn_norm"), layer)
            y = self._norm(x, f"blk.{layer}.ffn_norm")
            gate, up, down = (self.weights[f"blk.{layer}.ffn_{part}.weight"] for part in ("gate", "up", "down"))
            x = x + (torch.nn.functional.silu(y @ gate.T) * (y @ up.T)) @ down.T
        out = self.weights.get("output.weight", self.weights["token_embd.weight"])
        return self._norm(x, "output_norm") @ out.T

    def _norm(self, x: Tensor, name: str) -> Tensor:
        mean = x.square().mean(-1, keepdim=True)
        return x * torch.rsqrt(mean + self.key("attention.layer_norm_rms_epsilon")) * self.weights[f"{name}.weight"]

    def _attention(self, x: Tensor, layer: int) -> Tensor:
        width, count = self.key("attention.key_length"), len(x)
        q, k, v = ((x @ self.weights[f"blk.{layer}.attn_{part}.weight"].T).view(count, -1, width) for part in "qkv")
        if self.keys["general.architecture"] == "llama" or (layer + 1) % 4:
            q, k = self._rotated(q), self._rotated(k)
        group = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(width)
        scores = scores.masked_fill(torch.ones(count, count).triu(1).bool(), -torch.inf)
        mixed = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).reshape(count, -1)
        return mixed @ self.weights[f"blk.{layer}.attn_output.weight"].T

    def _rotated(self, x: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        half = pairs.shape[-1]
        frequencies = self.key("rope.freq_base") ** (-torch.arange(half).double() / half)
        scale = 1.0
        if (factor := self.key("rope.scaling.factor")) is not None:  # YaRN, as ggml's rope has it
            start, end = (self._pair_that_turns(times, half) for times in (32.0, 1.0))
            low, high = max(0, math.floor(start)), min(2 * half - 1, math.ceil(end))
            slowed = ((torch.arange(half).double() - low) / max(0.001, high - low)).clamp(0, 1)
            frequencies = frequencies * (1 - slowed) + frequencies / factor * slowed
            scale = 1 + 0.1 * math.log(factor)
        angles = torch.arange(len(x)).double()[:, None] * frequencies
        return (
            torch.view_as_real(pairs * torch.polar(scale * torch.ones_like(angles), angles)[:, None])
            .flatten(-2)
            .float()
        )

    def _pair_that_turns(self, times: float, half: int) -> float:
        context = self.key("rope.scaling.original_context_length")
        return half * math.log(context / (times * 2 * math.pi)) / math.log(self.key("rope.freq_base"))

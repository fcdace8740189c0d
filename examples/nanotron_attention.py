"""nanotron's Llama attention with ours in flash-attn's place.

nanotron 0.4 can't be imported: its modules import each other in a circle, and need flash-attn, whose build needs a GPU
toolkit. So its `CoreAttention` is cut out of the installed file as it stands, and given our function
under flash-attn's name. What it gives is held to torch's attention, sequence by sequence.
"""

import ast
import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smolfast.integrations.nanotron import flash_attn_varlen_func


def their_core_attention() -> type[nn.Module]:
    package = importlib.util.find_spec("nanotron")
    source = Path(package.submodule_search_locations[0], "models", "llama.py").read_text()
    (definition,) = (node for node in ast.parse(source).body if getattr(node, "name", "") == "CoreAttention")
    names = {"torch": torch, "nn": nn, "Optional": Optional, "LlamaConfig": Any, "ParallelismArgs": Any}
    names["checkpoint_method"] = lambda attr_name: lambda method: method  # recomputes activations; off by default
    names["flash_attn_varlen_func"] = flash_attn_varlen_func
    exec(compile(ast.Module([definition], []), "nanotron/models/llama.py", "exec"), names)
    return names["CoreAttention"]


def theirs(q: Tensor, k: Tensor, v: Tensor, lengths: list[int]) -> Tensor:
    """torch's attention of each sequence."""
    out = []
    for parts in zip(*(x.split(lengths) for x in (q, k, v)), strict=True):
        q_HSD, k_HSD, v_HSD = (part.transpose(0, 1) for part in parts)
        out.append(F.scaled_dot_product_attention(q_HSD, k_HSD, v_HSD, is_causal=True, enable_gqa=True).transpose(0, 1))
    return torch.cat(out)


def main() -> dict[str, float]:
    torch.manual_seed(0)
    lengths = [9, 4, 12]
    mask = torch.arange(12) < torch.tensor(lengths)[:, None]  # nanotron pads to the right and unpads before attention
    q, k, v = (torch.randn(sum(lengths), heads, 16, requires_grad=True) for heads in (4, 2, 2))
    attention = their_core_attention()(SimpleNamespace(hidden_size=64, num_attention_heads=4), None, 0)
    weights = torch.randn(sum(lengths), 4, 16)

    results = {}
    for name, out in (("ours", attention(q, k, v, mask, mask)), ("theirs", theirs(q, k, v, lengths))):
        gradients = torch.autograd.grad((out * weights).sum(), (q, k, v))
        results[name] = [out.detach(), *gradients]
    differences = [(a - b).abs().max().item() for a, b in zip(results["ours"], results["theirs"], strict=True)]
    return {
        "largest output": results["theirs"][0].abs().max().item(),
        "largest difference of an output": differences[0],
        "largest difference of a gradient": max(differences[1:]),
    }


if __name__ == "__main__":
    for name, figure in main().items():
        print(f"{name}: {figure:.3g}")

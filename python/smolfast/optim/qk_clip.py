"""QK-clip and MuonClip: after the step, shrink the query and key weights of heads whose logits grew too large.

Source: Kimi K2 (arXiv 2507.20534 §2.1). It rescales Wq and Wk and nothing else: neither learning rates nor gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from smolfast.errors import SmolfastError
from smolfast.optim.muon_adamw import MuonAdamW
from smolfast.optim.sharding import replicated_like

MaxLogit = Tensor | Sequence[Tensor] | Mapping[str, Tensor]


@torch.no_grad()
def qk_clip_(
    model_or_weights: nn.Module | tuple[Tensor, Tensor],
    max_logit: MaxLogit,
    tau: float = 100.0,
    process_group: Any = None,
) -> None:
    """Rescale query and key weights in place, so that logits above tau come back to tau; exact per head under GQA.

    A logit of query head h and its group's key is z = scale · q_h · k_g. With γ_h = min(1, tau / max z), multiplying
    k_g by s_g and q_h by γ_h / s_g multiplies z by γ_h: every head gets its own factor although the group shares its
    key, and heads at or under tau (γ_h = 1) keep their logits. The shrinkage is shared evenly with s_g = √(min γ_h over
    the group), here rounded to a power of two: s_g and 1 / s_g are then exact, so heads that aren't clipped keep their
    logits to the last bit, and groups without a clipped head aren't touched at all. RoPE rotates q_h and k_g, which
    commutes with scaling, so layers with and without it are treated alike.

    Args:
        model_or_weights: a module, whose submodules with q_proj and k_proj are its attention layers; or one layer's
            (Wq [Hq · D, width], Wk [Hk · D, width]).
        max_logit: each query head's largest logit (`gqa_attention(return_max_logit=True)`): [Hq] for weights; for a
            module [layers, Hq], a list of [Hq], or a dict from the attention modules' names. A head whose value is NaN
            or infinite is left alone: no factor repairs it.
        tau: the largest logit wanted.
        process_group: take the maximum over these ranks first (data parallelism: each saw other tokens).

    Raises:
        SmolfastError: query/key norms (q_norm, k_norm), which undo any rescaling of the weights; shapes that don't fit.
    """
    if not tau > 0:
        raise SmolfastError(f"qk_clip_: tau = {tau} must be positive")
    if not isinstance(model_or_weights, nn.Module):
        if not isinstance(max_logit, Tensor):
            raise SmolfastError("qk_clip_: for one layer's weights, max_logit is one tensor [query heads]")
        _clip_layer("the layer", model_or_weights, (), _largest(max_logit, process_group), tau)
        return
    layers = {name: module for name, module in model_or_weights.named_modules() if _is_attention(module)}
    if not layers:
        raise SmolfastError("qk_clip_: the model has no module with q_proj and k_proj; pass (Wq, Wk) layer by layer")
    if isinstance(max_logit, Mapping):
        missing = set(max_logit) ^ set(layers)
        if missing:
            raise SmolfastError(f"qk_clip_: max_logit and the attention layers differ in {', '.join(sorted(missing))}")
        values = [max_logit[name] for name in layers]
    else:
        values = list(max_logit)
        if len(values) != len(layers):
            raise SmolfastError(f"qk_clip_: max_logit has {len(values)} layers, the model has {len(layers)}")
    for (name, module), value in zip(layers.items(), values, strict=True):
        for norm in ("q_norm", "k_norm"):
            if not isinstance(getattr(module, norm, None), nn.Identity | None):
                raise SmolfastError(
                    f"qk_clip_: {name} normalises its queries and keys ({norm}), which bounds its logits and "
                    "undoes any rescaling of the weights; drop QK-clip or the norm"
                )
        biases = (module.q_proj.bias, module.k_proj.bias) if module.q_proj.bias is not None else ()
        _clip_layer(name, (module.q_proj.weight, module.k_proj.weight), biases, _largest(value, process_group), tau)


def _is_attention(module: Any) -> bool:
    return isinstance(getattr(module, "q_proj", None), nn.Linear) and isinstance(
        getattr(module, "k_proj", None), nn.Linear
    )


def _largest(max_logit: Tensor, process_group: Any) -> Tensor:
    if process_group is None:
        return max_logit
    everywhere = max_logit.detach().clone()
    dist.all_reduce(everywhere, dist.ReduceOp.MAX, group=process_group)
    return everywhere


def _clip_layer(
    name: str, weights: tuple[Tensor, Tensor], biases: Sequence[Tensor | None], max_logit: Tensor, tau: float
) -> None:
    query, key = weights
    if max_logit.ndim != 1 or not max_logit.numel() or query.shape[0] % max_logit.shape[0]:
        raise SmolfastError(
            f"qk_clip_: {name} has {query.shape[0]} query rows, max_logit is {list(max_logit.shape)}; expected "
            "[query heads]"
        )
    heads = max_logit.shape[0]
    width = query.shape[0] // heads
    if key.shape[0] % width or heads % (key.shape[0] // width):
        raise SmolfastError(
            f"qk_clip_: {name} has {heads} query heads of width {width}, which don't group over {key.shape[0]} key rows"
        )
    groups = key.shape[0] // width
    clipped = (max_logit > tau) & max_logit.isfinite()
    gamma = torch.where(clipped, tau / max_logit.double(), 1.0).view(groups, heads // groups)
    shared = torch.exp2(torch.round(0.5 * torch.log2(gamma.amin(1))))
    factors = (
        (gamma / shared[:, None]).reshape(heads, 1).expand(heads, width).reshape(-1),
        shared[:, None].expand(groups, width).reshape(-1),
    )
    for index, factor in enumerate(factors):
        weight = weights[index]
        weight.mul_(replicated_like(weight, factor.to(weight.device, weight.dtype)[:, None]))
        bias = biases[index] if biases else None
        if bias is not None:
            bias.mul_(replicated_like(bias, factor.to(bias.device, bias.dtype)))


class MuonClip(MuonAdamW):
    """`MuonAdamW`, and `qk_clip_` after each step that is given the step's largest logits.

    Args: as `MuonAdamW`, with a module for `model`, and `tau`. A `process_group` also reduces the largest logits.
    """

    def __init__(
        self, model: nn.Module, lr: float = 0.02, adamw_lr: float = 3e-3, *, tau: float = 100.0, **options: Any
    ):
        if not isinstance(model, nn.Module):
            raise SmolfastError("MuonClip: model must be a module, whose attention layers it can find")
        super().__init__(model, lr, adamw_lr, **options)
        self.tau = tau
        self._model = model

    def step(self, closure: Callable[[], float] | None = None, max_logit: MaxLogit | None = None) -> float | None:  # type: ignore[override]
        """`max_logit` as in `qk_clip_`, from this step's forward pass; None for no clipping."""
        loss = super().step(closure) if closure is not None else super().step()
        if max_logit is not None:
            qk_clip_(self._model, max_logit, self.tau, self._process_group)
        return loss

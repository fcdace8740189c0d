"""`gqa_attention` and `gqa_attention_varlen`: grouped-query attention with flash-attention's names and meaning."""

from __future__ import annotations

import importlib
from itertools import pairwise
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, library
from torch.nn.functional import scaled_dot_product_attention

from smolfast import reference
from smolfast.errors import SmolfastError
from smolfast.ops.native import attention as native_attention
from smolfast.ops.native.flat_arrays import are_plain
from smolfast.ops.precision import without_autocast

Rope = tuple[Tensor, Tensor]
Result = Tensor | tuple[Tensor, ...]


def gqa_attention(
    q_BSHD: Tensor,
    k_BSHD: Tensor,
    v_BSHD: Tensor,
    *,
    causal: bool = True,
    softmax_scale: float | None = None,
    window_size: tuple[int | None, int | None] = (-1, -1),
    softcap: float = 0.0,
    sinks: Tensor | None = None,
    rope: Rope | None = None,
    deterministic: bool = True,
    return_lse: bool = False,
    return_max_logit: bool = False,
) -> Result:
    """Attention of Hq query heads over Hk key/value heads; query head h reads key head h · Hk // Hq.

    Args:
        q_BSHD: [B, Sq, Hq, D]; k_BSHD, v_BSHD: [B, Sk, Hk, D]; any strides.
        causal: query i sees keys up to i + Sk − Sq (aligned bottom-right). A row that sees nothing gives zeros.
        softmax_scale: 1/√D by default.
        window_size: (left, right) keys visible around the query's own position; −1 or None for all.
        softcap: c > 0 replaces each scaled logit z by c · tanh(z / c).
        sinks: [Hq], a logit per head that takes part in the softmax but has no value (arXiv 2309.17453; GPT-OSS).
        rope: (cos, sin), each [Sk, R] or [B, Sk, R] with 2R ≤ D: channels (i, i + R) of q and k turn by the angle of
            their position; queries take the last Sq rows. None for no rotation (NoPE).
        deterministic: False allows a faster backward whose bits may differ from run to run, where there is one.
        return_lse: also the fp32 log-sum-exp [B, Hq, Sq] (−inf where nothing is seen; sinks included), differentiable.
        return_max_logit: also each query head's largest visible logit, fp32 [Hq], scaled and capped, sinks left out,
            −inf if nothing is visible, NaN if any visible logit is NaN. Not differentiable.

    Returns:
        out [B, Sq, Hq, D], or a tuple (out, lse, max_logit) of what was asked for, in this order.

    Raises:
        SmolfastError: shapes, dtypes or options that don't fit together.
    """
    _check_heads("gqa_attention", q_BSHD, k_BSHD, v_BSHD, 4)
    if q_BSHD.shape[0] != k_BSHD.shape[0]:
        raise SmolfastError(
            f"gqa_attention: q has batch {q_BSHD.shape[0]}, k and v have {k_BSHD.shape[0]}; make them equal"
        )
    cos, sin = _check_rope("gqa_attention", rope, q_BSHD, k_BSHD)
    if cos is not None and cos.shape[0] != k_BSHD.shape[0] and cos.ndim == 3:
        raise SmolfastError(f"gqa_attention: rope tables have batch {cos.shape[0]}, q has {k_BSHD.shape[0]}")
    if cos is not None and q_BSHD.shape[1] > k_BSHD.shape[1]:
        raise SmolfastError("gqa_attention: rope needs at least as many keys as queries; rotate q and k beforehand")
    return _call(
        (q_BSHD, k_BSHD, v_BSHD), (None, None, 0, 0), cos, sin, sinks, causal, softmax_scale, window_size, softcap,
        deterministic, return_lse, return_max_logit,
    )  # fmt: skip


def gqa_attention_varlen(
    q_THD: Tensor,
    k_THD: Tensor,
    v_THD: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int | Tensor | None = None,
    max_seqlen_k: int | Tensor | None = None,
    *,
    causal: bool = True,
    softmax_scale: float | None = None,
    window_size: tuple[int | None, int | None] = (-1, -1),
    softcap: float = 0.0,
    sinks: Tensor | None = None,
    rope: Rope | None = None,
    deterministic: bool = True,
    return_lse: bool = False,
    return_max_logit: bool = False,
) -> Result:
    """`gqa_attention` over sequences packed end to end, each masked from the others.

    What isn't named below is as in `gqa_attention`.

    Args:
        q_THD: [Tq, Hq, D]; k_THD, v_THD: [Tk, Hk, D].
        cu_seqlens_q, cu_seqlens_k: int32 [sequences + 1], cumulative lengths from 0 to Tq and Tk; 0 is allowed.
        max_seqlen_q, max_seqlen_k: longest lengths; they size the GPU grid and may be larger, never smaller. None:
            read from the lengths, for which a GPU is waited for. A compiled graph reads no tensor: all tokens there.
        rope: (cos, sin), each [Tk, R], a row for each packed key; the queries of a sequence take its last rows.
        return_lse: the log-sum-exp is [Hq, Tq].

    Raises:
        SmolfastError: shapes, dtypes or options that don't fit together; lengths that don't cover the tokens.
    """
    _check_heads("gqa_attention_varlen", q_THD, k_THD, v_THD, 3)
    for name, cumulative in (("cu_seqlens_q", cu_seqlens_q), ("cu_seqlens_k", cu_seqlens_k)):
        if cumulative.dtype not in (torch.int32, torch.int64) or cumulative.ndim != 1 or cumulative.shape[0] < 1:
            raise SmolfastError(f"gqa_attention_varlen: {name} must be an int32 vector of sequences + 1 offsets")
    if cu_seqlens_q.shape != cu_seqlens_k.shape:
        raise SmolfastError("gqa_attention_varlen: cu_seqlens_q and cu_seqlens_k count different numbers of sequences")
    cos, sin = _check_rope("gqa_attention_varlen", rope, q_THD, k_THD)
    longest_q, longest_k = _longest(max_seqlen_q, cu_seqlens_q, q_THD), _longest(max_seqlen_k, cu_seqlens_k, k_THD)
    return _call(
        (q_THD, k_THD, v_THD), (cu_seqlens_q, cu_seqlens_k, longest_q, longest_k), cos, sin, sinks, causal,
        softmax_scale, window_size, softcap, deterministic, return_lse, return_max_logit,
    )  # fmt: skip


def _longest(given: int | Tensor | None, cumulative: Tensor, packed: Tensor) -> int:
    """The longest sequence, or what is surely as long where reading a tensor would break a graph."""
    if given is not None and not isinstance(given, Tensor):
        return int(given)
    if torch.compiler.is_compiling():
        return packed.shape[0]
    if given is not None:
        return int(given)
    return int(cumulative.diff().max()) if cumulative.shape[0] > 1 else 0


def _check_heads(name: str, q: Tensor, k: Tensor, v: Tensor, dimensions: int) -> None:
    layout = "[B, S, H, D]" if dimensions == 4 else "[T, H, D]"
    for argument, tensor in (("q", q), ("k", k), ("v", v)):
        if tensor.ndim != dimensions:
            raise SmolfastError(f"{name}: {argument} has shape {tuple(tensor.shape)}; expected {layout}")
    if k.shape != v.shape:
        raise SmolfastError(f"{name}: k has shape {tuple(k.shape)}, v has {tuple(v.shape)}; they must be equal")
    if q.shape[-1] != k.shape[-1]:
        raise SmolfastError(f"{name}: heads of q are {q.shape[-1]} wide, those of k {k.shape[-1]}; they must be equal")
    if k.shape[-2] == 0 or q.shape[-2] % k.shape[-2]:
        raise SmolfastError(f"{name}: {q.shape[-2]} query heads aren't a multiple of {k.shape[-2]} key/value heads")


def _check_rope(name: str, rope: Rope | None, q: Tensor, k: Tensor) -> tuple[Tensor | None, Tensor | None]:
    if rope is None:
        return None, None
    cos, sin = rope
    rows = k.shape[-3]
    if (
        cos.shape != sin.shape
        or cos.ndim not in (2, k.ndim - 1)
        or cos.shape[-2] != rows
        or 2 * cos.shape[-1] > q.shape[-1]
    ):
        raise SmolfastError(
            f"{name}: rope tables have shapes {tuple(cos.shape)} and {tuple(sin.shape)}; expected [{rows}, R] each, "
            f"with 2R ≤ {q.shape[-1]}"
        )
    return cos, sin


def in_one_dtype(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As autocast has them, if it is on; SmolfastError if they differ otherwise."""
    device = q.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    if not q.dtype == k.dtype == v.dtype:
        raise SmolfastError(f"gqa_attention: q, k and v have dtypes {q.dtype}, {k.dtype}, {v.dtype}; make them equal")
    return q, k, v


def statistics_dtype(dtype: torch.dtype) -> torch.dtype:
    """Of the log-sum-exp and the largest logits."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _call(
    qkv: tuple[Tensor, Tensor, Tensor],
    lengths: tuple[Tensor | None, Tensor | None, int, int],
    cos: Tensor | None,
    sin: Tensor | None,
    sinks: Tensor | None,
    causal: bool,
    softmax_scale: float | None,
    window_size: tuple[int | None, int | None],
    softcap: float,
    deterministic: bool,
    return_lse: bool,
    return_max_logit: bool,
) -> Result:
    q, k, v = qkv = in_one_dtype(*qkv)
    if sinks is not None and sinks.shape != q.shape[-2:-1]:
        raise SmolfastError(f"gqa_attention: sinks has shape {tuple(sinks.shape)}; expected [{q.shape[-2]}]")
    if softcap < 0:
        raise SmolfastError(f"gqa_attention: softcap = {softcap} must be positive, or 0 for none")
    left, right = (-1 if side is None or side < 0 else int(side) for side in window_size)
    scale = q.shape[-1] ** -0.5 if softmax_scale is None else float(softmax_scale)
    extras = return_lse or return_max_logit or softcap or sinks is not None or cos is not None
    options = reference.AttentionOptions(causal, scale, left, right, float(softcap))
    plain = lengths[0] is None and not extras and all(x.stride(-1) == 1 for x in qkv)
    if (
        plain
        and reference.torch_is_fastest(q, options, q.shape[1], k.shape[1])
        and not native_attention.serves(q, options, k.shape[1], torch_suffices=True)
    ):
        # torch's own call, without what an op defined in Python costs.
        out = scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=causal and q.shape[1] > 1, scale=scale,
            enable_gqa=q.shape[2] != k.shape[2],
        )  # fmt: skip
        return out.transpose(1, 2)
    out, lse, max_logit = _attention(
        q, k, v, lengths[0], lengths[1], cos, sin, sinks, lengths[2], lengths[3], causal, scale, left, right,
        float(softcap), deterministic, return_max_logit, return_lse,
    )  # fmt: skip
    asked = [out]
    if return_lse:
        asked.append(lse)
    if return_max_logit:
        asked.append(max_logit.detach())
    return asked[0] if len(asked) == 1 else tuple(asked)


def attention_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor | None,
    cu_seqlens_k: Tensor | None,
    cos: Tensor | None,
    sin: Tensor | None,
    sinks: Tensor | None,
    max_seqlen_q: int,
    max_seqlen_k: int,
    causal: bool,
    softmax_scale: float,
    window_left: int,
    window_right: int,
    softcap: float,
    deterministic: bool,
    want_max_logit: bool,
    want_lse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    kernel = _kernel(q)
    if kernel is not None:
        problem = _problem(
            kernel, q, k, cu_seqlens_q, cu_seqlens_k, cos, sin, max_seqlen_q, max_seqlen_k, causal, softmax_scale,
            window_left, window_right, softcap,
        )  # fmt: skip
        out, lse, max_logit = kernel.attention_forward(*_rows(q, k, v), sinks, problem, want_max_logit)
        return out, lse, max_logit if want_max_logit else lse.new_full(q.shape[-2:-1], -torch.inf)
    if cu_seqlens_q is not None and cu_seqlens_k is not None:
        _check_cumulative("cu_seqlens_q", cu_seqlens_q, q.shape[0])
        _check_cumulative("cu_seqlens_k", cu_seqlens_k, k.shape[0])
    options = reference.AttentionOptions(causal, softmax_scale, window_left, window_right, softcap)
    lengths = (cu_seqlens_q, cu_seqlens_k)
    if _is_native(q, k, v, cu_seqlens_k, max_seqlen_k, options):
        return native_attention.forward(q, k, v, lengths, cos, sin, sinks, options, want_max_logit)
    with without_autocast(q):
        return reference.attention_forward(
            q, k, v, cu_seqlens_q, cu_seqlens_k, cos, sin, sinks, options, want_max_logit, want_lse
        )


_USE_KERNEL_ON = {"cuda"}  # torch's name for ROCm too; the tests add "cpu", where Triton's interpreter runs the kernels


def _kernel(q: Tensor) -> ModuleType | None:
    """The Triton kernels, where they serve the device and dtype."""
    if q.device.type not in _USE_KERNEL_ON or q.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        return None
    try:
        return importlib.import_module("smolfast.kernels.gqa_attention")
    except ModuleNotFoundError:  # no Triton for this platform
        return None


def _is_native(
    q: Tensor, k: Tensor, v: Tensor, cu_seqlens_k: Tensor | None, max_seqlen_k: int, options: reference.AttentionOptions
) -> bool:
    longest = k.shape[1] if cu_seqlens_k is None else max_seqlen_k
    return native_attention.serves(q, options, longest) and are_plain(q, k, v)


def _rows(*tensors: Tensor) -> list[Tensor]:
    """What the kernels read: a contiguous last dimension."""
    return [x if x.stride(-1) == 1 else x.contiguous() for x in tensors]


def _problem(
    kernel: ModuleType, q: Tensor, k: Tensor, cu_seqlens_q: Tensor | None, cu_seqlens_k: Tensor | None,
    cos: Tensor | None, sin: Tensor | None, max_seqlen_q: int, max_seqlen_k: int, causal: bool, softmax_scale: float,
    window_left: int, window_right: int, softcap: float,
) -> Any:  # fmt: skip
    varlen = cu_seqlens_q is not None and cu_seqlens_k is not None
    return kernel.make_problem(
        q, k, causal=causal, softmax_scale=softmax_scale, window_size=(window_left, window_right), softcap=softcap,
        rope=None if cos is None else (cos, sin),
        varlen=(cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k) if varlen else None,
    )  # fmt: skip


def _check_cumulative(name: str, cumulative: Tensor, tokens: int) -> None:
    offsets = cumulative.tolist()
    if offsets[0] != 0 or offsets[-1] != tokens or any(b < a for a, b in pairwise(offsets)):
        raise SmolfastError(
            f"gqa_attention_varlen: {name} runs from {offsets[0]} to {offsets[-1]}; "
            f"it must rise from 0 to {tokens} tokens"
        )


def _attention_fake(
    q: Tensor, k: Tensor, v: Tensor, cu_seqlens_q: Tensor | None, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    statistics = statistics_dtype(q.dtype)
    shape = (q.shape[1], q.shape[0]) if cu_seqlens_q is not None else (q.shape[0], q.shape[2], q.shape[1])
    return q.new_empty(q.shape), q.new_empty(shape, dtype=statistics), q.new_empty(q.shape[-2], dtype=statistics)


@torch.library.custom_op("smolfast::gqa_attention_backward", mutates_args=())
def attention_backward(
    grad_out: Tensor,
    grad_lse: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    cu_seqlens_q: Tensor | None,
    cu_seqlens_k: Tensor | None,
    cos: Tensor | None,
    sin: Tensor | None,
    sinks: Tensor | None,
    max_seqlen_q: int,
    max_seqlen_k: int,
    causal: bool,
    softmax_scale: float,
    window_left: int,
    window_right: int,
    softcap: float,
    deterministic: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    kernel = _kernel(q)
    if kernel is not None:
        problem = _problem(
            kernel, q, k, cu_seqlens_q, cu_seqlens_k, cos, sin, max_seqlen_q, max_seqlen_k, causal, softmax_scale,
            window_left, window_right, softcap,
        )  # fmt: skip
        dq, dk, dv, grad_sinks = kernel.attention_backward(
            grad_out, grad_lse, *_rows(q, k, v), out, lse, sinks, problem
        )
        return dq, dk, dv, q.new_zeros(0) if grad_sinks is None else grad_sinks
    options = reference.AttentionOptions(causal, softmax_scale, window_left, window_right, softcap)
    if _is_native(q, k, v, cu_seqlens_k, max_seqlen_k, options):
        lengths = (cu_seqlens_q, cu_seqlens_k)
        return native_attention.backward(grad_out, grad_lse, q, k, v, out, lse, lengths, cos, sin, sinks, options)
    with without_autocast(q):
        return reference.attention_backward(
            grad_out, grad_lse, q, k, v, out, lse, cu_seqlens_q, cu_seqlens_k, cos, sin, sinks, options
        )


@attention_backward.register_fake
def _(
    grad_out: Tensor, grad_lse: Tensor | None, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor,
    cu_seqlens_q: Tensor | None, cu_seqlens_k: Tensor | None, cos: Tensor | None, sin: Tensor | None,
    sinks: Tensor | None, *_: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    grad_sinks = q.new_empty(0) if sinks is None else sinks.new_empty(sinks.shape)
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape), grad_sinks


class _Attention(torch.autograd.Function):
    """The op and its gradient."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        with torch._C._AutoDispatchBelowAutograd():
            out, lse, max_logit = _attention(*inputs)
        ctx.save_for_backward(*inputs[:8], out, lse)
        ctx.options = inputs[8:-2]
        ctx.set_materialize_grads(False)
        return out, lse, max_logit

    @staticmethod
    def backward(
        ctx: Any, grad_out: Tensor | None, grad_lse: Tensor | None, _: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        q, k, v, cu_seqlens_q, cu_seqlens_k, cos, sin, sinks, out, lse = ctx.saved_tensors
        nothing = (None,) * 10
        if grad_out is None and grad_lse is None:
            return (None,) * 8 + nothing
        if grad_out is None:
            grad_out = torch.zeros_like(out)
        dq, dk, dv, grad_sinks = attention_backward(
            grad_out, grad_lse, q, k, v, out, lse, cu_seqlens_q, cu_seqlens_k, cos, sin, sinks, *ctx.options
        )
        return (dq, dk, dv, None, None, None, None, None if sinks is None else grad_sinks, *nothing)


# Not by custom_op and register_autograd, whose wrappers cost 0.12 ms a call, 3 % of 256 tokens' attention.
_operators: Any = library.Library("smolfast", "FRAGMENT")  # type: ignore[no-untyped-call]
_operators.define("gqa_attention" + library.infer_schema(attention_forward, mutates_args=()))
_operators.impl("gqa_attention", attention_forward, "CompositeExplicitAutograd")
_operators.impl("gqa_attention", _Attention.apply, "Autograd")
library.register_fake("smolfast::gqa_attention", _attention_fake, lib=_operators)
_attention = torch.ops.smolfast.gqa_attention.default

"""Grouped-query attention, forward and backward, in Triton: NVIDIA and AMD, needs torch and triton only.

``gqa_attention(q_BSHD, k_BSHD, v_BSHD)`` and ``gqa_attention_varlen(q_THD, k_THD, v_THD, cu_seqlens_q, ...)`` have
flash-attention's names, layout and meaning, and differentiate. Beyond it they return each head's largest logit at no
extra pass, and rotate Q and K (RoPE) as they load them. To use them elsewhere, copy this file and
``gqa_attention_kernels.py``.

Method: online softmax over blocks of keys (FlashAttention-2, arXiv 2307.08691) in base 2. Backward recomputes P from
the LSE: one kernel walks the queries of a whole group for a block of keys, so dK and dV need no atomics; another walks
the keys for a block of queries. Both are deterministic.

Shapes: B batch, S sequence, T packed tokens, H query heads, Hkv key/value heads (H a multiple of it), D head width.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from .gqa_attention_kernels import INTERPRETED, delta_kernel, dkv_kernel, dq_kernel, forward_kernel, rope_kernel


class Blocks(NamedTuple):
    """How one kernel is cut: rows of queries, rows of keys, warps, pipeline stages, keys (queries) by descriptor."""

    m: int
    n: int
    warps: int
    stages: int
    descriptor: bool = False


# family → kernel → padded width (eight times it for float32, whose exact dots run without matrix units) → the default,
# then what SMOLFAST_AUTOTUNE=1 also times. All were chosen by ahead-of-time figures (benchmarks/aot.py: no spills,
# shared memory within the device's limit), not yet by timings on a GPU.
BLOCKS: dict[str, dict[str, dict[int, list[Blocks]]]] = {
    "interpreter": {name: {0: [Blocks(32, 16, 4, 1)]} for name in ("forward", "dkv", "dq")},
    "sm_80": {  # within 99 KiB of shared memory, for sm_86, sm_89 and sm_12x
        "forward": {
            64: [Blocks(128, 64, 8, 2), Blocks(128, 64, 4, 2)],
            128: [Blocks(128, 32, 8, 2)],
            256: [Blocks(64, 32, 8, 1)],
            512: [Blocks(64, 32, 8, 1)],
            1024: [Blocks(32, 32, 8, 1)],
        },
        "dkv": {
            64: [Blocks(32, 128, 8, 2), Blocks(64, 128, 8, 2)],
            128: [Blocks(32, 64, 8, 2), Blocks(16, 128, 8, 2)],
            256: [Blocks(32, 32, 8, 1)],
            512: [Blocks(32, 32, 8, 1)],
        },
        "dq": {
            64: [Blocks(128, 64, 8, 2)],
            128: [Blocks(64, 32, 4, 2), Blocks(128, 32, 8, 1)],
            256: [Blocks(64, 16, 8, 1)],
            512: [Blocks(32, 32, 8, 1)],
            1024: [Blocks(16, 16, 8, 1)],
        },
    },
    "sm_90": {
        "forward": {
            64: [Blocks(128, 128, 8, 2, True), Blocks(128, 64, 8, 3, True)],
            128: [Blocks(128, 128, 8, 2, True), Blocks(128, 64, 8, 3, True)],
            256: [Blocks(64, 64, 8, 2, True)],
            512: [Blocks(64, 32, 8, 1)],
            1024: [Blocks(32, 32, 8, 1)],
        },
        "dkv": {
            64: [Blocks(64, 128, 8, 2, True)],
            128: [Blocks(32, 128, 8, 2, True), Blocks(32, 64, 4, 2, True)],
            256: [Blocks(32, 32, 8, 1, True)],
            512: [Blocks(32, 32, 8, 1)],
        },
        "dq": {
            64: [Blocks(128, 64, 8, 2, True)],
            128: [Blocks(128, 64, 8, 2, True), Blocks(64, 128, 8, 2, True)],
            256: [Blocks(64, 32, 8, 1, True)],
            512: [Blocks(32, 32, 8, 1)],
            1024: [Blocks(16, 16, 8, 1)],
        },
    },
    "sm_100": {
        "forward": {
            64: [Blocks(128, 128, 8, 2, True)],
            128: [Blocks(128, 128, 8, 2, True)],
            256: [Blocks(128, 64, 8, 2, True)],
            512: [Blocks(64, 32, 8, 1)],
            1024: [Blocks(32, 32, 8, 1)],
        },
        "dkv": {
            64: [Blocks(64, 128, 8, 2, True)],
            128: [Blocks(32, 128, 8, 2, True)],
            256: [Blocks(32, 64, 8, 1, True)],
            512: [Blocks(32, 32, 8, 1)],
        },
        "dq": {
            64: [Blocks(128, 64, 8, 2, True)],
            128: [Blocks(128, 32, 8, 2, True), Blocks(128, 64, 8, 1, True)],
            256: [Blocks(64, 64, 8, 1, True)],
            512: [Blocks(32, 32, 8, 1)],
            1024: [Blocks(16, 16, 8, 1)],
        },
    },
    "gfx942": {
        "forward": {
            64: [Blocks(128, 64, 4, 1)],
            128: [Blocks(128, 32, 4, 1)],
            256: [Blocks(64, 32, 8, 1)],
            512: [Blocks(64, 32, 8, 1)],
            1024: [Blocks(32, 32, 8, 1)],
        },
        "dkv": {
            64: [Blocks(32, 128, 4, 1), Blocks(64, 64, 4, 1)],
            128: [Blocks(32, 64, 4, 1)],
            256: [Blocks(16, 32, 4, 1)],
            512: [Blocks(32, 32, 8, 1)],
            1024: [Blocks(16, 32, 8, 1)],
        },
        "dq": {
            64: [Blocks(128, 32, 4, 1), Blocks(128, 64, 4, 1)],
            128: [Blocks(128, 32, 4, 1), Blocks(64, 32, 4, 1)],
            256: [Blocks(64, 16, 4, 1)],
            512: [Blocks(32, 32, 8, 1)],
            1024: [Blocks(16, 16, 8, 1)],
        },
    },
}


def device_family(device: torch.device) -> str:
    """The row of BLOCKS that serves a device."""
    if INTERPRETED:
        return "interpreter"
    if torch.version.hip:
        return "gfx942"
    major = torch.cuda.get_device_capability(device)[0]
    return {9: "sm_90", 10: "sm_100"}.get(major, "sm_80")  # sm_12x has sm_8x's shared memory and no wgmma


def _choices(name: str, q: Tensor, width: int, describable: bool = True) -> list[Blocks]:
    size = width * (8 if q.dtype == torch.float32 else 1)
    rows = BLOCKS[device_family(q.device)][name]
    choices = rows[min((key for key in rows if key >= size), default=max(rows))]
    if describable or not any(c.descriptor for c in choices):
        return choices
    rows = BLOCKS["sm_80"][name]  # by pointers the blocks meant for descriptors spill
    return rows[min((key for key in rows if key >= size), default=max(rows))]


@functools.cache
def _autotuned(kernel: Any, choices: tuple[Blocks, ...]) -> Any:
    configs = [
        triton.Config(
            {"BLOCK_M": c.m, "BLOCK_N": c.n, "DESCRIPTOR": c.descriptor}, num_warps=c.warps, num_stages=c.stages
        )
        for c in choices
    ]
    key = ["D", "GROUP", "VARLEN", "HAS_LEFT", "HAS_RIGHT", "SOFTCAP", "R"]
    return triton.autotune(configs, key=key, cache_results=True)(kernel)


class _Problem(NamedTuple):
    """What every kernel of one call needs to know beyond its tensors."""

    cu_q: Tensor | None
    cu_k: Tensor | None
    max_q: int
    max_k: int
    cos: Tensor | None
    sin: Tensor | None
    left: int
    right: int
    scale: float
    softcap: float

    def batch(self, q: Tensor) -> int:
        return q.shape[0] if self.cu_q is None else self.cu_q.numel() - 1

    def constants(self, q: Tensor, k: Tensor) -> dict[str, Any]:
        width, rotary = q.shape[-1], 0 if self.cos is None else self.cos.shape[-1]
        block = max(16, triton.next_power_of_2(width))
        fast = q.dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest"
        return {
            "D": width,
            "GROUP": q.shape[-2] // k.shape[-2],
            "VARLEN": self.cu_q is not None,
            "HAS_LEFT": self.left >= 0,
            "HAS_RIGHT": self.right >= 0,
            "SOFTCAP": self.softcap > 0,
            "R": rotary,
            "SPLIT": rotary > 0 and (block != width or 2 * rotary != width),
            "PRECISION": "tf32" if fast and not torch.version.hip else "ieee",
            "BLOCK_D": block,
        }


def _strides(x: Tensor) -> tuple[int, int, int]:
    """Of batch, row and head; packed tensors have no batch stride."""
    return (0, x.stride(0), x.stride(1)) if x.dim() == 3 else (x.stride(0), x.stride(1), x.stride(2))


def _lse_strides(q: Tensor) -> tuple[int, int]:
    return (0, q.shape[0]) if q.dim() == 3 else (q.shape[2] * q.shape[1], q.shape[1])


def _describable(*tensors: Tensor) -> bool:
    """Whether tensor descriptors reach them: 16-byte aligned rows and heads."""
    return all(
        x.data_ptr() % 16 == 0 and all(stride * x.element_size() % 16 == 0 for stride in x.stride()[:-1])
        for x in tensors
    )


def _launch(kernel: Any, name: str, q: Tensor, longest: int, parts: int, arguments: tuple[Any, ...],
            constants: dict[str, Any], walked: tuple[Tensor, ...]) -> None:  # fmt: skip
    """Run a kernel, a program per block of the longest sequence (of rows, or for dkv of keys) and part."""
    choices = _choices(name, q, constants["BLOCK_D"], not constants["SPLIT"] and _describable(*walked))
    if any(c.descriptor for c in choices):
        triton.set_allocator(lambda size, _align, _stream: torch.empty(size, dtype=torch.int8, device=q.device))
    axis = "BLOCK_N" if name == "dkv" else "BLOCK_M"
    if parts * longest == 0:
        return
    grid = lambda meta: (triton.cdiv(longest, meta[axis]) * parts,)  # noqa: E731
    if len(choices) > 1 and os.environ.get("SMOLFAST_AUTOTUNE", "0") == "1":
        _autotuned(kernel, tuple(choices))[grid](*arguments, **constants)
        return
    c = choices[0]
    kernel[grid](
        *arguments, **constants, BLOCK_M=c.m, BLOCK_N=c.n, DESCRIPTOR=c.descriptor, num_warps=c.warps,
        num_stages=c.stages, enable_fp_fusion=True,
    )  # fmt: skip


def _rotated(x: Tensor, p: _Problem, constants: dict[str, Any], of_keys: bool) -> Tensor:
    if p.cos is None:
        return x
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    cu, longest = (p.cu_k, p.max_k) if of_keys else (p.cu_q, p.max_q)
    programs = triton.cdiv(longest, 64) * x.shape[-2] * p.batch(x)
    if programs:
        kept = {name: constants[name] for name in ("D", "VARLEN", "R", "SPLIT", "BLOCK_D")}
        rope_kernel[(programs,)](
            x, out, p.cos, p.sin, cu, p.cu_k, *_strides(x), _table_stride(p), x.shape[-2], longest, p.max_k,
            **kept, BLOCK_M=64, num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
    return out


def _table_stride(p: _Problem) -> int:
    return p.cos.stride(0) if p.cos is not None and p.cos.dim() == 3 and p.cos.shape[0] > 1 else 0


def attention_forward(
    q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, problem: _Problem, want_max_logit: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """(out, lse, max_logit), without autograd. max_logit is [0] unless wanted."""
    constants = problem.constants(q, k)
    heads, batch = q.shape[-2], problem.batch(q)
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    shape = (heads, q.shape[0]) if q.dim() == 3 else (batch, heads, q.shape[1])
    lse = torch.empty(shape, dtype=torch.float32, device=q.device)
    block_max = None
    if want_max_logit:  # of every block of rows, in any block shape that may be chosen
        least = min(c.m for d in (True, False) for c in _choices("forward", q, constants["BLOCK_D"], d))
        rows = batch * triton.cdiv(problem.max_q, least) + 1
        block_max = torch.full((rows, heads), -math.inf, dtype=torch.float32, device=q.device)
    k = _rotated(k, problem, constants, of_keys=True)
    _launch(
        forward_kernel, "forward", q, problem.max_q, heads * batch,
        (q, k, v, out, lse, block_max, sinks, problem.cos, problem.sin, problem.cu_q, problem.cu_k, *_strides(q),
         *_strides(k), *_strides(v), *_lse_strides(q), heads, problem.max_q, problem.max_k, _table_stride(problem),
         problem.left, problem.right, problem.scale, problem.softcap),
        constants, (k, v),
    )  # fmt: skip
    return out, lse, q.new_empty(0, dtype=torch.float32) if block_max is None else block_max.amax(0)


def attention_backward(
    dout: Tensor, dlse: Tensor | None, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, sinks: Tensor | None,
    problem: _Problem,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:  # fmt: skip
    """(dq, dk, dv, dsinks): contiguous, in their inputs' dtypes."""
    p, constants = problem, problem.constants(q, k)
    heads, kv_heads, batch = q.shape[-2], k.shape[-2], problem.batch(q)
    dout = dout if dout.stride(-1) == 1 else dout.contiguous()
    dlse = None if dlse is None else dlse.float().contiguous()
    delta = torch.empty_like(lse)
    programs = triton.cdiv(p.max_q, 64) * heads * batch
    if programs:
        delta_kernel[(programs,)](
            out, dout, dlse, delta, p.cu_q, *_strides(out), *_strides(dout), *_lse_strides(q), heads, p.max_q,
            D=constants["D"], VARLEN=constants["VARLEN"], BLOCK_D=constants["BLOCK_D"], BLOCK_M=64, num_warps=4,
            enable_fp_fusion=True,
        )  # fmt: skip
    dsinks = None
    if sinks is not None:
        weight = torch.exp(torch.movedim(sinks.float().expand(lse.movedim(-2, -1).shape), -1, -2) - lse)
        dsinks = -(weight * delta).movedim(-2, 0).flatten(1).sum(1).to(sinks.dtype)
    rotated_q = _rotated(q, p, constants, of_keys=False)
    rotated_k = _rotated(k, p, constants, of_keys=True)
    dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    shared = (*_strides(rotated_q), *_strides(rotated_k), *_strides(v), *_strides(dout), *_lse_strides(q))
    lengths = (p.max_q, p.max_k, _table_stride(p), p.left, p.right, p.scale, p.softcap)
    _launch(
        dkv_kernel, "dkv", q, p.max_k, kv_heads * batch,
        (rotated_q, rotated_k, v, dout, dk, dv, lse, delta, p.cos, p.sin, p.cu_q, p.cu_k, *shared, kv_heads, *lengths),
        constants, (rotated_q, dout),
    )  # fmt: skip
    _launch(
        dq_kernel, "dq", q, p.max_q, heads * batch,
        (rotated_q, rotated_k, v, dout, dq, lse, delta, p.cos, p.sin, p.cu_q, p.cu_k, *shared, heads, *lengths),
        constants, (rotated_k, v),
    )  # fmt: skip
    return dq, dk, dv, dsinks


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, problem: _Problem, want_max: bool
    ) -> Any:
        out, lse, max_logit = attention_forward(q, k, v, sinks, problem, want_max)
        ctx.save_for_backward(q, k, v, out, lse, sinks)
        ctx.problem = problem
        ctx.mark_non_differentiable(max_logit)
        ctx.set_materialize_grads(False)
        return out, lse, max_logit

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dout: Tensor | None, dlse: Tensor | None, _: Tensor | None) -> Any:
        q, k, v, out, lse, sinks = ctx.saved_tensors
        dout = torch.zeros_like(out) if dout is None else dout
        return *attention_backward(dout, dlse, q, k, v, out, lse, sinks, ctx.problem), None, None


def make_problem(
    q: Tensor, k: Tensor, *, causal: bool, softmax_scale: float | None, window_size: tuple[int, int], softcap: float,
    rope: tuple[Tensor, Tensor] | None, varlen: tuple[Tensor, Tensor, int, int] | None = None,
) -> _Problem:  # fmt: skip
    """Arguments in flash-attention's terms to the kernels'. ValueError where they don't fit together."""
    if q.dtype not in (torch.float16, torch.bfloat16, torch.float32) or q.dtype != k.dtype:
        raise ValueError(f"q, k and v must share float16, bfloat16 or float32; q is {q.dtype}, k is {k.dtype}")
    if q.shape[-1] != k.shape[-1] or q.shape[-2] % k.shape[-2]:
        raise ValueError(f"q {tuple(q.shape)} and k {tuple(k.shape)} need one head width and whole groups of heads")
    scale = 1.0 / math.sqrt(q.shape[-1]) if softmax_scale is None else softmax_scale
    if not scale > 0:
        raise ValueError(f"softmax_scale must be positive, not {scale}; negate q instead")
    cu_q, cu_k, max_q, max_k = varlen if varlen is not None else (None, None, q.shape[1], k.shape[1])
    cos, sin = (None, None) if rope is None else (rope[0].contiguous(), rope[1].contiguous())
    if cos is not None and (2 * cos.shape[-1] > q.shape[-1] or cos.shape[-2] < (max_k if cu_k is None else k.shape[0])):
        raise ValueError(
            f"rope tables {tuple(cos.shape)} need a row for each key of {tuple(k.shape)} and at most D / 2 columns"
        )
    return _Problem(cu_q, cu_k, max_q, max_k, cos, sin, window_size[0], 0 if causal else window_size[1], scale, softcap)


def _finish(
    q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, problem: _Problem, lse: bool, max_logit: bool
) -> Any:
    q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v))
    results = _Attention.apply(q, k, v, sinks, problem, max_logit)
    asked = [x for x, wanted in zip(results, (True, lse, max_logit), strict=True) if wanted]
    return tuple(asked) if len(asked) > 1 else asked[0]


def gqa_attention(
    q_BSHD: Tensor, k_BSHD: Tensor, v_BSHD: Tensor, *, causal: bool = True, softmax_scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1), softcap: float = 0.0, sinks: Tensor | None = None,
    rope: tuple[Tensor, Tensor] | None = None, deterministic: bool = True, return_lse: bool = False,
    return_max_logit: bool = False,
) -> Any:  # fmt: skip
    """softmax(q kᵀ · scale) v over [B, S, H, D], differentiable; flash-attention's meaning of every shared argument.

    A query sees a key no later than itself (``causal``, last query aligned with last key) and within
    ``window_size = (left, right)`` of itself, -1 for no bound. ``sinks`` [H] are logits without a value. ``rope =
    (cos, sin)``, each [Sk, R] or [B, Sk, R] with a row for each key, rotates columns i and R + i of q and k.
    ``deterministic`` is accepted for the sake of flash-attention's callers: every path is.

    Returns:
        out, then as asked lse (float32 [B, H, S], differentiable) and max_logit (float32 [H], the largest visible logit
        after scale and softcap; NaN if any visible one is NaN). A row that sees nothing has out 0 and lse -inf.

    Raises:
        ValueError: dtypes, widths, groups or tables that don't fit, or a scale that isn't positive.
    """
    problem = make_problem(
        q_BSHD, k_BSHD, causal=causal, softmax_scale=softmax_scale, window_size=window_size, softcap=softcap, rope=rope
    )
    return _finish(q_BSHD, k_BSHD, v_BSHD, sinks, problem, return_lse, return_max_logit)


def gqa_attention_varlen(
    q_THD: Tensor, k_THD: Tensor, v_THD: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, max_seqlen_q: int,
    max_seqlen_k: int, *, causal: bool = True, softmax_scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1), softcap: float = 0.0, sinks: Tensor | None = None,
    rope: tuple[Tensor, Tensor] | None = None, deterministic: bool = True, return_lse: bool = False,
    return_max_logit: bool = False,
) -> Any:  # fmt: skip
    """`gqa_attention` of packed sequences: sequence i is rows cu_seqlens[i] to cu_seqlens[i + 1] (int32 [B + 1]).

    Sequences may be empty. lse is [H, T]; ``rope`` tables are [Tk, R], a row for each packed key.
    """
    problem = make_problem(
        q_THD, k_THD, causal=causal, softmax_scale=softmax_scale, window_size=window_size, softcap=softcap, rope=rope,
        varlen=(cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k),
    )  # fmt: skip
    return _finish(q_THD, k_THD, v_THD, sinks, problem, return_lse, return_max_logit)


def aot_launches() -> Iterator[tuple[str, Callable[[], object]]]:
    """What benchmarks/aot.py compiles: forward and backward in every feature that changes the code much."""
    packed = torch.empty(9, dtype=torch.int32, device="meta")
    cases: dict[str, tuple[int, torch.dtype, dict[str, Any]]] = {
        "bfloat16 D64": (64, torch.bfloat16, {}),
        "bfloat16 D128": (128, torch.bfloat16, {}),
        "bfloat16 D128 max": (128, torch.bfloat16, {"want_max": True}),
        "bfloat16 D128 varlen rope max": (128, torch.bfloat16, {"varlen": True, "rope": True, "want_max": True}),
        "bfloat16 D128 window sinks": (128, torch.bfloat16, {"left": 1024, "sinks": True}),
        "bfloat16 D128 softcap": (128, torch.bfloat16, {"softcap": 30.0}),
        "bfloat16 D96": (96, torch.bfloat16, {}),
        "bfloat16 D256": (256, torch.bfloat16, {}),
        "float32 D64": (64, torch.float32, {}),
        "float32 D128": (128, torch.float32, {}),
    }
    for label, (width, dtype, features) in cases.items():
        yield label, functools.partial(_aot_launch, width, dtype, packed, **features)


def _aot_launch(
    width: int, dtype: torch.dtype, packed: Tensor, left: int = -1, softcap: float = 0.0, varlen: bool = False,
    rope: bool = False, sinks: bool = False, want_max: bool = False,
) -> None:  # fmt: skip
    rows = (8192,) if varlen else (2, 4096)
    q, dout = (torch.empty(*rows, 16, width, dtype=dtype, device="meta") for _ in range(2))
    k, v = (torch.empty(*rows, 4, width, dtype=dtype, device="meta") for _ in range(2))
    table = torch.empty(rows[-1], width // 2, device="meta")
    problem = make_problem(
        q, k, causal=True, softmax_scale=None, window_size=(left, -1), softcap=softcap,
        rope=(table, table) if rope else None, varlen=(packed, packed, 4096, 4096) if varlen else None,
    )  # fmt: skip
    logits = torch.empty(16, device="meta") if sinks else None
    out, lse, _ = attention_forward(q, k, v, logits, problem, want_max)
    attention_backward(dout, None, q, k, v, out, lse, logits, problem)

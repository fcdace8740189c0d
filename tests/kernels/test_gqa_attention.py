"""The Triton attention kernels under Triton's interpreter, against fp64 and with PyTorch's own error as the measure."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

import pytest

triton = pytest.importorskip("triton", reason="Triton has no build for this platform")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("needs TRITON_INTERPRET=1 before triton is first imported", allow_module_level=True)

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from smolfast import ops  # noqa: E402
from smolfast.kernels import gqa_attention as kernel  # noqa: E402

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def randn(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def rope_tables(rows: int, half: int) -> tuple[Tensor, Tensor]:
    angle = torch.arange(rows, dtype=torch.float64)[:, None] * 100.0 ** (-torch.arange(half) / half)
    return angle.cos().float(), angle.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [..., S, H, D] by tables [..., S, R], in x's own dtype only at the end, as the kernel does."""
    compute = torch.promote_types(x.dtype, torch.float32)
    half = cos.shape[-1]
    cos, sin = cos.unsqueeze(-2).to(compute), sin.unsqueeze(-2).to(compute)
    first, second = x[..., :half].to(compute), x[..., half : 2 * half].to(compute)
    turned = torch.cat([first * cos - second * sin, second * cos + first * sin], -1).to(x.dtype)
    return torch.cat([turned, x[..., 2 * half :]], -1)


def visible_pairs(rows: int, keys: int, causal: bool, window: tuple[int, int]) -> Tensor:
    query, key = torch.arange(rows)[:, None] + keys - rows, torch.arange(keys)
    left, right = window[0], 0 if causal else window[1]
    visible = torch.ones(rows, keys, dtype=torch.bool)
    if left >= 0:
        visible &= key >= query - left
    if right >= 0:
        visible &= key <= query + right
    return visible


def torch_attention(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool = True, window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0, sinks: Tensor | None = None, rope: tuple[Tensor, Tensor] | None = None,
    softmax_scale: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(out, lse, max_logit), computed by PyTorch in the inputs' dtype throughout."""
    if rope is not None:
        start = k.shape[1] - q.shape[1]
        q, k = rotate(q, rope[0][..., start:, :], rope[1][..., start:, :]), rotate(k, *rope)
    k, v = (x.repeat_interleave(q.shape[2] // k.shape[2], 2) for x in (k, v))
    logits = torch.einsum("bshd,bthd->bhst", q, k) * (softmax_scale or q.shape[-1] ** -0.5)
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    logits = logits.masked_fill(~visible_pairs(q.shape[1], k.shape[1], causal, window_size), -torch.inf)
    joined = logits
    if sinks is not None:
        joined = torch.cat([logits, sinks.to(q.dtype)[:, None, None].expand(*logits.shape[:3], 1)], -1)
    lse = torch.logsumexp(joined, -1)
    weights = torch.exp(logits - lse.masked_fill(lse == -torch.inf, 0.0)[..., None])
    return torch.einsum("bhst,bthd->bshd", weights, v), lse, logits.amax((0, 2, 3))


def differentiate(attention: Any, leaves: list[Tensor], options: dict[str, Any], seed: int) -> list[Tensor]:
    """(out, lse, max_logit, and the gradients of a loss in both out and lse) of one implementation."""
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    options = dict(options)
    if len(leaves) == 4:
        options["sinks"] = leaves[3]
    out, lse, max_logit = attention(*leaves[:3], **options)
    seen = torch.isfinite(lse)
    loss = (out * randn(*out.shape, seed=seed, dtype=out.dtype)).sum()
    loss = loss + (lse.masked_fill(~seen, 0.0) * randn(*lse.shape, seed=seed + 1, dtype=lse.dtype)).sum()
    return [out, lse, max_logit, *torch.autograd.grad(loss, leaves)]


def error(value: Tensor, truth: Tensor) -> float:
    """Relative in the 2-norm; infinities must agree."""
    value, truth = value.detach().double(), truth.detach()
    infinite = ~torch.isfinite(truth)
    assert torch.equal(value[infinite], truth[infinite])
    difference = (value - truth).masked_fill(infinite, 0.0)
    return (difference.norm() / truth.masked_fill(infinite, 0.0).norm().clamp_min(1e-30)).item()


#       batch, queries, keys, heads, groups' keys, width
SHAPES = {
    "square": (1, 37, 37, 2, 1, 16),
    "one block": (1, 5, 5, 1, 1, 16),
    "exact blocks": (1, 64, 64, 1, 1, 16),
    "odd width": (2, 19, 19, 2, 2, 21),
    "fewer queries": (1, 18, 43, 2, 2, 16),
    "one query": (2, 1, 33, 4, 2, 8),
    "fewer keys": (1, 43, 18, 2, 1, 16),
    "group of five": (1, 17, 17, 5, 1, 20),
    "padded width": (1, 17, 35, 2, 1, 96),
}
FEATURES: dict[str, dict[str, Any]] = {
    "causal": {},
    "full": {"causal": False},
    "scale": {"softmax_scale": 0.7},
    "window": {"window_size": (7, -1)},
    "wide window": {"window_size": (33, -1)},
    "both sides": {"causal": False, "window_size": (5, 9)},
    "right only": {"causal": False, "window_size": (-1, 3)},
    "left only": {"causal": False, "window_size": (4, -1)},
    "softcap": {"softcap": 1.3},
    "sinks": {"sinks": True},
    "rope": {"rope": 1.0},
    "half rope": {"rope": 0.5},
    "everything": {"window_size": (11, -1), "softcap": 2.0, "sinks": True, "rope": 1.0, "softmax_scale": 0.4},
}


def cases() -> list[tuple[str, str, str]]:
    """Two of three shapes for each feature, the dtypes in turn; rope refuses more queries than keys."""
    names = list(DTYPES)
    grid = [(i, s, j, f) for i, s in enumerate(SHAPES) for j, f in enumerate(FEATURES) if (i + j) % 3]
    picked = [(s, f, names[(i + j // 3) % 3]) for i, s, j, f in grid]
    return [(s, f, d) for s, f, d in picked if not ("rope" in FEATURES[f] and s == "fewer keys")]


DRAWS = 4  # of inputs, pooled: one draw's error on a few numbers is luck, PyTorch's as much as ours


def squared_errors(value: Tensor, truth: Tensor) -> Tensor:
    """(sum of squared differences, sum of squares of the truth); infinities must agree."""
    finite = torch.isfinite(truth)
    value, truth = value.detach().double(), truth.detach()
    assert torch.equal(value[~finite], truth[~finite])
    return torch.stack([(value - truth)[finite].square().sum(), truth[finite].square().sum()])


@pytest.mark.parametrize(("shape", "feature", "dtype"), cases(), ids=lambda value: value)
def test_error_is_within_twice_pytorchs(shape: str, feature: str, dtype: str) -> None:
    batch, rows, keys, heads, kv_heads, width = SHAPES[shape]
    options = dict(FEATURES[feature])
    sinks, share = options.pop("sinks", False), options.pop("rope", None)
    if share:
        options["rope"] = rope_tables(keys, max(1, int(share * (width // 2))))
    asked = {**options, "return_lse": True, "return_max_logit": True}
    names = ["out", "lse", "max_logit", "dq", "dk", "dv", *(["dsinks"] if sinks else [])]
    ours, theirs = torch.zeros(2, len(names), 2, dtype=torch.float64)
    for draw in range(DRAWS):
        leaves = [randn(batch, n, h, width, seed=10 * draw + i, dtype=DTYPES[dtype])
                  for i, (n, h) in enumerate([(rows, heads), (keys, kv_heads), (keys, kv_heads)])]  # fmt: skip
        if sinks:
            leaves.append(randn(heads, seed=10 * draw + 7, dtype=torch.float32))
        truth = differentiate(torch_attention, [leaf.double() for leaf in leaves], options, seed=10 * draw + 3)
        for total, attention, chosen in ((ours, kernel.gqa_attention, asked), (theirs, torch_attention, options)):
            values = differentiate(attention, leaves, chosen, seed=10 * draw + 3)
            total += torch.stack([squared_errors(*pair) for pair in zip(values, truth, strict=True)])
            assert not values[2].requires_grad or attention is torch_attention
    for name, (mine, size), (other, _) in zip(names, ours.tolist(), theirs.tolist(), strict=True):
        rounding = torch.finfo(DTYPES[dtype]).eps * size**0.5
        assert mine**0.5 <= max(2 * other**0.5, rounding), name


def packed(lengths: list[int]) -> Tensor:
    return torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)


@pytest.mark.parametrize("features", ["causal", "full", "window", "sinks", "rope"])
def test_packed_sequences_are_the_sequences_apart(features: str) -> None:
    query_lengths, key_lengths = [5, 0, 33, 1, 4, 0], [5, 7, 40, 1, 0, 0]
    if features == "rope":
        query_lengths, key_lengths = [5, 0, 33, 1], [5, 7, 40, 1]
    cu_q, cu_k = packed(query_lengths), packed(key_lengths)
    leaves = [randn(int(cu[-1]), heads, 16, seed=i, dtype=torch.float32)
              for i, (cu, heads) in enumerate([(cu_q, 2), (cu_k, 1), (cu_k, 1)])]  # fmt: skip
    options = dict(FEATURES[features])
    if options.pop("sinks", False):
        leaves.append(randn(2, seed=7, dtype=torch.float32))
    tables = rope_tables(int(cu_k[-1]), 8) if options.pop("rope", False) else None

    def whole(q: Tensor, k: Tensor, v: Tensor, **chosen: Any) -> Any:
        return kernel.gqa_attention_varlen(
            q, k, v, cu_q, cu_k, max(query_lengths), max(key_lengths), rope=tables, return_lse=True,
            return_max_logit=True, **chosen,
        )  # fmt: skip

    def apart(q: Tensor, k: Tensor, v: Tensor, **chosen: Any) -> tuple[Tensor, Tensor, Tensor]:
        outs, lses, best = [], [], []
        for rows, keys in zip(pairwise(cu_q), pairwise(cu_k), strict=True):
            q_part, (k_part, v_part) = q[slice(*rows)], (x[slice(*keys)] for x in (k, v))
            rope = None if tables is None else (tables[0][slice(*keys)], tables[1][slice(*keys)])
            if not len(q_part):
                continue
            out, lse, max_logit = (
                torch_attention(q_part[None], k_part[None], v_part[None], rope=rope, **chosen)
                if len(k_part)
                else (torch.zeros_like(q_part)[None], torch.full((1, 2, len(q_part)), -torch.inf).double(), None)
            )
            if not len(k_part) and "sinks" in chosen:
                lse = chosen["sinks"][:, None].expand(1, 2, len(q_part))
            outs.append(out[0])
            lses.append(lse[0])
            best.append(lse.new_full((2,), -torch.inf) if max_logit is None else max_logit)
        return torch.cat(outs), torch.cat(lses, 1), torch.stack(best).amax(0)

    ours = differentiate(whole, leaves, options, seed=3)
    truth = differentiate(apart, [leaf.double() for leaf in leaves], options, seed=3)
    for mine, exact in zip(ours, truth, strict=True):
        assert error(mine, exact) < 2e-6


@pytest.mark.parametrize("descriptor", [False, True])
@pytest.mark.parametrize("block", [(16, 16), (64, 32)])
def test_block_shapes_and_descriptors_change_nothing(
    block: tuple[int, int], descriptor: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("forward", "dkv", "dq"):
        monkeypatch.setitem(
            kernel.BLOCKS["interpreter"], name, {0: [kernel.Blocks(*block, warps=4, stages=1, descriptor=descriptor)]}
        )
    leaves = [randn(2, 41, heads, 24, seed=heads, dtype=torch.float32) for heads in (2, 1, 1)]
    options = {"window_size": (20, -1)}
    ours = differentiate(
        kernel.gqa_attention, leaves, {**options, "return_lse": True, "return_max_logit": True}, seed=3
    )
    truth = differentiate(torch_attention, [leaf.double() for leaf in leaves], options, seed=3)
    for mine, exact in zip(ours, truth, strict=True):
        assert error(mine, exact) < 2e-6


def test_views_give_the_same_bits_as_copies() -> None:
    """q, k and v cut from one fused projection, and a gradient that is an expanded scalar."""
    fused = randn(2, 19, 4, 16, seed=0, dtype=torch.float32).requires_grad_()
    parts = [fused[:, :, :2], fused[:, :, 2:3], fused[:, :, 3:]]
    kernel.gqa_attention(*parts).sum().backward()
    copies = [part.detach().clone().requires_grad_() for part in parts]
    kernel.gqa_attention(*copies).sum().backward()
    assert torch.equal(fused.grad, torch.cat([copy.grad for copy in copies], 2))


def test_the_same_call_gives_the_same_bits() -> None:
    leaves = [randn(1, 40, heads, 16, seed=heads, dtype=torch.float16) for heads in (4, 2, 2)]
    asked = {"return_lse": True, "return_max_logit": True}
    first, second = (differentiate(kernel.gqa_attention, leaves, asked, seed=3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_nan_reaches_max_logit_of_its_head_alone_and_only_if_visible() -> None:
    q, k, v = (randn(1, 20, heads, 16, seed=heads, dtype=torch.float32) for heads in (2, 2, 2))
    q[0, 3, 1, 5] = torch.nan
    max_logit = kernel.gqa_attention(q, k, v, return_max_logit=True)[1]
    assert max_logit.isnan().tolist() == [False, True]
    q[0, 3, 1, 5] = 0.0
    k[0, 19, 0, 0] = torch.nan  # the last key, which the causal mask shows to the last query only
    assert kernel.gqa_attention(q[:, :, :1], k[:, :, :1], v[:, :, :1], return_max_logit=True)[1].isnan().all()
    hidden = kernel.gqa_attention(
        q[:, :, :1], k[:, :, :1], v[:, :, :1], causal=False, window_size=(-1, -1), return_max_logit=True
    )
    assert hidden[1].isnan().all()
    k[0, 0, 0, 0], k[0, 19, 0, 0] = torch.nan, 0.0  # the first key, outside the last query's window
    last = kernel.gqa_attention(q[:, -1:, :1], k[:, :, :1], v[:, :, :1], window_size=(4, -1), return_max_logit=True)
    assert not last[1].isnan().any()


def test_nothing_to_attend_to() -> None:
    """No keys, no queries, no sequences: zeros, -inf, and gradients of the right shapes."""
    q = randn(1, 3, 2, 16, seed=0, dtype=torch.float32).requires_grad_()
    empty = torch.zeros(1, 0, 1, 16, requires_grad=True)
    out, lse, max_logit = kernel.gqa_attention(q, empty, empty, return_lse=True, return_max_logit=True)
    out.sum().backward()
    assert not out.any()
    assert (lse == -torch.inf).all()
    assert (max_logit == -torch.inf).all()
    assert q.grad is not None
    assert not q.grad.any()
    assert empty.grad is not None
    assert kernel.gqa_attention(empty[:, :, [0, 0]], q[:, :, :1], q[:, :, :1]).shape == (1, 0, 2, 16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": torch.float64}, "float64"),
        ({"kv_heads": 3}, "whole groups"),
        ({"softmax_scale": -1.0}, "positive"),
        ({"rope": rope_tables(4, 8)}, "a row for each key"),
        ({"rope": rope_tables(9, 9)}, "at most D / 2 columns"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    dtype, kv_heads = change.pop("dtype", torch.float32), change.pop("kv_heads", 1)
    q, k = torch.zeros(1, 9, 4, 16, dtype=dtype), torch.zeros(1, 9, kv_heads, 16, dtype=dtype)
    with pytest.raises(ValueError, match=message):
        kernel.gqa_attention(q, k, k, **change)


@pytest.mark.parametrize("packed_batch", [False, True])
def test_the_op_hands_the_kernels_what_it_was_given(packed_batch: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """`smolfast.ops` on a device that the kernels serve gives what it gives by the reference."""
    q, k, v = (randn(2, 21, heads, 16, seed=i, dtype=torch.float32) for i, heads in enumerate((4, 2, 2)))
    options = {"window_size": (9, -1), "softcap": 2.0, "rope": rope_tables(21, 8)}
    if packed_batch:
        q, k, v = (x.flatten(0, 1) for x in (q, k, v))
        options["rope"] = rope_tables(42, 8)
        cu = packed([12, 0, 30])
    leaves = [q, k, v, randn(4, seed=7, dtype=torch.float32)]

    def attention(*qkv: Tensor, **chosen: Any) -> Any:
        asked = {**chosen, "return_lse": True, "return_max_logit": True}
        return (
            ops.gqa_attention_varlen(*qkv, cu, cu, 30, 30, **asked)
            if packed_batch
            else ops.gqa_attention(*qkv, **asked)
        )

    expected = differentiate(attention, leaves, options, seed=3)
    monkeypatch.setattr("smolfast.ops.attention._USE_KERNEL_ON", {"cpu"})
    called = []
    monkeypatch.setattr(kernel, "attention_backward", lambda *a, f=kernel.attention_backward: called.append(1) or f(*a))
    ours = differentiate(attention, leaves, options, seed=3)
    assert called
    for mine, reference in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, reference, rtol=2e-5, atol=2e-6)

"""The operations against brute force in fp64, gradcheck, opcheck, torch.compile, checkpointing and autocast."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from smolfast import SmolfastError, ops
from smolfast.ops import attention as attention_ops
from smolfast.ops import loss as loss_ops

OPCHECKS = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


# Attention


def brute_attention(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool = True, softmax_scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1), softcap: float = 0.0, sinks: Tensor | None = None,
    rope: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """One query row and head at a time: [S, H, D] in, out [S, H, D], lse [H, S], max_logit [H]."""
    if rope is not None:
        cos, sin = rope
        q, k = rotate(q, cos[k.shape[0] - q.shape[0] :], sin[k.shape[0] - q.shape[0] :]), rotate(k, cos, sin)
    scale = q.shape[-1] ** -0.5 if softmax_scale is None else softmax_scale
    rows, lses, best = [], [], []
    group = q.shape[1] // k.shape[1]
    for head, row in itertools.product(range(q.shape[1]), range(q.shape[0])):
        at = row + k.shape[0] - q.shape[0]
        right = 0 if causal else (window_size[1] if window_size[1] >= 0 else k.shape[0] + q.shape[0])
        left = window_size[0] if window_size[0] >= 0 else k.shape[0] + q.shape[0]
        visible = [j for j in range(k.shape[0]) if at - left <= j <= at + right]
        logits = k[visible, head // group] @ q[row, head] * scale
        if softcap:
            logits = softcap * torch.tanh(logits / softcap)
        best.append(logits.max() if visible else logits.new_tensor(-torch.inf))
        everything = logits if sinks is None else torch.cat([logits, sinks[head : head + 1].to(logits)])
        lse = torch.logsumexp(everything, 0) if everything.numel() else logits.new_tensor(-torch.inf)
        weights = torch.exp(logits - lse) if visible else logits
        rows.append(weights @ v[visible, head // group])
        lses.append(lse)
    shape = (q.shape[1], q.shape[0])
    return (
        torch.stack(rows).view(*shape, -1).transpose(0, 1),
        torch.stack(lses).view(shape),
        torch.stack(best).view(shape).amax(1),
    )


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = cos.shape[-1]
    cos, sin = cos[:, None].to(x.dtype), sin[:, None].to(x.dtype)
    first, second = x[..., :half], x[..., half : 2 * half]
    return torch.cat([first * cos - second * sin, second * cos + first * sin, x[..., 2 * half :]], -1)


def rope_tables(length: int, half: int) -> tuple[Tensor, Tensor]:
    angle = torch.arange(length, dtype=torch.float64)[:, None] * 10_000 ** (-torch.arange(half) / half)
    return angle.cos(), angle.sin()


FEATURES: dict[str, dict[str, Any]] = {
    "causal": {},
    "full": {"causal": False},
    "scaled": {"softmax_scale": 0.3},
    "window": {"window_size": (3, 0)},
    "both sides": {"causal": False, "window_size": (2, 1)},
    "right only": {"causal": False, "window_size": (-1, 2)},
    "softcap": {"softcap": 1.5},
    "sinks": {"sinks": True},
    "rope": {"rope": 2},
    "everything": {"window_size": (4, None), "softcap": 2.0, "sinks": True, "rope": 1, "softmax_scale": 0.7},
}
LENGTHS = [(7, 7), (1, 5), (3, 8), (8, 3), (40, 40)]


def options_for(feature: str, heads: int, key_length: int) -> dict[str, Any]:
    options = dict(FEATURES[feature])
    if options.get("sinks"):
        options["sinks"] = randn(heads, seed=9)
    if options.get("rope"):
        options["rope"] = rope_tables(key_length, options["rope"])
    return options


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("feature", FEATURES)
def test_attention_is_brute_force(feature: str, lengths: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smolfast.reference.blocks._MAX_ROWS", 16)
    query_length, key_length = lengths
    if "rope" in FEATURES[feature] and query_length > key_length:
        pytest.skip("refused, tested below")
    q, k, v = randn(2, query_length, 4, 5), randn(2, key_length, 2, 5, seed=1), randn(2, key_length, 2, 5, seed=2)
    options = options_for(feature, 4, key_length)
    leaves = [x for x in (q, k, v, options.get("sinks")) if x is not None]
    for leaf in leaves:
        leaf.requires_grad_()
    out, lse, max_logit = ops.gqa_attention(q, k, v, **options, return_lse=True, return_max_logit=True)
    plain = {**options, "window_size": tuple(-1 if s is None else s for s in options.get("window_size", (-1, -1)))}
    each = [brute_attention(q[b], k[b], v[b], **plain) for b in range(2)]
    expected_out, expected_lse = torch.stack([e[0] for e in each]), torch.stack([e[1] for e in each])
    torch.testing.assert_close(out, expected_out, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(lse, expected_lse, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(max_logit, torch.stack([e[2] for e in each]).amax(0), rtol=1e-10, atol=1e-10)
    assert not max_logit.requires_grad
    grad = randn(*out.shape, seed=3)
    for with_lse in (False, True):
        loss, expected = (out * grad).sum(), (expected_out * grad).sum()
        if with_lse:
            seen = expected_lse > -torch.inf
            loss = loss + lse[seen].square().sum()
            expected = expected + expected_lse[seen].square().sum()
        actual = torch.autograd.grad(loss, leaves, retain_graph=True)
        for got, want in zip(actual, torch.autograd.grad(expected, leaves, retain_graph=True), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("feature", FEATURES)
def test_packed_attention_is_each_sequence_alone(feature: str) -> None:
    query_lengths, key_lengths = [3, 3, 0, 5, 1, 4, 0, 2], [3, 3, 2, 5, 6, 7, 0, 2]
    q, k, v = (
        randn(sum(query_lengths), 4, 6),
        randn(sum(key_lengths), 2, 6, seed=1),
        randn(sum(key_lengths), 2, 6, seed=2),
    )
    options = options_for(feature, 4, sum(key_lengths))
    for x in (q, k, v):
        x.requires_grad_()
    cu_q, cu_k = (torch.tensor([0, *itertools.accumulate(n)], dtype=torch.int32) for n in (query_lengths, key_lengths))
    out, lse, max_logit = ops.gqa_attention_varlen(
        q, k, v, cu_q, cu_k, max(query_lengths), max(key_lengths), **options, return_lse=True, return_max_logit=True
    )
    outs, lses, best = [], [], []
    for index in range(len(query_lengths)):
        queries, keys = slice(cu_q[index], cu_q[index + 1]), slice(cu_k[index], cu_k[index + 1])
        if query_lengths[index] == 0:
            continue
        alone = dict(options)
        if "rope" in options:
            alone["rope"] = tuple(table[keys] for table in options["rope"])
        o, n, m = ops.gqa_attention(
            q[None, queries], k[None, keys], v[None, keys], **alone, return_lse=True, return_max_logit=True
        )
        outs.append(o[0]), lses.append(n[0]), best.append(m)
    torch.testing.assert_close(out, torch.cat(outs), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(lse, torch.cat(lses, 1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(max_logit, torch.stack(best).amax(0), rtol=1e-12, atol=1e-12)
    grad = randn(*out.shape, seed=3)
    got = torch.autograd.grad(out, (q, k, v), grad)
    want = torch.autograd.grad(torch.cat(outs), (q, k, v), grad)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("feature", FEATURES)
def test_attention_errs_no_more_than_torch(feature: str, dtype: torch.dtype) -> None:
    q, k, v = (randn(1, 33, h, 16, seed=s) for s, h in ((1, 4), (2, 2), (3, 2)))
    options = options_for(feature, 4, 33)
    exact = ops.gqa_attention(q, k, v, **options)
    low = ops.gqa_attention(q.to(dtype), k.to(dtype), v.to(dtype), **options)
    plain = {**options, "window_size": tuple(-1 if s is None else s for s in options.get("window_size", (-1, -1)))}
    eager = brute_attention(q[0].to(dtype), k[0].to(dtype), v[0].to(dtype), **plain)[0]
    torch_error = (eager.double() - exact[0]).abs().max()
    assert low.dtype == dtype
    assert (low.double() - exact).abs().max() <= 2 * torch_error


@pytest.mark.parametrize("feature", FEATURES)
def test_attention_gradcheck(feature: str) -> None:
    q, k, v = (randn(1, 4, h, 4, seed=s).requires_grad_() for s, h in ((1, 2), (2, 1), (3, 1)))
    options = options_for(feature, 2, 4)
    torch.autograd.gradcheck(lambda *x: ops.gqa_attention(*x, **options, return_lse=True), (q, k, v))


def test_attention_reads_any_strides() -> None:
    fused = randn(2, 9, 4 + 2 + 2, 8)
    q, k, v = fused.split([4, 2, 2], 2)
    expected = ops.gqa_attention(q.contiguous(), k.contiguous(), v.contiguous())
    assert torch.equal(ops.gqa_attention(q, k, v), expected)
    scattered = [x.movedim(-1, 1).contiguous().movedim(1, -1) for x in (q, k, v)]
    assert scattered[0].stride(-1) != 1
    assert torch.equal(ops.gqa_attention(*scattered), expected)
    grad = torch.zeros(1, dtype=torch.float64).expand_as(expected)  # strides of 0, as .sum().backward() gives
    leaves = [x.detach().requires_grad_() for x in (q, k, v)]
    for got in torch.autograd.grad(ops.gqa_attention(*leaves), leaves, grad):
        assert not got.any()


def test_nan_reaches_max_logit_and_output() -> None:
    q, k, v = randn(1, 5, 2, 4), randn(1, 5, 1, 4, seed=1), randn(1, 5, 1, 4, seed=2)
    q[0, 3, 1, 0] = torch.nan
    for window in ((-1, -1), (2, 0)):
        out, max_logit = ops.gqa_attention(q, k, v, window_size=window, return_max_logit=True)
        assert max_logit.isnan().tolist() == [False, True]
        assert out[0, 3, 1].isnan().all()
        assert not out[0, 3, 0].isnan().any()


def test_empty_attention() -> None:
    nothing = torch.zeros(0, 2, 4)
    cumulative = torch.zeros(1, dtype=torch.int32)
    out, lse, max_logit = ops.gqa_attention_varlen(
        nothing, nothing, nothing, cumulative, cumulative, 0, 0, return_lse=True, return_max_logit=True
    )
    assert out.shape == (0, 2, 4)
    assert lse.shape == (2, 0)
    assert max_logit.tolist() == [-torch.inf, -torch.inf]
    keyless = ops.gqa_attention(torch.randn(1, 3, 2, 4), torch.zeros(1, 0, 2, 4), torch.zeros(1, 0, 2, 4))
    assert not keyless.any()


def attention_arguments(feature: str, lengths: tuple[int, ...], requires_grad: bool) -> tuple[Any, ...]:
    options = options_for(feature, 2, 6)
    q, k, v = (randn(2, 3, h, 4, seed=s).requires_grad_(requires_grad) for s, h in ((1, 2), (2, 1), (3, 1)))
    cumulative = None
    if lengths:
        q, k, v = (x.detach().flatten(0, 1).requires_grad_(requires_grad) for x in (q, k, v))
        cumulative = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    cos, sin = options.get("rope", (None, None))
    if cos is not None and not lengths:
        cos, sin = cos[:3], sin[:3]
    left, right = (-1 if side is None else side for side in options.get("window_size", (-1, -1)))
    return (
        q, k, v, cumulative, cumulative, cos, sin, options.get("sinks"), 4, 4, options.get("causal", True), 0.5, left,
        right, options.get("softcap", 0.0), True, True, True,
    )  # fmt: skip


@pytest.mark.parametrize("lengths", [(), (2, 4), (3, 3)], ids=str)
@pytest.mark.parametrize("feature", ["causal", "everything"])
def test_opcheck_attention(feature: str, lengths: tuple[int, ...]) -> None:
    arguments = attention_arguments(feature, lengths, requires_grad=True)
    torch.library.opcheck(attention_ops._attention, arguments, test_utils=OPCHECKS)
    arguments = attention_arguments(feature, lengths, requires_grad=False)
    out, lse, _ = attention_ops._attention(*arguments)
    backward = (torch.ones_like(out), torch.ones_like(lse), *arguments[:3], out, lse, *arguments[3:-2])
    torch.library.opcheck(attention_ops.attention_backward, backward, test_utils=OPCHECKS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": (1, 4, 3, 8), "v": (1, 4, 3, 8)}, "4 query heads aren't a multiple of 3"),
        ({"q": (4, 4, 8)}, r"expected \[B, S, H, D\]"),
        ({"v": (1, 5, 2, 8)}, "must be equal"),
        ({"q": (1, 4, 4, 6)}, "heads of q are 6 wide"),
        ({"q": (2, 4, 4, 8)}, "batch 2"),
    ],
)
def test_attention_says_what_does_not_fit(change: dict[str, tuple[int, ...]], message: str) -> None:
    shapes = {"q": (1, 4, 4, 8), "k": (1, 4, 2, 8), "v": (1, 4, 2, 8)} | change
    with pytest.raises(SmolfastError, match=message):
        ops.gqa_attention(*(torch.zeros(shapes[name]) for name in "qkv"))


def test_attention_refuses_bad_options() -> None:
    q, k = torch.zeros(1, 4, 2, 8), torch.zeros(1, 4, 1, 8)
    with pytest.raises(SmolfastError, match="softcap"):
        ops.gqa_attention(q, k, k, softcap=-1.0)
    with pytest.raises(SmolfastError, match="rope tables"):
        ops.gqa_attention(q, k, k, rope=(torch.zeros(4, 5), torch.zeros(4, 5)))
    with pytest.raises(SmolfastError, match="at least as many keys"):
        ops.gqa_attention(torch.zeros(1, 6, 2, 8), k, k, rope=(torch.zeros(4, 2), torch.zeros(4, 2)))
    with pytest.raises(SmolfastError, match="sinks has shape"):
        ops.gqa_attention(q, k, k, sinks=torch.zeros(1))
    with pytest.raises(SmolfastError, match="dtypes"):
        ops.gqa_attention(q, k, k.double())
    with pytest.raises(SmolfastError, match="must rise from 0 to 4"):
        cumulative = torch.tensor([0, 3], dtype=torch.int32)
        ops.gqa_attention_varlen(q[0], k[0], k[0], cumulative, cumulative, 3, 3)


# Loss


def brute_loss(
    hidden: Tensor, weight: Tensor, targets: Tensor, head_weights: tuple[float, ...], bias: Tensor | None,
    z_loss: float, softcap: float, label_smoothing: float, document_ids: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """One position at a time over [N]: weighted losses [k, N], valid, right, log-partition."""
    depths, length = len(head_weights), targets.shape[0]
    shape = (depths, length)
    losses, valid = hidden.new_zeros(shape), torch.zeros(shape, dtype=torch.bool)
    right, partition = torch.zeros(shape, dtype=torch.bool), hidden.new_zeros(shape)
    for depth, i in itertools.product(range(depths), range(length)):
        z = weight @ (hidden[i] if hidden.ndim == 2 else hidden[depth, i])
        z = z + bias if bias is not None else z
        z = softcap * torch.tanh(z / softcap) if softcap else z
        if i + depth >= length or targets[i + depth] == -100:
            continue
        if document_ids is not None and document_ids[min(i + depth + 1, len(document_ids) - 1)] != document_ids[i]:
            continue
        smooth = torch.nn.functional.cross_entropy(z, targets[i + depth], label_smoothing=label_smoothing)
        losses[depth, i] = head_weights[depth] * (smooth + z_loss * torch.logsumexp(z, 0) ** 2)
        valid[depth, i] = True
        right[depth, i] = z.argmax() == targets[i + depth]
        partition[depth, i] = torch.logsumexp(z, 0)
    return losses, valid, right, partition


LOSSES: dict[str, dict[str, Any]] = {
    "one head": {"head_weights": (1.0,)},
    "two heads": {"head_weights": (1.0, 0.3)},
    "four heads": {"head_weights": (1.0, 0.5, 0.25, 0.0)},
    "shared": {"head_weights": (1.0, 0.3, 0.2), "shared": True},
    "bias": {"head_weights": (1.0, 0.3), "bias": True},
    "z-loss": {"head_weights": (1.0, 0.3), "z_loss": 0.01},
    "softcap": {"head_weights": (1.0,), "softcap": 2.0},
    "smoothing": {"head_weights": (0.7,), "label_smoothing": 0.1},
    "documents": {"head_weights": (1.0, 0.3), "documents": 0},
    "documents and next": {"head_weights": (1.0, 0.3), "documents": 1},
    "everything": {
        "head_weights": (1.0, 0.3, 0.1), "shared": True, "bias": True, "z_loss": 0.02, "softcap": 3.0,
        "label_smoothing": 0.2, "documents": 1,
    },
}  # fmt: skip


def loss_inputs(
    case: dict[str, Any], length: int, vocabulary: int, width: int = 5
) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    options = dict(case)
    depths = len(options["head_weights"])
    shape = (length, width) if options.pop("shared", False) else (depths, length, width)
    targets = torch.randint(0, vocabulary, (length,), generator=torch.Generator().manual_seed(4))
    targets[length // 2 : length // 2 + 1] = -100
    if options.pop("bias", False):
        options["bias"] = randn(vocabulary, seed=7).requires_grad_()
    if "documents" in options:
        options["document_ids"] = torch.arange(length + options.pop("documents")) // 4
    return (randn(*shape, seed=5).requires_grad_(), randn(vocabulary, width, seed=6).requires_grad_(), targets), options


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize(("length", "vocabulary"), [(11, 13), (3, 7), (6, 600)])
@pytest.mark.parametrize("name", LOSSES)
def test_loss_is_brute_force(
    name: str, length: int, vocabulary: int, stored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_ops, "_STORE_BYTES", (1 << 30) if stored else 0)
    monkeypatch.setattr("smolfast.reference.loss._TILE_COLUMNS", 256)
    monkeypatch.setattr("smolfast.reference.loss._TILE", 1024)
    (hidden, weight, targets), options = loss_inputs(LOSSES[name], length, vocabulary)
    keys = ("bias", "z_loss", "softcap", "label_smoothing", "document_ids")
    full = {"bias": None, "z_loss": 0.0, "softcap": 0.0, "label_smoothing": 0.0, "document_ids": None} | options
    losses, valid, right, partition = brute_loss(
        hidden, weight, targets, options["head_weights"], *(full[key] for key in keys)
    )
    counts = valid.sum(1)
    expected = (losses.sum(1) / counts.clamp(min=1)).sum()
    leaves = [x for x in (hidden, weight, full["bias"]) if x is not None]
    loss, metrics = ops.mtp_loss(hidden, weight, targets, **options, return_metrics=True)
    torch.testing.assert_close(loss, expected)
    for got, want in zip(
        torch.autograd.grad(loss, leaves), torch.autograd.grad(expected, leaves, retain_graph=True), strict=True
    ):
        torch.testing.assert_close(got, want)
    scale = torch.tensor(options["head_weights"], dtype=torch.float64)
    torch.testing.assert_close(metrics["loss"] * scale, losses.detach().sum(1) / counts.clamp(min=1))
    torch.testing.assert_close(metrics["accuracy"], right.sum(1) / counts.clamp(min=1))
    torch.testing.assert_close(metrics["log_partition"], partition.detach().sum(1) / counts.clamp(min=1))
    assert metrics["count"].tolist() == counts.tolist()
    each = ops.mtp_loss(hidden, weight, targets, **options, reduction="none")
    torch.testing.assert_close(each, losses)
    upstream = randn(*each.shape, seed=8)
    got, want = torch.autograd.grad(each, leaves, upstream), torch.autograd.grad(losses, leaves, upstream)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(ops.mtp_loss(hidden, weight, targets, **options, reduction="sum"), losses.sum())
    torch.testing.assert_close(ops.mtp_loss(hidden, weight, targets, **options, num_items=50.0), losses.sum() / 50)


def test_batched_sequences_do_not_see_each_other() -> None:
    hidden, weight = randn(2, 3, 5, 4), randn(9, 4, seed=1)
    targets = torch.randint(0, 9, (3, 5), generator=torch.Generator().manual_seed(0))
    together = ops.mtp_loss(hidden, weight, targets, head_weights=(1.0, 0.5), reduction="sum")
    apart = [ops.mtp_loss(hidden[:, i], weight, targets[i], head_weights=(1.0, 0.5), reduction="sum") for i in range(3)]
    torch.testing.assert_close(together, torch.stack(apart).sum())


@pytest.mark.parametrize("name", ["two heads", "shared", "everything"])
def test_loss_gradcheck(name: str) -> None:
    (hidden, weight, targets), options = loss_inputs(LOSSES[name], 5, 6, width=3)
    torch.autograd.gradcheck(lambda x, w: ops.mtp_loss(x, w, targets, **options), (hidden, weight))


def test_linear_cross_entropy_is_torchs() -> None:
    x, weight, bias = randn(2, 3, 4).requires_grad_(), randn(7, 4, seed=1).requires_grad_(), randn(7, seed=2)
    target = torch.randint(0, 7, (2, 3), generator=torch.Generator().manual_seed(0))
    target[0, 1] = -100
    for reduction in ("mean", "sum", "none"):
        options: dict[str, Any] = {"reduction": reduction, "label_smoothing": 0.1}
        got = ops.linear_cross_entropy(x, weight, target, linear_bias=bias, **options)
        logits = torch.nn.functional.linear(x, weight, bias).movedim(-1, 1)
        want = torch.nn.functional.cross_entropy(logits, target, **options)
        torch.testing.assert_close(got, want)


def test_loss_without_targets_is_zero() -> None:
    hidden, weight = torch.randn(2, 3, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    loss = ops.mtp_loss(hidden, weight, torch.full((3,), -100), head_weights=(1.0, 1.0))
    loss.backward()
    assert loss.item() == 0
    assert hidden.grad is not None
    assert not hidden.grad.any()
    empty = ops.mtp_loss(torch.zeros(1, 0, 4), weight, torch.zeros(0, dtype=torch.int64), head_weights=(1.0,))
    assert empty.item() == 0


def test_frozen_weight_gets_no_gradient() -> None:
    hidden, weight = torch.randn(1, 3, 4, requires_grad=True), torch.randn(5, 4)
    ops.mtp_loss(hidden, weight, torch.tensor([1, 2, 3]), head_weights=(1.0,)).backward()
    assert hidden.grad is not None
    assert weight.grad is None


@pytest.mark.parametrize("name", ["two heads", "everything"])
@pytest.mark.parametrize("store", [True, False])
def test_opcheck_loss(name: str, store: bool) -> None:
    (hidden, weight, targets), options = loss_inputs(LOSSES[name], 6, 7)
    depths = len(options["head_weights"])
    if hidden.ndim == 2:
        hidden = hidden.detach()[None].requires_grad_()
    shifted = loss_ops.shift(targets, depths, -100, options.get("document_ids"))
    arguments = (hidden, weight, options.get("bias"), shifted, -100, 0.01, 0.0 if store else 2.0, 0.1, store)
    torch.library.opcheck(loss_ops.token_losses, arguments, test_utils=OPCHECKS)
    plain = [x.detach() if isinstance(x, Tensor) else x for x in arguments]
    _, lse, _, logits = loss_ops.token_losses(*plain)
    backward = (torch.ones(shifted.shape, dtype=torch.float64), *plain[:4], lse, logits, *plain[4:8], True, True)
    torch.library.opcheck(loss_ops._token_losses_backward, backward, test_utils=OPCHECKS)


def test_loss_says_what_does_not_fit() -> None:
    hidden, weight, targets = torch.zeros(2, 3, 4), torch.zeros(5, 4), torch.tensor([1, 2, 3])
    with pytest.raises(SmolfastError, match=r"target 9 of position 2 is outside the vocabulary of 5"):
        ops.mtp_loss(hidden, weight, torch.tensor([1, 2, 9]), head_weights=(1.0, 1.0))
    for arguments, message in [
        ((hidden[0], weight, targets[:2]), "hidden has shape"),
        ((hidden, weight[:, :3], targets), "weight has shape"),
        ((hidden, weight, targets.int()), "expected int64"),
    ]:
        with pytest.raises(SmolfastError, match=message):
            ops.mtp_loss(*arguments, head_weights=(1.0, 1.0))
    for options, message in [
        ({"reduction": "max"}, "choose mean, sum or none"),
        ({"label_smoothing": 2.0}, "within"),
        ({"bias": torch.zeros(4)}, "bias has shape"),
        ({"document_ids": torch.zeros(7)}, "document_ids has shape"),
        ({"num_items": [1.0, 2.0, 3.0]}, "give one number, or 2"),
    ]:
        with pytest.raises(SmolfastError, match=message):
            ops.mtp_loss(hidden, weight, targets, head_weights=(1.0, 1.0), **options)
    with pytest.raises(SmolfastError, match="head_weights is empty"):
        ops.mtp_loss(hidden, weight, targets, head_weights=())


# All together


def small_model(x: Tensor, qkv: Tensor, unembedding: Tensor, targets: Tensor, cumulative: Tensor) -> Tensor:
    q, k, v = (x @ ops.newton_schulz(qkv)).unflatten(-1, (8, 4)).split([4, 2, 2], 1)
    out = ops.gqa_attention_varlen(q, k, v, cumulative, cumulative, 8, 8, window_size=(5, 0))
    loss = ops.mtp_loss(out.flatten(1), unembedding, targets, head_weights=(1.0, 0.5))
    assert isinstance(loss, Tensor)
    return loss


def small_inputs() -> tuple[Tensor, ...]:
    x, qkv, unembedding = (
        randn(12, 16, seed=1, dtype=torch.float32), randn(16, 32, seed=2, dtype=torch.float32),
        randn(19, 16, seed=3, dtype=torch.float32),
    )  # fmt: skip
    targets = torch.randint(0, 19, (12,), generator=torch.Generator().manual_seed(0))
    return *(t.requires_grad_() for t in (x, qkv, unembedding)), targets, torch.tensor([0, 4, 12], dtype=torch.int32)


def test_compiles_in_one_graph() -> None:
    inputs = small_inputs()
    expected = torch.autograd.grad(small_model(*inputs), inputs[:3])
    compiled = torch.compile(small_model, fullgraph=True, backend="aot_eager")
    for got, want in zip(torch.autograd.grad(compiled(*inputs), inputs[:3]), expected, strict=True):
        torch.testing.assert_close(got, want)


def test_checkpointing_gives_the_same_gradients() -> None:
    inputs = small_inputs()
    expected = torch.autograd.grad(small_model(*inputs), inputs[:3])
    loss = checkpoint(small_model, *inputs, use_reentrant=False)
    for got, want in zip(torch.autograd.grad(loss, inputs[:3]), expected, strict=True):
        assert torch.equal(got, want)


def test_autocast_computes_in_its_dtype() -> None:
    q, k, v = (randn(1, 8, h, 16, seed=s, dtype=torch.float32).requires_grad_() for s, h in ((1, 4), (2, 2), (3, 2)))
    sdpa = torch.nn.functional.scaled_dot_product_attention
    with torch.autocast("cpu", torch.bfloat16):
        ours = ops.gqa_attention(q, k, v)
        theirs = sdpa(*(x.transpose(1, 2) for x in (q, k, v)), is_causal=True, enable_gqa=True).transpose(1, 2)
        weight = randn(11, 16, seed=5, dtype=torch.float32).requires_grad_()
        loss = ops.mtp_loss(ours.float()[0, :, 0], weight, torch.arange(8), head_weights=(1.0,))
        windowed = ops.gqa_attention(q, k, v, window_size=(8, 0))
        orthogonal = ops.newton_schulz(weight)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    torch.testing.assert_close(ours, theirs)
    assert loss.dtype == torch.float32
    exact = ops.gqa_attention(*(x.bfloat16().double() for x in (q, k, v)))
    assert torch.equal(windowed, exact.bfloat16())  # one rounding, at the end
    assert torch.equal(orthogonal, ops.newton_schulz(weight))
    loss.backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
    assert q.grad is not None

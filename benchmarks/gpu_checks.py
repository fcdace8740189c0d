"""Whether the kernels are right: each beside plain torch, in its own dtype and in fp64. The command is gpu.py."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import bench_attention
import bench_loss
import bench_optim
import torch
import torch.nn.functional as F
from torch import Tensor

from smolfast import ops
from smolfast.bench.results import Row
from smolfast.distill import DenseTeacher, HiddenTeacher, StoredTeacher, distill_loss
from smolfast.ops import loss as loss_ops

ROUNDING = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11, torch.float32: 2.0**-20}

Tensors = dict[str, Tensor]
Method = Callable[..., Tensors]


@dataclass
class Bench:
    """Where things run, and at what size."""

    device: str
    rounds: int
    kernels: dict[str, ModuleType]
    peaks: dict[torch.dtype, float] = field(default_factory=dict)

    @property
    def dry(self) -> bool:
        return self.device == "cpu"

    def randn(self, *shape: int, dtype: torch.dtype, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(*shape, generator=generator).to(self.device, dtype)

    def peak(self, dtype: torch.dtype) -> float:
        if dtype not in self.peaks:
            self.peaks[dtype] = bench_attention.matrix_peak(self.device, dtype)
        return self.peaks[dtype]

    def synchronize(self) -> None:
        if not self.dry:
            torch.cuda.synchronize()


def with_gradients(method: Method, leaves: Tensors) -> Tensors:
    """What a method makes of the leaves, and the gradients of a fixed random functional of it where it has any."""
    leaves = {name: leaf.detach().requires_grad_() for name, leaf in leaves.items()}
    outputs = method(**leaves)
    pairs = [x for x in outputs.items() if x[1].requires_grad]
    loss = sum(
        (x * torch.randn(x.shape, generator=torch.Generator().manual_seed(i)).to(x.device, x.dtype)).sum()
        for i, (_, x) in enumerate(pairs)
    )
    if not pairs:
        return outputs
    gradients = torch.autograd.grad(loss, list(leaves.values()))  # type: ignore[arg-type]
    return outputs | {f"d {name}": gradient for name, gradient in zip(leaves, gradients, strict=True)}


def error(value: Tensor, truth: Tensor) -> float:
    difference = (value.detach().double() - truth).norm() / truth.norm().clamp(min=1e-30)
    return float(difference) if bool(difference.isfinite()) else float("inf")


def compare(kernel: str, case: str, ours: Method, plain: Method, leaves: Tensors) -> Iterator[Row]:
    """A row for each output and gradient; `plain` is plain torch, right in fp64."""
    dtype = next(iter(leaves.values())).dtype
    got = with_gradients(ours, leaves)
    truth = with_gradients(plain, {name: leaf.double() for name, leaf in leaves.items()})
    usual = with_gradients(plain, leaves)
    assert got.keys() == truth.keys(), (got.keys(), truth.keys())
    for name, value in got.items():
        found, expected = error(value, truth[name]), error(usual[name], truth[name])
        bound = 2 * expected + 2 * ROUNDING[dtype]
        facts = {"error": found, "error of plain torch": expected, "bound": bound}
        failed = "" if found <= bound else f"WRONG: error {found:.2e}, at most {bound:.2e} is right"
        yield Row("check", f"{case}: {name}", kernel, "ours", facts=facts, failed=failed)


def plain_attention(
    q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None = None, causal: bool = True, window: int = -1,
    softcap: float = 0.0, angles: Tensor | None = None, lengths: tuple[int, ...] = (),
) -> Tensors:  # fmt: skip
    """[B, S, H, D], or documents of these lengths one after the other in the one row of a batch."""
    if angles is not None:
        q, k = (rotate(x, angles) for x in (q, k))
    k, v = (x.repeat_interleave(q.shape[2] // k.shape[2], 2) for x in (k, v))
    logits = torch.einsum("bshd,bthd->bhst", q, k) * q.shape[-1] ** -0.5
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    row = torch.arange(q.shape[1], device=q.device)
    seen = torch.ones_like(logits[0, 0], dtype=torch.bool)
    if causal:
        seen &= row[:, None] >= row
    if window >= 0:
        seen &= row[:, None] - row <= window
    if lengths:
        document = torch.repeat_interleave(torch.tensor(lengths, device=q.device))
        seen &= document[:, None] == document
    logits = logits.masked_fill(~seen, -torch.inf)
    joined = logits
    if sinks is not None:
        joined = torch.cat([logits, sinks.to(q.dtype)[:, None, None].expand(*logits.shape[:3], 1)], -1)
    lse = torch.logsumexp(joined, -1)
    out = torch.einsum("bhst,bthd->bshd", torch.exp(logits - lse[..., None]), v)
    return {"out": out, "lse": lse, "max_logit": logits.detach().amax((0, 2, 3))}


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    cos, sin = angles.cos()[:, None].to(x.dtype), angles.sin()[:, None].to(x.dtype)
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def check_attention(bench: Bench, feature: str, dtype: torch.dtype, width: int) -> Iterator[Row]:
    length, heads, kv_heads = (37, 2, 1) if bench.dry else (1111, 8, 2)
    batch, width = (1, 16) if bench.dry else (2, width)
    kernel = bench.kernels["gqa_attention"]
    options: dict[str, Any] = {}
    lengths: tuple[int, ...] = ()
    if feature == "varlen":
        lengths, batch = ((7, 0, 17, 13), 1) if bench.dry else ((300, 0, 700, 111), 1)
    leaves = {
        name: bench.randn(batch, length, n, width, dtype=dtype, seed=seed)
        for seed, (name, n) in enumerate((("q", heads), ("k", kv_heads), ("v", kv_heads)))
    }
    if feature == "sinks":
        leaves["sinks"] = bench.randn(heads, dtype=dtype, seed=3)
    if feature == "softcap":
        options["softcap"] = 5.0
    window = length // 4 if feature == "window" else -1
    causal = feature != "all pairs"
    angles = None
    if feature == "rope":
        angles = torch.outer(torch.arange(length).float(), 100.0 ** (-torch.arange(width // 2) / (width // 2)))
        angles = angles.to(bench.device)
        options["rope"] = (angles.cos(), angles.sin())

    def ours(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None = None) -> Tensors:
        shared = {"causal": causal, "window_size": (window, -1), "sinks": sinks, "return_lse": True,
                  "return_max_logit": True, **options}  # fmt: skip
        if not lengths:
            out, lse, highest = kernel.gqa_attention(q, k, v, **shared)
            return {"out": out, "lse": lse, "max_logit": highest}
        starts = torch.tensor([0, *lengths], device=bench.device).cumsum(0).to(torch.int32)
        out, lse, highest = kernel.gqa_attention_varlen(
            q[0], k[0], v[0], starts, starts, max(lengths), max(lengths), **shared
        )
        return {"out": out[None], "lse": lse[None], "max_logit": highest}

    plain = functools.partial(
        plain_attention, causal=causal, window=window, softcap=options.get("softcap", 0.0), angles=angles,
        lengths=lengths,
    )  # fmt: skip
    yield from compare("gqa_attention", f"{feature}, {label(dtype)}, D {width}", ours, plain, leaves)


def label(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def plain_newton_schulz(G: Tensor) -> Tensors:
    a, b, c = bench_optim.COEFFICIENTS
    X = G / G.norm(dim=(-2, -1), keepdim=True)
    tall = X.shape[-2] > X.shape[-1]
    X = X.mT if tall else X
    for _ in range(5):
        A = X @ X.mT
        X = a * X + (b * A + c * A @ A) @ X
    return {"X": (X.mT if tall else X).detach()}


def check_newton_schulz(bench: Bench, form: str, dtype: torch.dtype, shape: tuple[int, ...]) -> Iterator[Row]:
    kernel = bench.kernels["newton_schulz"]
    shape = tuple(max(1, n // 30) if n > 30 else min(n, 2) for n in shape) if bench.dry else shape
    G = bench.randn(*shape, dtype=dtype, seed=0)

    def ours(G: Tensor) -> Tensors:
        return {"X": kernel.newton_schulz(G.detach(), (bench_optim.COEFFICIENTS,) * 5, form, dtype)}

    case = f"{form}, {label(dtype)}, {' × '.join(map(str, shape))}"
    yield from compare("newton_schulz", case, ours, plain_newton_schulz, {"G": G})


def check_products(bench: Bench, dtype: torch.dtype) -> Iterator[Row]:
    """Its two kernels alone: α ABᵀ + β C + γ I, mirrored, and AX + a X."""
    kernel = bench.kernels["newton_schulz"]
    batch, n, m = (2, 35, 50) if bench.dry else (3, 777, 1000)
    leaves = {"X": bench.randn(batch, n, m, dtype=dtype, seed=0), "C": bench.randn(batch, n, n, dtype=dtype, seed=1)}
    leaves["C"] = (leaves["C"] + leaves["C"].mT) / 2

    def ours(X: Tensor, C: Tensor) -> Tensors:
        X, C = X.detach(), C.detach()
        return {"ABᵀ": kernel.symmetric(X, X, C, 0.5, 2.0, 3.0), "AX": kernel.multiply(C, X, 1.5)}

    def plain(X: Tensor, C: Tensor) -> Tensors:
        X, C = X.detach(), C.detach()
        identity = torch.eye(n, dtype=X.dtype, device=X.device)
        return {"ABᵀ": 0.5 * X @ X.mT + 2.0 * C + 3.0 * identity, "AX": C @ X + 1.5 * X}

    yield from compare("newton_schulz", f"products, {label(dtype)}", ours, plain, leaves)


@dataclass(frozen=True)
class LossCase:
    name: str
    depths: int
    shared: bool = False
    bias: bool = False
    options: tuple[tuple[str, float], ...] = ()


FULL = (("z_loss", 1e-2), ("softcap", 5.0), ("label_smoothing", 0.1))
LOSS_CASES = (
    LossCase("linear_cross_entropy", 1), LossCase("k = 3", 3), LossCase("k = 3, shared", 3, shared=True),
    LossCase("k = 2, bias, z-loss, softcap, smoothing", 2, bias=True, options=FULL),
)  # fmt: skip


def loss_sizes(bench: Bench) -> tuple[int, int, int]:
    """Positions, width, vocabulary."""
    return (37, 16, 77) if bench.dry else (1000, 512, 50_001)


def check_loss(bench: Bench, case: LossCase, dtype: torch.dtype) -> Iterator[Row]:
    positions, width, vocabulary = loss_sizes(bench)
    shape = (positions, width) if case.shared or case.depths == 1 else (case.depths, positions, width)
    leaves = {
        "hidden": bench.randn(*shape, dtype=dtype, seed=0),
        "weight": bench.randn(vocabulary, width, dtype=dtype, seed=1) * 0.1,
    }
    if case.bias:
        leaves["bias"] = bench.randn(vocabulary, dtype=dtype, seed=2)
    targets = torch.randint(0, vocabulary, (positions,), generator=torch.Generator().manual_seed(3)).to(bench.device)
    targets[5:9] = -100
    weights = tuple(1.0 / (1 + j) for j in range(case.depths))
    options = dict(case.options)

    def ours(hidden: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensors:
        if loss_ops.loss_kernel(hidden, weight, bias) is not bench.kernels["mtp_loss"]:
            raise RuntimeError("the operation didn't choose the kernel")
        if case.name == "linear_cross_entropy":
            return {"loss": ops.linear_cross_entropy(hidden, weight, targets)}
        hidden = hidden if case.shared else hidden.reshape(case.depths, positions, width)
        return {"loss": bench_loss._tensor(
            ops.mtp_loss(hidden, weight, targets, head_weights=weights, bias=bias, **options)  # type: ignore[arg-type]
        )}  # fmt: skip

    def plain(hidden: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensors:
        rows = hidden.expand(case.depths, positions, width) if hidden.dim() == 2 else hidden
        total = hidden.new_zeros((), dtype=torch.promote_types(dtype, hidden.dtype)).double()
        for depth in range(case.depths):
            target = F.pad(targets[depth:], (0, depth), value=-100)
            logits = plain_logits(rows[depth], weight, bias, options.get("softcap", 0.0))
            each = F.cross_entropy(logits, target, label_smoothing=options.get("label_smoothing", 0.0))
            valid = target != -100
            penalty = options.get("z_loss", 0.0) * torch.logsumexp(logits, -1)[valid].square().mean()
            total = total + weights[depth] * (each + penalty)
        return {"loss": total}

    yield from compare("mtp_loss", f"{case.name}, {label(dtype)}", ours, plain, leaves)


def plain_logits(x: Tensor, weight: Tensor, bias: Tensor | None = None, softcap: float = 0.0) -> Tensor:
    """fp32 at least."""
    logits = F.linear(x, weight, bias)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return softcap * torch.tanh(logits / softcap) if softcap else logits


def check_distillation(bench: Bench, teacher: str, dtype: torch.dtype) -> Iterator[Row]:
    positions, width, vocabulary = loss_sizes(bench)
    leaves = {
        "hidden": bench.randn(positions, width, dtype=dtype, seed=0),
        "weight": bench.randn(vocabulary, width, dtype=dtype, seed=1) * 0.1,
    }
    targets = torch.randint(0, vocabulary, (positions,), generator=torch.Generator().manual_seed(3)).to(bench.device)
    teacher_hidden = bench.randn(positions, width, dtype=dtype, seed=4)
    teacher_weight = bench.randn(vocabulary, width, dtype=dtype, seed=5) * 0.1
    logits = F.linear(teacher_hidden, teacher_weight)
    shares, tokens = torch.softmax(logits.float(), -1).topk(8, -1)
    given = {
        "dense": DenseTeacher(logits),
        "hidden": HiddenTeacher(teacher_hidden, teacher_weight),
        "stored": StoredTeacher(tokens, shares, unbiased=False),
    }[teacher]

    def ours(hidden: Tensor, weight: Tensor) -> Tensors:
        return {"loss": bench_loss._tensor(distill_loss(hidden, weight, targets, given))}

    def plain(hidden: Tensor, weight: Tensor) -> Tensors:
        z = plain_logits(hidden, weight)
        log_p = torch.log_softmax(z, -1)
        if teacher == "stored":
            q = shares.to(z.dtype)
            kl = (q * (q.log() - log_p.gather(1, tokens))).sum(-1).mean()
        else:
            of = F.linear(teacher_hidden.to(hidden.dtype), teacher_weight.to(hidden.dtype))
            of = logits.to(z.dtype) if teacher == "dense" else of.to(z.dtype)
            kl = F.kl_div(log_p, torch.log_softmax(of, -1), log_target=True, reduction="batchmean")
        return {"loss": (0.5 * F.cross_entropy(z, targets) + 0.5 * kl).double()}

    yield from compare("distill_loss", f"{teacher} teacher, {label(dtype)}", ours, plain, leaves)

"""Gradients of gradients, torch.func and forward mode: torch's own answer, or an error, never a silent nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad, gradgradcheck
from torch.func import grad, jacrev, jvp, vmap

from smolfast import ops
from smolfast.distill import DenseTeacher, distill_loss
from smolfast.errors import SmolfastError
from smolfast.ops.rms_norm import rms_norm
from smolfast.ops.swiglu import swiglu

# torch's own first jvp of a process.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
TARGETS = torch.tensor([1, 2, -100, 3, 0, 6])
Loss = Callable[[Tensor, Tensor], Tensor]


def leaves(dtype: torch.dtype = torch.float64, heads: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    hidden, weight = (torch.randn(*shape, dtype=dtype, generator=generator) for shape in ((heads, 6, 4), (7, 4)))
    return hidden.requires_grad_(), weight.requires_grad_()


def each(hidden: Tensor, weight: Tensor, **options: Any) -> Tensor:
    losses = ops.mtp_loss(hidden, weight, TARGETS, head_weights=(1.0, 0.5), reduction="none", **options)
    assert isinstance(losses, Tensor)
    return losses


def mean(hidden: Tensor, weight: Tensor) -> Tensor:
    loss = ops.mtp_loss(hidden, weight, TARGETS, head_weights=(1.0, 0.5))
    assert isinstance(loss, Tensor)
    return loss


def distilled(hidden: Tensor, weight: Tensor) -> Tensor:
    teacher = DenseTeacher(torch.randn(6, 7, generator=torch.Generator().manual_seed(1)).to(hidden.dtype))
    loss = distill_loss(hidden, weight, TARGETS, teacher, head_weights=(1.0, 0.5))
    assert isinstance(loss, Tensor)
    return loss


def plain(hidden: Tensor, weight: Tensor) -> Tensor:
    """`mean`, by torch alone."""
    second = torch.cat([TARGETS[1:], torch.tensor([-100])])
    first, last = (F.cross_entropy(h @ weight.t(), t) for h, t in zip(hidden, (TARGETS, second), strict=True))
    return first + 0.5 * last


@pytest.mark.parametrize(
    "options",
    [{}, {"softcap": 2.0, "z_loss": 0.1}, {"label_smoothing": 0.2, "bias": torch.randn(7, dtype=torch.float64)}],
    ids=["plain", "softcap", "smoothing"],
)
@pytest.mark.parametrize("heads", [2, 1])
def test_losses_one_by_one_can_be_differentiated_twice(options: dict[str, Any], heads: int) -> None:
    hidden, weight = leaves(heads=heads)
    if heads == 1:  # shared by both depths
        hidden = hidden[0].detach().requires_grad_()
    assert gradgradcheck(lambda h, w: each(h, w, **options), (hidden, weight), fast_mode=True)


def test_a_penalty_on_gradients_is_torchs() -> None:
    """`create_graph=True`, the gradients' squares added up and differentiated."""
    found = []
    for loss in (
        lambda h, w: ops.linear_cross_entropy(h[0], w, TARGETS, reduction="none").sum(),
        lambda h, w: F.cross_entropy(h[0] @ w.t(), TARGETS, reduction="sum"),
    ):
        hidden, weight = leaves(torch.float32)
        first = torch.autograd.grad(loss(hidden, weight), (hidden, weight), create_graph=True)
        sum((x.square().sum() for x in first), torch.tensor(0.0)).backward()
        found.append((hidden.grad, weight.grad))
    torch.testing.assert_close(*found)


def second(loss: Loss, through: str) -> None:
    hidden, weight = leaves()
    first = torch.autograd.grad(loss(hidden, weight), (hidden, weight), create_graph=True)
    penalty = sum(x.square().sum() for x in first)
    assert isinstance(penalty, Tensor)
    if through == "backward":
        penalty.backward()
    else:
        torch.autograd.grad(penalty, (hidden, weight), allow_unused=True)


@pytest.fixture
def alone() -> Iterator[None]:
    """A process group of this process."""
    if not dist.is_available() or not dist.is_gloo_available():
        pytest.skip("torch has no gloo here")
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def parallel(hidden: Tensor, weight: Tensor) -> Tensor:
    loss = ops.vocab_parallel_mtp_loss(hidden, weight, TARGETS, head_weights=(1.0, 0.5))
    assert isinstance(loss, Tensor)
    return loss


@pytest.mark.parametrize("through", ["backward", "grad"])
@pytest.mark.parametrize(
    ("loss", "error"),
    [
        (mean, r"mtp_loss: its gradients can't be differentiated again .*reduction=\"none\""),
        (distilled, "distill_loss: its gradients can't be differentiated again .*kl_div"),
        (parallel, "vocab_parallel_mtp_loss: its gradients can't be differentiated again"),
    ],
)
@pytest.mark.usefixtures("alone")
def test_what_cannot_be_differentiated_twice_says_so(loss: Loss, error: str, through: str) -> None:
    with pytest.raises(SmolfastError, match=error):
        second(loss, through)


@pytest.mark.parametrize("loss", [mean, distilled])
def test_first_gradients_with_a_graph_are_the_same(loss: Loss) -> None:
    hidden, weight = leaves()
    with_graph, without = (
        torch.autograd.grad(loss(hidden, weight), (hidden, weight), create_graph=create) for create in (True, False)
    )
    torch.testing.assert_close(with_graph, without)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (2, 3, 4)])
def test_newton_schulz_twice(shape: tuple[int, ...]) -> None:
    G = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert gradgradcheck(lambda G: ops.newton_schulz(G, 2), G, atol=1e-4, fast_mode=True)


def test_swiglu_twice() -> None:
    gate, up = (torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert gradgradcheck(swiglu, (gate, up), fast_mode=True)


def normalized(x: Tensor, weight: Tensor) -> Tensor:
    return weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-3))


def test_rms_norm_twice() -> None:
    results = []
    for norm in (lambda x, weight: rms_norm(x, weight, 1e-3), normalized):
        x, weight = (leaf.detach().float().requires_grad_() for leaf in (leaves()[0], leaves()[1][0]))
        first = torch.autograd.grad(norm(x, weight).sin().sum(), (x, weight), create_graph=True)
        sum(value.square().sum() for value in first).backward()
        results.append((x.grad, weight.grad))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


# torch.func and forward mode: each beside the same computation by torch alone

PAIRS: dict[str, tuple[Loss, Loss]] = {
    "mtp_loss": (mean, plain),
    "newton_schulz": (
        lambda h, w: ops.newton_schulz(w @ h[0].t(), 1, (1.5, -0.5, 0.0)).sin().sum(),
        lambda h, w: (
            lambda X: (1.5 * X - 0.5 * X @ X.mT @ X).sin().sum()
        )((w @ h[0].t()) / torch.linalg.vector_norm(w @ h[0].t())),
    ),
    "swiglu": (lambda h, w: swiglu(h, h * w[0]).sum(), lambda h, w: (F.silu(h) * h * w[0]).sum()),
    "rms_norm": (lambda h, w: rms_norm(h, w[0], 1e-3).sin().sum(), lambda h, w: normalized(h, w[0]).sin().sum()),
}  # fmt: skip


@pytest.mark.parametrize("name", list(PAIRS))
def test_transforms_are_torchs(name: str) -> None:
    hidden, weight = (leaf.detach().float() for leaf in leaves())
    batch = torch.stack([hidden, hidden.flip(1)])

    def answers(loss: Loss) -> list[Any]:
        def penalty(h: Tensor, w: Tensor) -> Tensor:
            return sum((x.square().sum() for x in grad(loss, (0, 1))(h, w)), torch.tensor(0.0))

        with forward_ad.dual_level():
            dual = forward_ad.unpack_dual(loss(forward_ad.make_dual(hidden, hidden.cos()), weight)).tangent
        return [
            grad(loss, (0, 1))(hidden, weight),
            grad(penalty, (0, 1))(hidden, weight),
            jvp(loss, (hidden, weight), (hidden.sin(), weight.cos())),
            vmap(loss, (0, None))(batch, weight),
            vmap(grad(loss), (0, None))(batch, weight),
            jacrev(lambda w: loss(hidden, w))(weight),
            dual,
        ]

    ours, torchs = PAIRS[name]
    torch.testing.assert_close(answers(ours), answers(torchs), rtol=2e-4, atol=2e-5, check_dtype=False)


@pytest.mark.parametrize("loss", [distilled, parallel])
def test_transforms_that_cannot_be_are_refused(loss: Loss) -> None:
    hidden, weight = (leaf.detach() for leaf in leaves())
    with pytest.raises(SmolfastError, match=r"loss: torch\.func's transforms and forward-mode"):
        jvp(loss, (hidden, weight), (hidden, weight))
    with pytest.raises(SmolfastError, match=r"loss: torch\.func's transforms and forward-mode"):
        grad(loss)(hidden, weight)

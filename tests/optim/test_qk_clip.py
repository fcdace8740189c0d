"""QK-clip: exact per head under grouped queries, harmless to the others; it keeps a training run from diverging."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from smolfast import SmolfastError, ops
from smolfast.optim import MuonAdamW, MuonClip, qk_clip_

HEADS, GROUPS, WIDTH, HIDDEN = 4, 2, 8, 32


class Attention(nn.Module):
    def __init__(self, rope: bool = True, bias: bool = False) -> None:
        super().__init__()
        self.q_proj = nn.Linear(HIDDEN, HEADS * WIDTH, bias=bias)
        self.k_proj = nn.Linear(HIDDEN, GROUPS * WIDTH, bias=bias)
        self.v_proj = nn.Linear(HIDDEN, GROUPS * WIDTH, bias=False)
        self.o_proj = nn.Linear(HEADS * WIDTH, HIDDEN, bias=False)
        self.rope = rope

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = (proj(x).unflatten(-1, (-1, WIDTH)) for proj in (self.q_proj, self.k_proj, self.v_proj))
        angle = torch.arange(x.shape[1])[:, None] * torch.tensor([1.0, 0.1, 0.01, 0.001])
        rope = (angle.cos(), angle.sin()) if self.rope else None
        out, max_logit = ops.gqa_attention(q, k, v, rope=rope, return_max_logit=True)
        return self.o_proj(out.flatten(2)), max_logit


class Model(nn.Module):
    def __init__(self, bias: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed_tokens = nn.Embedding(24, HIDDEN)
        self.layers = nn.ModuleList([Attention(rope=True, bias=bias), Attention(rope=False, bias=bias)])
        self.lm_head = nn.Linear(HIDDEN, 24, bias=False)

    def forward(self, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
        x, largest = self.embed_tokens(tokens), []
        for layer in self.layers:
            update, max_logit = layer(nn.functional.rms_norm(x, (HIDDEN,)))
            x = x + update
            largest.append(max_logit)
        return self.lm_head(nn.functional.rms_norm(x, (HIDDEN,))), largest


def logits(layer: Attention, x: Tensor) -> Tensor:
    """[heads, queries, keys], without RoPE."""
    q = layer.q_proj(x).unflatten(-1, (HEADS, WIDTH)).transpose(0, 1)
    k = layer.k_proj(x).unflatten(-1, (GROUPS, WIDTH)).transpose(0, 1)
    return torch.stack([q[h] @ k[h // (HEADS // GROUPS)].T for h in range(HEADS)]) / WIDTH**0.5


@pytest.mark.parametrize("bias", [False, True])
def test_exploding_heads_end_at_tau_and_the_others_keep_every_bit(bias: bool) -> None:
    model = Model(bias)
    with torch.no_grad():
        model.layers[0].q_proj.weight[WIDTH : 2 * WIDTH] *= 3000.0  # head 1 of group 0
        model.layers[1].k_proj.weight[WIDTH:] *= 900.0  # both heads of group 1
    tokens = torch.randint(0, 24, (3, 12), generator=torch.Generator().manual_seed(0))
    out, before = model(tokens)
    loss = out.square().mean()
    loss.backward()
    assert before[0][1] > 100
    assert (before[1][2:] > 100).all()
    x = torch.randn(7, HIDDEN, generator=torch.Generator().manual_seed(1))
    kept = logits(model.layers[0], x)
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    qk_clip_(model, torch.stack(before))
    # The second layer's input changed with the first layer's output, so each layer is asked on the input it had.
    again = [model.layers[0](nn.functional.rms_norm(model.embed_tokens(tokens), (HIDDEN,)))[1]]
    assert again[0].max() <= 100 * (1 + 1e-5)
    torch.testing.assert_close(again[0][1], torch.tensor(100.0))
    for head in (0, 2, 3):
        assert torch.equal(again[0][head], before[0][head])
        assert torch.equal(logits(model.layers[0], x)[head], kept[head])
    for name, parameter in model.named_parameters():
        if "layers" not in name or "v_proj" in name or "o_proj" in name:
            assert torch.equal(parameter, weights[name])
    assert torch.equal(model.layers[0].k_proj.weight[WIDTH:], weights["layers.0.k_proj.weight"][WIDTH:])
    assert torch.equal(model.layers[1].q_proj.weight[: 2 * WIDTH], weights["layers.1.q_proj.weight"][: 2 * WIDTH])
    model.zero_grad()
    model(tokens)[0].square().mean().backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())


def test_one_layer_is_scaled_by_its_own_factor() -> None:
    query, key = torch.randn(HEADS * WIDTH, 5), torch.randn(GROUPS * WIDTH, 5)
    before = (query.clone(), key.clone())
    qk_clip_((query, key), torch.tensor([50.0, 1600.0, 400.0, 300.0]), tau=100.0)
    gamma = torch.tensor([1.0, 1 / 16, 1 / 4, 1 / 3])
    for head in range(HEADS):
        group = head // 2
        old = before[0][head * WIDTH : (head + 1) * WIDTH].T @ before[1][group * WIDTH : (group + 1) * WIDTH]
        new = query[head * WIDTH : (head + 1) * WIDTH].T @ key[group * WIDTH : (group + 1) * WIDTH]
        torch.testing.assert_close(new, gamma[head] * old)
    ratio = key / before[1]
    torch.testing.assert_close(ratio[:WIDTH], torch.full((WIDTH, 5), 0.25))
    torch.testing.assert_close(ratio[WIDTH:], torch.full((WIDTH, 5), 0.5))


def test_values_no_factor_repairs_are_left_alone() -> None:
    query, key = torch.randn(HEADS * WIDTH, 5), torch.randn(GROUPS * WIDTH, 5)
    before = (query.clone(), key.clone())
    qk_clip_((query, key), torch.tensor([math.nan, math.inf, -math.inf, 5.0]))
    assert torch.equal(query, before[0])
    assert torch.equal(key, before[1])


def test_qk_norm_is_refused_with_the_reason() -> None:
    model = Model()
    model.layers[1].q_norm = nn.RMSNorm(WIDTH)
    with pytest.raises(SmolfastError, match=r"layers\.1 normalises its queries and keys"):
        qk_clip_(model, torch.zeros(2, HEADS))
    model.layers[1].q_norm = nn.Identity()
    qk_clip_(model, torch.zeros(2, HEADS))


@pytest.mark.parametrize(
    ("target", "max_logit", "options", "message"),
    [
        ("model", torch.zeros(3, HEADS), {}, "3 layers, the model has 2"),
        ("model", {"layers.0": torch.zeros(HEADS)}, {}, r"differ in layers\.1"),
        ("model", torch.zeros(2, 5), {}, r"expected \[query heads\]"),
        ("linear", torch.zeros(1, 4), {}, "no module with q_proj"),
        ("weights", [torch.zeros(4)], {}, "one tensor"),
        ("weights", torch.zeros(3), {}, "don't group"),
        ("model", torch.zeros(2, HEADS), {"tau": 0.0}, "must be positive"),
    ],
)
def test_qk_clip_says_what_is_wrong(target: str, max_logit: Any, options: dict[str, Any], message: str) -> None:
    targets: dict[str, Any] = {
        "model": Model(), "linear": nn.Linear(2, 2), "weights": (torch.zeros(24, 5), torch.zeros(16, 5)),
    }  # fmt: skip
    with pytest.raises(SmolfastError, match=message):
        qk_clip_(targets[target], max_logit, **options)


def test_muon_clip_needs_a_module() -> None:
    with pytest.raises(SmolfastError, match="must be a module"):
        MuonClip(Model().named_parameters())  # type: ignore[arg-type]


def run(clip: bool) -> tuple[list[float], float]:
    """Copy the token before, with query and key weights on ten times the learning rate of the rest."""
    model = Model()
    fast = {"*.q_proj.weight": {"lr": 0.2}, "*.k_proj.weight": {"lr": 0.2}}
    arguments: dict[str, Any] = {"lr": 0.02, "adamw_lr": 0.02, "weight_decay": 0.0, "overrides": fast}
    optimizer = MuonClip(model, tau=8.0, **arguments) if clip else MuonAdamW(model, **arguments)
    losses, largest = [], 0.0
    for step in range(150):
        tokens = torch.randint(0, 24, (8, 16), generator=torch.Generator().manual_seed(step))
        out, max_logit = model(tokens)
        loss = nn.functional.cross_entropy(out[:, 1:].flatten(0, 1), tokens[:, :-1].flatten())
        optimizer.zero_grad()
        loss.backward()
        if isinstance(optimizer, MuonClip):
            optimizer.step(max_logit=max_logit)
        else:
            optimizer.step()
        losses.append(loss.item())
        largest = max(largest, *(float(m.max()) for m in max_logit))
    return losses, largest


def test_training_diverges_without_it_and_not_with_it() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny products: threads only wait for each other
    try:
        (wild, exploded), (tame, bounded) = run(clip=False), run(clip=True)
    finally:
        torch.set_num_threads(threads)
    assert exploded > 500
    assert bounded < 50
    assert sum(wild[-20:]) / 20 > 2.0
    assert sum(tame[-20:]) / 20 < 0.3

"""Looks at what a network represents, on a fixed batch of held-out text. Alarms only.

- Representation change: ‖h′ − h‖ / ‖h‖ of a layer's outputs h over one update. Near 0 nothing is learnt; near 1 and
  beyond the update wrecks what was there.
- Effective rank (RankMe, arXiv 2210.02885): exp of the entropy of the singular values' shares, of a layer's outputs
  [tokens, width], not centred. 1 when all tokens look alike.
- Dead units: share of feed-forward units that no token moves: |value| < 1e-6 of the layer's root mean square.
- Attention entropy: of each head's map, over that of looking evenly, mean over the positions that see 2 tokens or more
  and their heads, and the smallest head's. 0 when each token looks at one place, 1 when evenly at all.

None of these predicts how good a model will be at anything: good runs differ in all of them. A sudden collapse is
worth a look, and no more than that is claimed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from smolfast.model.network import Attention, Context, DecoderLayer, PackedBatch, SmolLM, SwiGLU, Ungated

# An effective rank under this, or under this share of the largest seen in the layer, is a collapse.
_LEAST_RANK = 1.5
_RANK_SHARE = 0.1
_DEAD_SHARE = 0.9
_LEAST_ENTROPY = 0.01
_DEAD = 1e-6


class FeatureMonitor:
    """Measures a model on one batch, and remembers what it was like at best.

    Args:
        model: whose layers are looked at; heads beyond the first aren't.
        batch: whole windows of `window` tokens end to end.
    """

    def __init__(self, model: SmolLM, batch: PackedBatch, window: int) -> None:
        self.model, self.batch, self.window = model, batch, window
        self.best: list[float] = []
        self.alarmed: set[str] = set()

    @torch.no_grad()
    def states(self) -> list[Tensor]:
        """Every layer's outputs [layers] × [T, H]."""
        found: list[Tensor] = []

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            found.append(output.float())

        self._run([(layer, keep) for layer in self.model.model.layers])
        return found

    @torch.no_grad()
    def measure(self, before: list[Tensor]) -> dict[str, list[float]]:
        """The numbers of each layer after an update, given its outputs before: four or five lists by name."""
        states: list[Tensor] = []
        dead: list[float] = []
        entropies: list[Tensor] = []

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            states.append(output.float())

        def count_dead(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            units = inputs[0].float()
            largest = units.abs().amax(0)
            dead.append(float((largest <= _DEAD * units.square().mean().sqrt()).float().mean()))

        def attention(module: nn.Module, inputs: tuple[Tensor, Context], output: Tensor) -> None:
            assert isinstance(module, Attention)
            entropies.append(attention_entropy(module, *inputs, self.batch.document_ids, self.window))

        hooks: list[tuple[nn.Module, Callable[..., None]]] = []
        for layer in self.model.model.layers:
            assert isinstance(layer, DecoderLayer)
            assert isinstance(layer.mlp, SwiGLU | Ungated)
            hooks += [(layer, keep), (layer.mlp.down_proj, count_dead), (layer.self_attn, attention)]
        self._run(hooks)
        return {
            "representation_change": [
                float((after - old).norm() / old.norm().clamp(min=1e-30))
                for after, old in zip(states, before, strict=True)
            ],
            "effective_rank": [effective_rank(state) for state in states],
            "dead_units": dead,
            "attention_entropy": [float(heads.mean()) for heads in entropies],
            "least_attention_entropy": [float(heads.min()) for heads in entropies],
        }

    def alarms(self, measured: dict[str, list[float]]) -> list[dict[str, Any]]:
        """What has collapsed since the last look: dicts of measure, layer, value and limit."""
        ranks = measured["effective_rank"]
        self.best = [max(pair) for pair in zip(self.best, ranks, strict=True)] if self.best else list(ranks)
        found = []
        limits: list[tuple[str, list[float], int]] = [
            ("effective_rank", [max(_LEAST_RANK, _RANK_SHARE * best) for best in self.best], -1),
            ("dead_units", [_DEAD_SHARE] * len(ranks), 1),
            ("attention_entropy", [_LEAST_ENTROPY] * len(ranks), -1),
        ]
        for measure, layer_limits, side in limits:
            for layer, (value, limit) in enumerate(zip(measured[measure], layer_limits, strict=True)):
                key = f"{measure} {layer}"
                # A value that is no number is an alarm, too.
                if not side * value <= side * limit:
                    if key not in self.alarmed:
                        found.append({"measure": measure, "layer": layer, "value": value, "limit": limit})
                    self.alarmed.add(key)
                else:
                    self.alarmed.discard(key)
        return found

    def state(self) -> dict[str, Any]:
        """JSON values for `load`."""
        return {"best": self.best, "alarmed": sorted(self.alarmed)}

    def load(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.best, self.alarmed = list(state["best"]), set(state["alarmed"])

    def _run(self, hooks: list[tuple[nn.Module, Callable[..., None]]]) -> None:
        handles = [module.register_forward_hook(hook) for module, hook in hooks]
        try:
            self.model.hidden_states(self.batch, heads=1)
        finally:
            for handle in handles:
                handle.remove()


def worst_layer(measured: Mapping[str, Sequence[float]] | None) -> dict[str, float | None]:
    """The least effective rank and the most dead units of a layer, for a summary; None where nothing was measured."""
    if not measured:
        return {"effective_rank": None, "dead_units": None}
    return {"effective_rank": min(measured["effective_rank"]), "dead_units": max(measured["dead_units"])}


def effective_rank(x_TH: Tensor) -> float:
    """RankMe of a matrix [T, H], between 1 and min(T, H); NaN if an entry isn't finite."""
    if not bool(torch.isfinite(x_TH).all()):
        return float("nan")
    values = torch.linalg.svdvals(x_TH.double())
    shares = values / values.sum().clamp(min=1e-300) + 1e-7  # the paper's ε
    return float((-(shares * shares.log()).sum()).exp())


def attention_entropy(module: Attention, x_TH: Tensor, context: Context, document_ids: Tensor, window: int) -> Tensor:
    """Each head's mean entropy over log(tokens seen) [Hq], at positions that see at least two tokens."""
    scores, seen = module.scores(x_TH, context, document_ids, window)
    probabilities = scores.softmax(-1)
    entropy = torch.special.entr(probabilities).sum(-1)
    visible = seen.sum(-1)
    evenness: Tensor = (entropy / visible.clamp(min=2).log()).transpose(0, 1)
    return evenness[:, (visible > 1)[:, 0]].mean(1)

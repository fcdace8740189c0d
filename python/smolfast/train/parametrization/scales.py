"""Initial weights, rates, weight decay and epsilon by width and depth: a small model's best rate stays a large one's.

`scales` is the whole of it; docs/scaling.md shows it as a table. With m = width over the base's and d = depth over it:

- mup: maximal update parametrisation (Yang et al., arXiv 2203.03466). Of hidden matrices the initial deviation is 1/√m,
  and AdamW's rate 1/m. Muon's stays, since an orthogonal update has a norm of its own (arXiv 2602.20937). Logits are
  1/m.
- completep: besides, what layers add to the residual stream is 1/d (Dey et al., arXiv 2505.01618, α = 1).

Both are usually written with factors in the forward pass. A factor c on a weight w is the weight W = c w: drawn c times
as large, with c times the rate, 1/c of the weight decay that goes with it, and AdamW's epsilon over c. So there are no
factors here. Logits' 1/m lies in the final norm's weight, layers' 1/d in the last matrix of each branch. The model
stays an ordinary one at every step: exports, torch.compile, FSDP and further heads have nothing to know of it.

At the base's own shape every scale is 1, and all three are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from smolfast.config import ModelConfig, TrainConfig
from smolfast.model.network import SmolLM
from smolfast.optim.muon import MUON_DEFAULTS
from smolfast.optim.muon_adamw import ADAMW_DEFAULTS, Algorithm, assign_algorithm

_EMBEDDINGS = ("embed_tokens.weight", "lm_head.weight")
_LAST_OF_A_BRANCH = ("o_proj.weight", "down_proj.weight")
_BESIDE_LAYERS = (".projection.weight", ".state_norm.weight", ".token_norm.weight")


@dataclass(frozen=True)
class Scales:
    """What a parameter's initial weights, rate, weight decay and epsilon are multiplied with."""

    init: float = 1.0
    rate: float = 1.0
    decay: float = 1.0
    eps: float = 1.0


def scales(name: str, parameter: Tensor, algorithm: Algorithm, model: ModelConfig, config: TrainConfig) -> Scales:
    """The scales of a parameter.

    Args:
        name: as from the `SmolLM`'s `named_parameters()`. algorithm: what steps it.
    """
    if config.parametrization == "standard":
        return Scales()
    m = model.hidden_size / config.base_hidden_size
    d = model.num_hidden_layers / config.base_layers if config.parametrization == "completep" else 1.0
    if name.endswith(_EMBEDDINGS):
        return Scales(eps=1 / m)
    if name == "model.norm.weight":
        return Scales(init=1 / m, rate=1 / m)
    inside = 1.0 if name.endswith(_BESIDE_LAYERS) else 1 / d
    if parameter.ndim < 2:
        return Scales(eps=inside / m)
    last = 1 / d if name.endswith(_LAST_OF_A_BRANCH) else 1.0
    rate = last if algorithm == "muon" else last / m
    # Gradients behind a branch's last matrix are 1/d; its own are not.
    gradient = inside if last == 1.0 else 1.0
    return Scales(init=last / m**0.5, rate=rate, decay=1 / rate, eps=gradient if algorithm == "muon" else gradient / m)


def scale_initial_weights(network: SmolLM, config: TrainConfig) -> None:
    """Multiply freshly drawn weights; the standard ones stay as they are, to the bit.

    With `zero_init_outputs` the last matrix of each branch and an output layer of its own are 0, whatever the
    parametrisation (arXiv 2203.03466, appendix D.2). What fresh ones put out is chance that fades with width and depth,
    so it is what sets shapes apart.
    """
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if config.zero_init_outputs and name.endswith((*_LAST_OF_A_BRANCH, "lm_head.weight")):
                parameter.zero_()
                continue
            factor = scales(name, parameter, _algorithm(network, name, parameter, config), network.config, config).init
            if factor != 1.0:
                parameter.mul_(factor)


def optimizer_overrides(network: SmolLM, trained: nn.Module, config: TrainConfig) -> dict[str, dict[str, Any]]:
    """Options of MuonAdamW by a parameter's name in `trained`, which is or holds the network.

    "lr" is the scale alone: `rate_scales` finds it again, and every step sets the rate itself.
    """
    if config.parametrization == "standard":
        return {}
    prefix = "" if trained is network else "model."
    found: dict[str, dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        algorithm = _algorithm(network, name, parameter, config)
        scale = scales(name, parameter, algorithm, network.config, config)
        defaults = MUON_DEFAULTS if algorithm == "muon" else ADAMW_DEFAULTS
        found[prefix + name] = {"lr": scale.rate, "eps": defaults["eps"] * scale.eps}
        if parameter.ndim > 1:
            found[prefix + name]["weight_decay"] = config.weight_decay * scale.decay
    return found


def rate_scales(groups: list[dict[str, Any]], overrides: dict[str, dict[str, Any]]) -> list[float]:
    """The scale of each group's rate; its parameters share it, since they share their options."""
    return [overrides.get(group["param_names"][0], {"lr": 1.0})["lr"] for group in groups]


def _algorithm(network: SmolLM, name: str, parameter: Tensor, config: TrainConfig) -> Algorithm:
    if config.optimizer == "adamw":
        return "adamw"
    return assign_algorithm(name, parameter, network.get_submodule(name.rpartition(".")[0]))

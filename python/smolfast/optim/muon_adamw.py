"""One optimiser for a whole model: Muon for its matrices, AdamW for the rest, one state_dict."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from smolfast.errors import SmolfastError
from smolfast.optim.grouped import GroupedOptimizer
from smolfast.optim.muon import MUON_DEFAULTS, Map, Unit, check_muon_group, muon_step, run_units

Algorithm = Literal["muon", "adamw"]

ADAMW_DEFAULTS: dict[str, Any] = {"lr": 3e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}

# The module that holds a weight, by its last name: embeddings and output layers are rows looked up or dotted one by
# one.
_EMBEDDINGS = ("embed*", "*embed", "*embedding", "*embeddings", "*embed_tokens", "wte", "wpe")
_HEADS = ("lm_head", "head", "output", "unembed*", "classifier", "score")

# AdamW's parameters are updated in units of about this many numbers, each on its own.
_UNIT = 1 << 20


def assign_algorithm(name: str, parameter: Tensor, module: nn.Module | None = None) -> Algorithm:
    """Which algorithm a parameter gets, by the first rule that fits.

    1. What isn't a matrix [n, m] or a stack of them with n, m ≥ 2 (norms, biases, scalars, convolutions): AdamW.
    2. The weight of an `nn.Embedding`, or of a module called embed…, …embed, …embedding(s), wte, wpe: AdamW.
    3. The weight of a module called lm_head, head, output, unembed…, classifier, score: AdamW.
    4. All other matrices: Muon.
    """
    if parameter.ndim not in (2, 3) or min(parameter.shape[-2:]) < 2:
        return "adamw"
    if isinstance(module, nn.Embedding):
        return "adamw"
    owner = name.split(".")[-2] if "." in name else name
    return "adamw" if any(fnmatch.fnmatchcase(owner, pattern) for pattern in (*_EMBEDDINGS, *_HEADS)) else "muon"


class MuonAdamW(GroupedOptimizer):
    """Muon and AdamW in one optimiser, so that there is one step, one state and one schedule over `param_groups`.

    `assign_algorithm` says which parameter goes where; `muon` and `adamw` override it by name.

    Args:
        model: a module, or its `named_parameters()`.
        lr: learning rate of Muon's groups; adamw_lr: of AdamW's.
        weight_decay: of Muon's groups; adamw_weight_decay: of AdamW's, the same if None. Parameters of under 2
            dimensions (norms, biases, scalars) get none.
        betas, adamw_eps: AdamW's.
        muon, adamw: name patterns (`fnmatch`) that go to this algorithm whatever the rule says.
        overrides: options by name pattern, for example {"*.qkv.weight": {"split_sizes": (512, 128, 128)},
            "mtp.*": {"lr": 0.01}}; later patterns win. Parameters with equal options share a group.
        map, process_group: as in `Muon`.
        **muon_options: momentum, nesterov, ns_steps, adjust_lr_fn, coefficients, … of `Muon`, for all of its groups.

    Each group in `param_groups` has "algorithm", "lr", "params" and "param_names".

    Raises:
        SmolfastError: a pattern that names nothing or both ways, an unknown option, a parameter that can't go to Muon.
    """

    def __init__(
        self,
        model: nn.Module | Iterable[tuple[str, Tensor]],
        lr: float = 0.02,
        adamw_lr: float = 3e-3,
        *,
        weight_decay: float = 0.1,
        adamw_weight_decay: float | None = None,
        betas: tuple[float, float] = (0.9, 0.95),
        adamw_eps: float = 1e-8,
        muon: Sequence[str] = (),
        adamw: Sequence[str] = (),
        overrides: Mapping[str, Mapping[str, Any]] | None = None,
        map: Map = map,
        process_group: Any = None,
        **muon_options: Any,
    ) -> None:
        self._map = map
        self._process_group = process_group
        unknown = set(muon_options) - set(MUON_DEFAULTS)
        if unknown:
            raise SmolfastError(f"MuonAdamW: unknown option {sorted(unknown)}; Muon has {', '.join(MUON_DEFAULTS)}")
        options: dict[str, dict[str, Any]] = {
            "muon": {**MUON_DEFAULTS, **muon_options, "lr": lr, "weight_decay": weight_decay},
            "adamw": {
                "lr": adamw_lr,
                "betas": tuple(betas),
                "eps": adamw_eps,
                "weight_decay": weight_decay if adamw_weight_decay is None else adamw_weight_decay,
            },
        }
        super().__init__(_groups(model, options, muon, adamw, overrides or {}), {})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Groups say their "algorithm"; options left out take that algorithm's defaults."""
        algorithm = param_group.get("algorithm")
        if algorithm not in ("muon", "adamw"):
            raise SmolfastError(f"MuonAdamW: a group has algorithm = {algorithm!r}; choose muon or adamw")
        for name, value in (MUON_DEFAULTS if algorithm == "muon" else ADAMW_DEFAULTS).items():
            param_group.setdefault(name, value)
        super().add_param_group(param_group)

    def check_group(self, group: dict[str, Any]) -> None:
        if group["algorithm"] == "muon":
            check_muon_group(group)

    def step_group(self, group: dict[str, Any]) -> None:
        if group["algorithm"] == "muon":
            muon_step(group, self.state, self._map, self._process_group)
        else:
            run_units(self._map, _adamw_units(group, self.state))


def _groups(
    model: nn.Module | Iterable[tuple[str, Tensor]],
    options: dict[str, dict[str, Any]],
    muon: Sequence[str],
    adamw: Sequence[str],
    overrides: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    modules = dict(model.named_modules()) if isinstance(model, nn.Module) else {}
    named = list(model.named_parameters() if isinstance(model, nn.Module) else model)
    _check_patterns([name for name, _ in named], muon, adamw, overrides)
    groups: list[dict[str, Any]] = []
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        algorithm: str = assign_algorithm(name, parameter, modules.get(name.rpartition(".")[0]))
        for choice, patterns in (("muon", muon), ("adamw", adamw)):
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
                algorithm = choice
        chosen = dict(options[algorithm])
        if algorithm == "adamw" and parameter.ndim < 2:
            chosen["weight_decay"] = 0.0
        for pattern, values in overrides.items():
            if fnmatch.fnmatchcase(name, pattern):
                unknown = set(values) - set(chosen)
                if unknown:
                    raise SmolfastError(
                        f"MuonAdamW: overrides['{pattern}'] sets {sorted(unknown)} for {name}, which goes to "
                        f"{algorithm}; its options are {', '.join(chosen)}"
                    )
                chosen.update(values)
        chosen["algorithm"] = algorithm
        for group in groups:
            if {key: value for key, value in group.items() if key != "params"} == chosen:
                group["params"].append((name, parameter))
                break
        else:
            groups.append({**chosen, "params": [(name, parameter)]})
    return groups


def _check_patterns(
    names: Sequence[str], muon: Sequence[str], adamw: Sequence[str], overrides: Mapping[str, Mapping[str, Any]]
) -> None:
    for pattern in (*muon, *adamw, *overrides):
        if not fnmatch.filter(names, pattern):
            raise SmolfastError(
                f"MuonAdamW: pattern '{pattern}' names no parameter; names look like {', '.join(names[:3])}"
            )
    both = {name for pattern in muon for name in fnmatch.filter(names, pattern)} & {
        name for pattern in adamw for name in fnmatch.filter(names, pattern)
    }
    if both:
        raise SmolfastError(f"MuonAdamW: {min(both)} matches both a muon and an adamw pattern; drop one")


def _adamw_units(group: dict[str, Any], state: Any) -> list[Unit]:
    units: list[Unit] = []
    chunk: list[Tensor] = []
    size = 0
    for parameter in group["params"]:
        if parameter.grad is None:
            continue
        entry = state[parameter]
        if "step" not in entry:
            entry["step"] = torch.zeros((), dtype=torch.float32)
            entry["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            entry["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        if chunk and size + parameter.numel() > _UNIT:
            units.append(_AdamWUnit(group, chunk, state))
            chunk, size = [], 0
        chunk.append(parameter)
        size += parameter.numel()
    if chunk:
        units.append(_AdamWUnit(group, chunk, state))
    return units


class _AdamWUnit:
    """torch's own AdamW on a few parameters."""

    def __init__(self, group: dict[str, Any], parameters: list[Tensor], state: Any) -> None:
        self.group, self.parameters = group, parameters
        self.entries = [state[parameter] for parameter in parameters]

    def __call__(self) -> None:
        adamw(
            self.parameters,
            [parameter.grad for parameter in self.parameters if parameter.grad is not None],
            [entry["exp_avg"] for entry in self.entries],
            [entry["exp_avg_sq"] for entry in self.entries],
            [],
            [entry["step"] for entry in self.entries],
            amsgrad=False,
            beta1=self.group["betas"][0],
            beta2=self.group["betas"][1],
            lr=self.group["lr"],
            weight_decay=self.group["weight_decay"],
            eps=self.group["eps"],
            maximize=False,
        )

"""One optimiser for a whole model: Muon for its matrices, AdamW for the rest, one state_dict."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from smolfast.errors import SmolfastError
from smolfast.optim.grouped import GroupedOptimizer, check_numbers, named_parameters
from smolfast.optim.muon import MUON_DEFAULTS, Map, Unit, check_muon_group, muon_step, run_units

Algorithm = Literal["muon", "adamw"]

ADAMW_DEFAULTS: dict[str, Any] = {
    "lr": 3e-3,
    "betas": (0.9, 0.95),
    "eps": 1e-8,
    "weight_decay": 0.1,
    # Instead of betas[0] where a scheduler sets it (OneCycleLR and CyclicLR do so in every group).
    "momentum": None,
}

# The module that holds a weight, by its last name: embeddings and output layers are rows looked up or dotted one by
# one.
_EMBEDDINGS = ("embed*", "*embed", "*embedding", "*embeddings", "*embed_tokens", "wte", "wpe")
_HEADS = ("lm_head", "head", "output", "unembed*", "classifier", "score")
# Vectors or tables under a name of their own: biases of experts [experts, n], rows that are looked up or put before a
# sequence, scales of a norm for each head, Mamba's decay rates.
_VECTORS = ("*bias", "*bias_table", "*_token", "*_tokens", "latents", "*norm", "*Norm", "A_log")
_CONVOLUTIONS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
# Modules of torch whose weights of two dimensions or more are no matrices that a vector is multiplied with.
_NO_MATRICES = (
    nn.Embedding, nn.EmbeddingBag, nn.LayerNorm, nn.RMSNorm, nn.Bilinear,
    *_CONVOLUTIONS,
)  # fmt: skip

# AdamW's parameters are updated in units of about this many numbers, each on its own.
_UNIT = 1 << 20


def assign_algorithm(name: str, parameter: Tensor, module: nn.Module | None = None) -> Algorithm:
    """Which algorithm a parameter gets, by the first rule that fits.

    1. What isn't a real matrix [n, m] or a stack of them with n, m ≥ 2 (norms, biases, scalars): AdamW.
    2. A weight of an embedding, a convolution, a norm over several dimensions or an `nn.Bilinear`: AdamW. Without the
       module, a convolution's [out, in, k] can't be told from a stack of matrices, so give modules where there are
       convolutions.
    3. The weight of a module called embed…, …embed, …embedding(s), wte, wpe, or a parameter of such a name: AdamW.
    4. The weight of a module called lm_head, head, output, unembed…, classifier, score, or such a parameter: AdamW.
    5. The same of …bias, …bias_table, …_token(s), latents, …norm, A_log, whose rows are vectors by themselves: AdamW.
    6. All other matrices: Muon.

    Args:
        name: as from `named_parameters()`. module: what holds the parameter.
    """
    if parameter.ndim not in (2, 3) or min(parameter.shape[-2:]) < 2 or not parameter.is_floating_point():
        return "adamw"
    if isinstance(module, _NO_MATRICES):
        return "adamw"
    names = (_owner(name).rpartition(".")[2], name.rpartition(".")[2])
    patterns = (*_EMBEDDINGS, *_HEADS, *_VECTORS)
    return "adamw" if any(fnmatch.fnmatchcase(last, pattern) for last in names for pattern in patterns) else "muon"


def _owner(name: str) -> str:
    """The module that holds a parameter, by its name; that of a parametrized weight is where it is used."""
    return name.split(".parametrizations.")[0] if ".parametrizations." in name else name.rpartition(".")[0]


class MuonAdamW(GroupedOptimizer):
    """Muon and AdamW in one optimiser, so that there is one step, one state and one schedule over `param_groups`.

    `assign_algorithm` says which parameter goes where; `muon` and `adamw` override it by name.

    Args:
        model: a module, or its `named_parameters()`, also as a dict. Of a tied weight each of its names counts: it goes
            to AdamW if any of them does.
        lr: learning rate of Muon's groups; adamw_lr: of AdamW's.
        weight_decay: of Muon's groups; adamw_weight_decay: of AdamW's, the same if None. Parameters of under 2
            dimensions (norms, biases, scalars) get none.
        betas, adamw_eps: AdamW's.
        muon, adamw: name patterns (`fnmatch`) that go to this algorithm whatever the rule says.
        overrides: options by name pattern, for example {"*.qkv.weight": {"split_sizes": (512, 128, 128)},
            "mtp.*": {"lr": 0.01}}; later patterns win. Parameters with equal options share a group.
        map, process_group: as in `Muon`.
        **muon_options: momentum, nesterov, ns_steps, adjust_lr_fn, coefficients, … of `Muon`, for all of its groups.

    Each group in `param_groups` has "algorithm", "lr", "params" and "param_names". torch's schedulers work on it.
    Those that cycle momentum (OneCycleLR, CyclicLR) set Muon's, and in AdamW's groups what is used instead of betas[0].

    Raises:
        SmolfastError: parameters without names, none or one twice; a pattern that names nothing or both ways, an
            unknown option or one out of range, a parameter that can't go to Muon. `step`: a sparse gradient; ranks of
            the process group, or of a mesh, that don't have gradients of the same parameters.
    """

    def __init__(
        self,
        model: nn.Module | Mapping[str, Tensor] | Iterable[tuple[str, Tensor]],
        lr: float | Tensor = 0.02,
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
        # Of a model without a parameter that takes them, too.
        check_numbers("MuonAdamW", {f"adamw_{name}": options["adamw"][name] for name in ("lr", "weight_decay", "eps")})
        # torch's schedulers look for momentum among the defaults.
        super().__init__(_groups(model, options, muon, adamw, overrides or {}), dict(options["muon"]))

    essential_options = ("algorithm",)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Groups say their "algorithm"; options left out take that algorithm's defaults."""
        algorithm = param_group.get("algorithm")
        if algorithm not in ("muon", "adamw"):
            raise SmolfastError(f"MuonAdamW: a group has algorithm = {algorithm!r}; choose muon or adamw")
        defaults = MUON_DEFAULTS if algorithm == "muon" else ADAMW_DEFAULTS
        param_group = {**defaults, **param_group}
        # torch fills groups with the defaults, which are Muon's: what AdamW has none of goes again.
        super().add_param_group(param_group)
        added = self.param_groups[-1]
        for option in set(MUON_DEFAULTS) - set(defaults):
            added.pop(option, None)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # of a state that was saved without some options
            for name, value in (MUON_DEFAULTS if group["algorithm"] == "muon" else ADAMW_DEFAULTS).items():
                group.setdefault(name, value)

    def check_group(self, group: dict[str, Any]) -> None:
        if group["algorithm"] == "muon":
            check_muon_group(group)
            return
        check_numbers("MuonAdamW: AdamW", {name: group[name] for name in ("lr", "weight_decay", "eps")})
        if len(group["betas"]) != 2 or not all(0.0 <= beta < 1.0 for beta in group["betas"]):
            raise SmolfastError(f"MuonAdamW: betas = {group['betas']} must be two numbers from 0 to below 1")
        for name, parameter in named_parameters(group):
            if parameter.dtype == torch.float16 and not torch.tensor(group["eps"], dtype=torch.float16):
                raise SmolfastError(
                    f"MuonAdamW: {name} is float16, where AdamW's eps = {group['eps']} is 0 and small gradients become "
                    "NaN; keep weights in float32 under torch.autocast, take bfloat16, or set adamw_eps=1e-4"
                )

    def step_group(self, group: dict[str, Any]) -> None:
        if group["algorithm"] == "muon":
            muon_step(group, self.state, self._map, self._process_group)
        else:
            run_units(self._map, _adamw_units(group, self.state))


def _groups(
    model: nn.Module | Mapping[str, Tensor] | Iterable[tuple[str, Tensor]],
    options: dict[str, dict[str, Any]],
    muon: Sequence[str],
    adamw: Sequence[str],
    overrides: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    modules = dict(model.named_modules()) if isinstance(model, nn.Module) else {}
    named = named_once(model)
    _check_patterns([name for names, _ in named for name in names], muon, adamw, overrides)
    groups: list[dict[str, Any]] = []
    for names, parameter in named:
        if not parameter.requires_grad:
            continue
        rules = [assign_algorithm(name, parameter, modules.get(_owner(name))) for name in names]
        algorithm: str = "adamw" if "adamw" in rules else "muon"
        for choice, patterns in (("muon", muon), ("adamw", adamw)):
            if any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns):
                algorithm = choice
        if algorithm == "muon" and any(isinstance(modules.get(_owner(name)), _CONVOLUTIONS) for name in names):
            raise SmolfastError(
                f"MuonAdamW: {names[0]} is a convolution's weight {list(parameter.shape)}, no matrix and no stack of "
                "them; leave it to AdamW"
            )
        chosen = dict(options[algorithm])
        if algorithm == "adamw" and parameter.ndim < 2:
            chosen["weight_decay"] = 0.0
        for pattern, values in overrides.items():
            if any(fnmatch.fnmatchcase(name, pattern) for name in names):
                unknown = set(values) - set(chosen)
                if unknown:
                    raise SmolfastError(
                        f"MuonAdamW: overrides['{pattern}'] sets {sorted(unknown)} for {names[0]}, which goes to "
                        f"{algorithm}; its options are {', '.join(chosen)}"
                    )
                chosen.update(values)
        chosen["algorithm"] = algorithm
        for group in groups:
            if {key: value for key, value in group.items() if key != "params"} == chosen:
                group["params"].append((names[0], parameter))
                break
        else:
            groups.append({**chosen, "params": [(names[0], parameter)]})
    if not groups:
        frozen = "; all have requires_grad=False" if named else ""
        raise SmolfastError(f"MuonAdamW: there is no parameter to train{frozen}; give a module that has some")
    return groups


def named_once(
    model: nn.Module | Mapping[str, Tensor] | Iterable[tuple[str, Tensor]],
) -> list[tuple[list[str], Tensor]]:
    """Each parameter with all of its names, in the order of the first.

    Raises:
        SmolfastError: parameters without names, or a name twice.
    """
    pairs: list[Any]
    if isinstance(model, nn.Module):
        pairs = list(model.named_parameters(remove_duplicate=False))
    elif isinstance(model, Mapping):
        pairs = list(model.items())
    else:
        pairs = [model] if isinstance(model, Tensor) else list(model)
    found: dict[int, tuple[list[str], Tensor]] = {}
    seen: set[str] = set()
    for pair in pairs:
        if not (
            isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], Tensor)
        ):
            raise SmolfastError(
                f"MuonAdamW: got a {type(pair).__name__} where (name, parameter) is expected: what a parameter is for "
                "shows in its name; give the module or model.named_parameters(), and options of some parameters as "
                "overrides={pattern: {...}}"
            )
        name, parameter = pair
        if name in seen:
            raise SmolfastError(f"MuonAdamW: {name} is given twice; give each parameter once, under a name of its own")
        seen.add(name)
        found.setdefault(id(parameter), ([], parameter))[0].append(name)
    return list(found.values())


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
        momentum = self.group["momentum"]
        adamw(
            self.parameters,
            [parameter.grad for parameter in self.parameters if parameter.grad is not None],
            [entry["exp_avg"] for entry in self.entries],
            [entry["exp_avg_sq"] for entry in self.entries],
            [],
            [entry["step"] for entry in self.entries],
            amsgrad=False,
            has_complex=any(parameter.is_complex() for parameter in self.parameters),
            beta1=self.group["betas"][0] if momentum is None else momentum,
            beta2=self.group["betas"][1],
            lr=self.group["lr"],
            weight_decay=self.group["weight_decay"],
            eps=self.group["eps"],
            maximize=False,
        )

"""What a student minimises when there is a teacher: the text, the teacher's distribution, and what goes on inside it.

- The distribution comes from a cache (`smolfast.train.distillation.cache`) or from the teacher itself, run beside the
  student; the teacher's logits never exist whole.
- Hidden states: the mean square of P h − h′, over that of h′, h and h′ the normalised states that the next token is
  predicted from, P a trained projection where their widths differ (FitNets, arXiv 1412.6550; TinyBERT, 1909.10351).
- Attention: KL from the teacher's to the student's last attention map, each the mean over its heads, so that their
  numbers may differ (after MiniLM, arXiv 2002.10957).
- Both at several layers, by a map: outputs of layers before any norm, and these layers' attention maps; each the mean
  over the layers of the map. Outputs may come from a cache, as random projections of the teacher's.

All transfers are means over the positions that have a next token. Weights follow schedules.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from smolfast.config import DistillConfig, DistillWeight
from smolfast.distill import HiddenTeacher, Teacher, distill_loss
from smolfast.errors import SmolfastError
from smolfast.files import fingerprint
from smolfast.model.network import IGNORE_INDEX, Context, DecoderLayer, PackedBatch, SmolLM
from smolfast.model.pretrained import load_pretrained
from smolfast.tokens.files import TokenFile
from smolfast.train.distillation.cache import TeacherCache

WEIGHTS = get_args(DistillWeight)


class Teaching:
    """A teacher, or its cache, or both: the cache gives the distribution, the teacher what is transferred.

    Attributes:
        identity: JSON values that tell this teaching from another.
        projections: from the student's width to the teacher's, or to that of a cache, trained with the student:
            `projection` for the last states, `layer_2` and so on for outputs of layers. As far as they are needed.
        parts: what `loss` tells beside the heads' losses: `minimised`, which the gradients are of; and the mean of each
            part without its weight.
    """

    def __init__(
        self,
        config: DistillConfig,
        tokens: TokenFile,
        *,
        teacher: str | os.PathLike[str] | None,
        cache: str | os.PathLike[str] | None,
        student_width: int,
        student_layers: int,
        seed: int,
        device: torch.device,
    ) -> None:
        """
        Args:
            teacher: a model folder of this package, of the same vocabulary; either embedding may be padded.
            cache: a folder of distill-cache.

        Raises:
            SmolfastError: teacher, cache, tokens and configuration don't fit together.
        """
        self.config = config
        self.cache = None if cache is None else TeacherCache.open(cache, tokens)
        self.teacher: SmolLM | None = None
        self.identity: dict[str, Any] = {"distill": config.model_dump(mode="json")}
        if self.cache is not None:
            self.identity["teacher_cache"] = self.cache.settings
            if self.cache.settings["temperature"] != config.temperature:
                raise SmolfastError(
                    f"{cache} was made at temperature {self.cache.settings['temperature']} and distill.temperature is "
                    f"{config.temperature}; make them equal"
                )
            if config.divergence != "forward":
                raise SmolfastError(
                    f"distill.divergence = '{config.divergence}' needs the whole distribution and a cache holds draws; "
                    "choose forward, or give the teacher without a cache"
                )
        if teacher is not None:
            self.teacher = load_pretrained(Path(teacher), device).requires_grad_(False)
            self.identity["teacher"] = fingerprint(Path(teacher))
            if self.teacher.vocab_size < tokens.vocab_size:
                raise SmolfastError(
                    f"the teacher {teacher} has a vocabulary of {self.teacher.vocab_size}, {tokens.path} one of "
                    f"{tokens.vocab_size}; tokenize with the teacher's tokenizer"
                )
        elif config.hidden_weight or config.attention_weight or config.layer_attention_weight:
            raise SmolfastError(
                "distill.hidden_weight, distill.attention_weight and distill.layer_attention_weight need the teacher "
                "itself; give --teacher, or set them to 0"
            )
        self._check_layers(student_layers)
        self._seed, self._factors = seed, dict.fromkeys(WEIGHTS, 1.0)
        self.projections: dict[str, nn.Linear] = {}
        for name, width in self._widths(student_width).items():
            self.projections[name] = nn.Linear(student_width, width, bias=False).to(device)
        self.reset_projections()
        self.parts = ["minimised", "divergence"]
        self.parts += [name for name in ("hidden", "attention") if getattr(config, f"{name}_weight")]
        for name, weight in (("layer", config.layer_weight), ("layer_attention", config.layer_attention_weight)):
            self.parts += [f"{name}_{number}" for number in config.layers if weight]

    def _check_layers(self, student_layers: int) -> None:
        config = self.config
        if not (config.layer_weight or config.layer_attention_weight):
            return
        if beyond := [number for number in config.layers if number > student_layers]:
            raise SmolfastError(f"distill.layers names layer {beyond[0]} of a student of {student_layers} layers")
        wanted = list(config.layers.values())
        if self.teacher is not None:
            count = len(self.teacher.model.layers)
            if beyond := [number for number in wanted if number > count]:
                raise SmolfastError(f"distill.layers names layer {beyond[0]} of a teacher of {count} layers")
            return
        assert self.cache is not None
        there = self.cache.settings.get("layers", [])
        if missing := [number for number in wanted if number not in there]:
            raise SmolfastError(
                f"distill.layers names layer {missing[0]} of the teacher, and the cache holds "
                f"{', '.join(map(str, there)) or 'none'}; make it again with --layers {','.join(map(str, wanted))}"
            )

    def _widths(self, student_width: int) -> dict[str, int]:
        """The projections that are needed, and the widths they project to."""
        found, config = {}, self.config
        theirs = None if self.teacher is None else self.teacher.config.hidden_size
        if theirs is not None and config.hidden_weight and theirs != student_width:
            found["projection"] = theirs
        if config.layer_weight:
            if theirs is None:
                assert self.cache is not None
                found |= {f"layer_{number}": int(self.cache.settings["features"]) for number in config.layers}
            elif theirs != student_width:
                found |= {f"layer_{number}": theirs for number in config.layers}
        return found

    def reset_projections(self) -> None:
        """The projections as they are before the first step."""
        for place, projection in enumerate(self.projections.values()):
            generator = torch.Generator().manual_seed(self._seed + place)
            drawn = torch.randn(projection.weight.shape, generator=generator)
            with torch.no_grad():
                projection.weight.copy_(drawn / projection.in_features**0.5)

    def enter(self, share: float) -> None:
        """Weigh the parts as the schedules say after this share of the steps."""
        for name, points in self.config.schedules.items():
            self._factors[name] = float(np.interp(share, *np.array(points).T))

    def _weight(self, name: str) -> float:
        weight: float = getattr(self.config, name)
        return weight * self._factors[name]

    def loss(
        self,
        student: SmolLM,
        batch: PackedBatch,
        positions: npt.NDArray[np.int64],
        head_weights: Sequence[float],
        num_items: Sequence[int],
    ) -> tuple[Tensor, Tensor]:
        """What to minimise; and the heads' cross-entropies [K], then `parts` (detached).

        Args:
            batch: whole windows end to end. positions: [B, S + 1], where their tokens stand in the token file.
            num_items: each head's count of targets in the whole batch that this one is a part of.
        """
        config, depths = self.config, len(head_weights)
        # A layer's output, and what enters it, from which its attention map comes.
        kept: dict[int, Tensor | None] = {n: None for number in config.layers for n in (number, number - 1)}
        x_TH, context = student.trunk(batch, kept)
        hidden_KTH = student.branch(x_TH, context, depths, kept)
        taught_TH, taught_x_TH, taught_context, taught_kept = self._run_teacher(batch)
        shared = student.config.mtp_kind == "shared"  # logits once, for all heads
        unembedding, taught = student.unembedding, self._distribution(positions, taught_TH)
        if isinstance(taught, HiddenTeacher) and len(taught.weight) != len(unembedding):
            # Rows that only one of the two pads its embedding with stand for no token.
            rows = min(len(taught.weight), len(unembedding))
            unembedding, taught = unembedding[:rows], HiddenTeacher(taught.hidden, taught.weight[:rows])
        result = distill_loss(
            hidden_KTH[0] if shared else hidden_KTH,
            unembedding,
            batch.targets,
            taught,
            head_weights=head_weights,
            ce_weight=self._weight("ce_weight"),
            kl_weight=self._weight("kl_weight"),
            temperature=config.temperature,
            divergence=config.divergence,
            document_ids=batch.document_ids,
            num_items=torch.tensor(num_items, device=batch.tokens.device),
            return_metrics=True,
        )
        assert isinstance(result, tuple)
        loss, metrics = result
        items = metrics["loss"].new_tensor(num_items)
        head_losses = metrics["loss"] * metrics["count"] / items
        counted = batch.targets != IGNORE_INDEX
        # Of the first head, whose targets these are: divergences are means over the batch's own count.
        told = {"divergence": metrics["divergence"][0] * metrics["count"][0] / items[0]}
        transfers: list[tuple[str, str, float, Tensor]] = []
        if config.hidden_weight:
            assert taught_TH is not None
            errors = relative_errors(self._project("projection", hidden_KTH[0][counted]), taught_TH[counted])
            transfers.append(("hidden", "hidden_weight", 1.0, errors))
        window, count = positions.shape[1], len(config.layers)

        def attention(ours: Tensor | None, number: int, theirs: Tensor | None, taught: int) -> Tensor:
            assert self.teacher is not None
            assert ours is not None
            assert theirs is not None
            assert taught_context is not None
            with torch.no_grad():
                log_q = _attention(self.teacher, taught, theirs, taught_context, batch, window)
            return attention_divergences(_attention(student, number, ours, context, batch, window), log_q)[counted]

        if config.attention_weight:
            assert self.teacher is not None
            last = attention(x_TH, len(student.model.layers), taught_x_TH, len(self.teacher.model.layers))
            transfers.append(("attention", "attention_weight", 1.0, last))
        if config.layer_weight:
            stored = None if self.teacher is not None else self._features(positions)
            for number, taught_number in config.layers.items():
                ours, theirs = kept[number], taught_kept[taught_number] if stored is None else stored[taught_number]
                assert ours is not None
                assert theirs is not None
                errors = relative_errors(self._project(f"layer_{number}", ours[counted]), theirs[counted])
                transfers.append((f"layer_{number}", "layer_weight", 1 / count, errors))
        if config.layer_attention_weight:
            for number, taught_number in config.layers.items():
                maps = attention(kept[number - 1], number, taught_kept[taught_number - 1], taught_number)
                transfers.append((f"layer_attention_{number}", "layer_attention_weight", 1 / count, maps))
        for name, weight, share, values in transfers:
            part = values.sum() / items[0]
            loss = loss + self._weight(weight) * share * part
            told[name] = part
        told["minimised"] = loss
        return loss, torch.cat([head_losses, torch.stack([told[name].detach().to(items) for name in self.parts])])

    def _project(self, name: str, states: Tensor) -> Tensor:
        projection = self.projections.get(name)
        if projection is None:
            return states
        projected: Tensor = projection(states)
        return projected

    def _features(self, positions: npt.NDArray[np.int64]) -> dict[int, Tensor]:
        """Of each of the teacher's layers that the cache holds, its projected outputs [T, F]."""
        assert self.cache is not None
        device = next(iter(self.projections.values())).weight.device
        found = self.cache.features_at(positions.reshape(-1)).to(device)
        return dict(zip(self.cache.settings["layers"], found.unbind(1), strict=True))

    @torch.no_grad()
    def _run_teacher(
        self, batch: PackedBatch
    ) -> tuple[Tensor | None, Tensor | None, Context | None, dict[int, Tensor | None]]:
        """Its states before the unembedding and before the last layer, and what it keeps of layers, as far as they are
        needed."""
        if self.teacher is None:
            return None, None, None, {}
        config = self.config
        kept: dict[int, Tensor | None] = {n: None for number in config.layers.values() for n in (number, number - 1)}
        x_TH, context = self.teacher.trunk(batch, kept)
        if self.cache is not None and not config.hidden_weight and len(self.teacher.model.layers) not in kept:
            return None, x_TH, context, kept
        return self.teacher.branch(x_TH, context, 1, kept)[0], x_TH, context, kept

    def _distribution(self, positions: npt.NDArray[np.int64], taught_TH: Tensor | None) -> Teacher:
        if self.cache is not None:
            return self.cache.at(positions.reshape(-1))
        assert self.teacher is not None
        assert taught_TH is not None
        return HiddenTeacher(taught_TH, self.teacher.unembedding)


def relative_errors(ours: Tensor, theirs: Tensor) -> Tensor:
    """Mean square of ours − theirs over that of theirs, of each position [T]; states [T, width]."""
    wide = torch.float64 if ours.dtype == torch.float64 else torch.float32
    ours, theirs = ours.to(wide), theirs.to(wide)
    return (ours - theirs).square().mean(1) / theirs.square().mean(1)


def attention_divergences(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(q ‖ p) of each position's attention [T], of maps [B, W, W] of logarithms, −∞ where a position may not look."""
    seen = log_q > -torch.inf
    log_q, log_p = log_q.masked_fill(~seen, 0.0), log_p.masked_fill(~seen, 0.0)
    return (log_q.exp() * seen * (log_q - log_p)).sum(-1).view(-1)


def _attention(
    model: SmolLM, number: int, x_TH: Tensor, context: Context, batch: PackedBatch, window: int
) -> Tensor:  # fmt: skip
    """The attention map of a layer, counted from 1, from the states that enter it."""
    layer = model.model.layers[number - 1]
    assert isinstance(layer, DecoderLayer)
    return layer.self_attn.log_probabilities(layer.input_layernorm(x_TH), context, batch.document_ids, window)

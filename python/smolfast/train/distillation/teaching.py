"""What a student minimises when there is a teacher: the text, the teacher's distribution, and what goes on inside it.

- The distribution comes from a cache (`smolfast.train.distillation.cache`) or from the teacher itself, run beside the
  student; the teacher's logits never exist whole.
- Hidden states: the mean square of P h − h′, over that of h′, h and h′ the normalised states that the next token is
  predicted from, P a trained projection where their widths differ (FitNets, arXiv 1412.6550; TinyBERT, 1909.10351).
- Attention: KL from the teacher's to the student's last attention map, each the mean over its heads, so that their
  numbers may differ (after MiniLM, arXiv 2002.10957).

Both transfers are means over the positions that have a next token.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from smolfast.config import DistillConfig
from smolfast.distill import HiddenTeacher, Teacher, distill_loss
from smolfast.errors import SmolfastError
from smolfast.files import fingerprint
from smolfast.model.network import IGNORE_INDEX, Context, DecoderLayer, PackedBatch, SmolLM
from smolfast.model.pretrained import load_pretrained
from smolfast.tokens.files import TokenFile
from smolfast.train.distillation.cache import TeacherCache


class Teaching:
    """A teacher, or its cache, or both: the cache gives the distribution, the teacher what is transferred.

    Attributes:
        identity: JSON values that tell this teaching from another.
        projection: from the student's width to the teacher's, trained with the student; None where nothing needs it.
    """

    def __init__(
        self,
        config: DistillConfig,
        tokens: TokenFile,
        *,
        teacher: str | os.PathLike[str] | None,
        cache: str | os.PathLike[str] | None,
        student_width: int,
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
        elif config.hidden_weight or config.attention_weight:
            raise SmolfastError(
                "distill.hidden_weight and distill.attention_weight need the teacher itself; give --teacher, or set "
                "them to 0"
            )
        self.projection: nn.Linear | None = None
        if self.teacher is not None and config.hidden_weight and self.teacher.config.hidden_size != student_width:
            self.projection = nn.Linear(student_width, self.teacher.config.hidden_size, bias=False).to(device)
            self._seed = seed
            self.reset_projection()

    def reset_projection(self) -> None:
        """The projection as it is before the first step."""
        if self.projection is not None:
            drawn = torch.randn(self.projection.weight.shape, generator=torch.Generator().manual_seed(self._seed))
            with torch.no_grad():
                self.projection.weight.copy_(drawn / self.projection.in_features**0.5)

    def loss(
        self,
        student: SmolLM,
        batch: PackedBatch,
        positions: npt.NDArray[np.int64],
        head_weights: Sequence[float],
        num_items: Sequence[int],
    ) -> tuple[Tensor, Tensor]:
        """What to minimise, and the heads' cross-entropies [K] (detached).

        Args:
            batch: whole windows end to end. positions: [B, S + 1], where their tokens stand in the token file.
            num_items: each head's count of targets in the whole batch that this one is a part of.
        """
        config, depths = self.config, len(head_weights)
        x_TH, context = student.trunk(batch)
        hidden_KTH = student.branch(x_TH, context, depths)
        taught_TH, taught_x_TH, taught_context = self._run_teacher(batch)
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
            ce_weight=config.ce_weight,
            kl_weight=config.kl_weight,
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
        if config.hidden_weight:
            assert taught_TH is not None
            ours = hidden_KTH[0] if self.projection is None else self.projection(hidden_KTH[0])
            errors = (ours - taught_TH).float().square().mean(1) / taught_TH.float().square().mean(1)
            loss = loss + config.hidden_weight * errors[counted].sum() / items[0]
        if config.attention_weight:
            assert self.teacher is not None
            assert taught_x_TH is not None
            assert taught_context is not None
            window = positions.shape[1]
            with torch.no_grad():
                log_q = _last_attention(self.teacher, taught_x_TH, taught_context, batch, window)
            log_p = _last_attention(student, x_TH, context, batch, window)
            seen = log_q > -torch.inf
            log_q, log_p = log_q.masked_fill(~seen, 0.0), log_p.masked_fill(~seen, 0.0)
            divergence = (log_q.exp() * seen * (log_q - log_p)).sum(-1).view(-1)
            loss = loss + config.attention_weight * divergence[counted].sum() / items[0]
        return loss, head_losses

    @torch.no_grad()
    def _run_teacher(self, batch: PackedBatch) -> tuple[Tensor | None, Tensor | None, Context | None]:
        """Its states before the unembedding and before the last layer, as far as they are needed."""
        if self.teacher is None:
            return None, None, None
        x_TH, context = self.teacher.trunk(batch)
        if self.cache is not None and not self.config.hidden_weight:
            return None, x_TH, context
        return self.teacher.branch(x_TH, context, 1)[0], x_TH, context

    def _distribution(self, positions: npt.NDArray[np.int64], taught_TH: Tensor | None) -> Teacher:
        if self.cache is not None:
            return self.cache.at(positions.reshape(-1))
        assert self.teacher is not None
        assert taught_TH is not None
        return HiddenTeacher(taught_TH, self.teacher.unembedding)


def _last_attention(model: SmolLM, x_TH: Tensor, context: Context, batch: PackedBatch, window: int) -> Tensor:
    layer = model.model.layers[-1]
    assert isinstance(layer, DecoderLayer)
    return layer.self_attn.log_probabilities(layer.input_layernorm(x_TH), context, batch.document_ids, window)

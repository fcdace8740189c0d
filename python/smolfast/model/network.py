"""A SmolLM3-shaped decoder with multi-token prediction heads.

The parameters have the names that transformers' `SmolLM3ForCausalLM` gives them, so that an export is a renaming of
nothing. Tokens are a flat run [T] in which documents lie one after another; `cu_seqlens` says where each begins,
attention never crosses, and positions restart at 0 in each document: what transformers does when it is given such
`position_ids`. (Rotary attention depends on differences of positions only, so the restart changes no number beyond
rounding.)

Shapes in names: T tokens of the flat run, H hidden width, N query heads, G key/value heads, D head width, V
vocabulary, K prediction heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from smolfast import ops
from smolfast.config import ModelConfig
from smolfast.model.context_parallel import ContextGroup, RunPart
from smolfast.model.rope import rotary_tables, rotate
from smolfast.ops.loss import shift, shifted_mtp_loss
from smolfast.ops.rms_norm import RMSNorm
from smolfast.ops.swiglu import swiglu

IGNORE_INDEX = -100
Recompute = Literal["none", "selective", "full"]
"""What the backward pass computes again instead of keeping it: nothing; feed-forward parts; whole layers."""


@dataclass(frozen=True)
class PackedBatch:
    """A flat run of documents, and what each position is to predict.

    Attributes:
        tokens: int64 [T].
        targets: int64 [T], each position's next token, or IGNORE_INDEX where that is of another document or not there.
        position_ids: int64 [T], restarting at 0 in each document.
        document_ids: int32 [T], 0, 1, 2, … through the run.
        cu_seqlens: int32 [documents + 1], where each document begins, and T.
        max_seqlen: tokens of the longest document.
        part: what of it this rank computes (context parallelism); None for all. What a model makes of the batch is then
            of these positions alone.
    """

    tokens: Tensor
    targets: Tensor
    position_ids: Tensor
    document_ids: Tensor
    cu_seqlens: Tensor
    max_seqlen: int
    part: RunPart | None = None

    def shared_over(self, ranks: ContextGroup) -> PackedBatch:
        """The same run, of which this rank computes its part."""
        return replace(self, part=RunPart(self.cu_seqlens.tolist(), ranks, self.tokens.device))

    @classmethod
    def from_windows(
        cls,
        tokens: npt.NDArray[Any],
        document_ids: npt.NDArray[Any],
        device: torch.device | str = "cpu",
        learned: npt.NDArray[np.bool_] | None = None,
    ) -> PackedBatch:
        """Lay windows end to end; a window's piece of a document is a document of its own.

        Args:
            tokens: integers [B, S + 1]; the last of a window is only a target.
            document_ids: integers [B, S + 1], different for neighbouring documents.
            learned: bool [B, S + 1], which tokens may be targets; None for all.
        """
        first = np.ones(tokens.shape, bool)
        first[:, 1:] = document_ids[:, 1:] != document_ids[:, :-1]
        return cls._from_flat(tokens.reshape(-1), np.flatnonzero(first), device, learned)

    @classmethod
    def from_documents(
        cls,
        documents: Sequence[npt.NDArray[Any]],
        device: torch.device | str = "cpu",
        learned: Sequence[npt.NDArray[np.bool_]] | None = None,
    ) -> PackedBatch:
        """Lay token runs end to end.

        Args:
            learned: of each run, which tokens may be targets; None for all.
        """
        lengths = [len(document) for document in documents]
        flags = None if learned is None else np.concatenate(learned)
        return cls._from_flat(np.concatenate(documents), np.cumsum([0, *lengths[:-1]]), device, flags)

    @classmethod
    def _from_flat(
        cls,
        tokens: npt.NDArray[Any],
        starts: npt.NDArray[np.int64],
        device: torch.device | str,
        learned: npt.NDArray[np.bool_] | None = None,
    ) -> PackedBatch:
        bounds = np.append(starts, len(tokens))
        lengths = np.diff(bounds)
        targets = np.append(tokens[1:], 0).astype(np.int64)
        if learned is not None:
            targets[:-1][~learned.reshape(-1)[1:]] = IGNORE_INDEX
        targets[bounds[1:] - 1] = IGNORE_INDEX

        def tensor(array: npt.NDArray[Any], dtype: type[np.integer[Any]]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array, dtype)).to(device)

        return cls(
            tensor(tokens, np.int64),
            tensor(targets, np.int64),
            tensor(np.arange(len(tokens)) - np.repeat(starts, lengths), np.int64),
            tensor(np.repeat(np.arange(len(starts)), lengths), np.int32),
            tensor(bounds, np.int32),
            int(lengths.max()),
        )

    def head_targets(self, heads: int) -> Tensor:
        """What each prediction head is to predict, int64 [K, T]: head j the token j further on than the next, or
        IGNORE_INDEX where that is of another document."""
        targets_KT = shift(self.targets, heads, IGNORE_INDEX, self.document_ids)
        return targets_KT if self.part is None else self.part.of(targets_KT, 1)

    def valid_targets(self, heads: int) -> list[int]:
        """How many targets each prediction head has."""
        counts: list[int] = (self.head_targets(heads) != IGNORE_INDEX).sum(1).tolist()
        return counts


class KeyValueCache:
    """Keys, not yet rotated, and values [capacity, G, D] of one growing sequence, for each layer.

    `length` moves on when a forward pass is over, so all layers of a pass write to the same place.
    """

    def __init__(self, config: ModelConfig, capacity: int, device: torch.device | str, dtype: torch.dtype) -> None:
        shape = (config.num_hidden_layers, capacity, config.num_key_value_heads, config.head_dim)
        self.keys = torch.empty(shape, device=device, dtype=dtype)
        self.values = torch.empty(shape, device=device, dtype=dtype)
        self.length = 0

    def append(self, layer: int, k_TGD: Tensor, v_TGD: Tensor) -> tuple[Tensor, Tensor]:
        """Store this pass's keys and values; give all of the sequence's so far."""
        end = self.length + len(k_TGD)
        self.keys[layer, self.length : end] = k_TGD
        self.values[layer, self.length : end] = v_TGD
        return self.keys[layer, :end], self.values[layer, :end]


@dataclass(frozen=True)
class Context:
    """What every layer of one pass shares: rotary tables for each key [keys, D/2], the tokens [T], the documents or the
    cache, and the part of the tokens that is computed here (None for all)."""

    rope: tuple[Tensor, Tensor]
    tokens: Tensor
    cu_seqlens: Tensor | None = None
    max_seqlen: int = 0
    cache: KeyValueCache | None = None
    part: RunPart | None = None

    def mine(self, whole: Tensor) -> Tensor:
        """The part that is computed here of something that all tokens have."""
        return whole if self.part is None else self.part.of(whole)


class Attention(nn.Module):
    """Grouped-query causal attention; without rotary embedding where `use_rope` is false (NoPE, arXiv 2501.18795)."""

    def __init__(self, config: ModelConfig, layer: int, use_rope: bool) -> None:
        super().__init__()
        self.layer, self.use_rope, self.head_dim = layer, use_rope, config.head_dim
        query_width = config.num_attention_heads * config.head_dim
        key_width = config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, query_width, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, key_width, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, key_width, bias=False)
        self.o_proj = nn.Linear(query_width, config.hidden_size, bias=False)
        # Named as Qwen3 and OLMo 2 name them (arXiv 2302.05442).
        self.q_norm = make_norm(config, config.head_dim) if config.qk_norm else None
        self.k_norm = make_norm(config, config.head_dim) if config.qk_norm else None

    def queries_and_keys(self, x_TH: Tensor) -> tuple[Tensor, Tensor]:
        """[T, N, D] and [T, G, D], not yet rotated."""
        q_TND, k_TGD = (
            projection(x_TH).view(len(x_TH), -1, self.head_dim) for projection in (self.q_proj, self.k_proj)
        )
        if self.q_norm is not None and self.k_norm is not None:
            # A norm's weight is fp32 where the products are not.
            q_TND, k_TGD = self.q_norm(q_TND).to(q_TND.dtype), self.k_norm(k_TGD).to(k_TGD.dtype)
        return q_TND, k_TGD

    def forward(self, x_TH: Tensor, context: Context) -> Tensor:
        q_TND, k_TGD = self.queries_and_keys(x_TH)
        v_TGD = self.v_proj(x_TH).view(len(x_TH), -1, self.head_dim)
        rope = context.rope if self.use_rope else None
        if context.cache is not None:
            k_LGD, v_LGD = context.cache.append(self.layer, k_TGD, v_TGD)
            out = ops.gqa_attention(q_TND[None], k_LGD[None], v_LGD[None], causal=True, rope=rope)
        elif context.part is not None:
            out = context.part.attention(q_TND, k_TGD, v_TGD, rope)
        else:
            bounds, longest = context.cu_seqlens, context.max_seqlen
            assert bounds is not None
            out = ops.gqa_attention_varlen(
                q_TND, k_TGD, v_TGD, bounds, bounds, longest, longest, causal=True, rope=rope
            )
        assert isinstance(out, Tensor)
        result: Tensor = self.o_proj(out.reshape(len(x_TH), -1))
        return result

    def scores(self, x_TH: Tensor, context: Context, document_ids: Tensor, window: int) -> tuple[Tensor, Tensor]:
        """Logits of each head within each window, [T / W, Hq, W, W] in fp32, −inf where a position may not look: ahead,
        or at another document; and where it may, [T / W, 1, W, W].

        x_TH is the layer's input, after its norm; the flat run is whole windows of W = `window` tokens.
        """
        q_TND, k_TGD = self.queries_and_keys(x_TH)
        if self.use_rope:
            q_TND, k_TGD = rotate(q_TND, context.rope), rotate(k_TGD, context.rope)
        q, k = (x.float().view(-1, window, *x.shape[1:]).transpose(1, 2) for x in (q_TND, k_TGD))
        scores = q @ k.repeat_interleave(q.shape[1] // k.shape[1], 1).transpose(2, 3) / self.head_dim**0.5
        ids = document_ids.view(-1, window)
        seen = (ids[:, :, None] == ids[:, None, :]).tril()[:, None]
        return scores.masked_fill(~seen, -torch.inf), seen

    def log_probabilities(self, x_TH: Tensor, context: Context, document_ids: Tensor, window: int) -> Tensor:
        """Logarithm of how much each position attends to each of its window, mean over heads, [T / W, W, W]: of
        `scores`, whose arguments these are."""
        scores, seen = self.scores(x_TH, context, document_ids, window)
        log = scores.log_softmax(-1)
        # The unseen stay out of the sum over heads: their gradient through −inf would be no number.
        mean = log.masked_fill(~seen, 0.0).logsumexp(1) - math.log(scores.shape[1])
        result: Tensor = mean.masked_fill(~seen[:, 0], -torch.inf)
        return result


class SwiGLU(nn.Module):
    """down(silu(gate(x)) · up(x)) (arXiv 2002.05202)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(swiglu(self.gate_proj(x), self.up_proj(x)))  # type: ignore[no-any-return]


class Ungated(nn.Module):
    """down(f(up(x))): f is ReLU² (arXiv 2109.08668) or GELU (arXiv 1606.08415)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activation = config.activation
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        units = self.up_proj(x)
        units = F.gelu(units) if self.activation == "gelu" else F.relu(units).square()
        return self.down_proj(units)  # type: ignore[no-any-return]


def make_norm(config: ModelConfig, width: int) -> nn.Module:
    """The norm of `config.norm`; its one parameter is `weight`."""
    if config.norm == "layernorm":  # arXiv 1607.06450
        return nn.LayerNorm(width, config.rms_norm_eps, bias=False)
    return RMSNorm(width, config.rms_norm_eps)


class DecoderLayer(nn.Module):
    """Attention and the feed-forward part, each after a norm and added to the residual stream.

    `recompute` lies inside the layer, so that sharded weights are whole where a part is computed again.
    """

    recompute: Recompute = "none"

    def __init__(self, config: ModelConfig, layer: int, use_rope: bool) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer, use_rope)
        self.mlp = SwiGLU(config) if config.activation == "swiglu" else Ungated(config)
        self.input_layernorm = make_norm(config, config.hidden_size)
        self.post_attention_layernorm = make_norm(config, config.hidden_size)

    def forward(self, x_TH: Tensor, context: Context) -> Tensor:
        return _kept(self.recompute != "full", self._layer, x_TH, context)

    def _layer(self, x_TH: Tensor, context: Context) -> Tensor:
        x_TH = x_TH + self.self_attn(self.input_layernorm(x_TH), context)
        return x_TH + _kept(self.recompute != "selective", self._feed_forward, x_TH)

    def _feed_forward(self, x_TH: Tensor) -> Tensor:
        return self.mlp(self.post_attention_layernorm(x_TH))  # type: ignore[no-any-return]


def _kept(keep: bool, block: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """A block's output; what its gradient needs is kept, or else computed again from the inputs (arXiv 1604.06174).

    Nothing in a block is random, so it is computed again to the bit.
    """
    if keep or not torch.is_grad_enabled():
        return block(*inputs)
    result: Tensor = checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False)
    return result


class Decoder(nn.Module):
    """Embedding, layers and final norm; NoPE on every `no_rope_layer_interval`-th layer."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            DecoderLayer(config, layer, use_rope) for layer, use_rope in enumerate(rope_layers(config))
        )
        self.norm = make_norm(config, config.hidden_size)


class SequentialHead(nn.Module):
    """A further head that follows the one before it (DeepSeek-V3, arXiv 2412.19437, section 2.2).

    Its layer's input is a projection of the state of the head before and of the embedding of the token which that head
    was to predict, each after a norm, so that heads keep the whole causal chain.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.state_norm = make_norm(config, config.hidden_size)
        self.token_norm = make_norm(config, config.hidden_size)
        self.projection = nn.Linear(2 * config.hidden_size, config.hidden_size, bias=False)
        self.layer = DecoderLayer(config, config.num_hidden_layers - 1, use_rope=True)

    def forward(self, state_TH: Tensor, embedded_TH: Tensor, context: Context) -> Tensor:
        both = torch.cat([self.state_norm(state_TH), self.token_norm(embedded_TH)], -1)
        result: Tensor = self.layer(self.projection(both), context)
        return result


class SmolLM(nn.Module):
    """SmolLM3 (as transformers builds it) with heads that predict further ahead, of one of three kinds (`mtp_kind`).

    - independent (Gloeckle et al., arXiv 2404.19737): head j is a layer of its own on the state that enters the last
      layer, its sibling.
    - sequential (DeepSeek-V3): head j is a layer on the state of head j − 1 and the token which that one predicts.
    - shared: the next token's logits are to predict the tokens further ahead too; no parameters.

    Norm and unembedding are shared. Head 0 is the model itself, which is complete without `mtp_heads`. The layers of
    further heads use rotary embedding.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, seed: int = 0) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        self.model = Decoder(config, vocab_size)
        further = 0 if config.mtp_kind == "shared" else config.mtp_heads - 1
        self.mtp_heads = nn.ModuleList(
            SequentialHead(config)
            if config.mtp_kind == "sequential"
            else DecoderLayer(config, config.num_hidden_layers - 1, use_rope=True)
            for _ in range(further)
        )
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, vocab_size, bias=False)
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            if parameter.ndim > 1 and not parameter.is_meta:
                nn.init.normal_(parameter, std=config.initializer_range, generator=generator)

    def set_recompute(self, mode: Recompute) -> None:
        """Say what the backward pass computes again; it changes no number."""
        for module in self.modules():
            if isinstance(module, DecoderLayer):
                module.recompute = mode

    @property
    def unembedding(self) -> Tensor:  # [V, H]
        return self.model.embed_tokens.weight if self.config.tie_word_embeddings else self.lm_head.weight

    def hidden_states(self, batch: PackedBatch, heads: int | None = None) -> Tensor:
        """The normalised states [K, T, H] from which each of the first `heads` (all) prediction heads predicts."""
        return self.branch(*self.trunk(batch), heads)

    def trunk(self, batch: PackedBatch, kept: dict[int, Tensor | None] | None = None) -> tuple[Tensor, Context]:
        """The states [T, H] that enter the last layer and its siblings, and what all layers share.

        Args:
            kept: gets the outputs [T, H] of the layers that it has as keys, counted from 1, and for 0 the embeddings.
                That of the last layer comes from `branch`.
        """
        rope = rotary_tables(self.config, batch.position_ids)
        context = Context(rope, batch.tokens, batch.cu_seqlens, batch.max_seqlen, part=batch.part)
        return self._trunk(context.mine(batch.tokens), context, kept), context

    def branch(
        self, x_TH: Tensor, context: Context, heads: int | None = None, kept: dict[int, Tensor | None] | None = None
    ) -> Tensor:
        """What the first `heads` (all) prediction heads make of the trunk's states: normalised, [K, T, H].

        Args:
            kept: as of `trunk`.
        """
        heads = self.config.mtp_heads if heads is None else heads
        state = self.model.layers[-1](x_TH, context)
        if kept is not None and len(self.model.layers) in kept:
            kept[len(self.model.layers)] = state
        if self.config.mtp_kind == "shared":
            normalised: Tensor = self.model.norm(state)
            return normalised.expand(heads, -1, -1)
        states = [state]
        for ahead, head in enumerate(self.mtp_heads[: heads - 1], 1):
            if isinstance(head, SequentialHead):
                # The tokens that come round at the end stand where no target counts, and none before sees them.
                embedded = self.model.embed_tokens(context.mine(context.tokens.roll(-ahead)))
                states.append(head(states[-1], embedded, context))
            else:
                states.append(head(x_TH, context))
        return torch.stack([self.model.norm(state) for state in states])

    def loss(
        self,
        batch: PackedBatch,
        head_weights: Sequence[float],
        num_items: Sequence[int] | None = None,
        z_loss: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """The weighted sum of the heads' losses in nats, and those losses [K] (detached).

        Args:
            num_items: what each head's sum is divided by, for a batch that is a part of a larger one; None for its own
                count of valid targets.
            z_loss: weight of the squared log-partition.
        """
        items = batch.valid_targets(len(head_weights)) if num_items is None else num_items
        divisors = torch.tensor(items, device=batch.targets.device)
        result = shifted_mtp_loss(
            self._states_to_predict_from(batch, len(head_weights)),
            self.unembedding,
            batch.head_targets(len(head_weights)),
            head_weights=head_weights,
            num_items=divisors,
            z_loss=z_loss,
            return_metrics=True,
        )
        assert isinstance(result, tuple)
        loss, metrics = result
        return loss, metrics["loss"] * metrics["count"] / divisors

    def token_losses(self, batch: PackedBatch, heads: int) -> Tensor:
        """Each head's loss at each position in nats [K, T], 0 where it has no target."""
        losses_KT = shifted_mtp_loss(
            self._states_to_predict_from(batch, heads),
            self.unembedding,
            batch.head_targets(heads),
            head_weights=(1.0,) * heads,
            reduction="none",
        )
        assert isinstance(losses_KT, Tensor)
        return losses_KT

    def _states_to_predict_from(self, batch: PackedBatch, heads: int) -> Tensor:
        hidden = self.hidden_states(batch, heads)
        return hidden[0] if self.config.mtp_kind == "shared" else hidden  # logits once, for all heads

    def logits(self, batch: PackedBatch) -> Tensor:
        """Next-token logits [T, V]."""
        return F.linear(self.hidden_states(batch, heads=1)[0], self.unembedding)

    def extend(self, tokens: Tensor, cache: KeyValueCache) -> Tensor:
        """Append tokens [T] to the cached sequence; give the logits [V] after the last of them."""
        keys = torch.arange(cache.length + len(tokens), device=tokens.device)
        context = Context(rotary_tables(self.config, keys), tokens, cache=cache)
        x_TH = self.model.layers[-1](self._trunk(tokens, context), context)
        cache.length += len(tokens)
        return F.linear(self.model.norm(x_TH[-1]), self.unembedding)

    def _trunk(self, tokens: Tensor, context: Context, kept: dict[int, Tensor | None] | None = None) -> Tensor:
        x_TH: Tensor = self.model.embed_tokens(tokens)
        for number, layer in enumerate(self.model.layers[:-1], 1):
            if kept is not None and number - 1 in kept:
                kept[number - 1] = x_TH
            x_TH = layer(x_TH, context)
        if kept is not None and len(self.model.layers) - 1 in kept:
            kept[len(self.model.layers) - 1] = x_TH
        return x_TH


def rope_layers(config: ModelConfig) -> list[bool]:
    """Which layers rotate: all but every `no_rope_layer_interval`-th."""
    return [(layer + 1) % config.no_rope_layer_interval != 0 for layer in range(config.num_hidden_layers)]

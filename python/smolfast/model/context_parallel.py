"""Context parallelism: a flat run of tokens over several ranks, exactly (Llama 3, arXiv 2407.21783, section 3.3.2).

The run is cut into 2 N stretches, and rank r of N computes stretches r and 2 N − 1 − r. A position attends to all that
stand before it in its document, so the first half of a document costs less than the second; an early and a late
stretch together make ranks equal. Everything but attention is a matter of single positions. For attention, keys and
values of all ranks are gathered: of one layer at a time, and once more on the way back, where their gradients are
summed over ranks. So a rank keeps those of its own positions alone.

A ring would never hold one layer's keys and values whole. But documents would cut each of its N passes another way, and
N parts of a softmax would have to be joined. With the keys side by side, attention is one call a stretch, of the kernel
that one process calls too, over the keys from the stretch's first document on.

Shapes in names: T tokens of the whole run, t those of one rank, N query heads, G key/value heads, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from smolfast.ops.attention import attention_backward, gqa_attention_varlen, in_one_dtype, statistics_dtype


@dataclass(frozen=True)
class ContextGroup:
    """Ranks that share runs of tokens.

    Attributes:
        rank: this one's number among them. size: how many they are.
        group: their process group. None where there are no others and only the room is asked for (a dry run): what
            would come from them has no meaning then.
    """

    rank: int
    size: int
    group: Any = None

    def gather(self, mine: Tensor) -> Tensor:
        """Two stretches of each rank [2 c, …], in the order of the run [2 N c, …]."""
        half = len(mine) // 2
        whole = mine.new_empty((self.size * len(mine), *mine.shape[1:]))
        for given, places in zip((mine[:half], mine[half:]), self._places(whole), strict=True):
            if self.group is None:
                torch.cat(places)  # gloo and NCCL receive side by side
            else:
                dist.all_gather(places, given, group=self.group)
        return whole

    def scatter_sum(self, whole: Tensor) -> Tensor:
        """The sum over ranks of a whole run [2 N c, …], to each rank its two stretches [2 c, …]."""
        mine = whole.new_empty((len(whole) // self.size, *whole.shape[1:]))
        half = len(mine) // 2
        for received, places in zip((mine[:half], mine[half:]), self._places(whole), strict=True):
            if self.group is None:
                torch.cat(places)
            else:
                dist.reduce_scatter(received, places, group=self.group)
        return mine

    def _places(self, whole: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Where each rank's first stretch lies in a run, and its second."""
        stretches = list(whole.tensor_split(2 * self.size))
        return stretches[: self.size], stretches[: self.size - 1 : -1]


@dataclass(frozen=True)
class _Stretch:
    """Neighbouring positions that one call computes the attention of.

    Attributes:
        rows: which they are among the rank's own. first, end: among the run's, the last + 1.
        first_key: where the document begins that the first of them is of: the keys are those from there to `end`.
        cu_seqlens_q, cu_seqlens_k, longest_q, longest_k: of its documents, as the kernels take them.
    """

    rows: slice
    first: int
    end: int
    first_key: int
    cu_seqlens_q: Tensor
    cu_seqlens_k: Tensor
    longest_q: int
    longest_k: int

    @property
    def keys(self) -> slice:
        return slice(self.first_key, self.end)


class RunPart:
    """What one rank computes of a flat run: two stretches, one after the other.

    Attributes:
        tokens: how many positions it has. All ranks have equally many, but for what the run lacks of 2 N equal
            stretches.
    """

    def __init__(self, bounds: Sequence[int], group: ContextGroup, device: torch.device) -> None:
        """
        Args:
            bounds: where each document of the run begins, and the run's length. At least 2 N tokens.
        """
        self.group, self._length = group, -(-bounds[-1] // (2 * group.size))
        self._stretches: list[_Stretch] = []
        self.tokens = 0
        for number in (group.rank, 2 * group.size - 1 - group.rank):
            first, end = (min(at * self._length, bounds[-1]) for at in (number, number + 1))
            if first < end:
                self._stretches.append(_stretch(bounds, first, end, self.tokens, device))
                self.tokens += end - first

    def of(self, whole: Tensor, dim: int = 0) -> Tensor:
        """This rank's part of something that the run has for each position."""
        parts = [whole.narrow(dim, stretch.first, stretch.end - stretch.first) for stretch in self._stretches]
        return torch.cat(parts, dim)

    def attention(self, q_tND: Tensor, k_tGD: Tensor, v_tGD: Tensor, rope: tuple[Tensor, Tensor] | None) -> Tensor:
        """Causal attention within documents, [t, N, D]; keys and values of other ranks are gathered.

        Every rank of the group must call, and its backward pass, too.

        Args:
            rope: cosine and sine [T, D/2] for the whole run.
        """
        cos, sin = rope or (None, None)
        result: Tensor = _Attention.apply(*in_one_dtype(q_tND, k_tGD, v_tGD), cos, sin, self)  # type: ignore[no-untyped-call]
        return result

    @torch.no_grad()
    def largest_logits(self, q_tND: Tensor, k_tGD: Tensor, rope: tuple[Tensor, Tensor] | None) -> Tensor:
        """The largest logit of each head at this rank's positions, fp32 [N]."""
        whole = self._gather(k_tGD, k_tGD)
        found = []
        for stretch in self._stretches:
            k, v = whole[stretch.keys].unbind(1)
            found.append(self._call(stretch, q_tND, k, v, rope, logits=True)[1])
        return torch.stack(found).amax(0)

    def _gather(self, k_tGD: Tensor, v_tGD: Tensor) -> Tensor:
        """Keys and values of the whole run [T and more, 2, G, D]; what lies beyond T is no one's."""
        mine = torch.stack([k_tGD, v_tGD], 1)
        lacking = 2 * self._length - len(mine)
        if lacking:
            mine = torch.cat([mine, mine.new_zeros((lacking, *mine.shape[1:]))])
        return self.group.gather(mine)

    def _call(
        self, stretch: _Stretch, q_tND: Tensor, k: Tensor, v: Tensor, rope: tuple[Tensor, Tensor] | None,
        logits: bool = False,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """A stretch's output, and its log-sum-exp or largest logits."""
        tables = None if rope is None else (rope[0][stretch.keys], rope[1][stretch.keys])
        result = gqa_attention_varlen(
            q_tND[stretch.rows], k, v, stretch.cu_seqlens_q, stretch.cu_seqlens_k, stretch.longest_q, stretch.longest_k,
            causal=True, rope=tables, return_lse=not logits, return_max_logit=logits,
        )  # fmt: skip
        assert isinstance(result, tuple)
        return result[0], result[1]


class _Attention(torch.autograd.Function):
    """Attention of a rank's positions over the keys and values of all ranks."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, cos: Tensor | None, sin: Tensor | None, part: RunPart
    ) -> Tensor:
        whole = part._gather(k, v)
        rope = None if cos is None or sin is None else (cos, sin)
        out, statistics = torch.empty_like(q, memory_format=torch.contiguous_format), []
        for stretch in part._stretches:
            keys, values = whole[stretch.keys].unbind(1)
            out[stretch.rows], lse = part._call(stretch, q, keys, values, rope)
            statistics.append(lse)
        ctx.part = part
        ctx.save_for_backward(q, k, v, cos, sin, out, *statistics)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, cos, sin, out, *statistics = ctx.saved_tensors
        part: RunPart = ctx.part
        whole = part._gather(k, v)
        dq = torch.empty_like(out)
        # Each rank's share of a key's gradient is rounded to its type; their sum isn't rounded before it is whole.
        gradient = whole.new_zeros(whole.shape, dtype=statistics_dtype(whole.dtype))
        for stretch, lse in zip(part._stretches, statistics, strict=True):
            rows, keys = stretch.rows, stretch.keys
            tables = (None, None) if cos is None else (cos[keys], sin[keys])
            dq[rows], dk, dv, _ = attention_backward(
                grad_out[rows], None, q[rows], *whole[keys].unbind(1), out[rows], lse, stretch.cu_seqlens_q,
                stretch.cu_seqlens_k, *tables, None, stretch.longest_q, stretch.longest_k, True, q.shape[-1] ** -0.5,
                -1, -1, 0.0, True,
            )  # fmt: skip
            gradient[keys, 0] += dk
            gradient[keys, 1] += dv
        del whole
        mine = part.group.scatter_sum(gradient)[: len(k)]
        return dq, mine[:, 0].to(k.dtype), mine[:, 1].to(v.dtype), None, None, None


def _stretch(bounds: Sequence[int], first: int, end: int, rows_before: int, device: torch.device) -> _Stretch:
    begins = int(np.searchsorted(bounds, first, side="right")) - 1
    inner = [bound for bound in bounds[begins + 1 :] if bound < end]
    queries, keys = [first, *inner, end], [bounds[begins], *inner, end]

    def offsets(starts: list[int]) -> tuple[Tensor, int]:
        longest = max(after - before for before, after in pairwise(starts))
        return torch.tensor([start - starts[0] for start in starts], dtype=torch.int32, device=device), longest

    (cu_seqlens_q, longest_q), (cu_seqlens_k, longest_k) = offsets(queries), offsets(keys)
    return _Stretch(
        slice(rows_before, rows_before + end - first), first, end, keys[0], cu_seqlens_q, cu_seqlens_k, longest_q,
        longest_k,
    )  # fmt: skip

"""What a teacher adds to the gradient of one tile of logits: a divergence from its probabilities, at a temperature.

With student logits z, p = softmax(z / τ) and the teacher's q at the same τ, the loss adds weight · τ² · D:

- forward: D = KL(q ‖ p), whose gradient in z / τ is p · Σq − q (Hinton et al., arXiv 1503.02531);
- reverse: D = KL(p ‖ q), gradient p · (log p/q − D) (Gu et al., arXiv 2306.08543);
- js: D = ½ KL(p ‖ m) + ½ KL(q ‖ m) with m = ½ (p + q), gradient ½ p · (log p/m − KL(p ‖ m)).

Stored pairs know q at a few tokens only, so they serve the forward divergence; Σq is then what was stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

DIVERGENCES = ("forward", "reverse", "js")


@dataclass(frozen=True)
class Teacher:
    """Where the teacher's probabilities come from, one of three, and what to do with them.

    Positions are those of the student's [N]; the teacher's distribution at position i is that of the token targets[i].

    Args:
        ce_weight, weight: of the cross-entropy and of τ² times the divergence.
        logits: rows of the teacher's logits by position, a function of int64 [n] giving [n, V].
        tokens, probabilities: stored pairs, int64 and floating point [N, m]; entries with probability 0 don't count.
    """

    ce_weight: float
    weight: float
    temperature: float
    divergence: str
    logits: Callable[[Tensor], Tensor] | None = None
    tokens: Tensor | None = None
    probabilities: Tensor | None = None

    def student(self, z: Tensor, softmax: Tensor, lse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """z / τ, its softmax and its log-sum-exp [n, 1], which at τ = 1 are there already."""
        if self.temperature == 1.0:
            return z, softmax, lse[:, None]
        scaled = z / self.temperature
        return scaled, torch.softmax(scaled, 1), torch.logsumexp(scaled, 1, keepdim=True)

    def add(self, positions: Tensor, grad: Tensor, student: tuple[Tensor, Tensor, Tensor], dz: Tensor) -> Tensor:
        """Divergences [n] of these rows; their gradient, times grad [n], is added to dz [n, V]."""
        scaled, p, lse = student
        step = (grad * self.weight * self.temperature)[:, None]  # τ² of the loss, 1/τ of z / τ
        if self.tokens is not None and self.probabilities is not None:
            tokens, q = self.tokens[positions], self.probabilities[positions].to(dz.dtype)
            dz.addcmul_(p, step * q.sum(1, keepdim=True)).scatter_add_(1, tokens, -step * q)
            return stored_divergence(q, scaled.gather(1, tokens) - lse)
        assert self.logits is not None
        log_q = torch.log_softmax(self.logits(positions).to(dz.dtype) / self.temperature, 1)
        log_p = scaled - lse
        if self.divergence == "forward":
            q = log_q.exp()
            dz.addcmul_(p - q, step)
            return (q * (log_q - log_p)).masked_fill_(q == 0, 0.0).sum(1)
        if self.divergence == "reverse":
            ratio = (log_p - log_q).masked_fill_(p == 0, 0.0)
            divergence = (p * ratio).sum(1)
            dz.addcmul_(p * (ratio - divergence[:, None]), step)
            return divergence
        q = log_q.exp()
        log_m = torch.log((p + q) / 2)
        ratio = (log_p - log_m).masked_fill_(p == 0, 0.0)
        of_p = (p * ratio).sum(1)
        dz.addcmul_(p * (ratio - of_p[:, None]), step / 2)
        return of_p / 2 + (q * (log_q - log_m)).masked_fill_(q == 0, 0.0).sum(1) / 2


def stored_divergence(q: Tensor, log_p: Tensor) -> Tensor:
    """KL(q ‖ p) over stored pairs [n, m], [n]."""
    return (torch.xlogy(q, q) - q * log_p).sum(1)

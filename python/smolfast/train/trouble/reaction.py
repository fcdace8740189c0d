"""What to do when a loss or a gradient jumps or is no number: note it, leave the batch out, or roll back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from smolfast.train.trouble.spike_detector import SpikeDetector

Reaction = Literal["warn", "skip", "rollback", "stop"]


@dataclass(frozen=True)
class Trouble:
    """A step that stands out.

    Attributes:
        what: "loss spike", "gradient spike" or "not finite".
        deviations: standard deviations above the last steps. reaction: what to do.
        new: whether the step before was calm.
    """

    what: str
    deviations: float
    reaction: Reaction
    new: bool


class Guard:
    """Watches losses and gradient norms, and says what the policy wants done.

    `rollback` and `skip` give up ("stop") when `most` of them in a row didn't help; "warn" stops at what isn't finite,
    since no step can be taken from there.

    Attributes:
        skipped: batches passed over so far by rollbacks; step s trains on batch s + skipped.
        rate: factor of the learning rates, lowered by rollbacks.
    """

    def __init__(
        self, policy: Literal["warn", "skip", "rollback"], *, sigma: float, window: int, most: int, lower: float
    ) -> None:
        self.policy, self.most, self.lower = policy, most, lower
        self.losses, self.norms = SpikeDetector(sigma, window), SpikeDetector(sigma, window)
        self.skipped, self.rate = 0, 1.0
        self.in_a_row = 0
        self.rollbacks: list[int] = []

    def look(self, loss: float, norm: float, *, settled: bool = True) -> Trouble | None:
        """Judge a step's loss and global gradient norm, before anything is done with them.

        Args:
            settled: False while the rate still rises: norms rise with it, so only what isn't finite is trouble, and
                the values tell nothing about later ones.
        """
        if not settled and math.isfinite(loss) and math.isfinite(norm):
            self.in_a_row = 0
            return None
        by_loss, by_norm = self.losses.deviations(loss), self.norms.deviations(norm)
        trouble = (self.losses.update(loss), self.norms.update(norm))
        if not any(trouble):
            self.in_a_row = 0
            return None
        self.in_a_row += 1
        broken = not (math.isfinite(loss) and math.isfinite(norm))
        what = "not finite" if broken else "loss spike" if trouble[0] else "gradient spike"
        reaction: Reaction = self.policy
        helpless = {
            "warn": broken,
            "skip": self.in_a_row > self.most,
            "rollback": len(self.rollbacks) >= self.most,
        }
        if helpless[self.policy]:
            reaction = "stop"
        return Trouble(what, max(by_loss, by_norm), reaction, self.in_a_row == 1)

    def checkpoints_to_pass_over(self, step: int) -> int:
        """How far back to go: a checkpoint more for each rollback from about here that wasn't enough."""
        window = self.losses.values.maxlen or 0
        return sum(abs(step - earlier) <= window for earlier in self.rollbacks)

    def roll_back(self, memory: dict[str, Any], *, step: int, back_to: int, further: int) -> None:
        """Take a checkpoint's memory, pass over the batches since it and `further` ones, and lower the rate."""
        rollbacks = [*self.rollbacks, step]
        skipped, rate = self.skipped + (step - back_to) + further, self.rate * self.lower
        self.load(memory)
        self.rollbacks, self.skipped, self.rate, self.in_a_row = rollbacks, skipped, rate, 0

    def state(self) -> dict[str, Any]:
        """JSON values for `load`."""
        return {
            "losses": self.losses.state(),
            "norms": self.norms.state(),
            "skipped": self.skipped,
            "rate": self.rate,
            "in_a_row": self.in_a_row,
            "rollbacks": self.rollbacks,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.losses.load(state["losses"])
        self.norms.load(state["norms"])
        self.skipped, self.rate, self.in_a_row = state["skipped"], state["rate"], state["in_a_row"]
        self.rollbacks = list(state["rollbacks"])

"""What attention was asked for, as its implementations on a CPU share it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AttentionOptions:
    """What `gqa_attention` was asked for, in the kernels' terms."""

    causal: bool
    softmax_scale: float
    window_left: int = -1
    """Keys visible to the left of a query's own position; −1 for all."""
    window_right: int = -1
    softcap: float = 0.0

    @property
    def left(self) -> int | None:
        return None if self.window_left < 0 else self.window_left

    @property
    def right(self) -> int | None:
        if self.causal:
            return 0
        return None if self.window_right < 0 else self.window_right

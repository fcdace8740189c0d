"""How fast a run is: tokens a second, the share of the machine's measured peak, and when it will end."""

from __future__ import annotations

import time
from collections import deque

import torch

from smolfast.workers import Workers

_RECENT = 20


def peak_flops(workers: Workers, device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """Operations a second of large square matrix products, all workers at once: the best of a few rounds.

    Takes under a tenth of a second on a CPU.
    """
    size = 8192 if device.type != "cpu" else 512
    units = 1 if device.type != "cpu" else workers.threads
    matrices = [torch.randn(size, size, device=device).to(dtype) for _ in range(2 * units)]
    best = 0.0

    def product(unit: int) -> None:
        torch.mm(matrices[2 * unit], matrices[2 * unit + 1])

    for _ in range(5):
        _settle(device)
        started = time.perf_counter()
        for _ in workers.map(product, range(units)):
            pass
        _settle(device)
        best = max(best, units * 2.0 * size**3 / (time.perf_counter() - started))
    return best


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Speedometer:
    """Tokens a second over the last steps, model FLOPs utilisation, seconds left."""

    def __init__(self, peak: float) -> None:
        """
        Args:
            peak: operations a second of all ranks together.
        """
        self.peak = peak
        self._times: deque[float] = deque(maxlen=_RECENT + 1)
        self._tokens: deque[int] = deque(maxlen=_RECENT)
        self._warming_up = True

    def start(self) -> None:
        """The clock runs from here."""
        self._times.clear()
        self._tokens.clear()
        self._times.append(time.perf_counter())

    def step(self, tokens: int, flops: float, steps_left: int) -> dict[str, float]:
        """The figures after a step of so many tokens, at so many operations a token."""
        if len(self._tokens) == 1 and self._warming_up:
            # The first step also compiles, allocates and fills caches: no later one takes as long.
            self._times.popleft()
            self._tokens.popleft()
            self._warming_up = False
        self._times.append(time.perf_counter())
        self._tokens.append(tokens)
        seconds = max(self._times[-1] - self._times[0], 1e-9)
        rate = sum(self._tokens) / seconds
        return {
            "tokens_per_second": round(rate, 1),
            "mfu": round(rate * flops / self.peak, 4),
            "eta_seconds": round(steps_left * seconds / len(self._tokens), 1),
        }

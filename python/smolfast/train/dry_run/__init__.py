"""What a training run would take, worked out before it: `smolfast train --dry-run`."""

from __future__ import annotations

from smolfast.train.dry_run.figures import describe, estimate, run

__all__ = ["describe", "estimate", "run"]

"""Where pieces of a job are done: in this process, or by Ray on many machines. What is done knows nothing of it."""

from __future__ import annotations

from smolfast.cluster.engine import Engine, EngineName, Here, open_engine

__all__ = ["Engine", "EngineName", "Here", "open_engine"]

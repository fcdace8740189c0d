"""Stages on files: each skips what is done, resumes what was killed, and leaves a whole output or none.

The stages that have a file of their own: `collect`, `normalize`, `split`; `quickstart` runs all in order.
"""

from __future__ import annotations

from smolfast.pipeline.normalize import normalize_documents
from smolfast.pipeline.split import split_documents
from smolfast.pipeline.stages import Runner, Stage

__all__ = ["Runner", "Stage", "normalize_documents", "split_documents"]

"""The page of what `smolfast curate` judged."""

from __future__ import annotations

from smolfast.report.curation.page import write_curation_report
from smolfast.report.curation.run import is_curation

__all__ = ["is_curation", "write_curation_report"]

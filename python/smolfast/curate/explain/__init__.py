"""Why a document stays or goes: it is found again, judged, and what its checks counted is marked."""

from __future__ import annotations

from smolfast.curate.explain.explanation import Explanation, Verdict, explain

__all__ = ["Explanation", "Verdict", "explain"]

"""MinHash near-duplicate removal: signatures, bands, clusters, and the job that runs them over files."""

from __future__ import annotations

from smolfast.dedup.banding import band_probability, choose_bands
from smolfast.dedup.explain import Explanation, explain
from smolfast.dedup.job import deduplicate
from smolfast.dedup.minhash import MinHasher
from smolfast.dedup.output import DedupSummary

__all__ = [
    "DedupSummary",
    "Explanation",
    "MinHasher",
    "band_probability",
    "choose_bands",
    "deduplicate",
    "explain",
]

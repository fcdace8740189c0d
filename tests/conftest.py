"""Settings that every test shares."""

from __future__ import annotations

import os

import hypothesis

hypothesis.settings.register_profile("ci", max_examples=200, deadline=None, print_blob=True, derandomize=True)
hypothesis.settings.register_profile("dev", max_examples=50, deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")

# Triton reads this when its kernels are defined. Without a GPU they run in its interpreter; TRITON_INTERPRET=0 says no.
os.environ.setdefault("TRITON_INTERPRET", "1")

"""Settings that every test shares."""

from __future__ import annotations

import os

import hypothesis

hypothesis.settings.register_profile("ci", max_examples=200, deadline=None, print_blob=True, derandomize=True)
hypothesis.settings.register_profile("dev", max_examples=50, deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")

"""The one error that users are meant to read: what was wrong, where, and the remedy, in one line."""

from __future__ import annotations


class SmolfastError(ValueError):
    """Bad input, options or files. The command line prints it as one line and exits with 2."""

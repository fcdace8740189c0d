"""The one error that users are meant to read: what was wrong, where, and the remedy, in one line."""

from __future__ import annotations


class SmolfastError(ValueError):
    """Bad input, options or files. The command line prints it as one line and exits with 2."""


class DivergedError(SmolfastError):
    """Training came to a loss that is no longer a number. For a sweep that is a result."""


class StopTrialError(DivergedError):
    """A monitor ended this training, or stopped at this stage. That is a result too, and other trials go on."""


class StopRunError(SmolfastError):
    """A monitor ended the whole run: nothing further is begun."""

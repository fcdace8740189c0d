"""What a store refuses for a moment is asked again, later each time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

ATTEMPTS = 6
FIRST_WAIT = 0.25
"""Seconds; each wait is three times the last, with up to half of it more by chance, so that clients spread out."""

# What no second try changes: NotImplementedError is a backend that lacks the operation. Of types that backends define
# themselves the name says it.
_OF_THE_PATH = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)
_FINAL = (*_OF_THE_PATH, TypeError, ValueError, NotImplementedError, ImportError)
_FINAL_NAMES = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "RepositoryNotFoundError")


def persistently(work: Callable[[], Result]) -> Result:
    """What `work` gives, after up to ATTEMPTS tries; the last error where none succeeds.

    An error that a second try can't change is raised at once: no such file, no permission, no credentials.
    """
    wait = FIRST_WAIT
    for attempt in range(ATTEMPTS):
        try:
            return work()
        except Exception as error:
            if attempt + 1 == ATTEMPTS or isinstance(error, _FINAL) or type(error).__name__ in _FINAL_NAMES:
                raise
            time.sleep(wait * (1 + random.random() / 2))
            wait *= 3
    raise AssertionError  # the last attempt returns or raises

"""Extractors that misbehave, for worker processes to find by name."""

from __future__ import annotations

import os
import signal
import time


def plain(html: str) -> str:
    """What it was given."""
    return html


def hostile(html: str) -> object:
    """Does what the page says."""
    if "HANG" in html:
        while True:
            pass
    if "SLEEP" in html:
        time.sleep(1000)
    if "KILL" in html:
        os.kill(os.getpid(), signal.SIGKILL)
    if "SEGFAULT" in html:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "EXIT" in html:
        os._exit(3)
    if "RAISE" in html:
        raise RuntimeError("a page that can't be read")
    if "RECURSE" in html:
        return hostile(html)
    if "MEMORY" in html:
        return "x" * (1 << 50)
    if "NUMBER" in html:
        return 7
    if "NOTHING" in html:
        return None
    if "PRINT" in html:
        print("among the messages")
    if "SURROGATE" in html:
        return "half \ud800 of a pair"
    return html

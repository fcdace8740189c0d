"""One process at a time on an output: a lock that the system lets go of when its process ends, however it ends."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error

LOCK_FILE = ".smolfast-lock"


@contextlib.contextmanager
def hold(lock: Path, what: str | os.PathLike[str], remedy: str = "choose another output") -> Iterator[None]:
    """Hold `lock`, a file that says who holds it and goes away afterwards, while the block works on `what`.

    A lock that a killed process left is no obstacle. Where the system or the disk has no locks (Windows, some network
    disks), nothing is held and nothing said.

    Raises:
        SmolfastError: another process holds it (names process, host, command and since when), or it can't be written.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with contextlib.ExitStack() as stack:
        while True:
            try:
                lock.parent.mkdir(parents=True, exist_ok=True)
                handle = stack.enter_context(lock.open("ab+", buffering=0))
            except OSError as error:
                raise SmolfastError(f"can't write in {lock.parent}: {describe_os_error(error)}") from error
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise SmolfastError(
                    f"{what} is in use by another smolfast process{_holder(handle)}; wait for it or {remedy}"
                ) from error
            except OSError:  # no locks on this disk
                lock.unlink(missing_ok=True)
                yield
                return
            if _is_still(lock, handle):
                break
            handle.close()  # its holder removed it between our two steps
        with contextlib.suppress(OSError):  # a full disk: held all the same
            handle.truncate(0)
            handle.write(json.dumps(_myself()).encode())
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                lock.unlink(missing_ok=True)


def _is_still(lock: Path, handle: IO[bytes]) -> bool:
    try:
        return os.path.samestat(lock.stat(), os.fstat(handle.fileno()))
    except OSError:
        return False


def _myself() -> dict[str, object]:
    return {
        "process": os.getpid(),
        "host": platform.node(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200],
        "since": datetime.datetime.now().isoformat(" ", "seconds"),
    }


def _holder(handle: IO[bytes]) -> str:
    """Who holds it, if they have said so yet."""
    try:
        handle.seek(0)
        found = json.loads(handle.read(4096))
        command = " ".join(str(found["command"]).split())
        return f" ({found['process']} on {found['host']} since {found['since']}: {command})"
    except (OSError, ValueError, TypeError, KeyError):
        return ""

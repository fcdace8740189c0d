"""The folder of a quickstart run: who may use it, and what it says of itself in `run.json`."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from smolfast.errors import SmolfastError
from smolfast.files import check_path, describe_os_error, is_temporary, naming, read_json, write_json
from smolfast.io.locks import hold
from smolfast.machine import commit, hardware, versions
from smolfast.pipeline.stages import remove_made

RUN_FILE = "run.json"
STAGES = "stages"
"""The folder of the stages' manifests."""
_LOCK_FILE = ".lock"


@contextlib.contextmanager
def open_run(folder: Path, identity: Mapping[str, Any], notes: Mapping[str, Any], *, overwrite: bool) -> Iterator[None]:
    """Claim `folder` for a run with this identity (configuration and input); make it if it isn't there.

    Args:
        identity: what a run is: two runs with equal identities may share a folder.
        notes: recorded in `run.json` but not compared.
        overwrite: delete what a run with another identity has made instead of refusing. What else lies there stays.

    Raises:
        SmolfastError: the folder holds something else or another run, is in use, or can't be written.
    """
    folder = check_path(folder)
    run_file = folder / RUN_FILE
    if folder.exists() and not folder.is_dir():
        raise SmolfastError(f"{folder} is a file; choose a folder for -o")
    if folder.is_dir() and not run_file.exists() and not all(_is_ours(p.name) for p in folder.iterdir()):
        raise SmolfastError(f"{folder} is not empty and holds no smolfast run; choose another -o")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SmolfastError(f"can't make {folder}: {describe_os_error(error)}") from error
    with hold(folder / _LOCK_FILE, folder, "choose another -o"):
        begun = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        if run_file.exists():
            with naming(run_file, "choose another -o"):
                record = read_json(run_file)
                before = record.get("identity", {})
            different = _kind_difference(before, identity) or _first_difference(before, identity)
            if different and not overwrite:
                raise SmolfastError(
                    f"{folder} holds a run {different}; choose another -o, or add --overwrite to replace it"
                )
            if different:
                remove_made(folder / STAGES, folder)
            else:
                begun = record.get("begun") or begun
        made_with = {"commit": commit(), "versions": versions(), "hardware": hardware()}
        write_json(run_file, {"identity": identity, **notes, "begun": begun, **made_with})
        yield


def _is_ours(name: str) -> bool:
    """Of a process that was killed before it wrote `run.json`."""
    return name == _LOCK_FILE or is_temporary(name)


def _kind_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """`of the recipe a, not of b`, or nothing when both are of one recipe, or of quickstart."""
    names = [f"the recipe {one['recipe']}" if "recipe" in one else "quickstart" for one in (before, now)]
    return "" if names[0] == names[1] else f"of {names[0]}, not of {names[1]}"


def _first_difference(before: Any, now: Any, key: str = "") -> str:
    """`with train.steps = 100, not 200`, or nothing when equal."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted({*before, *now}):
            if found := _first_difference(before.get(name), now.get(name), f"{key}.{name}" if key else name):
                return found
        return ""
    before = list(before) if isinstance(before, tuple) else before
    now = list(now) if isinstance(now, tuple) else now
    return "" if before == now else f"with {key.removeprefix('config.')} = {before}, not {now}"

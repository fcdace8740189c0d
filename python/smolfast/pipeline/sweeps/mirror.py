"""`study.db`: the trials as optuna's own tools read them, brought in line with the records of the folder."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smolfast.errors import SmolfastError
from smolfast.pipeline.sweeps.asking import Asking
from smolfast.pipeline.sweeps.trials import Trial

FILE = "study.db"


def mirror(folder: Path, asking: Asking, trials: Sequence[Trial]) -> None:
    """Have the file hold these trials as far as they are finished, and no others.

    The records are the truth. What a killed process left there, such as trials that seem to run for ever, goes.

    Raises:
        SmolfastError: the file has trials of another sweep, or is no study of optuna's.
    """
    finished = []
    for trial in trials:
        if trial.state == "running":
            break
        finished.append(trial)
    path = folder / FILE
    _refuse_other_files(path)
    there = _held(path, asking) if path.exists() else []
    names = {one.name for one in asking.parameters}
    if others := {name for one in there or () for name in one.params} - names:
        raise SmolfastError(f"{path} is of another sweep: its trials have {', '.join(sorted(others))}; move it away")
    if there is None or not _is_beginning(there, [asking.frozen(trial) for trial in finished]):
        path.unlink()
        there = []
    study = _open(path, asking)
    study.add_trials([asking.frozen(trial) for trial in finished[len(there) :]])
    study._storage.remove_session()


def _refuse_other_files(path: Path) -> None:
    """What a kill left has no tables yet, or optuna's."""
    if not path.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError:  # torn
        return
    if tables and not {"studies", "alembic_version", "version_info"} & tables:
        raise SmolfastError(f"{path} is a database of something else ({', '.join(sorted(tables)[:3])}); move it away")


def _open(path: Path, asking: Asking) -> Any:
    return asking.study((), study_name="sweep", storage=f"sqlite:///{path}", load_if_exists=True)


def _held(path: Path, asking: Asking) -> list[Any] | None:
    """The trials in the file; None where it is torn by a kill, or of another version."""
    try:
        study = _open(path, asking)
        there = list(study.trials)
        study._storage.remove_session()
    except Exception:
        return None
    return there


def _is_beginning(there: Sequence[Any], trials: Sequence[Any]) -> bool:
    """Whether these are the first of the trials, and no others."""
    return len(there) <= len(trials) and all(
        one.params == other.params and one.state == other.state and one.value == other.value
        for one, other in zip(there, trials, strict=False)
    )

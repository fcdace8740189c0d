"""`study.db`: the trials as optuna's own tools read them, brought in line with the records of the folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smolfast.pipeline.sweeps.asking import Asking
from smolfast.pipeline.sweeps.trials import Trial

FILE = "study.db"


def mirror(folder: Path, asking: Asking, trials: Sequence[Trial]) -> None:
    """Have the file hold these trials as far as they are finished, and no others.

    The records are the truth. What a killed process left there, such as trials that seem to run for ever, goes.
    """
    finished = []
    for trial in trials:
        if trial.state == "running":
            break
        finished.append(trial)
    path = folder / FILE
    if path.exists() and not _is_beginning(path, asking, finished):
        path.unlink()
    study = _open(path, asking)
    there = len(study.trials)
    study.add_trials([asking.frozen(trial) for trial in finished[there:]])
    study._storage.remove_session()


def _open(path: Path, asking: Asking) -> Any:
    return asking.study((), study_name="sweep", storage=f"sqlite:///{path}", load_if_exists=True)


def _is_beginning(path: Path, asking: Asking, trials: Sequence[Trial]) -> bool:
    """Whether the file holds the first of these trials, and no others."""
    try:
        study = _open(path, asking)
        there = study.trials
        study._storage.remove_session()
    except Exception:  # torn by a kill, or of another version: it is made anew
        return False
    return len(there) <= len(trials) and all(
        one.params == other.params and one.state == other.state and one.value == other.value
        for one, other in zip(there, map(asking.frozen, trials), strict=False)
    )

"""What a run left in its folder, and what happens when a part of it is gone: never a silent new start."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from smolfast.config import TrainConfig
from smolfast.errors import SmolfastError
from smolfast.train.loop import train
from smolfast.train.run.record import RunRecord, first_difference
from tiny_models import least

MODEL = least()
CONFIG = TrainConfig(
    steps=8, sequence_length=16, batch_size=2, micro_batch_size=2, checkpoint_every=3, evaluate_every=0, monitor_every=0
)


class Stop(BaseException):
    """Ends a run as abruptly as Python can."""


def run(corpus: SimpleNamespace, output: Path, stop: int = 0, config: TrainConfig = CONFIG) -> dict[str, Any]:
    def progress(done: float, total: float, note: str) -> None:
        if done == stop:
            raise Stop

    return train(corpus.tokens, output, model=MODEL, config=config, device="cpu", threads=1, progress=progress)


@pytest.fixture(scope="module")
def stopped(corpus: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has saved checkpoints of steps 3 and 6 and was stopped at step 7."""
    output = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(Stop):
        run(corpus, output, stop=7)
    return output


@pytest.fixture(scope="module")
def finished(corpus: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("finished") / "run"
    run(corpus, output)
    return output


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lose_checkpoints(output: Path) -> None:
    shutil.rmtree(output / "checkpoints")


def lose_each_checkpoint(output: Path) -> None:
    for path in (output / "checkpoints").glob("step-*"):
        shutil.rmtree(path)


def damage_checkpoints(output: Path) -> None:
    for path in (output / "checkpoints").glob("step-*/state.json"):
        path.write_text("{}")


def lose_checkpoints_of_an_older_record(output: Path) -> None:
    record = json.loads((output / "run.json").read_text())
    del record["checkpointed"]
    (output / "run.json").write_text(json.dumps(record))
    lose_checkpoints(output)


@pytest.mark.parametrize(
    "lose", [lose_checkpoints, lose_each_checkpoint, damage_checkpoints, lose_checkpoints_of_an_older_record]
)
def test_a_run_without_its_checkpoints_is_not_begun_anew(
    lose: Any, corpus: SimpleNamespace, stopped: Path, tmp_path: Path
) -> None:
    output = Path(shutil.copytree(stopped, tmp_path / "run"))
    lose(output)
    before = contents(output)
    with pytest.raises(SmolfastError, match=r"checkpoints has no sound checkpoint, and this run has saved some \(7 st"):
        run(corpus, output)
    assert contents(output) == before
    shutil.rmtree(output)  # the remedy
    assert run(corpus, output)["resumed_from_step"] == 0


def test_a_finished_run_that_lost_model_and_checkpoints_is_not_begun_anew(
    corpus: SimpleNamespace, tmp_path: Path
) -> None:
    run(corpus, tmp_path)
    shutil.rmtree(tmp_path / "checkpoints")
    assert run(corpus, tmp_path, stop=1)["steps"] == 8  # finished is finished
    shutil.rmtree(tmp_path / "model")
    with pytest.raises(SmolfastError, match="has no sound checkpoint"):
        run(corpus, tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("lose", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_finished_run_whose_model_is_broken_writes_it_again(
    name: str, lose: Any, corpus: SimpleNamespace, finished: Path, tmp_path: Path
) -> None:
    output = Path(shutil.copytree(finished, tmp_path / "run"))
    (output / "model" / "README.md").write_text("mine")
    lose(output / "model" / name)
    assert run(corpus, output)["resumed_from_step"] == 8
    assert contents(output / "model") == contents(finished / "model") | {"README.md": b"mine"}
    lose(output / "model" / name)
    shutil.rmtree(output / "checkpoints")
    with pytest.raises(SmolfastError, match="has no sound checkpoint"):
        run(corpus, output)


def test_a_finished_run_whose_configuration_was_edited_stays(
    corpus: SimpleNamespace, finished: Path, tmp_path: Path
) -> None:
    output = Path(shutil.copytree(finished, tmp_path / "run"))
    config = output / "model" / "config.json"
    config.write_text(config.read_text() + " ")
    before = contents(output)
    assert run(corpus, output)["steps"] == 8
    assert contents(output) == before


def test_a_run_killed_before_its_first_checkpoint_begins_anew(corpus: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run(corpus, tmp_path, stop=2)
    assert run(corpus, tmp_path)["resumed_from_step"] == 0


@pytest.mark.parametrize("left", [["checkpoints", "events.jsonl", "metrics.jsonl"], ["metrics.jsonl"], ["checkpoints"]])
def test_a_folder_without_its_record_is_refused(
    left: list[str], corpus: SimpleNamespace, stopped: Path, tmp_path: Path
) -> None:
    """Another run's checkpoints would be gone on from, or its metrics written over."""
    output = Path(shutil.copytree(stopped, tmp_path / "run"))
    (output / "events.jsonl").touch()
    for path in output.iterdir():
        if path.name not in left:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = contents(output)
    with pytest.raises(SmolfastError, match=r"holds .* of a run and no run\.json, which says what run that was; bring"):
        run(corpus, output)
    assert contents(output) == before


def test_lost_events_are_an_error(corpus: SimpleNamespace, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"qk_clip": 1e-9})  # an event in every step
    with pytest.raises(Stop):
        run(corpus, tmp_path, 7, config)
    (tmp_path / "events.jsonl").unlink()
    with pytest.raises(SmolfastError, match=r"events\.jsonl has 0 lines and the checkpoint \d+ events; bring"):
        run(corpus, tmp_path, config=config)


@pytest.mark.parametrize(
    ("text", "what"), [("[1]", "is no record of a run"), ("", "is not valid JSON"), ('{"a": ', "is not valid JSON")]
)
def test_a_record_that_is_none(text: str, what: str, tmp_path: Path) -> None:
    """To delete it alone would be a dead end: a folder without a record is refused."""
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(SmolfastError, match=rf"run\.json {what}.*; bring it back, or choose another output or delete"):
        RunRecord(tmp_path, {})


def test_the_first_difference() -> None:
    assert first_difference({"a": {"b": 1}}, {"a": {"b": 1}, "c": 2}) is None
    assert first_difference({"a": {"b": 1}}, {"a": {"b": 2}}) == "a.b"
    assert first_difference({"a": {"b": 1}}, {"a": 3}) == "a"
    assert first_difference({"a": 1}, {}) == "a"

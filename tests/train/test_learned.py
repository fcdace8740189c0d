"""Training where few tokens are to be learned, or none: a loss of nothing is absent, never 0."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from smolfast.config import TrainConfig
from smolfast.errors import SmolfastError
from smolfast.tokens.files import TokenFile
from smolfast.train.loop import train
from tiny_models import least

MODEL = least()
SETTINGS: dict[str, Any] = {
    "steps": 6, "sequence_length": 16, "batch_size": 2, "micro_batch_size": 1, "checkpoint_every": 3,
    "evaluate_every": 3, "monitor_every": 0,
}  # fmt: skip
Mask = Callable[[TokenFile], npt.NDArray[np.bool_]]


def nothing(file: TokenFile) -> npt.NDArray[np.bool_]:
    return np.zeros(len(file.tokens), bool)


def everything(file: TokenFile) -> npt.NDArray[np.bool_]:
    return np.ones(len(file.tokens), bool)


def beginnings(file: TokenFile) -> npt.NDArray[np.bool_]:
    """Nothing predicts the first token of a document."""
    learned = nothing(file)
    learned[file.document_starts[:-1]] = True
    return learned


@pytest.fixture
def masked(tmp_path: Path, write_tokens: Any) -> Callable[[Mask, Mask], Path]:
    """Token files with masks of what is learned, for training and held out."""

    def make(train_mask: Mask, held_out_mask: Mask) -> Path:
        folder = tmp_path / "tokens"
        shutil.rmtree(folder, ignore_errors=True)
        write_tokens(folder)
        for name, mask in (("train", train_mask), ("held_out", held_out_mask)):
            np.save(folder / f"{name}.learned.npy", mask(TokenFile.open(folder, name)))
        index = json.loads((folder / "tokens.json").read_text())
        (folder / "tokens.json").write_text(json.dumps(index | {"learned": True}))
        return folder

    return make


def run(tokens: Any, output: Path, **changes: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    summary = train(tokens, output, model=MODEL, config=TrainConfig(**SETTINGS | changes), device="cpu", threads=1)
    lines = (output / "metrics.jsonl").read_text().splitlines()
    return summary, [json.loads(line, parse_constant=pytest.fail) for line in lines]


@pytest.mark.parametrize(
    ("train_mask", "held_out_mask", "file"),
    [
        (nothing, everything, "train"), (everything, nothing, "held_out"), (beginnings, everything, "train"),
        (everything, beginnings, "held_out"),
    ],
)  # fmt: skip
def test_files_without_a_learned_token_are_refused(
    train_mask: Mask, held_out_mask: Mask, file: str, masked: Any, tmp_path: Path
) -> None:
    with pytest.raises(SmolfastError, match=rf"{file}\.learned\.npy marks no token as one to learn: its [\d,]+ conv"):
        run(masked(train_mask, held_out_mask), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def first_quarter(file: TokenFile) -> npt.NDArray[np.bool_]:
    learned = nothing(file)
    learned[: len(learned) // 4] = True
    return learned


def test_steps_without_a_learned_token_have_no_loss_and_change_nothing(
    masked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a step whose every other micro-batch has none is averaged over the tokens that it has."""
    tokens = masked(first_quarter, everything)
    summary, lines = run(tokens, tmp_path / "run", steps=24, checkpoint_every=1, keep_checkpoints=30)
    empty = [line for line in lines if line["loss"] is None]
    assert 0 < len(empty) < len(lines)

    def weights(step: int) -> bytes:
        return (tmp_path / "run" / "checkpoints" / f"step-{step:06}" / "model.safetensors").read_bytes()

    for line in lines:
        assert (line["loss"] is None) == (line.get("skipped") is True)
        if line["loss"] is None:
            assert line["gradient_norm"] is None and set(line["head_losses"]) == {None}
            assert line["step"] == 1 or weights(line["step"]) == weights(line["step"] - 1)
        else:
            assert 3 < line["head_losses"][0] < 5  # ln 64 = 4.16; half of it, were absent ones counted as 0
    assert summary["tokens"] == 24 * 2 * 16
    assert summary["loss"] == lines[-1]["loss"]


def test_a_killed_run_with_absent_losses_ends_the_same(masked: Any, tmp_path: Path) -> None:
    tokens = masked(first_quarter, everything)
    run(tokens, tmp_path / "whole", steps=12)
    config = TrainConfig(**SETTINGS | {"steps": 12})

    class Stop(BaseException):
        pass

    def progress(done: float, total: float, note: str) -> None:
        if done == 8:
            raise Stop

    with pytest.raises(Stop):
        train(tokens, tmp_path / "parts", model=MODEL, config=config, device="cpu", threads=1, progress=progress)
    run(tokens, tmp_path / "parts", steps=12)
    model = "model/model.safetensors"
    assert (tmp_path / "parts" / model).read_bytes() == (tmp_path / "whole" / model).read_bytes()


def last_tokens(file: TokenFile) -> npt.NDArray[np.bool_]:
    """What no held-out window reaches: windows are the first 32 of an order that the seed decides."""
    learned = nothing(file)
    learned[file.document_starts[1] - 1] = True
    return learned


def test_held_out_windows_without_a_learned_token_have_no_loss(masked: Any, tmp_path: Path) -> None:
    tokens = masked(everything, last_tokens)
    assert run(tokens, tmp_path / "run", steps=1)[0]["held_out_loss"] is None


def test_a_mixture_averages_over_the_sources_that_have_a_loss(masked: Any, tmp_path: Path) -> None:
    quiet = masked(everything, last_tokens).rename(tmp_path / "quiet")
    loud = masked(everything, everything)
    _, lines = run({"quiet": quiet, "loud": loud}, tmp_path / "run", mixture={"quiet": 0.75, "loud": 0.25})
    losses = lines[-1]["held_out_losses"]
    assert losses["quiet"] is None
    assert lines[-1]["held_out_loss"] == pytest.approx(losses["loud"])
    assert all(math.isfinite(line["loss"]) for line in lines)


def test_one_head_alone_may_have_no_target(masked: Any, tmp_path: Path) -> None:
    """Every learned token is the second of its document: the second head, two tokens ahead, never has one."""

    def second(file: TokenFile) -> npt.NDArray[np.bool_]:
        learned = nothing(file)
        learned[file.document_starts[:-1] + 1] = True
        return learned

    _, lines = run(masked(second, everything), tmp_path / "run", mtp_weights=(1.0, 0.5), batch_size=32)
    for line in lines:
        assert line["loss"] == line["head_losses"][0] > 2
        assert line["head_losses"][1] is None

"""The mean of a run's last checkpoints is a model folder like the run's own."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch

from smolfast.config import TrainConfig
from smolfast.errors import SmolfastError
from smolfast.merge import average_checkpoints
from smolfast.model.pretrained import load_pretrained
from smolfast.train.loop import train
from tiny_models import tiny


@pytest.fixture(params=["swiglu", "relu2"])
def run(corpus: SimpleNamespace, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    config: dict[str, Any] = {"steps": 8, "sequence_length": 32, "batch_size": 4, "micro_batch_size": 4}
    train(
        corpus.tokens,
        tmp_path / "run",
        model=tiny(activation=request.param),
        config=TrainConfig(**config, checkpoint_every=2, keep_checkpoints=3),
        device="cpu",
        threads=1,
    )
    return tmp_path / "run"


def test_the_mean_of_checkpoints(run: Path, tmp_path: Path) -> None:
    result = average_checkpoints(run, tmp_path / "out", last=3)
    assert result["steps"] == [4, 6, 8]
    states = [
        safetensors.torch.load_file(run / f"checkpoints/step-{step:06}/model.safetensors") for step in result["steps"]
    ]
    found = load_pretrained(tmp_path / "out")
    for name, tensor in found.state_dict().items():
        mean = torch.stack([state[name].double() for state in states]).mean(0).float()
        torch.testing.assert_close(tensor, mean, rtol=1e-6, atol=1e-9)
    assert json.loads((tmp_path / "out/config.json").read_text()) == json.loads((run / "model/config.json").read_text())


def test_the_last_one_alone_is_the_model_of_the_run(run: Path, tmp_path: Path) -> None:
    average_checkpoints(run, tmp_path / "out", last=1)
    for name in ("model.safetensors", "mtp_heads.safetensors"):
        one, other = (safetensors.torch.load_file(folder / name) for folder in (tmp_path / "out", run / "model"))
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_records_without_the_end_of_a_document(run: Path, tmp_path: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    del record["end_of_document"]
    (run / "run.json").write_text(json.dumps(record))
    average_checkpoints(run, tmp_path / "out", last=2)
    (run / "model/config.json").unlink()
    with pytest.raises(SmolfastError, match="doesn't say which token ends a document; let the run finish first"):
        average_checkpoints(run, tmp_path / "other", last=2)


def test_what_is_no_run(run: Path, tmp_path: Path) -> None:
    with pytest.raises(SmolfastError, match=r"has 3 checkpoint\(s\), and 4 are wanted; .*train\.keep_checkpoints=4"):
        average_checkpoints(run, tmp_path / "out", last=4)
    with pytest.raises(SmolfastError, match=r"holds no run\.json; give the folder that smolfast train writes"):
        average_checkpoints(run / "model", tmp_path / "out", last=1)
    file = run / "checkpoints/step-000006/model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with pytest.raises(SmolfastError, match=r"step-000006 is damaged: model\.safetensors does not match its checksum"):
        average_checkpoints(run, tmp_path / "out", last=2)
    average_checkpoints(run, tmp_path / "out", last=1)

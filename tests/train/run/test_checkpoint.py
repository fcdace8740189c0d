"""Checkpoints come back to the bit, or are refused by name and the one before is used."""

from __future__ import annotations

import json
import logging
import random
from pathlib import Path

import pytest
import torch
from torch import nn

from smolfast.errors import SmolfastError
from smolfast.train.run import checkpoint


def network(seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    return model, torch.optim.AdamW(model.parameters(), lr=0.1, amsgrad=True)


def take_step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    inputs = torch.randn(11, 5, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    model(inputs).square().mean().backward()
    optimizer.step()


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def saved_run(folder: Path, steps: int) -> list[torch.Tensor]:
    """Train `steps` steps, each saved; the weights after each."""
    model, optimizer = network(0)
    history = []
    for step in range(1, steps + 1):
        take_step(model, optimizer, step)
        checkpoint.save(folder, step, model, optimizer, {"seconds": step / 2})
        history.append(weights(model).clone())
    return history


def test_training_goes_on_to_the_bit(tmp_path: Path) -> None:
    saved_run(tmp_path, 3)
    model, optimizer = network(99)
    assert checkpoint.restore(tmp_path, model, optimizer) == (3, {"seconds": 1.5})
    other, other_optimizer = network(0)
    for step in (1, 2, 3):
        take_step(other, other_optimizer, step)
    assert torch.equal(weights(model), weights(other))
    for step in (4, 5):
        take_step(model, optimizer, step)
        take_step(other, other_optimizer, step)
        assert torch.equal(weights(model), weights(other))


def test_the_last_two_stay(tmp_path: Path) -> None:
    saved_run(tmp_path, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-000003", "step-000004"]
    assert (tmp_path / "latest").read_text() == "step-000004\n"


def test_every_so_many_stay_too(tmp_path: Path) -> None:
    model, optimizer = network(0)
    for step in range(1, 8):
        checkpoint.save(tmp_path, step, model, optimizer, {}, keep=1, keep_every=3)
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-000003", "step-000006", "step-000007"]


def test_sound_ones_can_be_passed_over(tmp_path: Path) -> None:
    history = saved_run(tmp_path, 2)
    for passing_over, step in ((0, 2), (1, 1), (5, 1)):
        model, optimizer = network(1)
        assert checkpoint.restore(tmp_path, model, optimizer, passing_over=passing_over) == (
            step,
            {"seconds": step / 2},
        )
        assert torch.equal(weights(model), history[step - 1])


def test_a_snapshot_is_a_copy(tmp_path: Path) -> None:
    model, optimizer = network(0)
    take_step(model, optimizer, 1)
    before = weights(model).clone()
    snapshot = checkpoint.take_snapshot(1, model, optimizer, {})
    take_step(model, optimizer, 2)
    checkpoint.write_snapshot(tmp_path, snapshot)
    other, other_optimizer = network(5)
    checkpoint.restore(tmp_path, other, other_optimizer)
    assert torch.equal(weights(other), before)
    take_step(other, other_optimizer, 2)
    assert torch.equal(weights(other), weights(model))


def test_nothing_to_restore(tmp_path: Path) -> None:
    assert checkpoint.restore(tmp_path / "absent", *network(0)) is None


def test_an_unfinished_folder_is_not_a_checkpoint(tmp_path: Path) -> None:
    saved_run(tmp_path, 1)
    (tmp_path / "step-000002.partial").mkdir()
    assert checkpoint.restore(tmp_path, *network(0)) == (1, {"seconds": 0.5})


def flip_a_bit(path: Path, seed: int) -> None:
    content = bytearray(path.read_bytes())
    place = random.Random(seed).randrange(8 * len(content))
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_damage_is_refused_by_name_and_the_checkpoint_before_it_used(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history = saved_run(tmp_path, 2)
    damaged = tmp_path / "step-000002" / name
    whole = damaged.read_bytes()

    def assert_refused() -> None:
        caplog.clear()
        model, optimizer = network(1)
        with caplog.at_level(logging.WARNING):
            assert checkpoint.restore(tmp_path, model, optimizer) == (1, {"seconds": 0.5})
        assert "step-000002" in caplog.text
        assert torch.equal(weights(model), history[0])

    for seed in range(40):
        flip_a_bit(damaged, seed)
        assert_refused()
        damaged.write_bytes(whole)
    for length in range(0, len(whole), max(1, len(whole) // 20)):
        damaged.write_bytes(whole[:length])
        assert_refused()
    damaged.unlink()
    assert_refused()


def test_all_damaged_means_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved_run(tmp_path, 2)
    for path in tmp_path.glob("*/state.json"):
        path.write_text(json.dumps({"step": 7}))
    assert checkpoint.restore(tmp_path, *network(0)) is None
    assert "step-000001" in caplog.text and "step-000002" in caplog.text


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved_run(tmp_path, 2)
    model, optimizer = network(0)

    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SmolfastError, match=r"step-000003: the disk is full"):
        checkpoint.save(tmp_path, 3, model, optimizer, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-000001", "step-000002"]
    assert checkpoint.restore(tmp_path, *network(0)) == (2, {"seconds": 1.0})


def small_state(folder: Path) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Two checkpoints of a model of one weight: few enough bytes to try all of them."""
    model = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in (1, 2):
        optimizer.zero_grad()
        model(torch.tensor([[float(step)]])).sum().backward()
        optimizer.step()
        checkpoint.save(folder, step, model, optimizer, {"seconds": step / 2})
    return model, optimizer


def assert_exact_or_refused(folder: Path, weight: torch.Tensor, momentum: torch.Tensor) -> bool:
    """Whether the newest was refused; what is loaded is one checkpoint or the other, to the bit."""
    model = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    found = checkpoint.restore(folder, model, optimizer)
    assert found in ((2, {"seconds": 1.0}), (1, {"seconds": 0.5}))
    newest = found[0] == 2
    assert torch.equal(model.weight, weight) == newest
    assert torch.equal(optimizer.state[model.weight]["momentum_buffer"], momentum) == newest
    return not newest


def test_every_truncation_and_a_thousand_bit_flips(tmp_path: Path) -> None:
    model, optimizer = small_state(tmp_path)
    weight, momentum = model.weight.detach(), optimizer.state[model.weight]["momentum_buffer"]
    files = sorted((tmp_path / "step-000002").iterdir())
    assert [file.name for file in files] == ["model.safetensors", "optimizer.safetensors", "state.json"]
    for file in files:
        whole = file.read_bytes()
        for length in range(len(whole)):
            file.write_bytes(whole[:length])
            refused = assert_exact_or_refused(tmp_path, weight, momentum)
            assert refused or length == len(whole) - 1  # state.json may lose its last newline
        file.write_bytes(whole)
    rng = random.Random(0)
    refused = 0
    for _ in range(1_000):
        file = rng.choices(files, [file.stat().st_size for file in files])[0]
        whole = file.read_bytes()
        flip_a_bit(file, rng.randrange(1 << 30))
        refused += assert_exact_or_refused(tmp_path, weight, momentum)
        file.write_bytes(whole)
    assert refused > 900  # the others are blanks of the JSON that became other blanks

"""The loop: it learns, it doesn't depend on threads, and nothing that stops it changes what comes out."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch

from smolfast.config import TrainConfig
from smolfast.errors import SmolfastError
from smolfast.model.pretrained import load_pretrained
from smolfast.optim import MuonAdamW
from smolfast.tokens.files import TokenFile
from smolfast.train.loop import train
from tiny_models import tiny

MODEL = tiny(max_position_embeddings=64)


def settings(**changes: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "steps": 12,
        "sequence_length": 32,
        "batch_size": 8,
        "micro_batch_size": 2,
        "checkpoint_every": 5,
        "evaluate_every": 6,
    }
    return TrainConfig(**values | changes)


def run(corpus: SimpleNamespace, output: Path, config: TrainConfig | None = None, **options: Any) -> dict[str, Any]:
    return train(corpus.tokens, output, model=MODEL, config=config or settings(), device="cpu", **options)


def metrics(output: Path) -> list[dict[str, Any]]:
    """Without the seconds and the speed, which no two runs share."""
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        assert line.pop("seconds") > 0
        assert min(line["speed"].pop(key) for key in ("tokens_per_second", "mfu")) > 0
        assert line.pop("speed").keys() == {"eta_seconds"}
    return lines


def weights(output: Path) -> dict[str, torch.Tensor]:
    loaded = safetensors.torch.load_file(output / "model" / "model.safetensors")
    return loaded | safetensors.torch.load_file(output / "model" / "mtp_heads.safetensors")


def assert_same_run(output: Path, expected: Path) -> None:
    assert metrics(output) == metrics(expected)
    found, wanted = weights(output), weights(expected)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


class Stop(BaseException):
    """Ends a run as abruptly as Python can."""


def stop_after(step: int) -> Any:
    def progress(done: float, total: float, note: str) -> None:
        if done == step:
            raise Stop

    return progress


@pytest.fixture(scope="module")
def uninterrupted(corpus: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("uninterrupted") / "train"
    run(corpus, output, threads=1)
    return output


def test_it_learns(corpus: SimpleNamespace, tmp_path: Path) -> None:
    seen = []
    config = settings(steps=60, evaluate_every=60, mtp_weights=(1.0, 0.5), muon_learning_rate=0.06)
    summary = run(corpus, tmp_path, config, progress=lambda done, total, note: seen.append((done, total)))
    lines = metrics(tmp_path)
    assert seen == [(step, 60) for step in range(1, 61)]
    assert [line["step"] for line in lines] == list(range(1, 61))
    first, last = lines[0], lines[-1]
    # Before the first update all 512 tokens are about as likely: ln 512 = 6.24 nats from each head.
    assert first["head_losses"] == pytest.approx([6.24, 6.24], abs=0.05)
    assert first["loss"] == pytest.approx(first["head_losses"][0] + 0.5 * first["head_losses"][1])
    assert last["head_losses"][0] < 5.3 and last["held_out_loss"] < 5.3
    assert last["tokens"] == 60 * 8 * 32 == summary["tokens"]
    assert 0 < last["muon_learning_rate"] < max(line["muon_learning_rate"] for line in lines)
    assert max(line["muon_learning_rate"] for line in lines) == config.muon_learning_rate
    assert max(line["adamw_learning_rate"] for line in lines) == config.adamw_learning_rate
    model = load_pretrained(tmp_path / "model")
    assert summary["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert (summary["steps"], summary["loss"], summary["resumed_from_step"]) == (60, last["loss"], 0)


def test_adamw_alone_learns_too(corpus: SimpleNamespace, tmp_path: Path) -> None:
    run(corpus, tmp_path, settings(steps=60, optimizer="adamw"))
    assert metrics(tmp_path)[-1]["head_losses"][0] < 5.5


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_nothing(threads: int, corpus: SimpleNamespace, uninterrupted: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    run(corpus, tmp_path, threads=threads)
    assert_same_run(tmp_path, uninterrupted)
    assert torch.get_num_threads() == before


def test_the_seed_changes_the_run(corpus: SimpleNamespace, uninterrupted: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path, seed=1)
    assert metrics(tmp_path)[0]["loss"] != metrics(uninterrupted)[0]["loss"]


def test_micro_batches_change_only_rounding(corpus: SimpleNamespace, uninterrupted: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path, settings(steps=2, micro_batch_size=8, warmup_fraction=0.0, decay_fraction=0.0))
    run(corpus, tmp_path / "small", settings(steps=2, micro_batch_size=1, warmup_fraction=0.0, decay_fraction=0.0))
    for whole, parts in zip(metrics(tmp_path), metrics(tmp_path / "small"), strict=True):
        assert whole["head_losses"] == pytest.approx(parts["head_losses"], rel=1e-5)
        assert whole["gradient_norm"] == pytest.approx(parts["gradient_norm"], rel=1e-3)


@pytest.mark.parametrize("step", [1, 5, 9, 12])
def test_an_abrupt_end_changes_nothing(step: int, corpus: SimpleNamespace, uninterrupted: Path, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run(corpus, tmp_path, threads=2, progress=stop_after(step))
    assert not (tmp_path / "model").exists()
    summary = run(corpus, tmp_path, threads=2)
    assert summary["resumed_from_step"] == (step - 1) // 5 * 5  # stopped before this step's checkpoint
    assert_same_run(tmp_path, uninterrupted)


def test_an_end_by_who_watches_leaves_a_checkpoint(
    corpus: SimpleNamespace, uninterrupted: Path, tmp_path: Path
) -> None:
    def progress(done: float, total: float, note: str) -> None:
        if done == 7:
            raise ValueError(note)

    with pytest.raises(ValueError, match="step 7"):
        run(corpus, tmp_path, threads=2, progress=progress)
    assert run(corpus, tmp_path, threads=2)["resumed_from_step"] == 7
    assert_same_run(tmp_path, uninterrupted)


def test_kill_changes_nothing(corpus: SimpleNamespace, uninterrupted: Path, tmp_path: Path) -> None:
    """kill -9, twice, at moments that nothing in the loop knows of."""
    program = (
        "import sys; sys.path.append('../shared'); from test_train import *; "
        "train(sys.argv[1], sys.argv[2], model=MODEL, config=settings(), device='cpu', threads=2, "
        "progress=lambda *_: time.sleep(0.05))"
    )
    for lines in (4, 9):
        process = subprocess.Popen([sys.executable, "-c", program, corpus.tokens, tmp_path], cwd=Path(__file__).parent)
        path = tmp_path / "metrics.jsonl"
        while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < lines):
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    run(corpus, tmp_path)
    assert_same_run(tmp_path, uninterrupted)


@pytest.mark.parametrize(("number", "step"), [(signal.SIGTERM, 7), (signal.SIGINT, 1), (signal.SIGTERM, 12)])
def test_a_signal_saves_a_checkpoint_first(
    number: int, step: int, corpus: SimpleNamespace, uninterrupted: Path, tmp_path: Path
) -> None:
    def handler(received: int, frame: Any) -> None:
        raise Stop(received)

    def progress(done: float, total: float, note: str) -> None:
        if done == step:
            signal.raise_signal(number)

    before = signal.signal(number, handler)
    try:
        with pytest.raises(Stop, match=str(int(number))):
            run(corpus, tmp_path, progress=progress)
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)
    assert len(metrics(tmp_path)) == step
    assert run(corpus, tmp_path)["resumed_from_step"] == step
    assert_same_run(tmp_path, uninterrupted)


def test_a_damaged_checkpoint_is_passed_over(
    corpus: SimpleNamespace, uninterrupted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Stop):
        run(corpus, tmp_path, progress=stop_after(11))
    damaged = tmp_path / "checkpoints" / "step-000010" / "optimizer.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert run(corpus, tmp_path)["resumed_from_step"] == 5
    assert "step-000010 is damaged" in caplog.text
    assert_same_run(tmp_path, uninterrupted)


def test_a_finished_run_returns_at_once(corpus: SimpleNamespace, tmp_path: Path) -> None:
    summary = run(corpus, tmp_path)
    assert run(corpus, tmp_path, progress=stop_after(1)) == summary


def test_a_lost_model_is_written_again(corpus: SimpleNamespace, uninterrupted: Path, tmp_path: Path) -> None:
    summary = run(corpus, tmp_path)
    shutil.rmtree(tmp_path / "model")
    again = run(corpus, tmp_path, progress=stop_after(1))
    assert again == summary | {"resumed_from_step": 12}
    assert_same_run(tmp_path, uninterrupted)


def test_lost_metrics_are_an_error(corpus: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run(corpus, tmp_path, progress=stop_after(7))
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(SmolfastError, match=r"metrics\.jsonl has 0 lines and the checkpoint 5 steps; bring "):
        run(corpus, tmp_path)


def test_an_output_of_another_run_is_refused(corpus: SimpleNamespace, uninterrupted: Path) -> None:
    lines = metrics(uninterrupted)
    with pytest.raises(SmolfastError, match=r"holds a run with another train\.adamw_learning_rate; choose another"):
        run(corpus, uninterrupted, settings(adamw_learning_rate=0.5))
    with pytest.raises(SmolfastError, match="holds a run with another seed"):
        run(corpus, uninterrupted, seed=9)
    assert metrics(uninterrupted) == lines


def test_a_run_of_an_earlier_version_goes_on(corpus: SimpleNamespace, tmp_path: Path, uninterrupted: Path) -> None:
    """Its record has no value for a setting that came later; the run went by the default."""
    with pytest.raises(Stop):
        run(corpus, tmp_path, progress=stop_after(7))
    record = json.loads((tmp_path / "run.json").read_text())
    del record["train"]["parametrization"], record["train"]["spike_sigma"], record["model"]["mtp_kind"]
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(SmolfastError, match=r"holds a run with another train\.parametrization"):
        run(corpus, tmp_path, settings(parametrization="mup"))
    run(corpus, tmp_path)
    assert_same_run(tmp_path, uninterrupted)


def test_too_little_text(corpus: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(SmolfastError, match=r"too little text: [\d,]+ training tokens where at least 320,001 are"):
        run(corpus, tmp_path, settings(batch_size=10_000, micro_batch_size=10_000))
    length = len(TokenFile.open(corpus.tokens, "held_out").tokens)
    assert len(TokenFile.open(corpus.tokens, "train").tokens) > length + 1
    with pytest.raises(
        SmolfastError, match=f"too little text: {length:,} held-out tokens where at least {length + 1:,} "
    ):
        run(corpus, tmp_path, settings(batch_size=1, micro_batch_size=1, sequence_length=length))
    assert not list(tmp_path.iterdir())


def test_divergence_names_the_step_and_the_remedy(corpus: SimpleNamespace, tmp_path: Path) -> None:
    config = settings(muon_learning_rate=1e30, warmup_fraction=0.0)
    with pytest.raises(
        SmolfastError, match=r"diverged at step [23]: loss .*lower train\.muon_learning_rate \(1e\+30\)"
    ):
        run(corpus, tmp_path, config)
    assert 1 <= len(metrics(tmp_path)) <= 2


def test_gradients_are_clipped_to_the_global_norm(
    corpus: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms = []
    step = MuonAdamW.step

    def recorded(optimizer: MuonAdamW) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        norms.append(float(torch.cat([gradient.flatten() for gradient in gradients]).norm()))
        step(optimizer)

    monkeypatch.setattr(MuonAdamW, "step", recorded)
    run(corpus, tmp_path, settings(steps=3, gradient_clip=0.25))
    assert all(line["gradient_norm"] > 0.25 for line in metrics(tmp_path))
    assert norms == pytest.approx([0.25] * 3, rel=1e-5)


def test_a_time_budget_fixes_the_steps_once(corpus: SimpleNamespace, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(Stop):
        run(corpus, tmp_path, time_budget_seconds=3.0, progress=stop_after(15))
    first = metrics(tmp_path)[0]
    steps = json.loads((tmp_path / "run.json").read_text())["steps"]
    summary = run(corpus, tmp_path, time_budget_seconds=500.0)
    assert summary["steps"] == steps == len(metrics(tmp_path)) >= 20
    assert time.monotonic() - started < 30
    # Timing left no trace in the model: a run of that many steps begins the same.
    run(corpus, tmp_path / "plain", settings(steps=steps))
    assert metrics(tmp_path / "plain")[0] == first
    assert_same_run(tmp_path, tmp_path / "plain")


def test_a_full_disk_is_one_line(corpus: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("smolfast.train.loop.os.fsync", full)
    with pytest.raises(SmolfastError, match="the disk is full"):
        run(corpus, tmp_path)


def test_a_disk_that_fills_while_a_checkpoint_is_written_loses_nothing(
    corpus: SimpleNamespace, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write runs beside the steps; its failure ends the run, and the checkpoint before is gone on from."""
    sound = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if "step-000010" in str(path):
            raise OSError(28, "No space left on device")
        return sound(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(SmolfastError, match=r"step-000010: the disk is full"):
            run(corpus, tmp_path)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["latest", "step-000005"]
    assert run(corpus, tmp_path)["resumed_from_step"] == 5
    assert_same_run(tmp_path, uninterrupted)

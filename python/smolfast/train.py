"""The training loop: deterministic, resumable at any moment, the same numbers on any count of threads.

A step is a fixed number of micro-batches. On a CPU each is a unit of work on one torch thread, and as many run side
by side as there are threads; gradients are added in the order of the micro-batches. So the numbers depend on the
configuration and the seed only. Losses are divided by the whole batch's count of targets, so micro-batches change
nothing but rounding.

The run folder:
    run.json            the configuration, the seed, the tokens' fingerprint, the number of steps
    metrics.jsonl       a line for each step
    checkpoints/        see `smolfast.checkpoint`
    model/              the finished model, as transformers lays it out
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor, nn

from smolfast import checkpoint
from smolfast.config import DistillConfig, ModelConfig, TrainConfig
from smolfast.errors import SmolfastError
from smolfast.files import atomic_path, describe_os_error, fingerprint, read_json, write_json, write_text
from smolfast.model import PackedBatch, SmolLM
from smolfast.optim import MuonAdamW
from smolfast.pretrained import save_pretrained
from smolfast.schedule import warmup_stable_decay
from smolfast.signals import DeferredSignals
from smolfast.teaching import Teaching
from smolfast.tokens import PackedWindows, TokenFile
from smolfast.workers import Workers

ProgressCallback = Callable[[float, float, str], None]

# Held-out windows of the quick loss: about the cost of one step.
_HELD_OUT_WINDOWS = 32
_TIMED_STEPS = 3
_MIN_STEPS = 20


def train(
    tokens: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    model: ModelConfig,
    config: TrainConfig,
    seed: int = 0,
    threads: int = 0,
    device: str = "auto",
    time_budget_seconds: float | None = None,
    distill: DistillConfig | None = None,
    teacher: str | os.PathLike[str] | None = None,
    teacher_cache: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Train on a folder of tokens; go on where an earlier call on the same output stopped.

    SIGTERM and Ctrl-C are taken at the end of the step: a checkpoint is saved, then the signal is raised again for
    whoever handled it before.

    Args:
        tokens: the folder that `smolfast.tokens.tokenize` wrote, with `train` and `held_out`.
        output: the run folder; made, or continued if it holds the same run.
        threads: micro-batches at once on a CPU; 0 takes every CPU. The result doesn't depend on it.
        device: a torch device, or "auto" for an accelerator if there is one.
        time_budget_seconds: train for about this long instead of `config.steps` steps: the first steps are timed and
            the number of steps is fixed then, once, and kept in run.json.
        distill: how to learn from a teacher; its defaults if None. Used if one of the next two is given.
        teacher: a model folder to learn from, run beside the student.
        teacher_cache: what `smolfast.distill_cache` wrote for these tokens: the teacher's distributions.
        progress: called with steps done, steps in all and a note.

    Returns:
        parameters, steps, tokens, loss, held_out_loss (None if not evaluated), seconds, resumed_from_step.

    Raises:
        SmolfastError: too little text, the output holds another run, the loss is no longer finite, the disk is full.
    """
    chosen = torch.device(_accelerator() if device == "auto" else device)
    with Workers(threads, chosen) as workers:
        run = _Run(Path(tokens), Path(output), model, config, seed, chosen, workers)
        if teacher is not None or teacher_cache is not None:
            run.learn_from(
                Teaching(
                    distill or DistillConfig(),
                    run.train_tokens,
                    teacher=teacher,
                    cache=teacher_cache,
                    student_width=model.hidden_size,
                    seed=seed,
                    device=chosen,
                )
            )
        return run.finish(time_budget_seconds, progress or (lambda done, total, note: None))


class _Run:
    """One run: its data, its model, and where it stands."""

    def __init__(
        self,
        tokens: Path,
        output: Path,
        model: ModelConfig,
        config: TrainConfig,
        seed: int,
        device: torch.device,
        workers: Workers,
    ) -> None:
        self.output, self.config, self.seed, self.device, self.workers = output, config, seed, device, workers
        self.model_config = model
        self.identity = {
            "model": model.model_dump(mode="json"),
            "train": config.model_dump(mode="json"),
            "seed": seed,
            "tokens": fingerprint(tokens),
        }
        self.train_tokens = TokenFile.open(tokens, "train")
        held_out = TokenFile.open(tokens, "held_out")
        for file, name, windows in ((self.train_tokens, "training", config.batch_size), (held_out, "held-out", 1)):
            needed = windows * config.sequence_length + 1
            if len(file.tokens) < needed:
                raise SmolfastError(
                    f"too little text: {len(file.tokens):,} {name} tokens where at least {needed:,} are needed; "
                    "give more text, or lower train.sequence_length or train.batch_size"
                )
        self.windows = PackedWindows(self.train_tokens, config.sequence_length, config.batch_size, seed)
        held_out_windows = min(_HELD_OUT_WINDOWS, (len(held_out.tokens) - 1) // config.sequence_length)
        self.held_out = PackedWindows(held_out, config.sequence_length, held_out_windows, seed)
        self.teaching: Teaching | None = None
        self._build()

    def learn_from(self, teaching: Teaching) -> None:
        """Minimise what a teaching says instead of the heads' losses alone."""
        self.teaching = teaching
        self.identity |= teaching.identity
        self._build()

    def _build(self) -> None:
        """Model and optimiser as they are before the first step."""
        self.model = SmolLM(self.model_config, self.train_tokens.vocab_size, self.seed).to(self.device)
        # What is optimised and checkpointed: the model, and a projection if learning from a teacher needs one.
        self.trained: nn.Module = self.model
        if self.teaching is not None and self.teaching.projection is not None:
            self.teaching.reset_projection()
            self.trained = nn.ModuleDict({"model": self.model, "projection": self.teaching.projection})
        self.parameters = list(self.trained.parameters())
        self.optimizer = MuonAdamW(
            self.trained,
            weight_decay=self.config.weight_decay,
            adamw=("*",) if self.config.optimizer == "adamw" else (),
            map=self.workers.map,
        )

    def finish(self, time_budget_seconds: float | None, progress: ProgressCallback) -> dict[str, Any]:
        steps, done = self._open(time_budget_seconds)
        if done is not None:
            return done
        found = checkpoint.restore(self.output / "checkpoints", self.trained, self.optimizer)
        step, seconds = (found[0], float(found[1]["seconds"])) if found else (0, 0.0)
        resumed_from = step
        metrics_path = self.output / "metrics.jsonl"
        last = _cut_metrics(metrics_path, step)
        started = time.perf_counter() - seconds
        with DeferredSignals() as signals, _reporting_full_disk(metrics_path), metrics_path.open("a") as metrics:
            while step < steps:
                last = self._step(step, steps)
                step += 1
                if step == steps or (self.config.evaluate_every and step % self.config.evaluate_every == 0):
                    last["held_out_loss"] = self._held_out_loss()
                last["seconds"] = round(time.perf_counter() - started, 3)
                metrics.write(json.dumps(last) + "\n")
                metrics.flush()
                progress(step, steps, f"loss {last['loss']:.3f}")
                if step == steps or step % self.config.checkpoint_every == 0 or signals.received:
                    self._save_checkpoint(step, metrics, time.perf_counter() - started)
                if signals.received:
                    signals.raise_again()
        with atomic_path(self.output / "model") as temporary:
            save_pretrained(self.model, temporary, end_of_document=self.train_tokens.end_of_document)
        summary = {
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "steps": steps,
            "tokens": last["tokens"],
            "loss": last["loss"],
            "held_out_loss": last.get("held_out_loss"),
            "seconds": last["seconds"],
            "resumed_from_step": resumed_from,
        }
        write_json(self.output / "run.json", {**self.identity, "steps": steps, "summary": summary})
        return summary

    def _open(self, time_budget_seconds: float | None) -> tuple[int, dict[str, Any] | None]:
        """The number of steps, and the summary if the run is finished."""
        path = self.output / "run.json"
        if path.exists():
            record = read_json(path)
            different = _first_difference(self.identity, record)
            if different:
                raise SmolfastError(
                    f"{self.output} holds a run with another {different}; choose another output or delete that folder"
                )
            return int(record["steps"]), record.get("summary") if (self.output / "model").exists() else None
        steps = self.config.steps
        if time_budget_seconds is not None:
            steps = self._steps_within(time_budget_seconds)
        write_json(path, {**self.identity, "steps": steps})
        return steps, None

    def _steps_within(self, seconds: float) -> int:
        """Time a few steps and the quick evaluation, throw their effect away, and say how many fit."""
        self._step(0, 1)
        started = time.perf_counter()
        for step in range(_TIMED_STEPS):
            self._step(step, _TIMED_STEPS)
        each = (time.perf_counter() - started) / _TIMED_STEPS
        if self.config.evaluate_every:
            started = time.perf_counter()
            self._held_out_loss()
            each += (time.perf_counter() - started) / self.config.evaluate_every
        self._build()
        return max(_MIN_STEPS, int(seconds / each))

    def _step(self, step: int, steps: int) -> dict[str, Any]:
        """One optimiser step; its line of metrics, less the seconds."""
        config = self.config
        scale = warmup_stable_decay(
            step, steps, warmup_fraction=config.warmup_fraction, decay_fraction=config.decay_fraction
        )
        rates = _set_rates(self.optimizer, config, scale)
        head_losses, gradients = self._gradients(step)
        norm = float(torch.stack(torch._foreach_norm(gradients)).norm())
        losses = [float(loss) for loss in head_losses]
        loss = sum(weight * head for weight, head in zip(config.mtp_weights, losses, strict=True))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise SmolfastError(
                f"training diverged at step {step + 1}: loss {loss}, gradient norm {norm}; lower "
                f"train.muon_learning_rate ({config.muon_learning_rate}) and "
                f"train.adamw_learning_rate ({config.adamw_learning_rate})"
            )
        if norm > config.gradient_clip:
            torch._foreach_mul_(gradients, config.gradient_clip / norm)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {
            "step": step + 1,
            "loss": loss,
            "head_losses": losses,
            **rates,
            "gradient_norm": norm,
            "tokens": (step + 1) * config.batch_size * config.sequence_length,
        }

    def _gradients(self, step: int) -> tuple[Tensor, list[Tensor]]:
        """The heads' losses [K] over the step's whole batch, and the gradients of what is minimised."""
        config = self.config
        batches = self._batches(self.windows, step)
        counts = [batch.valid_targets(self.model_config.mtp_heads) for batch in batches]
        num_items = [max(1, sum(head)) for head in zip(*counts, strict=True)]

        positions = self.windows.positions(step) if self.teaching is not None else None

        def unit(index: int) -> tuple[Tensor, tuple[Tensor, ...]]:
            if self.teaching is None or positions is None:
                loss, head_losses = self.model.loss(batches[index], config.mtp_weights, num_items)
            else:
                rows = slice(index * config.micro_batch_size, (index + 1) * config.micro_batch_size)
                loss, head_losses = self.teaching.loss(
                    self.model, batches[index], positions[rows], config.mtp_weights, num_items
                )
            return head_losses, torch.autograd.grad(loss, self.parameters)

        total_losses: Tensor | None = None
        total: list[Tensor] = []
        for head_losses, gradients in self.workers.map(unit, range(len(batches))):
            if total_losses is None:
                total_losses, total = head_losses.clone(), list(gradients)
            else:
                total_losses += head_losses
                torch._foreach_add_(total, gradients)
        assert total_losses is not None
        return total_losses, total

    def _held_out_loss(self) -> float:
        """Mean next-token loss in nats over a fixed set of held-out windows."""
        batches = self._batches(self.held_out, 0)
        items = max(1, sum(batch.valid_targets(1)[0] for batch in batches))

        @torch.no_grad()
        def unit(batch: PackedBatch) -> float:
            return float(self.model.loss(batch, (1.0,), [items])[0])

        return sum(self.workers.map(unit, batches))

    def _batches(self, windows: PackedWindows, step: int) -> list[PackedBatch]:
        tokens, document_ids = windows.batch(step)
        size = self.config.micro_batch_size
        return [
            PackedBatch.from_windows(tokens[start : start + size], document_ids[start : start + size], self.device)
            for start in range(0, len(tokens), size)
        ]

    def _save_checkpoint(self, step: int, metrics: TextIO, seconds: float) -> None:
        # The lines up to a checkpoint are on disk before it is: a resumed run can always cut back to it.
        os.fsync(metrics.fileno())
        checkpoint.save(self.output / "checkpoints", step, self.trained, self.optimizer, {"seconds": seconds})


@contextlib.contextmanager
def _reporting_full_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SmolfastError(f"can't write {path}: {describe_os_error(error)}") from error


def _set_rates(optimizer: MuonAdamW, config: TrainConfig, scale: float) -> dict[str, float]:
    """Give each group its algorithm's rate; return the rates as metrics."""
    rates = {"muon": config.muon_learning_rate * scale, "adamw": config.adamw_learning_rate * scale}
    for group in optimizer.param_groups:
        group["lr"] = rates[group["algorithm"]]
    return {f"{algorithm}_learning_rate": rate for algorithm, rate in rates.items()}


def _cut_metrics(path: Path, step: int) -> dict[str, Any]:
    """Leave the lines of the first `step` steps; return the last of them."""
    lines = path.read_text(encoding="utf-8").splitlines()[:step] if path.exists() else []
    if len(lines) < step:
        raise SmolfastError(
            f"{path} has {len(lines)} lines and the checkpoint {step} steps; delete {path.parent} to start over"
        )
    write_text(path, "".join(line + "\n" for line in lines))
    return dict(json.loads(lines[-1])) if lines else {}


def _first_difference(expected: Any, found: Any, prefix: str = "") -> str | None:
    """The dotted name of the first value that isn't as expected."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key, value in expected.items():
            if different := _first_difference(value, found.get(key), f"{prefix}{key}."):
                return different
        return None
    return None if expected == found else prefix.rstrip(".")


def _accelerator() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"

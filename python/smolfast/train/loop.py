"""The training loop: deterministic, resumable at any moment, the same numbers on any count of threads.

A step is a fixed number of micro-batches. On a CPU each is a unit of work on one torch thread, and as many run side
by side as there are threads; gradients are added in the order of the micro-batches. So the numbers depend on the
configuration and the seed only. Losses are divided by the whole batch's count of targets, so micro-batches change
nothing but rounding, and neither do ranks: under torchrun each takes its share of the micro-batches.

The run folder:
    run.json            the configuration, the seed, the tokens' fingerprint, the number of steps
    metrics.jsonl       a line for each step
    events.jsonl        spikes, rollbacks, clipped heads, alarms (see `smolfast.events`)
    checkpoints/        see `smolfast.checkpoint`
    model/              the finished model, as transformers lays it out
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smolfast import apart, checkpoint
from smolfast.allocator import keep_freed_memory
from smolfast.attention_logits import LargestLogits
from smolfast.background import Background
from smolfast.clipping import make_clipper
from smolfast.config import DistillConfig, ModelConfig, TrainConfig
from smolfast.data_plan import DataPlan, check_learnable
from smolfast.errors import SmolfastError
from smolfast.events import EventLog, finite
from smolfast.features import FeatureMonitor
from smolfast.files import atomic_path, fingerprint
from smolfast.flops import flops_per_token
from smolfast.guard import Guard, Trouble
from smolfast.metrics_log import MetricsLog
from smolfast.model import SmolLM
from smolfast.nonfinite import first_nonfinite
from smolfast.objective import Objective, Unit
from smolfast.optim import MuonAdamW, qk_clip_
from smolfast.pretrained import initial_rows, initial_weights, save_pretrained
from smolfast.ranks import Ranks, local
from smolfast.run_folder import hardware
from smolfast.run_record import RunRecord
from smolfast.schedule import warmup_cosine, warmup_stable_decay
from smolfast.signals import DeferredSignals
from smolfast.speed import Speedometer, peak_flops
from smolfast.teaching import Teaching
from smolfast.tokens import PackedWindows, TokenFile
from smolfast.workers import Workers

ProgressCallback = Callable[[float, float, str], None]
PathLike = str | os.PathLike[str]

# Held-out windows of the quick loss: about the cost of one step.
_HELD_OUT_WINDOWS = 32
_TIMED_STEPS = 3
_MIN_STEPS = 20


def train(
    tokens: PathLike | Mapping[str, PathLike],
    output: PathLike,
    *,
    model: ModelConfig,
    config: TrainConfig,
    seed: int = 0,
    threads: int = 0,
    device: str = "auto",
    time_budget_seconds: float | None = None,
    distill: DistillConfig | None = None,
    teacher: PathLike | None = None,
    teacher_cache: PathLike | None = None,
    init: PathLike | None = None,
    ranks: Ranks | None = None,
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Train on a folder of tokens; go on where an earlier call on the same output stopped.

    SIGTERM and Ctrl-C are taken at the end of the step: a checkpoint is saved, then the signal is raised again for
    whoever handled it before.

    Args:
        tokens: the folder that `smolfast.tokens.tokenize` wrote, with `train` and `held_out`; or several by name, which
            `config.mixture` gives weights.
        output: the run folder; made, or continued if it holds the same run.
        threads: micro-batches at once on a CPU; 0 takes every CPU. The result doesn't depend on it.
        device: a torch device, or "auto" for an accelerator if there is one.
        time_budget_seconds: train for about this long instead of `config.steps` steps: the first steps are timed and
            the number of steps is fixed then, once, and kept in run.json.
        distill: how to learn from a teacher; its defaults if None. Used if one of the next two is given.
        teacher: a model folder to learn from, run beside the student.
        teacher_cache: what `smolfast.distill_cache` wrote for these tokens: the teacher's distributions.
        init: a model folder to go on from, of this shape (see `initial_weights`); None for random weights.
        ranks: the processes that train together, entered; None for this one alone.
        progress: called with steps done, steps in all and a note.

    Returns:
        parameters, steps, tokens, loss, held_out_loss (None if not evaluated), seconds, events, resumed_from_step.

    Raises:
        SmolfastError: too little text, the output holds another run, the loss is no longer finite, the disk is full.
    """
    ranks = ranks or Ranks()
    chosen = ranks.device(device)
    if ranks.world > 1 and threads == 0:
        threads = 1  # torchrun starts a process for each share of the CPUs
    sources = {name: Path(path) for name, path in tokens.items()} if isinstance(tokens, Mapping) else Path(tokens)
    read = sources.values() if isinstance(sources, dict) else [sources]
    apart.check_apart(output, filter(None, [*read, teacher, teacher_cache, init]))
    keep_freed_memory()
    with Workers(threads, chosen) as workers:
        run = _Run(sources, Path(output), model, config, seed, chosen, workers, ranks)
        if init is not None:
            run.start_from(Path(init))
        if teacher is not None or teacher_cache is not None:
            run.learn_from(
                Teaching(
                    distill or DistillConfig(),
                    run.only_source(),
                    teacher=teacher,
                    cache=teacher_cache,
                    student_width=model.hidden_size,
                    seed=seed,
                    device=chosen,
                )
            )
        return run.finish(time_budget_seconds, progress or (lambda done, total, note: None))


class _RollBack(Exception):
    """Ends a step that is to be undone."""

    def __init__(self, trouble: Trouble) -> None:
        self.trouble = trouble


class _Run:
    """One run: its data, its model, and where it stands."""

    def __init__(
        self,
        tokens: Path | dict[str, Path],
        output: Path,
        model: ModelConfig,
        config: TrainConfig,
        seed: int,
        device: torch.device,
        workers: Workers,
        ranks: Ranks,
    ) -> None:
        self.output, self.config, self.seed, self.device = output, config, seed, device
        self.workers, self.ranks, self.model_config = workers, ranks, model
        folders = tokens if isinstance(tokens, dict) else {"text": tokens}
        fingerprints = {name: fingerprint(path, without=output) for name, path in folders.items()}
        self.identity = {
            "model": model.model_dump(mode="json"),
            "train": config.model_dump(mode="json"),
            "seed": seed,
            "tokens": fingerprints if isinstance(tokens, dict) else fingerprints["text"],
        }
        self.sources = {name: TokenFile.open(path, "train") for name, path in folders.items()}
        held_out = {name: TokenFile.open(path, "held_out") for name, path in folders.items()}
        needed = (config.batch_size if len(folders) == 1 else 1) * config.sequence_length + 1
        for name in folders:
            for file, kind, least in (
                (self.sources[name], "training", needed),
                (held_out[name], "held-out", config.sequence_length + 1),
            ):
                if len(file.tokens) < least:
                    raise SmolfastError(
                        f"too little text: {len(file.tokens):,} {kind} tokens where at least {least:,} are needed; "
                        "give more text, or lower train.sequence_length or train.batch_size"
                    )
        for files in (self.sources, held_out):
            for file in files.values():
                check_learnable(file)
        first = next(iter(self.sources.values()))
        for name, file in self.sources.items():
            if file.ids != first.ids:
                raise SmolfastError(f"source {name} has another vocabulary than the first; use one tokenizer for all")
        self.vocab_size, self.end_of_document, self.vocabulary = first.ids
        self.held_out = {
            name: PackedWindows(
                file,
                config.sequence_length,
                min(_HELD_OUT_WINDOWS, (len(file.tokens) - 1) // config.sequence_length),
                seed,
            )
            for name, file in held_out.items()
        }
        self.teaching: Teaching | None = None
        self.init: Path | None = None
        self.seconds, self.event_count = 0.0, 0
        self.plan = DataPlan(self.sources, config, config.steps, seed)
        ranks.share(config.batch_size, config.micro_batch_size)
        ranks.share(config.batch_ramp_start, config.micro_batch_size)

    def only_source(self) -> TokenFile:
        """The source of a run without a mixture."""
        if len(self.sources) > 1:
            raise SmolfastError("a teacher goes with one source of text; tokenize the documents together")
        return next(iter(self.sources.values()))

    def start_from(self, folder: Path) -> None:
        """Begin with the weights of a model folder instead of random ones; rows that pad its embedding stay."""
        self.init, self.vocab_size = folder, initial_rows(folder, self.vocab_size, self.vocabulary)
        self.identity["init"] = {"name": folder.absolute().name, "fingerprint": fingerprint(folder)}

    def learn_from(self, teaching: Teaching) -> None:
        """Minimise what a teaching says instead of the heads' losses alone."""
        self.teaching = teaching
        self.identity |= teaching.identity

    def _build(self, steps: int) -> None:
        """Everything as it is before the first of so many steps."""
        config = self.config
        self.steps, self.tokens, self.stage = steps, 0, 0
        self.plan = DataPlan(self.sources, config, steps, self.seed)
        self.model = SmolLM(self.model_config, self.vocab_size, self.seed)
        if self.init is not None:
            initial_weights(self.model, self.init)
        self.model.to(self.device)
        self.objective = Objective(self.model, config, self.teaching, self.device, self.workers, self.ranks)
        self.optimizer = MuonAdamW(
            self.objective.trained,
            weight_decay=config.weight_decay,
            adamw=("*",) if config.optimizer == "adamw" else (),
            map=self.workers.map,
            process_group=self.ranks.group,
        )
        self.clipper = make_clipper(config.clip, config.gradient_clip)
        self.guard = Guard(
            config.on_spike,
            sigma=config.spike_sigma,
            window=config.spike_window,
            most=config.max_rollbacks,
            lower=config.rollback_rate,
        )
        probe = self.objective.batches(*next(iter(self.held_out.values())).batch(0))[0]
        self.monitor = FeatureMonitor(self.model, probe, config.sequence_length + 1)
        self.events = EventLog(self.output / "events.jsonl", writes=False)

    def finish(self, time_budget_seconds: float | None, progress: ProgressCallback) -> dict[str, Any]:
        done = self._open(time_budget_seconds)
        if done is not None:
            return done
        config, ranks = self.config, self.ranks
        found = self._restore()
        ranks.agree("checkpoint", {"step": found, "steps": self.steps})
        if found is None:
            self.record.check_nothing_lost(config.checkpoint_every)
        step = resumed_from = found or 0
        self.events = EventLog(self.output / "events.jsonl", writes=ranks.first)
        self.events.cut(self.event_count)
        started = time.perf_counter() - self.seconds
        speed = Speedometer(ranks.world * peak_flops(self.workers, self.device, self.objective.dtype))
        with (
            DeferredSignals() as signals,
            MetricsLog(
                self.output / "metrics.jsonl",
                step,
                writes=ranks.first,
                tensorboard=config.tensorboard and ranks.first,
                trackio=config.trackio and ranks.first,
            ) as metrics,
            Background() as background,
        ):

            def save() -> None:
                # The lines up to a checkpoint are on disk before it is: a resumed run can always cut back to it.
                metrics.sync()
                self.seconds = time.perf_counter() - started
                snapshot = checkpoint.take_snapshot(step, self.objective.trained, self.optimizer, self._progress())
                if ranks.first:
                    background.submit(lambda: self._write(snapshot))

            if step == 0 and config.on_spike == "rollback":
                save()
            speed.start()
            while step < self.steps:
                try:
                    line = self._step(step)
                except _RollBack as back:
                    background.wait()
                    ranks.wait()
                    step = self._roll_back(step, back.trouble)
                    metrics.cut(step)
                    speed.start()
                    continue
                step += 1
                if step == self.steps or (config.evaluate_every and step % config.evaluate_every == 0):
                    line |= self._held_out_losses()
                line["seconds"] = round(time.perf_counter() - started, 3)
                line["speed"] = speed.step(line.pop("step_tokens"), self._flops, self.steps - step)
                metrics.add(line)
                progress(step, self.steps, _describe(line["loss"]))
                stop = ranks.any(signals.received is not None, self.device)
                if step == self.steps or step % config.checkpoint_every == 0 or stop:
                    save()
                if stop:
                    background.wait()
                    ranks.wait()
                    signals.raise_again()
            last = ranks.tell(metrics.last)
        self._save_model()
        summary = {
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "steps": self.steps,
            "tokens": last["tokens"],
            "loss": finite(last["loss"]),
            "held_out_loss": last.get("held_out_loss"),
            "seconds": last["seconds"],
            "events": self.events.count,
            "resumed_from_step": resumed_from,
        }
        if ranks.first:
            self.record.write({**self._facts(), "summary": summary})
        return summary

    def _write(self, snapshot: checkpoint.Snapshot) -> None:
        keep, keep_every = self.config.keep_checkpoints, self.config.keep_checkpoint_every
        checkpoint.write_snapshot(self.output / "checkpoints", snapshot, keep=keep, keep_every=keep_every)
        self.record.mark_checkpointed()

    def _facts(self) -> dict[str, Any]:
        """What was trained on, and where, for the model card."""
        device = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return {
            "data": {
                name: {"documents": file.documents, "tokens": len(file.tokens), "utf8_bytes": file.utf8_bytes}
                for name, file in self.sources.items()
            },
            "vocabulary": self.vocabulary,
            "hardware": {"device": device, "ranks": self.ranks.world, **hardware()},
        }

    def _open(self, time_budget_seconds: float | None) -> dict[str, Any] | None:
        """Fix the number of steps and build the run; the summary if it is finished already."""
        self.record = RunRecord(self.output, self.identity)
        summary = self.record.summary
        self.ranks.agree("run", {**self.identity, "record": bool(self.record.values), "finished": summary is not None})
        if summary is not None:
            return summary
        if self.record.values:
            self._build(self.record.steps)
            return None
        self._build(self.config.steps)
        if time_budget_seconds is not None:
            self._build(self.ranks.tell(self._steps_within(time_budget_seconds)))
        if self.ranks.first:
            self.record.write({**self.identity, "steps": self.steps, **self._facts()})
        return None

    def _steps_within(self, seconds: float) -> int:
        """Time a few steps and the quick evaluation, and say how many fit; leaves the run in need of a new start."""
        self._step(0)
        started = time.perf_counter()
        for step in range(_TIMED_STEPS):
            self._step(step)
        each = (time.perf_counter() - started) / _TIMED_STEPS
        if self.config.evaluate_every:
            started = time.perf_counter()
            self._held_out_losses()
            each += (time.perf_counter() - started) / self.config.evaluate_every
        return max(_MIN_STEPS, int(seconds / each))

    def _progress(self) -> dict[str, Any]:
        """What a checkpoint holds beside the model and the optimiser."""
        return {
            "seconds": self.seconds,
            "tokens": self.tokens,
            "stage": self.stage,
            "events": self.events.count,
            "guard": self.guard.state(),
            "clipper": self.clipper.state(),
            "monitor": self.monitor.state(),
        }

    def _restore(self, passing_over: int = 0) -> int | None:
        """Load a checkpoint; its step, or None if there is none."""
        self.seconds, self.event_count = 0.0, 0
        found = checkpoint.restore(
            self.output / "checkpoints", self.objective.trained, self.optimizer, passing_over=passing_over
        )
        if found is None:
            return None
        step, progress = found
        self.seconds, self.event_count = progress["seconds"], progress["events"]
        self.tokens, self.stage = progress["tokens"], progress["stage"]
        self._set_theta()
        self.guard.load(progress["guard"])
        self.clipper.load(progress["clipper"])
        self.monitor.load(progress["monitor"])
        return step

    def _roll_back(self, step: int, trouble: Trouble) -> int:
        """Return to a checkpoint, and to its step, with other batches and a lower rate ahead."""
        guard = self.guard
        self.guard = Guard(
            guard.policy,
            sigma=self.config.spike_sigma,
            window=self.config.spike_window,
            most=guard.most,
            lower=guard.lower,
        )
        seconds = self.seconds
        back_to = self._restore(guard.checkpoints_to_pass_over(step))
        if back_to is None:
            raise SmolfastError(f"{self.output / 'checkpoints'} has no sound checkpoint to roll back to; start over")
        guard.roll_back(self.guard.state(), step=step, back_to=back_to, further=self.config.rollback_skip)
        self.guard, self.seconds = guard, seconds
        self.events.add(
            step + 1, "rollback", cause=trouble.what, back_to=back_to, batches_skipped=guard.skipped, rate=guard.rate
        )
        return back_to

    def _step(self, step: int) -> dict[str, Any]:
        """One optimiser step; its line of metrics, less the seconds."""
        config = self.config
        self._enter_stage(step)
        rates = self._set_rates(step)
        rows, length = self.plan.batch_size(self._drawn(step)), self.plan.sequence_length(self._drawn(step))
        self.tokens += rows * length
        self._flops = sum(flops_per_token(self.model_config, self.vocab_size, length).values())
        units, counts = self._units(step)
        line: dict[str, Any] = {
            "step": step + 1,
            "loss": math.nan,
            "head_losses": [math.nan] * len(counts),
            **rates,
            "gradient_norm": math.nan,
            "step_tokens": rows * length,
        }
        if not any(counts):  # nothing to learn from, so no step: momentum alone would move the weights
            return line | {"skipped": True, "tokens": self.tokens}
        watch = LargestLogits(self.model) if config.qk_clip else contextlib.nullcontext()
        with watch:
            head_losses, gradients = self.objective.gradients(units)
        norms = self.ranks.norms(gradients)
        norm = float(norms.norm())
        # A head without a target in the batch has no loss.
        losses = [float(loss) if count else math.nan for loss, count in zip(head_losses, counts, strict=True)]
        loss = sum(w * head for w, head, n in zip(config.mtp_weights, losses, counts, strict=True) if n)
        line |= {"loss": loss, "head_losses": losses, "gradient_norm": norm}
        if self._answered(step, loss, norm, line):
            monitored = config.monitor_every and (step + 1) % config.monitor_every == 0
            with self.objective.compiled.eager():
                before = self.objective.run(self.monitor.states) if monitored else []
            self._update(gradients, norm, norms)
            if monitored:
                with self.objective.compiled.eager():
                    line["features"] = self.objective.run(partial(self.monitor.measure, before))
                for alarm in self.monitor.alarms(line["features"]):
                    self.events.add(step + 1, "alarm", **alarm)
        if isinstance(watch, LargestLogits):  # of a batch that was left out, too: it showed what heads do
            self._clip_heads(step, watch.by_module)
        return line | {"tokens": self.tokens}

    def _drawn(self, step: int) -> int:
        """The batch that a step trains on, counted over all that were drawn."""
        return step + self.guard.skipped

    def _enter_stage(self, step: int) -> None:
        stage = self.plan.stage(self._drawn(step))
        if stage != self.stage:
            self.stage = stage
            self._set_theta()
            if self.plan.stages[stage].reset_optimizer:
                self.optimizer.state.clear()
            self.events.add(step + 1, "stage", number=stage)

    def _set_theta(self) -> None:
        theta = self.plan.stages[self.stage].rope_theta
        if theta:
            self.model.config = self.model_config.model_copy(update={"rope_theta": theta})

    def _set_rates(self, step: int) -> dict[str, float]:
        """Give each group its algorithm's rate; return the rates as metrics."""
        config = self.config
        if config.schedule == "cosine":
            scale = warmup_cosine(
                step, self.steps, warmup_fraction=config.warmup_fraction, final_fraction=config.final_rate_fraction
            )
        else:
            scale = warmup_stable_decay(
                step,
                self.steps,
                warmup_fraction=config.warmup_fraction,
                decay_fraction=config.decay_fraction,
                decay=config.decay_shape,
            )
        scale *= self.guard.rate * self.plan.stages[self.stage].learning_rate_scale
        rates = {"muon": config.muon_learning_rate * scale, "adamw": config.adamw_learning_rate * scale}
        for group in self.optimizer.param_groups:
            group["lr"] = rates[group["algorithm"]]
        return {f"{algorithm}_learning_rate": rate for algorithm, rate in rates.items()}

    def _answered(self, step: int, loss: float, norm: float, line: dict[str, Any]) -> bool:
        """Judge the step; whether it is to be taken. Writes events; a rollback or the end is an exception."""
        settled = step >= round(self.config.warmup_fraction * self.steps)
        trouble = self.guard.look(loss, norm, settled=settled)
        if trouble is None:
            return True
        where = self._first_nonfinite(step) if trouble.what == "not finite" else None
        if trouble.reaction == "stop":
            raise SmolfastError(
                f"training diverged at step {step + 1}: loss {loss}, gradient norm {norm}"
                f"{f', first in {where}' if where else ''}; lower "
                f"train.muon_learning_rate ({self.config.muon_learning_rate}) and "
                f"train.adamw_learning_rate ({self.config.adamw_learning_rate})"
            )
        if trouble.new or trouble.reaction != "warn":
            details: dict[str, Any] = {"deviations": round(trouble.deviations, 2), "loss": loss, "gradient_norm": norm}
            if where is not None:
                details["where"] = where
            self.events.add(step + 1, trouble.what, reaction=trouble.reaction, **details)
        if trouble.reaction == "rollback":
            raise _RollBack(trouble)
        if trouble.reaction == "skip":
            line["skipped"] = True
            return False
        return True

    def _update(self, gradients: Sequence[Tensor], norm: float, norms: Tensor) -> None:
        factors = self.clipper.factors(norm, norms)
        if isinstance(factors, list):
            for gradient, factor in zip(gradients, factors, strict=True):
                if factor != 1.0:
                    local(gradient).mul_(factor)
        elif factors != 1.0:
            torch._foreach_mul_([local(gradient) for gradient in gradients], factors)
        for parameter, gradient in zip(self.objective.parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _clip_heads(self, step: int, largest: Mapping[str, Tensor]) -> None:
        """QK-clip, after the step."""
        tau = self.config.qk_clip
        largest = {name: self.ranks.largest(logits) for name, logits in largest.items()}
        qk_clip_(self.model, largest, tau)
        for name, logits in largest.items():
            heads = (logits > tau).nonzero()[:, 0].tolist()
            if heads:
                self.events.add(step + 1, "qk_clip", module=name, heads=heads, largest_logit=float(logits.max()))

    def _units(self, step: int) -> tuple[list[Unit], list[int]]:
        """This rank's micro-batches of a step, and the whole batch's targets by head."""
        drawn = self._drawn(step)
        start, end = self.ranks.share(self.plan.batch_size(drawn), self.config.micro_batch_size)
        return self.objective.units(self.plan.rows(drawn, start, end))

    def _first_nonfinite(self, step: int) -> str | None:
        """The module in which a step's numbers broke, on the first rank that finds one."""
        if self.ranks.sharded:
            return None  # needs whole parameters
        found = (first_nonfinite(self.objective.trained, partial(_first, unit)) for unit in self._units(step)[0])
        with self.objective.compiled.eager():
            mine = next((name for name in found if name is not None), None)
        return self.ranks.first_of(mine)

    def _held_out_losses(self) -> dict[str, Any]:
        """Mean next-token loss in nats over fixed held-out windows: of all sources by weight, and of each."""
        losses = self.objective.held_out_losses(self.held_out)
        if len(losses) == 1:
            return {"held_out_loss": next(iter(losses.values()))}
        weights = self.plan.weights[self.stage]
        known = [(weight, loss) for name, weight in weights.items() if (loss := losses[name]) is not None]
        mean = sum(weight * loss for weight, loss in known) / sum(weight for weight, _ in known) if known else None
        return {"held_out_loss": mean, "held_out_losses": losses}

    def _save_model(self) -> None:
        """Write the finished model, gathered whole if it lies in shards."""
        model = self.model
        if self.ranks.sharded:
            weights = checkpoint.whole(self.model.state_dict())
            model = SmolLM(self.model.config, self.vocab_size)
            model.load_state_dict(weights)
        if self.ranks.first:
            with atomic_path(self.output / "model") as temporary:
                save_pretrained(model, temporary, end_of_document=self.end_of_document)
        self.ranks.wait()


def _describe(loss: float) -> str:
    return f"loss {loss:.3f}" if math.isfinite(loss) else "nothing to learn"


def _first(unit: Unit) -> Tensor:
    return unit()[0]

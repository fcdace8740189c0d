"""The training loop: deterministic, resumable at any moment, the same numbers on any count of threads.

A step is a fixed number of micro-batches. On a CPU each is a unit of work on one torch thread, and as many run side
by side as there are threads; gradients are added in the order of the micro-batches. So the numbers depend on the
configuration and the seed only. Losses are divided by the whole batch's count of targets, so micro-batches change
nothing but rounding, and neither do ranks: under torchrun each takes its share of the micro-batches.

`take_step` is the step, whole. The run that it is a step of, how that opens and what is kept of it are in `run/`. What
happens when a step goes wrong is in `trouble/`.

The run folder:
    run.json            the configuration, the seed, the tokens' fingerprint, the number of steps
    metrics.jsonl       a line for each step
    events.jsonl        spikes, rollbacks, clipped heads, alarms (see `smolfast.train.watch.events`)
    checkpoints/        see `smolfast.train.run.checkpoint`
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

from smolfast.config import DistillConfig, ModelConfig, TrainConfig
from smolfast.files import finite
from smolfast.io.background import Background
from smolfast.io.keep_apart import check_apart
from smolfast.model.flops import flops_per_token
from smolfast.optim import qk_clip_
from smolfast.train.distillation.teaching import Teaching
from smolfast.train.process.allocator import keep_freed_memory
from smolfast.train.process.ranks import Ranks, check_context, local
from smolfast.train.process.signals import DeferredSignals
from smolfast.train.run import checkpoint
from smolfast.train.run.opening import open_run
from smolfast.train.run.parts import Run
from smolfast.train.run.record import MODEL_FILES
from smolfast.train.run.saving import facts, restore, save_model, snapshot
from smolfast.train.schedule import rate_scale
from smolfast.train.trouble.answer import RollBack, is_taken, roll_back
from smolfast.train.trouble.heads import each_head_apart
from smolfast.train.trouble.monitored import end, largest_logits, note_failures, react
from smolfast.train.watch.attention_logits import LargestLogits
from smolfast.train.watch.events import EventLog
from smolfast.train.watch.features import worst_layer
from smolfast.train.watch.metrics_log import MetricsLog, describe
from smolfast.train.watch.speed import Speedometer, peak_flops
from smolfast.workers import Workers

ProgressCallback = Callable[[float, float, str], None]
PathLike = str | os.PathLike[str]


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
        teacher_cache: what `smolfast.train.distillation.cache` wrote for these tokens: the teacher's distributions.
        init: a model folder to go on from, of this shape (see `initial_weights`); None for random weights.
        ranks: the processes that train together, entered; None for this one alone.
        progress: called with steps done, steps in all and a note; an exception ends the run as a signal does.

    Returns:
        parameters, steps, tokens, loss, held_out_loss (None if not evaluated), effective_rank and dead_units (of the
        worst layer at the end; None if not looked at), seconds, events, resumed_from_step.

    Raises:
        SmolfastError: too little text, the output holds another run, the loss is no longer finite, the disk is full.
        StopTrialError, StopRunError: one of `config.monitors` ended it; the same call ends so again.
    """
    ranks = ranks or Ranks()
    check_context(ranks.context, config, "--teacher" if teacher else "--teacher-cache" if teacher_cache else "")
    chosen = ranks.device(device)
    if ranks.world > 1 and threads == 0:
        threads = 1  # torchrun starts a process for each share of the CPUs
    sources = {name: Path(path) for name, path in tokens.items()} if isinstance(tokens, Mapping) else Path(tokens)
    read = sources.values() if isinstance(sources, dict) else [sources]
    check_apart(output, filter(None, [*read, teacher, teacher_cache, init]))
    keep_freed_memory()
    with Workers(threads, chosen) as workers:
        run = Run(sources, Path(output), model, config, seed, chosen, workers, ranks)
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
                    student_layers=model.num_hidden_layers,
                    seed=seed,
                    device=chosen,
                )
            )
        return take_steps(run, time_budget_seconds, progress or (lambda done, total, note: None))


def take_step(run: Run, step: int) -> dict[str, Any]:
    """One optimiser step; its line of metrics, less the seconds.

    Raises:
        RollBack: the step is to be undone.
        SmolfastError: training diverged.
    """
    config = run.config
    _enter_stage(run, step)
    rates = _set_rates(run, step)
    size = run.plan.size(run.drawn(step))
    run.tokens += size.tokens
    units, counts = run.units(step)
    line: dict[str, Any] = {
        "step": step + 1,
        **run.objective.describe(None, counts),
        **rates,
        "gradient_norm": math.nan,
        "step_tokens": size.tokens,
        "step_flops": sum(flops_per_token(run.model_config, run.vocab_size, size.length).values()),
        "tokens": run.tokens,
    }
    if not any(counts):  # nothing to learn from, so no step: momentum alone would move the weights
        return line | {"skipped": True}
    look = run.monitors.look_at_logits(step + 1)
    hooked = bool(config.qk_clip) or (look and not run.objective.compiled.on)
    watch = LargestLogits(run.model) if hooked else contextlib.nullcontext()
    aside = largest_logits(run, units) if look and not hooked else {}
    with watch:
        parts, gradients = run.objective.gradients(units)
    norms = run.ranks.norms(gradients)
    norm = float(norms.norm())
    line |= {**run.objective.describe(parts, counts), "gradient_norm": norm}
    if is_taken(run, step, line["loss"], norm, line):
        monitored = config.monitor_every and ((step + 1) % config.monitor_every == 0 or step + 1 == run.steps)
        with run.objective.compiled.eager():
            before = run.objective.run(run.monitor.states) if monitored else []
        _update(run, gradients, norm, norms)
        if monitored:
            with run.objective.compiled.eager():
                line["features"] = run.objective.run(partial(run.monitor.measure, before))
            for alarm in run.monitor.alarms(line["features"]):
                run.events.add(step + 1, "alarm", **alarm)
    # Of a batch that was left out, too: it showed what heads do.
    by_module = watch.by_module if isinstance(watch, LargestLogits) else aside
    largest = {name: run.ranks.largest(logits) for name, logits in by_module.items()}
    if look:
        line["attention"] = {"max_logit": [logits.tolist() for logits in largest.values()]}
    if config.qk_clip:
        _clip_heads(run, step, largest)
    return line


def _update(run: Run, gradients: Sequence[Tensor], norm: float, norms: Tensor) -> None:
    """Clip the gradients and let the optimiser step."""
    factors = run.clipper.factors(norm, norms)
    if isinstance(factors, list):
        for gradient, factor in zip(gradients, factors, strict=True):
            if factor != 1.0:
                local(gradient).mul_(factor)
    elif factors != 1.0:
        torch._foreach_mul_([local(gradient) for gradient in gradients], factors)
    for parameter, gradient in zip(run.objective.parameters, gradients, strict=True):
        parameter.grad = gradient
    with each_head_apart(run.model, run.monitors, run.config.gradient_clip):
        run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)


def _enter_stage(run: Run, step: int) -> None:
    stage = run.plan.stage(run.drawn(step))
    if stage != run.stage:
        run.stage = stage
        run.set_rope()
        if run.plan.stages[stage].reset_optimizer:
            run.optimizer.state.clear()
        run.events.add(step + 1, "stage", number=stage)


def _set_rates(run: Run, step: int) -> dict[str, float]:
    """Give each group its algorithm's rate, by the model's shape; return the algorithms' rates as metrics."""
    config = run.config
    scale = rate_scale(config, step, run.steps) * run.guard.rate * run.plan.stages[run.stage].learning_rate_scale
    scale *= run.monitors.rate
    rates = {"muon": config.muon_learning_rate * scale, "adamw": config.adamw_learning_rate * scale}
    for group, factor in zip(run.optimizer.param_groups, run.rate_scales, strict=True):
        group["lr"] = rates[group["algorithm"]] * factor
    return {f"{algorithm}_learning_rate": rate for algorithm, rate in rates.items()}


def _clip_heads(run: Run, step: int, largest: Mapping[str, Tensor]) -> None:
    """QK-clip, after the step."""
    tau = run.config.qk_clip
    qk_clip_(run.model, largest, tau)
    for name, logits in largest.items():
        heads = (logits > tau).nonzero()[:, 0].tolist()
        if heads:
            run.events.add(step + 1, "qk_clip", module=name, heads=heads, largest_logit=float(logits.max()))


def held_out_losses(run: Run) -> dict[str, Any]:
    """Mean next-token loss in nats over fixed held-out windows: of all sources by weight, and of each."""
    losses = run.objective.held_out_losses(run.held_out)
    further = run.objective.held_out_further()
    if len(losses) <= 1:
        return further | ({"held_out_loss": next(iter(losses.values()))} if losses else {})
    weights = run.plan.weights[run.stage]
    known = [(weight, loss) for name, weight in weights.items() if (loss := losses[name]) is not None]
    mean = sum(weight * loss for weight, loss in known) / sum(weight for weight, _ in known) if known else None
    return {"held_out_loss": mean, "held_out_losses": losses}


def take_steps(run: Run, time_budget_seconds: float | None, progress: ProgressCallback) -> dict[str, Any]:
    """Open the run, take every step that is left, and save the model; the summary, as `train` returns it."""
    done = open_run(run, time_budget_seconds, take_step, held_out_losses)
    if done is not None:
        return done
    config, ranks = run.config, run.ranks
    found = restore(run)
    ranks.agree("checkpoint", {"step": found, "steps": run.steps})
    if found is None:
        run.record.check_nothing_lost(config.checkpoint_every)
    step = resumed_from = found or 0
    run.events = EventLog(run.output / "events.jsonl", writes=ranks.first)
    run.events.cut(run.event_count)
    started = time.perf_counter() - run.seconds
    speed = Speedometer(ranks.world * peak_flops(run.workers, run.device, run.objective.dtype))
    with (
        DeferredSignals() as signals,
        MetricsLog(
            run.output / "metrics.jsonl",
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
            run.seconds = time.perf_counter() - started
            taken = snapshot(run, step)
            if ranks.first:
                background.submit(lambda: _write(run, taken))

        def go_back(step: int, cause: str, began: int | None = None) -> int:
            background.wait()
            ranks.wait()
            step = roll_back(run, step, cause, began=began)
            metrics.cut(step)
            speed.start()
            return step

        if step == 0 and (config.on_spike == "rollback" or run.monitors.roll_back):
            save()
        speed.start()
        while step < run.steps:
            try:
                line = take_step(run, step)
            except RollBack as back:
                step = go_back(step, back.trouble.what)
                continue
            step += 1
            if step == run.steps or (config.evaluate_every and step % config.evaluate_every == 0):
                line |= held_out_losses(run)
            line["seconds"] = round(time.perf_counter() - started, 3)
            line["speed"] = speed.step(line.pop("step_tokens"), line.pop("step_flops"), run.steps - step)
            metrics.add(line)
            signals.tell(progress, step, run.steps, describe(step, run.steps, line))
            answer = react(run, step, line)
            if answer.stop is not None:
                background.wait()
                end(run, answer.stop)
            if answer.back is not None:
                step = go_back(step, *answer.back)
                continue
            stop = ranks.any(signals.asked, run.device)
            if step == run.steps or step % config.checkpoint_every == 0 or stop:
                save()
            if stop:
                background.wait()
                ranks.wait()
                signals.raise_again()
        run.monitors.outside.close()
        note_failures(run, step)
        last = ranks.tell(metrics.last)
    files = save_model(run)
    summary: dict[str, Any] = {
        "parameters": sum(parameter.numel() for parameter in run.model.parameters()),
        "steps": run.steps,
        "tokens": last["tokens"],
        "loss": last["loss"],
        "held_out_loss": last.get("held_out_loss"),
        **worst_layer(last.get("features")),
        **run.objective.summary(last),
        "seconds": last["seconds"],
        "events": run.events.count,
        "resumed_from_step": resumed_from,
    }
    summary = finite(summary)
    if ranks.first:
        run.record.write({**facts(run), "summary": summary, MODEL_FILES: files})
    return summary


def _write(run: Run, taken: checkpoint.Snapshot) -> None:
    keep, keep_every = run.config.keep_checkpoints, run.config.keep_checkpoint_every
    checkpoint.write_snapshot(run.output / "checkpoints", taken, keep=keep, keep_every=keep_every)
    run.record.mark_checkpointed()

"""A run before its first step: its data, its identity, and everything that a step needs, built anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from smolfast.config import DistillConfig, ModelConfig, TrainConfig
from smolfast.errors import SmolfastError
from smolfast.files import fingerprint
from smolfast.model.network import SmolLM
from smolfast.model.pretrained import initial_rows, initial_weights
from smolfast.optim import MuonAdamW
from smolfast.tokens.files import PackedWindows, TokenFile
from smolfast.tokens.fitted_windows import windows_of
from smolfast.train.clipping import make_clipper
from smolfast.train.data_plan import DataPlan, check_learnable
from smolfast.train.distillation.teaching import Teaching
from smolfast.train.micro_batches import Objective, Unit
from smolfast.train.parametrization.scales import optimizer_overrides, rate_scales, scale_initial_weights
from smolfast.train.process.ranks import Ranks
from smolfast.train.run.record import RunRecord
from smolfast.train.trouble.monitors import Monitors
from smolfast.train.trouble.reaction import Guard
from smolfast.train.watch.events import EventLog
from smolfast.train.watch.features import FeatureMonitor
from smolfast.workers import Workers

# Held-out windows of the quick loss: about the cost of one step.
HELD_OUT_WINDOWS = 32
# Tokens of a window that the monitor of features looks at: its attention maps grow by the square.
_LOOKED_AT = 2048


class Run:
    """One run: its data, its model, and where it stands.

    Attributes:
        identity: what tells this run from another: settings, seed, fingerprints of what it learns from.
        defaults: of the settings among these.
        plan: which windows each step trains on.
        steps, tokens, stage: how many steps there will be; tokens seen and the stage reached so far.
        record: run.json of the run.
        rate_scales: of each of the optimiser's groups, what its rate is multiplied with.
        seconds, event_count: time taken and events written up to the checkpoint that was restored.
    """

    record: RunRecord

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
        self.identity: dict[str, Any] = {
            "model": model.model_dump(mode="json"),
            "train": config.deciding().model_dump(mode="json"),
            "seed": seed,
            "tokens": fingerprints if isinstance(tokens, dict) else fingerprints["text"],
        }
        self.defaults: dict[str, dict[str, Any]] = {
            "model": ModelConfig().model_dump(mode="json"),
            "train": TrainConfig().deciding().model_dump(mode="json"),
        }
        self.sources = {name: TokenFile.open(path, "train") for name, path in folders.items()}
        held_out = {name: TokenFile.open(path, "held_out") for name, path in folders.items()}
        self._check(held_out)
        first = next(iter(self.sources.values()))
        self.vocab_size, self.end_of_document, self.vocabulary = first.ids
        self.held_out = {name: _held_out(file, config, seed) for name, file in held_out.items()}
        self.teaching: Teaching | None = None
        self.init: Path | None = None
        self.seconds, self.event_count = 0.0, 0
        self.plan = DataPlan(self.sources, config, config.steps, seed)
        ranks.share(config.batch_size, config.micro_batch_size)
        ranks.share(config.batch_ramp_start, config.micro_batch_size)

    def _check(self, held_out: dict[str, TokenFile]) -> None:
        """Enough text, something to learn in it, and one vocabulary."""
        config = self.config
        needed = (config.batch_size if len(self.sources) == 1 else 1) * config.sequence_length + 1
        for name in self.sources:
            for file, kind, least in (
                (self.sources[name], "training", needed),
                (held_out[name], "held-out", config.sequence_length + 1),
            ):
                if config.packing == "stream" and len(file.tokens) < least:  # windows that fit count themselves
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
        self.defaults["distill"] = DistillConfig().model_dump(mode="json")

    def build(self, steps: int) -> None:
        """Everything as it is before the first of so many steps."""
        config = self.config
        self.steps, self.tokens, self.stage = steps, 0, 0
        self.plan = self.plan_of(steps)
        self.model = SmolLM(self.model_config, self.vocab_size, self.seed)
        scale_initial_weights(self.model, config)
        if self.init is not None:
            initial_weights(self.model, self.init)
        self.set_rope()
        self.model.to(self.device)
        self.objective = self.make_objective()
        overrides = optimizer_overrides(self.model, self.objective.trained, config)
        self.optimizer = MuonAdamW(
            self.objective.trained,
            weight_decay=config.weight_decay,
            adamw=("*",) if config.optimizer == "adamw" else (),
            overrides=overrides,
            map=self.workers.map,
            process_group=self.ranks.group,
        )
        self.rate_scales = rate_scales(self.optimizer.param_groups, overrides)
        self.clipper = make_clipper(config.clip, config.gradient_clip)
        self.guard = Guard(
            config.on_spike,
            sigma=config.spike_sigma,
            window=config.spike_window,
            most=config.max_rollbacks,
            lower=config.rollback_rate,
        )
        self.monitors = Monitors(config, steps)
        tokens, document_ids = (window[:, : _LOOKED_AT + 1] for window in self.looked_at().batch(0))
        probe = self.objective.batches(tokens, document_ids)[0]
        self.monitor = FeatureMonitor(self.model, probe, tokens.shape[1])
        self.events = EventLog(self.output / "events.jsonl", writes=False)

    def plan_of(self, steps: int) -> DataPlan:
        """What each of so many steps trains on."""
        return DataPlan(self.sources, self.config, steps, self.seed)

    def make_objective(self) -> Objective:
        """What a step minimises, of the model as it is now."""
        return Objective(self.model, self.config, self.teaching, self.device, self.workers, self.ranks)

    def looked_at(self) -> PackedWindows:
        """The windows on which the monitor of features looks at the model."""
        return next(iter(self.held_out.values()))

    def drawn(self, step: int) -> int:
        """The batch that a step trains on, counted over all that were drawn."""
        return step + self.guard.skipped

    def units(self, step: int) -> tuple[list[Unit], list[int]]:
        """This rank's micro-batches of a step, and the whole batch's targets by head."""
        drawn = self.drawn(step)
        if self.teaching is not None:
            self.teaching.enter(step / self.steps)
        start, end = self.ranks.share(self.plan.batch_size(drawn), self.config.micro_batch_size)
        return self.objective.units(self.plan.rows(drawn, start, end))

    def apply_clip(self) -> None:
        """Give the clipper the largest norm that the monitors have left."""
        self.clipper.largest_norm = self.config.gradient_clip * self.monitors.clip

    def set_rope(self) -> None:
        """Give the model the rotary base and YaRN's stretch of the stage that the run is in."""
        stage = self.plan.stages[self.stage]
        changed = {"rope_theta": stage.rope_theta, "yarn_factor": stage.yarn_factor}
        self.model.config = self.model_config.model_copy(update={name: new for name, new in changed.items() if new})


def _held_out(file: TokenFile, config: TrainConfig, seed: int) -> PackedWindows:
    """The windows that quick looks at held-out text read, all in one batch."""
    count = windows_of(config.packing, file, config.sequence_length, 1, seed).steps_per_epoch
    return windows_of(config.packing, file, config.sequence_length, min(HELD_OUT_WINDOWS, count), seed)

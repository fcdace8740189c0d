"""Alignment: a model goes on from where it is, by pairs of answers of which one is preferred.

The run folder is that of `smolfast.train.loop`, and beside it:
    pairs/              the pairs as token files (`smolfast.tokens.preferences`)
    reference/          what the reference says of them (`smolfast.train.preferences.reference`), or elsewhere
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from smolfast.config import AlignConfig, ModelConfig, TrainConfig
from smolfast.errors import SmolfastError
from smolfast.files import fingerprint
from smolfast.io.keep_apart import check_apart
from smolfast.tokens.files import PackedWindows, TokenFile
from smolfast.tokens.preferences import PAIRS_FILE, PairRules, encode_pairs
from smolfast.train.data_plan import DataPlan
from smolfast.train.loop import PathLike, ProgressCallback, take_steps
from smolfast.train.micro_batches import Objective, Unit
from smolfast.train.preferences.objective import PreferenceObjective, Preferences
from smolfast.train.preferences.pairs import PairPlan, Pairs
from smolfast.train.preferences.reference import Reference, write_reference
from smolfast.train.process.allocator import keep_freed_memory
from smolfast.train.process.ranks import Ranks, check_context
from smolfast.train.run.parts import HELD_OUT_WINDOWS, Run
from smolfast.train.run.record import RUN_FILE
from smolfast.workers import Workers

PAIRS, REFERENCE = "pairs", "reference"


def align(
    preferences: PathLike,
    output: PathLike,
    *,
    init: PathLike,
    tokenizer: PathLike,
    model: ModelConfig,
    config: TrainConfig,
    settings: AlignConfig | None = None,
    text: PathLike | None = None,
    reference: PathLike | None = None,
    reference_cache: PathLike | None = None,
    seed: int = 0,
    threads: int = 0,
    device: str = "auto",
    time_budget_seconds: float | None = None,
    ranks: Ranks | None = None,
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Learn from pairs of answers (DPO, APO); go on where an earlier call on the same output stopped.

    Of `config` a batch is of pairs, and `sequence_length` bounds a prompt with its answer. Log-probabilities come
    without logits in memory, those of the reference once for the whole run.

    Args:
        preferences: a .jsonl or .parquet file, or a folder of them, with `prompt`, `chosen` and `rejected`: texts, or
            conversations (see `smolfast.tokens.pair_rows`).
        init: the model folder to go on from. tokenizer: the folder of its tokenizer.
        settings: the loss and the rules for pairs; the defaults if None.
        text: a folder of `smolfast.tokens.tokenize`, whose held-out text `held_out_loss` is then about; else it is
            about the chosen answers that are held out.
        reference: the model folder that answers are compared with; `init` if None.
        reference_cache: where what it says is kept, for runs with other settings too; in `output` if None.
        The others: as `smolfast.train.train`.

    Returns:
        as `smolfast.train.train`; and pairs, held_out_pairs, pairs_cut, pairs_skipped, margin and accuracy of the last
        step, held_out_margin and held_out_accuracy (None without held-out pairs).

    Raises:
        SmolfastError: pairs that can't be learned from, models and tokenizers that don't fit together; or as
            `smolfast.train.train`.
    """
    settings = settings or AlignConfig()
    ranks = ranks or Ranks()
    check_context(ranks.context, config, "--preferences")
    chosen = ranks.device(device)
    if ranks.world > 1 and threads == 0:
        threads = 1
    _check(model, config)
    given = [preferences, init, tokenizer, text, reference, reference_cache]
    check_apart(output, [path for path in given if path is not None])
    keep_freed_memory()
    with Workers(threads, chosen) as workers:
        run = PreferenceRun(
            Path(output), preferences, Path(init), tokenizer, model, config, settings, text, seed, chosen, workers,
            ranks, progress,
        )  # fmt: skip
        run.compare_with(reference or init, reference_cache, progress)
        summary = take_steps(run, time_budget_seconds, progress or (lambda done, total, note: None))
        return {**summary, **run.counts}


def _check(model: ModelConfig, config: TrainConfig) -> None:
    if config.stages or config.mixture:
        raise SmolfastError("preferences are one source in one stage; leave train.stages and train.mixture empty")
    if model.mtp_heads > 1:
        raise SmolfastError(
            "preferences train the next token's head alone, and further ones would no longer fit the model; set "
            "model.mtp_heads=1 and train.mtp_weights=[1.0]"
        )


class PreferenceRun(Run):
    """A run on pairs.

    Attributes:
        counts: what became of the pairs. preferences, kept: those to train on, and those held out (None for none).
    """

    preferences: Preferences
    kept: Preferences | None = None

    def __init__(
        self, output: Path, preferences: PathLike, init: Path, tokenizer: PathLike, model: ModelConfig,
        config: TrainConfig, settings: AlignConfig, text: PathLike | None, seed: int, device: torch.device,
        workers: Workers, ranks: Ranks, progress: ProgressCallback | None,
    ) -> None:  # fmt: skip
        self.output, self.config, self.seed, self.device = output, config, seed, device
        self.workers, self.ranks, self.model_config, self.settings = workers, ranks, model, settings
        self.teaching, self.seconds, self.event_count = None, 0.0, 0
        if (output / RUN_FILE).exists() and not (output / PAIRS / PAIRS_FILE).exists():
            raise SmolfastError(
                f"{output} holds a run without preferences; choose another output or delete that folder"
            )
        rules = PairRules(config.sequence_length + 1, settings.too_long, settings.errors, settings.held_out_fraction)
        if ranks.first:
            self.counts = encode_pairs(preferences, tokenizer, output / PAIRS, rules, progress=progress)
        ranks.wait()
        self.identity = {
            "model": model.model_dump(mode="json"),
            "train": config.deciding().model_dump(mode="json"),
            "align": settings.model_dump(mode="json"),
            "seed": seed,
            "preferences": fingerprint(output / PAIRS),
        }
        self.defaults = {
            "model": ModelConfig().model_dump(mode="json"),
            "train": TrainConfig().deciding().model_dump(mode="json"),
            "align": AlignConfig().model_dump(mode="json"),
        }
        self.counts = ranks.tell(self.counts if ranks.first else {})
        self.pairs = {"train": Pairs(TokenFile.open(output / PAIRS, "train"))}
        if self.counts["held_out_pairs"]:
            self.pairs["held_out"] = Pairs(TokenFile.open(output / PAIRS, "held_out"))
        file = self.pairs["train"].file
        self.sources = {"pairs": file}
        self.vocab_size, self.end_of_document, self.vocabulary = file.ids
        self.held_out = {} if text is None else self._text(text)
        self.start_from(init)
        self.plan = self.plan_of(config.steps)
        ranks.share(config.batch_size, config.micro_batch_size)
        ranks.share(config.batch_ramp_start, config.micro_batch_size)

    def _text(self, folder: PathLike) -> dict[str, PackedWindows]:
        file = TokenFile.open(folder, "held_out")
        if file.ids[2] != self.vocabulary:
            raise SmolfastError(f"{folder} has another vocabulary than the pairs; tokenize it with their tokenizer")
        self.identity["tokens"] = fingerprint(folder, without=self.output)
        return {"text": _windows(file, self.config.sequence_length, self.seed)}

    def compare_with(self, reference: PathLike, cache: PathLike | None, progress: ProgressCallback | None) -> None:
        """Have the reference's log-probabilities, from its cache as far as they are there."""
        folder = self.output / REFERENCE if cache is None else Path(cache)
        self.identity["reference"] = fingerprint(reference)
        if self.ranks.first:
            write_reference(reference, self.pairs, folder, device=self.device, progress=progress)
        self.ranks.wait()
        found = {name: Preferences(pairs, Reference(folder, name, pairs)) for name, pairs in self.pairs.items()}
        self.preferences, self.kept = found["train"], found.get("held_out")

    def plan_of(self, steps: int) -> DataPlan:
        return PairPlan(self.pairs["train"], self.config, steps, self.seed)

    def make_objective(self) -> Objective:
        objective = PreferenceObjective(self.model, self.config, None, self.device, self.workers, self.ranks)
        objective.align, objective.preferences, objective.kept = self.settings, self.preferences, self.kept
        self.objective: Objective = objective
        return objective

    def looked_at(self) -> PackedWindows:
        """Held-out text, or what the pairs say."""
        if self.held_out:
            return next(iter(self.held_out.values()))
        return _windows(self.pairs["train"].file, self.config.sequence_length, self.seed)

    def units(self, step: int) -> tuple[list[Unit], list[int]]:
        assert isinstance(self.objective, PreferenceObjective)
        assert isinstance(self.plan, PairPlan)
        drawn = self.drawn(step)
        total = self.plan.batch_size(drawn)
        start, end = self.ranks.share(total, self.config.micro_batch_size)
        return self.objective.units_of(self.plan.numbers(drawn, start, end), total)


def _windows(file: TokenFile, length: int, seed: int) -> PackedWindows:
    """Windows for a quick look; shorter ones of a file that is shorter than one."""
    length = min(length, len(file.tokens) - 1)
    return PackedWindows(file, length, min(HELD_OUT_WINDOWS, (len(file.tokens) - 1) // length), seed)

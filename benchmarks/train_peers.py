"""The loops of `bench_train.py`, each training the same shape on the same windows in the same order.

- `smolfast`: the loop itself, Muon for matrices and AdamW for the rest.
- `trainer`: transformers' `Trainer` on `SmolLM3ForCausalLM`, scaled-dot-product attention, AdamW, cosine.
- `torch`: a loop as nanoGPT has it: scaled_dot_product_attention, cross_entropy, torch.optim.AdamW, cosine.

Peers see packed windows whole, without a mask between documents: that is their fastest way, and the usual one. No peer
is asked for a target across documents. Every loop starts from the same weights. Evaluation stands outside the clocks.

Each function trains once and gives a record; `bench_train.py` calls it in a process of its own.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smolfast.config import ModelConfig, TrainConfig
from smolfast.model.network import SmolLM, rope_layers
from smolfast.model.pretrained import save_pretrained
from smolfast.tokens.files import PackedWindows, TokenFile
from smolfast.train import loop as loop
from smolfast.train.data_plan import DataPlan
from smolfast.train.micro_batches import Objective

HELD_OUT_WINDOWS = 128
EVALUATIONS = 40


class Clock:
    """Wall and CPU seconds of training alone, and the held-out losses against them."""

    def __init__(self, every: int) -> None:
        self.every, self.wall, self.cpu = every, 0.0, 0.0
        self.steps: list[float] = []
        self.curve: list[dict[str, float]] = []

    def start(self) -> None:
        self._started = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        wall, cpu = time.perf_counter() - self._started[0], time.process_time() - self._started[1]
        self.wall, self.cpu = self.wall + wall, self.cpu + cpu

    def step(self, number: int, evaluate: Callable[[], float], last: bool) -> None:
        """After each step; evaluates where it is time to."""
        self.stop()
        self.steps.append(self.wall)
        if last or (self.every and number % self.every == 0):
            self.curve.append({"step": number, "wall": self.wall, "cpu": self.cpu, "held_out_loss": evaluate()})
        self.start()

    def record(self) -> dict[str, Any]:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {"wall": self.wall, "cpu": self.cpu, "steps": self.steps, "curve": self.curve, "peak_rss_bytes": peak}


def labels(tokens: np.ndarray, document_ids: np.ndarray) -> np.ndarray:
    """Targets [B, S] of inputs [B, S]: −100 where the next token is of another document."""
    return np.where(document_ids[:, 1:] == document_ids[:, :-1], tokens[:, 1:], -100)


def held_out(tokens: Path, length: int, seed: int) -> tuple[Tensor, Tensor]:
    """Held-out windows [B, S + 1], and their targets [B, S]."""
    windows = PackedWindows(TokenFile.open(tokens, "held_out"), length, HELD_OUT_WINDOWS, seed)
    found, ids = windows.batch(0)
    return torch.from_numpy(found), torch.from_numpy(labels(found, ids))


@torch.no_grad()
def held_out_loss(logits: Callable[[Tensor], Tensor], tokens: Tensor, targets: Tensor) -> float:
    total = 0.0
    for rows in range(0, len(tokens), 16):
        part = logits(tokens[rows : rows + 16, :-1]).float().flatten(0, 1)
        total += float(F.cross_entropy(part, targets[rows : rows + 16].flatten(), reduction="sum"))
    return total / int((targets != -100).sum())


def cosine(step: int, steps: int, warmup: float = 0.05) -> float:
    """Rise and cosine to a tenth of the peak, as nanoGPT has it; `Trainer` goes on to 0 by itself."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


# transformers


def run_trainer(tokens: Path, folder: Path, model: ModelConfig, config: TrainConfig, rate: float) -> dict[str, Any]:
    """`Trainer` on the same initial weights."""
    import transformers

    plan = DataPlan({"text": TokenFile.open(tokens, "train")}, config, config.steps, 0)
    ours = SmolLM(model, plan.sources["text"].vocab_size, 0)
    save_pretrained(ours, folder / "start", end_of_document=plan.sources["text"].end_of_document)
    del ours
    network = transformers.SmolLM3ForCausalLM.from_pretrained(folder / "start", attn_implementation="sdpa")
    network.config.use_cache = False
    eyes, targets = held_out(tokens, config.sequence_length, 0)
    clock = Clock(max(1, config.steps // EVALUATIONS))

    class Windows(torch.utils.data.IterableDataset[dict[str, Tensor]]):
        def __iter__(self) -> Any:
            for step in range(config.steps):
                rows = plan.rows(step)
                wanted = np.full(rows.tokens.shape, -100, np.int64)
                wanted[:, 1:] = labels(rows.tokens, rows.document_ids)  # the model shifts them itself
                for window, target in zip(rows.tokens, wanted, strict=True):
                    yield {"input_ids": torch.from_numpy(window), "labels": torch.from_numpy(target)}

    class Watch(transformers.TrainerCallback):
        def on_step_end(self, arguments: Any, state: Any, control: Any, **rest: Any) -> None:
            def evaluate() -> float:
                network.eval()
                loss = held_out_loss(lambda part: network(part).logits, eyes, targets)
                network.train()
                return loss

            clock.step(state.global_step, evaluate, state.global_step == config.steps)

    trainer = transformers.Trainer(
        network,
        transformers.TrainingArguments(
            str(folder / "trainer"), per_device_train_batch_size=config.batch_size, max_steps=config.steps,
            learning_rate=rate, lr_scheduler_type="cosine", warmup_steps=max(1, round(0.05 * config.steps)),
            weight_decay=0.1, adam_beta2=0.95, max_grad_norm=1.0, use_cpu=True, report_to=[], save_strategy="no",
            logging_steps=50, remove_unused_columns=False, disable_tqdm=True, seed=0,
        ),
        train_dataset=Windows(),
        callbacks=[Watch()],
    )  # fmt: skip
    clock.start()
    trainer.train()
    return clock.record()


# Plain torch


class Block(nn.Module):
    """A layer as one writes it in an afternoon."""

    def __init__(self, config: ModelConfig, rotate: bool) -> None:
        super().__init__()
        self.config, self.rotate = config, rotate
        width, wide = config.hidden_size, config.intermediate_size
        self.heads, self.groups, self.head = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        self.q_proj = nn.Linear(width, self.heads * self.head, bias=False)
        self.k_proj = nn.Linear(width, self.groups * self.head, bias=False)
        self.v_proj = nn.Linear(width, self.groups * self.head, bias=False)
        self.o_proj = nn.Linear(self.heads * self.head, width, bias=False)
        self.gate_proj = nn.Linear(width, wide, bias=False)
        self.up_proj = nn.Linear(width, wide, bias=False)
        self.down_proj = nn.Linear(wide, width, bias=False)
        self.attention_norm = nn.RMSNorm(width, config.rms_norm_eps)
        self.mlp_norm = nn.RMSNorm(width, config.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        y = self.attention_norm(x)
        q, k, v = (
            projection(y).unflatten(-1, (-1, self.head)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        if self.rotate:
            q, k = (
                z * cos + torch.cat([-z[..., self.head // 2 :], z[..., : self.head // 2]], -1) * sin for z in (q, k)
            )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.o_proj(y.transpose(1, 2).flatten(2))
        y = self.mlp_norm(x)
        return x + self.down_proj(F.silu(self.gate_proj(y)) * self.up_proj(y))


class PlainModel(nn.Module):
    def __init__(self, config: ModelConfig, vocab_size: int, length: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config, rotate) for rotate in rope_layers(config))
        self.norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        frequencies = config.rope_theta ** -(torch.arange(0, config.head_dim, 2) / config.head_dim)
        angles = torch.arange(length + 1)[:, None] * frequencies
        self.register_buffer("cos", angles.cos().repeat(1, 2))
        self.register_buffer("sin", angles.sin().repeat(1, 2))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        cos, sin = self.cos[: tokens.shape[1]], self.sin[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x, cos, sin)
        return F.linear(self.norm(x), self.embed.weight)

    def start_from(self, model: SmolLM) -> None:
        """Take our initial matrices."""
        with torch.no_grad():
            self.embed.weight.copy_(model.model.embed_tokens.weight)
            for block, layer in zip(self.blocks, model.model.layers, strict=True):
                for owner in (layer.self_attn, layer.mlp):
                    for name, child in owner.named_children():
                        getattr(block, name).weight.copy_(child.weight)


def run_torch(tokens: Path, folder: Path, model: ModelConfig, config: TrainConfig, rate: float) -> dict[str, Any]:
    """The plain loop on the same initial weights."""
    plan = DataPlan({"text": TokenFile.open(tokens, "train")}, config, config.steps, 0)
    vocabulary = plan.sources["text"].vocab_size
    network = PlainModel(model, vocabulary, config.sequence_length)
    network.start_from(SmolLM(model, vocabulary, 0))
    matrices = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}], rate, betas=(0.9, 0.95)
    )
    eyes, targets = held_out(tokens, config.sequence_length, 0)
    clock = Clock(max(1, config.steps // EVALUATIONS))
    clock.start()
    for step in range(config.steps):
        rows = plan.rows(step)
        inputs = torch.from_numpy(rows.tokens[:, :-1])
        wanted = torch.from_numpy(labels(rows.tokens, rows.document_ids))
        for group in optimizer.param_groups:
            group["lr"] = rate * cosine(step, config.steps)
        loss = F.cross_entropy(network(inputs).flatten(0, 1), wanted.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        clock.step(step + 1, lambda: held_out_loss(network, eyes, targets), step + 1 == config.steps)
    return clock.record()


# smolfast


def run_smolfast(tokens: Path, folder: Path, model: ModelConfig, config: TrainConfig, rate: float) -> dict[str, Any]:
    """`smolfast train` as the command runs it, metrics, checkpoints and all; `rate` is Muon's.

    The loop's own evaluation is given more windows, and stands outside the clocks as the peers' does.
    """
    clock = Clock(0)
    losses: list[float] = []
    evaluate = Objective.held_out_losses

    def outside(self: Objective, sources: Any) -> dict[str, float]:
        clock.stop()
        found = evaluate(self, sources)
        losses[:] = found.values()
        clock.start()
        return found

    def watch(done: float, total: float, note: str) -> None:
        due = bool(losses)
        clock.step(int(done), losses.pop, due)

    chosen = config.model_copy(
        update={"muon_learning_rate": rate, "evaluate_every": max(1, config.steps // EVALUATIONS)}
    )
    loop._HELD_OUT_WINDOWS = HELD_OUT_WINDOWS
    Objective.held_out_losses = outside  # type: ignore[method-assign]
    clock.start()
    loop.train(tokens, folder / "run", model=model, config=chosen, threads=torch.get_num_threads(), progress=watch)
    return clock.record()


RUNS = {"smolfast": run_smolfast, "trainer": run_trainer, "torch": run_torch}

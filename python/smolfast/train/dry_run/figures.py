"""What a training run would take, worked out before it: `smolfast train --dry-run`.

Nothing of the model's size is allocated. Parameters are counted on the meta device. Activations are those that autograd
really keeps for the backward pass, and what the backward pass takes beside them is the most that is alive in it: a pass
of one micro-batch with fake tensors, so that the figures follow the code. The rest is arithmetic: the loop keeps its
states in fp32.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from smolfast.config import Config, StageConfig, TrainConfig
from smolfast.errors import SmolfastError
from smolfast.machine import GPUS
from smolfast.model.flops import flops_per_token, training_seconds
from smolfast.model.network import DecoderLayer, SmolLM
from smolfast.optim.muon_adamw import assign_algorithm
from smolfast.train.data_plan import stage_weights
from smolfast.train.dry_run.memory import (
    FP32,
    MicroBatch,
    activation_bytes,
    backward_bytes,
    loss_bytes,
)
from smolfast.train.process.ranks import check_context
from smolfast.train.schedule import ramped_batch_size


def run(arguments: argparse.Namespace, config: Config) -> Mapping[str, Any] | None:
    """Print the figures, or return them where JSON is asked for."""
    figures = estimate(
        config,
        gpus=arguments.gpus,
        gpu=arguments.gpu,
        mfu=arguments.mfu,
        shards=arguments.shards,
        context=arguments.context_parallel,
    )
    if arguments.json:
        return figures
    print(describe(figures))
    return None


def estimate(
    config: Config, *, gpus: int = 1, gpu: str = "h100", mfu: float = 0.3, shards: int = 0, context: int = 1
) -> dict[str, Any]:
    """Parameters, memory, operations and time of a run.

    Args:
        mfu: model FLOPs utilisation: the share of `gpus` times the peak that the operations counted here reach.
        shards: GPUs of a group that shares a model, for hybrid sharding; 0 for none.
        context: GPUs of a group that shares the tokens of each micro-batch, for context parallelism.

    Returns:
        parameters and mtp_parameters; flops_per_token by part; tokens, flops, seconds, tokens_per_second_per_gpu;
        memory_per_rank: bytes by part for "one" GPU, or for "ddp" and "fsdp", and "hybrid" where shards are asked for.

    Raises:
        SmolfastError: GPUs that the batch doesn't divide over; a share outside (0, 1].
    """
    if gpus < 1:
        raise SmolfastError(f"--gpus {gpus}: give at least 1")
    if not 0 < mfu <= 1:
        raise SmolfastError(f"--mfu {mfu}: give a share above 0 and at most 1, for example 0.3")
    for option, size in (("--shards", shards or 1), ("--context-parallel", context)):
        if gpus % size:
            raise SmolfastError(f"{option} {size}: {gpus} GPUs don't divide into such groups; make --gpus a multiple")
    train, vocab_size = config.train, config.tokenizer.vocab_size
    check_context(context, train)
    for index, stage in enumerate(train.stages):
        stage_weights(stage, train, list({**train.mixture, **stage.weights}) or ["text"], index)
    for sequences in {train.batch_size, train.batch_ramp_start or train.batch_size}:
        _check_batch(sequences, train.micro_batch_size, gpus // context, context)
    parts_of_run = windows_by_length(train)
    with torch.device("meta"):
        model = SmolLM(config.model, vocab_size)
    parameters = count(model)
    tokens, flops, by_part = 0, 0.0, dict.fromkeys(flops_per_token(config.model, vocab_size, 1), 0.0)
    for length, windows in parts_of_run:
        tokens += length * windows
        for part, each in flops_per_token(config.model, vocab_size, length).items():
            flops += each * length * windows
            by_part[part] += each * length * windows
    by_part = {part: operations / tokens for part, operations in by_part.items()}
    seconds = training_seconds(flops, gpus=gpus, peak=GPUS[gpu].peak, mfu=mfu)
    longest = max(length for length, _ in parts_of_run)
    local = local_bytes(
        MicroBatch(config.model, vocab_size, longest, train.micro_batch_size, train.precision, train.recompute, context)
    )
    micro_batches = train.batch_size // train.micro_batch_size // (gpus // context)
    states = {
        "weights": FP32 * parameters,
        "gradients": FP32 * parameters,
        "optimizer": optimizer_bytes(model, train.optimizer),
    }
    memory: dict[str, dict[str, int]] = {}
    if gpus == 1:
        # A micro-batch's gradients are made beside the sum of those before.
        memory["one"] = {**states, "gradients": states["gradients"] * min(2, micro_batches), **local}
    else:
        # DDP averages gradients in buckets of its own.
        memory["ddp"] = {**states, "gradient_buckets": FP32 * parameters, **local}
        for kind, group in {"fsdp": gpus, **({"hybrid": shards} if shards else {})}.items():
            # Each micro-batch's gradients are scattered and added up in shards, a layer after the other.
            memory[kind] = {
                **{part: -(-size // group) for part, size in states.items()},
                "gathered_weights": gathered_bytes(model, layers=2),
                "whole_gradients": gathered_bytes(model, layers=1),
                **local,
            }
    for parts in memory.values():
        parts["total"] = sum(parts.values())
    return {
        "parameters": parameters,
        "mtp_parameters": count(model.mtp_heads),
        "vocabulary": vocab_size,
        "flops_per_token": by_part | {"total": sum(by_part.values())},
        "steps": train.steps,
        "tokens_per_step": train.batch_size * longest,
        "tokens": tokens,
        "flops": flops,
        "gpus": gpus,
        "gpu": gpu,
        "gpu_memory": GPUS[gpu].memory,
        "mfu": mfu,
        "context": context,
        "micro_batches_per_rank": micro_batches,
        "tokens_per_second_per_gpu": tokens / seconds / gpus,
        "seconds": seconds,
        "memory_per_rank": memory,
    }


def windows_by_length(train: TrainConfig) -> list[tuple[int, int]]:
    """How many windows of which length a run trains on, in order, with its stages and a batch that grows."""
    found: list[tuple[int, int]] = []
    step, end = 0, 0.0
    ramp = round(train.batch_ramp_fraction * train.steps)
    start = train.batch_ramp_start or train.batch_size
    for stage in train.stages or (StageConfig(fraction=1.0),):
        end += stage.fraction
        last = min(train.steps, round(end * train.steps))
        windows = max(0, last - max(step, ramp)) * train.batch_size
        windows += sum(
            ramped_batch_size(
                early,
                train.steps,
                start=start,
                end=train.batch_size,
                ramp_fraction=train.batch_ramp_fraction,
                multiple=start,
            )
            for early in range(step, min(last, ramp))
        )
        found.append((stage.sequence_length or train.sequence_length, windows))
        step = last
    return found


def local_bytes(pass_: MicroBatch) -> dict[str, int]:
    """What a micro-batch takes on each rank. The loss's room is free again when the layers' way back begins."""
    loss = loss_bytes(pass_)
    return {
        "activations": activation_bytes(pass_),
        "logits_and_loss": loss,
        "backward": max(0, backward_bytes(pass_) - loss),
    }


def _check_batch(sequences: int, micro_batch_size: int, takers: int, context: int) -> None:
    """Raise SmolfastError where a batch doesn't divide over GPUs, or over groups of them that share micro-batches."""
    if sequences % (micro_batch_size * takers):
        most, who = sequences // micro_batch_size, "GPUs" if context == 1 else f"groups of {context} GPUs"
        fits = [str(count * context) for count in range(most, 0, -1) if most % count == 0][:4]
        raise SmolfastError(
            f"a batch of {sequences} sequences doesn't divide into micro-batches of {micro_batch_size} on {takers} "
            f"{who}; make train.batch_size (and batch_ramp_start) a multiple of {micro_batch_size * takers}, or --gpus "
            f"one of {', '.join(fits)}"
        )


def count(module: nn.Module) -> int:
    """Numbers in a module's parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def optimizer_bytes(model: nn.Module, optimizer: str) -> int:
    """State of the optimiser: two moments a parameter for AdamW, one momentum for Muon's matrices."""
    owners = dict(model.named_modules())
    total = 0
    for name, parameter in model.named_parameters():
        muon = optimizer == "muon" and assign_algorithm(name, parameter, owners[name.rpartition(".")[0]]) == "muon"
        total += parameter.numel() * FP32 * (1 if muon else 2)
    return total


def gathered_bytes(model: SmolLM, layers: int) -> int:
    """What FSDP holds whole at once: what is outside of the layers, and so many layers: of the weights one and the next
    one on its way, of the gradients the one that is about to be scattered."""
    each = [count(module) for module in model.modules() if isinstance(module, DecoderLayer)]
    return FP32 * (count(model) - sum(each) + layers * max(each))


def describe(figures: Mapping[str, Any]) -> str:
    """The figures as text."""
    per_token, memory = figures["flops_per_token"], figures["memory_per_rank"]
    six = 6 * (figures["parameters"])
    lines = [
        f"parameters         {figures['parameters']:,}"
        + (f" ({figures['mtp_parameters']:,} of further heads)" if figures["mtp_parameters"] else ""),
        f"vocabulary         {figures['vocabulary']:,} (tokenizer.vocab_size; training takes the token files')",
        f"tokens             {figures['tokens']:,} in {figures['steps']:,} steps of up to "
        f"{figures['tokens_per_step']:,}",
        f"FLOPs per token    {per_token['total']:.4g}: matrices {per_token['matrices']:.4g}, unembedding "
        f"{per_token['unembedding']:.4g}, attention {per_token['attention']:.4g} (6 N = {six:.4g})",
        f"FLOPs              {figures['flops']:.4g} (6 N D = {six * figures['tokens']:.4g})",
        f"time               {_duration(figures['seconds'])} on {figures['gpus']:,} × {figures['gpu']} at "
        f"{figures['mfu']:.1%} MFU of the bf16 peak: {figures['tokens_per_second_per_gpu']:,.0f} tokens/s a GPU",
    ]
    parts = list(dict.fromkeys(part for sizes in memory.values() for part in sizes))
    if figures["context"] > 1:
        lines.append(f"context            {figures['context']} ranks share the tokens of each micro-batch")
    lines += ["", f"{'memory per rank':<19}" + "".join(f"{kind:>12}" for kind in memory)]
    for part in [*(part for part in parts if part != "total"), "total"]:
        sizes = (f"{sizes[part] / 2**30:>8.2f} GiB" if part in sizes else f"{'':>12}" for sizes in memory.values())
        lines.append(f"  {part.replace('_', ' '):<17}" + "".join(sizes))
    for kind, sizes in memory.items():
        if sizes["total"] > figures["gpu_memory"]:
            lines.append(
                f"{kind}: more than the {figures['gpu_memory'] / 2**30:.0f} GiB of a {figures['gpu']}; lower "
                "train.micro_batch_size" + ("" if figures["gpus"] > 1 else " or take more --gpus")
            )
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} seconds"
    if seconds < 7200:
        return f"{seconds / 60:.1f} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 2 * 86400 else f"{seconds / 86400:.1f} days"

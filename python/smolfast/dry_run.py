"""What a training run would take, worked out before it: `smolfast train --dry-run`.

Nothing of the model's size is allocated. Parameters are counted on the meta device. Activations are those that autograd
really keeps for the backward pass, summed over a forward pass of one micro-batch with fake tensors, so that the
figure follows the code. The rest is arithmetic: the loop computes and keeps its states in fp32.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from smolfast.config import Config, ModelConfig
from smolfast.errors import SmolfastError
from smolfast.flops import GPUS, flops_per_token, training_seconds
from smolfast.model import DecoderLayer, PackedBatch, SmolLM
from smolfast.optim.muon_adamw import assign_algorithm

_FP32 = 4
# The loss kernels' workspace: a block of the logits' gradient (docs/loss.md).
_LOGITS_WORKSPACE = 256 << 20


def run(arguments: argparse.Namespace, config: Config) -> Mapping[str, Any] | None:
    """Print the figures, or return them where JSON is asked for."""
    figures = estimate(config, gpus=arguments.gpus, gpu=arguments.gpu, mfu=arguments.mfu)
    if arguments.json:
        return figures
    print(describe(figures))
    return None


def estimate(config: Config, *, gpus: int = 1, gpu: str = "h100", mfu: float = 0.3) -> dict[str, Any]:
    """Parameters, memory, operations and time of a run.

    Args:
        mfu: model FLOPs utilisation: the share of `gpus` times the peak that the operations counted here reach.

    Returns:
        parameters and mtp_parameters; flops_per_token by part; tokens, flops, seconds, tokens_per_second_per_gpu;
        memory_per_rank: bytes by part for "one" GPU, or for "ddp" and "fsdp".

    Raises:
        SmolfastError: GPUs that the batch doesn't divide over; a share outside (0, 1].
    """
    if gpus < 1:
        raise SmolfastError(f"--gpus {gpus}: give at least 1")
    if not 0 < mfu <= 1:
        raise SmolfastError(f"--mfu {mfu}: give a share above 0 and at most 1, for example 0.3")
    train, vocab_size = config.train, config.tokenizer.vocab_size
    micro_batches, left = divmod(train.batch_size, train.micro_batch_size * gpus)
    if left:
        most = train.batch_size // train.micro_batch_size
        fits = [str(count) for count in range(most, 0, -1) if most % count == 0][:4]
        raise SmolfastError(
            f"a batch of {train.batch_size} sequences doesn't divide into micro-batches of {train.micro_batch_size} on "
            f"{gpus} GPUs; make train.batch_size a multiple of {train.micro_batch_size * gpus}, or --gpus one of "
            f"{', '.join(fits)}"
        )
    with torch.device("meta"):
        model = SmolLM(config.model, vocab_size)
    parameters = count(model)
    by_part = flops_per_token(config.model, vocab_size, train.sequence_length)
    tokens = train.steps * train.batch_size * train.sequence_length
    flops = sum(by_part.values()) * tokens
    seconds = training_seconds(flops, gpus=gpus, peak=GPUS[gpu].peak, mfu=mfu)
    local = {
        "activations": activation_bytes(config.model, vocab_size, train.sequence_length, train.micro_batch_size),
        "logits_and_loss": loss_bytes(config.model, vocab_size, train.sequence_length, train.micro_batch_size),
    }
    states = {
        "weights": _FP32 * parameters,
        "gradients": _FP32 * parameters,
        "optimizer": optimizer_bytes(model, train.optimizer),
    }
    memory: dict[str, dict[str, int]] = {}
    if gpus == 1:
        memory["one"] = {**states, **local}
    else:
        # DDP averages gradients in buckets of its own.
        memory["ddp"] = {**states, "gradient_buckets": _FP32 * parameters, **local}
        shard = {part: -(-size // gpus) for part, size in states.items()}
        if micro_batches > 1:
            shard["gradients"] = states["gradients"]  # they stay whole until the last micro-batch, then are scattered
        memory["fsdp"] = {**shard, "gathered_weights": gathered_bytes(model), **local}
    for parts in memory.values():
        parts["total"] = sum(parts.values())
    return {
        "parameters": parameters,
        "mtp_parameters": count(model.mtp_heads),
        "vocabulary": vocab_size,
        "flops_per_token": by_part | {"total": sum(by_part.values())},
        "steps": train.steps,
        "tokens_per_step": train.batch_size * train.sequence_length,
        "tokens": tokens,
        "flops": flops,
        "gpus": gpus,
        "gpu": gpu,
        "gpu_memory": GPUS[gpu].memory,
        "mfu": mfu,
        "micro_batches_per_rank": micro_batches,
        "tokens_per_second_per_gpu": tokens / seconds / gpus,
        "seconds": seconds,
        "memory_per_rank": memory,
    }


def count(module: nn.Module) -> int:
    """Numbers in a module's parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def optimizer_bytes(model: nn.Module, optimizer: str) -> int:
    """State of the optimiser: two moments a parameter for AdamW, one momentum for Muon's matrices."""
    owners = dict(model.named_modules())
    total = 0
    for name, parameter in model.named_parameters():
        muon = optimizer == "muon" and assign_algorithm(name, parameter, owners[name.rpartition(".")[0]]) == "muon"
        total += parameter.numel() * _FP32 * (1 if muon else 2)
    return total


def gathered_bytes(model: SmolLM) -> int:
    """Whole weights that FSDP holds at once: what is outside of the layers, one layer, and the next one on its way."""
    layers = [count(module) for module in model.modules() if isinstance(module, DecoderLayer)]
    return _FP32 * (count(model) - sum(layers) + 2 * max(layers))


def activation_bytes(config: ModelConfig, vocab_size: int, sequence_length: int, micro_batch_size: int) -> int:
    """What autograd keeps of a micro-batch's way to the heads' states, when the forward pass is over.

    Windows hold one token more than they have inputs; the last is computed too.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    length, kept = micro_batch_size * (sequence_length + 1), {}
    with FakeTensorMode():
        model = SmolLM(config.model_copy(), vocab_size)
        weights = {_storage(parameter) for parameter in model.parameters()}
        batch = PackedBatch(
            tokens=torch.zeros(length, dtype=torch.int64),
            targets=torch.zeros(length, dtype=torch.int64),
            position_ids=torch.zeros(length, dtype=torch.int64),
            document_ids=torch.zeros(length, dtype=torch.int32),
            cu_seqlens=torch.zeros(micro_batch_size + 1, dtype=torch.int32),
            max_seqlen=sequence_length + 1,
        )

        def keep(tensor: Tensor) -> Tensor:
            kept[_storage(tensor)] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            states = model.hidden_states(batch)
        del states
        return sum(tensor.untyped_storage().nbytes() for storage, tensor in kept.items() if storage not in weights)


def loss_bytes(config: ModelConfig, vocab_size: int, sequence_length: int, micro_batch_size: int) -> int:
    """The heads' states and their gradient, three numbers a target, and a block of the logits' gradient.

    Logits never exist whole (docs/loss.md).
    """
    heads = 1 if config.mtp_kind == "shared" else config.mtp_heads
    targets = config.mtp_heads * micro_batch_size * (sequence_length + 1)
    states = heads * micro_batch_size * (sequence_length + 1) * config.hidden_size
    workspace = min(_LOGITS_WORKSPACE, _FP32 * targets * vocab_size)
    return 2 * _FP32 * states + 3 * _FP32 * targets + workspace


def describe(figures: Mapping[str, Any]) -> str:
    """The figures as text."""
    per_token, memory = figures["flops_per_token"], figures["memory_per_rank"]
    six = 6 * (figures["parameters"])
    lines = [
        f"parameters         {figures['parameters']:,}"
        + (f" ({figures['mtp_parameters']:,} of further heads)" if figures["mtp_parameters"] else ""),
        f"vocabulary         {figures['vocabulary']:,} (tokenizer.vocab_size; training takes the token files')",
        f"tokens             {figures['tokens']:,} = {figures['steps']:,} steps × {figures['tokens_per_step']:,}",
        f"FLOPs per token    {per_token['total']:.4g}: matrices {per_token['matrices']:.4g}, unembedding "
        f"{per_token['unembedding']:.4g}, attention {per_token['attention']:.4g} (6 N = {six:.4g})",
        f"FLOPs              {figures['flops']:.4g} (6 N D = {six * figures['tokens']:.4g})",
        f"time               {_duration(figures['seconds'])} on {figures['gpus']:,} × {figures['gpu']} at "
        f"{figures['mfu']:.1%} MFU of the bf16 peak: {figures['tokens_per_second_per_gpu']:,.0f} tokens/s a GPU",
    ]
    parts = list(dict.fromkeys(part for sizes in memory.values() for part in sizes))
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


def _storage(tensor: Tensor) -> int:
    address: int = tensor.untyped_storage()._cdata
    return address

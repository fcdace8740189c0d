"""The operations of the training step as `torch.library` ops: one call, the fastest implementation for the device.

CUDA and ROCm tensors go to the Triton kernels in `smolfast.kernels`, a CPU's to C++ (`smolfast._native`) where there is
some, everything else to `smolfast.reference`. All ops
have fake and autograd registrations, so `torch.compile(fullgraph=True)`, activation checkpointing and FSDP work.
"""

from __future__ import annotations

from smolfast.ops.attention import gqa_attention, gqa_attention_varlen
from smolfast.ops.log_probabilities import log_probabilities
from smolfast.ops.loss import linear_cross_entropy, mtp_loss
from smolfast.ops.orthogonalize import newton_schulz
from smolfast.ops.vocab_parallel import vocab_parallel_mtp_loss

__all__ = [
    "gqa_attention",
    "gqa_attention_varlen",
    "linear_cross_entropy",
    "log_probabilities",
    "mtp_loss",
    "newton_schulz",
    "vocab_parallel_mtp_loss",
]

"""Floating-point operations of training, and the time they take. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smolfast.config import ModelConfig


def flops_per_token(config: ModelConfig, vocab_size: int, sequence_length: int) -> dict[str, float]:
    """Operations of a training step for each token: matrix products only, three times those of the forward pass.

    The convention of MFU (PaLM, arXiv 2204.02311, appendix B), with attention counted causal: what is computed again to
    save memory isn't counted, nor what a mask throws away. An embedding's look-up is none.

    Args:
        sequence_length: tokens of a window that is one document: shorter documents attend to less.

    Returns:
        matrices: 6 for each weight of a layer's matrices. unembedding: 6 · V · H for each set of logits. attention:
            6 · S · (width of all query heads) for each layer: two products over half the window on average.
    """
    width, query = config.hidden_size, config.num_attention_heads * config.head_dim
    feed_forward = (3 if config.activation == "swiglu" else 2) * width * config.intermediate_size
    layer = 2 * width * (query + config.num_key_value_heads * config.head_dim) + feed_forward
    further = 0 if config.mtp_kind == "shared" else config.mtp_heads - 1
    projections = 2 * width * width * further if config.mtp_kind == "sequential" else 0
    layers = config.num_hidden_layers + further
    return {
        "matrices": 6.0 * (layers * layer + projections),
        "unembedding": 6.0 * (1 + further) * vocab_size * width,
        "attention": 6.0 * layers * sequence_length * query,
    }


def training_seconds(flops: float, *, gpus: int, peak: float, mfu: float) -> float:
    """Time for so many operations on GPUs of `peak` operations a second each, used to the share `mfu`."""
    return flops / (gpus * peak * mfu)

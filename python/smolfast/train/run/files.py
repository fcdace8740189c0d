"""The names of what a training run writes: for who looks at its folder without training."""

from __future__ import annotations

RUN_FILES = (
    "run.json",
    "metrics.jsonl",
    "events.jsonl",
    "tensorboard/*",
    "checkpoints/latest",
    "checkpoints/step-*/*.safetensors",
    "checkpoints/step-*/state.json",
    "model/*.safetensors",
    "model/*.json",
    "pairs/*.npy",
    "pairs/*.json",
    "reference/*.parquet",
    "reference/*.json",
)
"""What a training run writes in its folder, as patterns."""

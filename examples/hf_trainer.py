"""HF Trainer with our attention, our loss and MuonAdamW, gradient accumulation included: the Trainer's own losses.

`Trainer` counts the labels of all accumulated batches and hands the number to the model; the patched model divides by
it.
"""

import tempfile

import torch
from _comparison import compare
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from smolfast.optim import MuonAdamW
from smolfast.patch import apply_to_llama

LENGTHS = [24, 5, 17, 24, 9, 24, 3, 20, 24, 11, 24, 7]  # labels of each example: the accumulated batches differ


def examples() -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    rows = []
    for length in LENGTHS:
        ids = torch.randint(1, 256, (24,), generator=generator)
        rows.append({"input_ids": ids, "labels": ids.masked_fill(torch.arange(24) >= length, -100)})
    return rows


def run(patched: bool) -> tuple[list[float], LlamaForCausalLM]:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=256, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    if patched:
        apply_to_llama(model)
    optimizer = MuonAdamW(model, lr=0.01, adamw_lr=3e-3)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, max_steps=6, per_device_train_batch_size=2, gradient_accumulation_steps=2, logging_steps=1,
            lr_scheduler_type="cosine", report_to="none", use_cpu=True, disable_tqdm=True, save_strategy="no", seed=0,
        )  # fmt: skip
        trainer = Trainer(model, arguments, train_dataset=examples(), optimizers=(optimizer, None))
        trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry], model


def main() -> dict[str, float]:
    return compare(*run(patched=False), *run(patched=True))


if __name__ == "__main__":
    for name, figure in main().items():
        print(f"{name}: {figure:.3g}")

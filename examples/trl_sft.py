"""TRL's SFTTrainer with our attention, our loss and MuonAdamW: the losses and weights that TRL's own loss gives.

SFTTrainer puts a loss of its own into the model (`fused_lm_head`), and asks for it in `compute_loss`. The subclass
below asks for the model's loss instead, which after the patch is ours. TRL's metrics of entropy and accuracy are lost.
"""

import tempfile

import torch
from _comparison import compare
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM, Trainer
from trl import SFTConfig, SFTTrainer

from smolfast.optim import MuonAdamW
from smolfast.patch import apply_to_qwen3


class OurSFTTrainer(SFTTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        return Trainer.compute_loss(self, model, {**inputs, "use_cache": False}, return_outputs, num_items_in_batch)


TEXT = "the cat sat on a mat and then slept while it rained all day in our small old house"
WORDS = ["[PAD]", "[EOS]", *TEXT.split()]


def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[PAD]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", eos_token="[EOS]")


def conversations() -> Dataset:
    rows = [
        {"prompt": " ".join(WORDS[2 + i : 5 + i]), "completion": " " + " ".join(WORDS[5 + i : 7 + i + i % 5])}
        for i in range(8)
    ]
    return Dataset.from_list(rows)


def run(trainer_class: type[SFTTrainer], patched: bool) -> tuple[list[float], Qwen3ForCausalLM]:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(WORDS), hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config)
    if patched:
        apply_to_qwen3(model)  # before the trainer is made: it wraps the forward
    optimizer = MuonAdamW(model, lr=0.01, adamw_lr=3e-3)
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            folder, max_steps=6, per_device_train_batch_size=2, gradient_accumulation_steps=2, logging_steps=1,
            report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False, disable_tqdm=True,
            save_strategy="no", seed=0,
        )  # fmt: skip
        trainer = trainer_class(
            model, arguments, train_dataset=conversations(), processing_class=tokenizer(), optimizers=(optimizer, None)
        )
        trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry], model


def main() -> dict[str, float]:
    return compare(*run(SFTTrainer, patched=False), *run(OurSFTTrainer, patched=True))


if __name__ == "__main__":
    for name, figure in main().items():
        print(f"{name}: {figure:.3g}")

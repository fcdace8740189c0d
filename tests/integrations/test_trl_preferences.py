"""Losses on pairs and their gradients are those of TRL's DPOTrainer: same weights, same pairs."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from smolfast.config import AlignConfig
from smolfast.model.pretrained import load_pretrained
from smolfast.tokens.files import TokenFile
from smolfast.tokens.preferences import PairRules, encode_pairs
from smolfast.train.preferences.objective import pair_losses
from smolfast.train.preferences.pairs import Pairs
from smolfast.train.preferences.reference import Reference, write_reference

trl = pytest.importorskip("trl")
transformers = pytest.importorskip("transformers")
datasets = pytest.importorskip("datasets")

# Other libraries' warnings aren't ours to raise as errors.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def material(corpus: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A model, a reference that differs from it, and pairs of many lengths."""
    folder = tmp_path_factory.mktemp("material")
    config = transformers.LlamaConfig(
        vocab_size=512, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.2, tie_word_embeddings=True,
        pad_token_id=0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    for seed, name in enumerate(("model", "reference")):
        torch.manual_seed(seed)
        transformers.LlamaForCausalLM(config).save_pretrained(folder / name)
    rows = [
        {"prompt": f"def f{i}(" + "a, " * (i % 4), "chosen": "b" * (1 + 3 * i), "rejected": "None " * (7 - i)}
        for i in range(6)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    encode_pairs(folder / "pairs.jsonl", corpus.tokenizer, folder / "pairs", PairRules(200, held_out_fraction=0.0))
    pairs = Pairs(TokenFile.open(folder / "pairs", "train"))
    write_reference(folder / "reference", {"train": pairs}, folder / "said")
    return SimpleNamespace(folder=folder, pairs=pairs, reference=Reference(folder / "said", "train", pairs))


def of_trl(
    material: SimpleNamespace, tmp_path: Path, **options: Any
) -> tuple[float, dict[str, torch.Tensor], dict[str, Any]]:
    """Loss, gradients and metrics of all pairs at once."""
    pairs, rows = material.pairs, []
    for number in range(len(pairs)):
        documents = [pairs.document(2 * number + side) for side in (0, 1)]
        ids = [pairs.file.tokens[place].astype(int).tolist() for place in documents]
        learned = [int(np.count_nonzero(pairs.file.learned[place])) for place in documents]
        rows.append(
            {
                "prompt_ids": ids[0][: -learned[0]],
                "chosen_ids": ids[0][-learned[0] :],
                "rejected_ids": ids[1][-learned[1] :],
            }
        )
    load = transformers.LlamaForCausalLM.from_pretrained
    words = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(_tokenizer(tmp_path)), pad_token="<|endoftext|>", eos_token="<|endoftext|>"
    )  # fmt: skip
    arguments = trl.DPOConfig(
        str(tmp_path), per_device_train_batch_size=len(rows), report_to="none", use_cpu=True, bf16=False,
        gradient_checkpointing=False, max_length=None, disable_tqdm=True, **options,
    )  # fmt: skip
    texts = datasets.Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}] * len(rows))
    model, reference = (load(material.folder / name, attn_implementation="eager") for name in ("model", "reference"))
    trainer = trl.DPOTrainer(model, reference, args=arguments, train_dataset=texts, processing_class=words)
    inputs = trainer.data_collator(copy.deepcopy(rows))
    model.train()
    loss = trainer.compute_loss(model, inputs)
    loss.backward()
    gradients = {name: x.grad for name, x in model.named_parameters() if x.grad is not None}
    metrics = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    return loss.item(), gradients, metrics


def _tokenizer(folder: Path) -> Path:
    from tokenizers import Tokenizer, models

    words = Tokenizer(models.WordLevel({"<|endoftext|>": 0, "a": 1, "b": 2, "c": 3}, unk_token="<|endoftext|>"))
    words.save(str(folder / "words.json"))
    return folder / "words.json"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"loss": "sigmoid"}, {"loss_type": "sigmoid"}),
        ({"loss": "sigmoid", "ld_alpha": 0.4}, {"loss_type": "sigmoid", "ld_alpha": 0.4}),
        ({"loss": "sigmoid_norm", "beta": 2.0}, {"loss_type": "sigmoid_norm", "beta": 2.0}),
        ({"loss": "apo_zero", "beta": 0.05}, {"loss_type": "apo_zero", "beta": 0.05}),
        ({"loss": "apo_down", "beta": 0.05}, {"loss_type": "apo_down", "beta": 0.05}),
    ],
    ids=["DPO", "LD-DPO", "by token", "APO-zero", "APO-down"],
)
def test_losses_and_gradients_are_those_of_trl(
    material: SimpleNamespace, tmp_path: Path, ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    model, align = load_pretrained(material.folder / "model"), AlignConfig(**ours)
    numbers = np.arange(len(material.pairs))
    batch = material.pairs.batch(numbers, ld_alpha=align.ld_alpha)
    losses, rewards, _ = pair_losses(model, batch, torch.from_numpy(material.reference.at(numbers)), align)
    losses.mean().backward()
    loss, gradients, metrics = of_trl(material, tmp_path, **theirs)
    assert losses.mean().item() == pytest.approx(loss, rel=1e-5, abs=1e-6)
    largest = max(float(x.abs().max()) for x in gradients.values())
    found = dict(model.named_parameters())
    assert found.keys() == gradients.keys()
    for name, wanted in gradients.items():
        difference = found[name].grad - wanted
        assert float(difference.abs().max()) < 1e-5 * largest, name
    if not align.loss.endswith("_norm"):  # TRL's metrics aren't by token
        assert rewards.mean(1).tolist() == pytest.approx(
            [metrics["rewards/chosen"], metrics["rewards/rejected"]], rel=1e-4, abs=1e-5
        )
        accuracy = (rewards[0] > rewards[1]).float().mean().item()
        assert accuracy == pytest.approx(metrics["rewards/accuracies"])

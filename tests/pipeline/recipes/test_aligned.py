"""A training on pairs of answers as a stage: it goes on from another training, and is told apart by its pairs."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path

import pytest

from smolfast import SmolfastError
from smolfast.pipeline.recipes import load_recipe, plan, run

TINY = (
    "model.hidden_size=32", "model.intermediate_size=64", "model.head_dim=8", "train.steps=6", "train.batch_size=4",
    "train.micro_batch_size=2", "tokenizer.vocab_size=512", "split.held_out_fraction=0.2",
)  # fmt: skip
LIBRARY = Path(sysconfig.get_path("stdlib"))
ALIGNED = """
[each]
loss = ["sigmoid", "apo_zero"]

[stages.collect]
[stages.split]
needs = "collect"
[stages.tokenizer]
needs = "split"
[stages.tokenize]
needs = ["split", "tokenizer"]

[stages.pretrained]
kind = "train"
needs = "tokenize"
mtp_weights = [1.0]
model.mtp_heads = 1

[stages.aligned]
kind = "train"
each = "loss"
needs = ["tokenize", "tokenizer"]
preferences = "PAIRS"
init = "${pretrained.model}"
mtp_weights = [1.0]
model.mtp_heads = 1
align = {loss = "${each.loss}", held_out_fraction = 0.2}

[stages.export]
each = "loss"
needs = ["aligned", "tokenizer"]
"""


def test_a_training_on_pairs_goes_on_from_another(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"{i} is", "chosen": f" {i} ", "rejected": " none "} for i in range(20)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.toml").write_text(ALIGNED.replace("PAIRS", str(pairs)))
    settings = [f"collect.input={LIBRARY / 'email'}", *TINY]
    out = tmp_path / "out"
    outcome = run(load_recipe(tmp_path / "recipe.toml", settings=settings), out)
    outcome.check(out / "stages")
    for loss in ("sigmoid", "apo_zero"):
        aligned = outcome.summaries[f"aligned@{loss}"]
        assert aligned["pairs"] + aligned["held_out_pairs"] == 20
        assert aligned["held_out_loss"] is not None
        assert (out / f"export@{loss}" / "model.safetensors").exists()
    # Other pairs: the two trainings on them come anew, and the one before doesn't.
    pairs.write_text("".join(json.dumps({**row, "rejected": " no "}) + "\n" for row in rows))
    again = load_recipe(tmp_path / "recipe.toml", settings=settings)
    runs = {one.node.declared for one in plan(again, out) if one.outlook.action != "skip"}
    assert runs == {"aligned", "export"}
    without = ALIGNED.replace("PAIRS", str(pairs)).replace('init = "${pretrained.model}"\n', "")
    (tmp_path / "without.toml").write_text(without)
    with pytest.raises(SmolfastError, match="aligned@sigmoid: preferences need init = a model"):
        plan(load_recipe(tmp_path / "without.toml", settings=settings), out)

"""README.md of an exported model: its shape, what it was trained on, how long and where, and how to load it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast import __version__
from smolfast.errors import SmolfastError
from smolfast.files import naming, read_json
from smolfast.model.network import SmolLM
from smolfast.model.pretrained import MTP_WEIGHTS

_ACTIVATIONS = {"swiglu": "SwiGLU", "relu2": "ReLU²", "gelu": "GELU"}


def model_card(model: SmolLM, folder: Path, tokenizer: str) -> str:
    """The text of the card.

    Args:
        folder: where the model was loaded from; if the run.json of its training lies beside that folder, the card
            tells of it. Times are left out: equal runs have equal cards.
        tokenizer: its kind, such as "byte-level BPE".
    """
    config = model.config
    extra = sum(parameter.numel() for parameter in model.mtp_heads.parameters())
    total = sum(parameter.numel() for parameter in model.parameters()) - extra
    heads = ""
    if extra:
        heads = (
            f"\n`{MTP_WEIGHTS}` holds {len(model.mtp_heads)} further prediction head(s) ({config.mtp_kind}), {extra:,} "
            "parameters, for tokens further ahead. transformers doesn't read it; "
            "`smolfast.model.load_pretrained` does.\n"
        )
    context = f"{config.max_position_embeddings} tokens"
    if config.yarn_factor != 1:
        context += f", stretched {config.yarn_factor:g} times by YaRN"
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [smolfast, smollm3]
---

# A SmolLM3-shaped model of {total:,} parameters

Trained with smolfast {__version__}. It has had no safety tuning.

| | |
|---|---|
| layers | {config.num_hidden_layers}, without rotary embedding on every {config.no_rope_layer_interval}th |
| width | {config.hidden_size}, {_ACTIVATIONS[config.activation]} {config.intermediate_size} |
| heads | {config.num_attention_heads} query, {config.num_key_value_heads} key/value, {config.head_dim} wide |
| vocabulary | {model.vocab_size:,} ({tokenizer}) |
| context | {context} |

## Training

{_training(folder.absolute().parent / "run.json")}
## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")
inputs = tokenizer("def main(", return_tensors="pt")
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=64)[0]))
```
{heads}"""


def _training(path: Path) -> str:
    """Data, steps and hardware as a table."""
    try:
        run = read_json(path) if path.exists() else {}
    except SmolfastError:
        run = {}
    if not isinstance(run, Mapping) or not {"train", "data", "hardware", "summary"} <= run.keys():
        return "Not recorded: the model did not lie in the folder of its training run when it was exported.\n"
    with naming(path, "restore it, or export from another folder"):
        return _table(run)


def _table(run: Mapping[str, Any]) -> str:
    train, summary, hardware = run["train"], run["summary"], run["hardware"]
    rates = f"AdamW {train['adamw_learning_rate']:g}"
    if train["optimizer"] == "muon":
        rates = f"Muon {train['muon_learning_rate']:g} for matrices, {rates} for the rest"
    held_out = summary.get("held_out_loss")
    rows = {
        "data": "; ".join(_source(name, counts) for name, counts in run["data"].items()),
        **({"weights of the data": _weights(train["mixture"])} if train.get("mixture") else {}),
        **({"continued from": f"`{run['init']['name']}`"} if run.get("init") else {}),
        "steps": f"{summary['steps']:,}, {summary['tokens']:,} tokens, in sequences of {train['sequence_length']:,}",
        "peak learning rates": rates,
        "loss": f"{summary['loss']:.4f}" + ("" if held_out is None else f", held out {held_out:.4f} nats a token"),
        "seed": str(run["seed"]),
        "hardware": _hardware(hardware),
    }
    return "| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows.items())


def _source(name: str, counts: Mapping[str, Any]) -> str:
    return f"{name}: {counts['documents']:,} documents, {counts['utf8_bytes']:,} bytes, {counts['tokens']:,} tokens"


def _weights(mixture: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {weight:g}" for name, weight in mixture.items())


def _hardware(found: Mapping[str, Any]) -> str:
    ranks = f"{found['ranks']} × " if found["ranks"] > 1 else ""
    gpu = "" if found["device"] == "cpu" else f"{found['device']}, "
    return f"{ranks}{gpu}{found['cpu']}, {found['threads']} CPUs, {found['memory_bytes'] / 2**30:.0f} GiB"

"""A trained model as a folder that transformers loads as `SmolLM3ForCausalLM`, with its tokenizer and a model card."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from smolfast import __version__
from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error, write_json, write_text
from smolfast.model import SmolLM
from smolfast.pretrained import MTP_WEIGHTS, load_pretrained, save_pretrained
from smolfast.tokenizer import END_OF_DOCUMENT, PADDING, load_tokenizer

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def export(
    model: str | os.PathLike[str], tokenizer: str | os.PathLike[str], output: str | os.PathLike[str]
) -> dict[str, Any]:
    """Write config.json, generation_config.json, model.safetensors, the tokenizer's files and README.md into a folder.

    Multi-token prediction heads, which transformers has no place for, lie beside them in mtp_heads.safetensors.
    transformers itself isn't needed.

    Returns:
        parameters (of the model that transformers sees), mtp_parameters, files.

    Raises:
        SmolfastError: a file is missing or damaged, or model and tokenizer don't belong together.
    """
    folder = Path(output)
    network = load_pretrained(Path(model))
    tokens = load_tokenizer(tokenizer)
    if tokens.get_vocab_size() != network.vocab_size:
        raise SmolfastError(
            f"{tokenizer} has {tokens.get_vocab_size()} tokens, {model} a vocabulary of {network.vocab_size}; give the "
            "tokenizer that the model was trained with"
        )
    end = tokens.token_to_id(END_OF_DOCUMENT)
    assert end is not None  # load_tokenizer looked
    padding = tokens.token_to_id(PADDING)
    save_pretrained(network, folder, end_of_document=end)
    write_json(
        folder / "generation_config.json",
        {"eos_token_id": end, "pad_token_id": end if padding is None else padding, "do_sample": False},
    )
    for name in TOKENIZER_FILES:
        try:
            shutil.copyfile(Path(tokenizer) / name, folder / name)
        except OSError as error:
            raise SmolfastError(f"can't copy {Path(tokenizer) / name}: {describe_os_error(error)}") from error
    write_text(folder / "README.md", _model_card(network))
    extra = sum(parameter.numel() for parameter in network.mtp_heads.parameters())
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()) - extra,
        "mtp_parameters": extra,
        "files": sorted(path.name for path in folder.iterdir()),
    }


def _model_card(model: SmolLM) -> str:
    config = model.config
    extra = sum(parameter.numel() for parameter in model.mtp_heads.parameters())
    total = sum(parameter.numel() for parameter in model.parameters()) - extra
    heads = ""
    if extra:
        heads = (
            f"\n`{MTP_WEIGHTS}` holds {len(model.mtp_heads)} further prediction head(s), {extra:,} parameters: each is "
            "a decoder layer on the input of the last layer, for a token further ahead. transformers doesn't read it; "
            "`smolfast.pretrained.load_pretrained` does.\n"
        )
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [smolfast, smollm3]
---

# A SmolLM3-shaped model of {total:,} parameters

Pre-trained with smolfast {__version__}. It continues text; it has had no instruction tuning and no safety tuning.

| | |
|---|---|
| layers | {config.num_hidden_layers}, without rotary embedding on every {config.no_rope_layer_interval}th |
| width | {config.hidden_size}, SwiGLU {config.intermediate_size} |
| heads | {config.num_attention_heads} query, {config.num_key_value_heads} key/value, {config.head_dim} wide |
| vocabulary | {model.vocab_size:,} (byte-level BPE) |
| context | {config.max_position_embeddings} tokens |

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")
inputs = tokenizer("def main(", return_tensors="pt")
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=64)[0]))
```
{heads}"""

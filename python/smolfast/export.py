"""A trained model as a folder that transformers loads as `SmolLM3ForCausalLM`, with its tokenizer and a model card."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from smolfast.apart import check_apart
from smolfast.chat import TURN_END
from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error, write_json, write_text
from smolfast.model_card import model_card
from smolfast.pretrained import load_pretrained, save_pretrained
from smolfast.tokenizer import CHAT_TEMPLATE_FILE, PADDING, end_of_document, load_tokenizer

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def export(
    model: str | os.PathLike[str], tokenizer: str | os.PathLike[str], output: str | os.PathLike[str]
) -> dict[str, Any]:
    """Write config.json, generation_config.json, model.safetensors, the tokenizer's files and README.md into a folder.

    README.md is a model card; it tells data, steps and hardware where `model` lies in the folder of its training run.
    Multi-token prediction heads, which transformers has no place for, lie beside them in mtp_heads.safetensors.
    transformers itself isn't needed.

    Returns:
        parameters (of the model that transformers sees), mtp_parameters, files.

    Raises:
        SmolfastError: a file is missing or damaged, or model and tokenizer don't belong together.
    """
    check_apart(output, [model, tokenizer])
    folder = Path(output)
    network = load_pretrained(Path(model))
    tokens = load_tokenizer(tokenizer)
    if tokens.get_vocab_size() != network.vocab_size:
        raise SmolfastError(
            f"{tokenizer} has {tokens.get_vocab_size()} tokens, {model} a vocabulary of {network.vocab_size}; give the "
            "tokenizer that the model was trained with"
        )
    end = end_of_document(tokens)
    padding, turn_end = tokens.token_to_id(PADDING), tokens.token_to_id(TURN_END)
    save_pretrained(network, folder, end_of_document=end)
    write_json(
        folder / "generation_config.json",
        {
            "eos_token_id": end if turn_end is None else [end, turn_end],
            "pad_token_id": end if padding is None else padding,
            "do_sample": False,
        },
    )
    chat = [CHAT_TEMPLATE_FILE] if (Path(tokenizer) / CHAT_TEMPLATE_FILE).exists() else []
    for name in (*TOKENIZER_FILES, *chat):
        try:
            shutil.copyfile(Path(tokenizer) / name, folder / name)
        except OSError as error:
            raise SmolfastError(f"can't copy {Path(tokenizer) / name}: {describe_os_error(error)}") from error
    write_text(folder / "README.md", model_card(network, Path(model)))
    extra = sum(parameter.numel() for parameter in network.mtp_heads.parameters())
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()) - extra,
        "mtp_parameters": extra,
        "files": sorted(path.name for path in folder.iterdir()),
    }

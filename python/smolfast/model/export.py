"""A trained model as a folder that transformers loads as `SmolLM3ForCausalLM`, with its tokenizer and a model card."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error, write_json, write_text
from smolfast.io.keep_apart import check_apart
from smolfast.model.model_card import model_card
from smolfast.model.pretrained import load_pretrained, save_pretrained
from smolfast.tokens.chat.chat_template import CHAT_TEMPLATE_FILE, FURTHER_TEMPLATES, TURN_END
from smolfast.tokens.tokenizer import PADDING
from smolfast.tokens.tokenizer_folder import (
    SPECIAL_TOKENS_MAP,
    TOKENIZER,
    TOKENIZER_CONFIG,
    TokenizerFolder,
    open_tokenizer,
    read_object,
    refuse_another_vocabulary,
)

# Copied where they are; transformers writes some of them in some versions.
_TOKENIZER_FILES = (TOKENIZER, SPECIAL_TOKENS_MAP, CHAT_TEMPLATE_FILE)


def export(
    model: str | os.PathLike[str], tokenizer: str | os.PathLike[str], output: str | os.PathLike[str]
) -> dict[str, Any]:
    """Write config.json, generation_config.json, model.safetensors, the tokenizer's files and README.md into a folder.

    The tokenizer is its tokenizer.json, whatever class saved it, so transformers gives the ids of training. The model
    may have more rows than the tokenizer has ids: embeddings are often padded.
    A ReLU² model gets, as transformers' gate, its own first matrix a second time.
    README.md is a model card; it tells data, steps and hardware where `model` lies in the folder of its training run.
    Multi-token prediction heads, which transformers has no place for, lie beside them in mtp_heads.safetensors.
    transformers itself isn't needed.

    Returns:
        parameters (of the model that transformers sees), mtp_parameters, files.

    Raises:
        SmolfastError: a file is missing or damaged, model and tokenizer don't belong together, or SmolLM3 has no place
            for what the model has.
    """
    check_apart(output, [model, tokenizer])
    folder = Path(output)
    opened = open_tokenizer(tokenizer)
    network = load_pretrained(Path(model))
    if reason := network.config.beyond_transformers():
        raise SmolfastError(f"{model}: {reason}; `smolfast generate {model} --tokenizer {tokenizer}` writes with it")
    if opened.vocab_size > network.vocab_size:
        raise SmolfastError(
            f"{tokenizer} has {opened.tokens} tokens, with ids up to {opened.vocab_size - 1}, {model} a vocabulary of "
            f"{network.vocab_size}; give the tokenizer that the model was trained with"
        )
    refuse_another_vocabulary(Path(model), opened.fingerprint, str(tokenizer))
    end, padding = opened.end_of_document, opened.id_of("pad_token")
    if padding is None:
        padding = opened.tokenizer.token_to_id(PADDING)
    stops = [end, *(opened.tokenizer.token_to_id(TURN_END), opened.id_of("eos_token"))]
    ends = list(dict.fromkeys(stop for stop in stops if stop is not None))
    save_pretrained(network, folder, end_of_document=end)
    write_json(
        folder / "generation_config.json",
        {
            "eos_token_id": end if len(ends) == 1 else ends,
            "pad_token_id": end if padding is None else padding,
            "do_sample": False,
        },
    )
    _copy_tokenizer(opened, folder)
    write_text(folder / "README.md", model_card(network, Path(model), opened.kind))
    extra = sum(parameter.numel() for parameter in network.mtp_heads.parameters())
    config = network.config
    gates = config.num_hidden_layers * config.hidden_size * config.intermediate_size
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters())
        - extra
        + (gates if config.activation == "relu2" else 0),
        "mtp_parameters": extra,
        "files": sorted(path.name for path in folder.iterdir()),
    }


def _copy_tokenizer(tokenizer: TokenizerFolder, folder: Path) -> None:
    source = tokenizer.path
    try:
        for name in _TOKENIZER_FILES:
            if (source / name).exists():
                shutil.copyfile(source / name, folder / name)
        if (source / FURTHER_TEMPLATES).is_dir():
            shutil.copytree(source / FURTHER_TEMPLATES, folder / FURTHER_TEMPLATES, dirs_exist_ok=True)
    except OSError as error:
        raise SmolfastError(f"can't copy {error.filename or source}: {describe_os_error(error)}") from error
    path = source / TOKENIZER_CONFIG
    settings = read_object(path) if path.exists() else {"clean_up_tokenization_spaces": False}
    settings.pop("auto_map", None)  # code of another folder
    names = {key: name for key, name in tokenizer.names.items() if key.endswith("_token")}
    names.setdefault("eos_token", str(tokenizer.tokenizer.id_to_token(tokenizer.end_of_document)))
    # Other classes of transformers build a tokenizer of their own from the vocabulary. This one, which versions 4 and
    # 5 both know, takes tokenizer.json as it is.
    write_json(
        folder / TOKENIZER_CONFIG,
        {
            **settings,
            "tokenizer_class": "PreTrainedTokenizerFast",
            **{key: name for key, name in names.items() if key not in settings},
        },
    )

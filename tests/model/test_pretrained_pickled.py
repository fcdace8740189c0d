"""Folders whose weights are pickled: named, never loaded, and the command that is given converts them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from smolfast.errors import SmolfastError
from smolfast.model.network import SmolLM
from smolfast.model.pretrained import load_pretrained, save_pretrained
from tiny_models import least

MODEL = least(num_hidden_layers=2, mtp_heads=1)


class Trap:
    """Raises when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return exec, ("raise SystemExit('unpickled')",)


@pytest.mark.parametrize(
    "names", [["pytorch_model.bin"], ["pytorch_model-00001-of-2.bin", "pytorch_model-00002-of-2.bin"]]
)
def test_pickled_weights_are_named_and_the_remedy_works(names: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "my teacher's"
    model = SmolLM(MODEL, 64, 0)
    save_pretrained(model, folder, end_of_document=0)
    (folder / "model.safetensors").unlink()
    weights = list(model.state_dict().items())
    for index, name in enumerate(names):
        torch.save(dict(weights[index :: len(names)]), folder / name)
    (folder / "training_args.bin").write_bytes(b"not weights")
    with pytest.raises(SmolfastError, match=r"\.bin holds its weights by pickle, which can run code") as caught:
        load_pretrained(folder)
    assert "\n" not in str(caught.value)
    command = re.search(r"beside it: (.*)$", str(caught.value))
    assert command is not None
    subprocess.run([sys.executable, *shlex.split(command[1])[1:]], check=True)
    loaded = load_pretrained(folder).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in weights)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt", "last.ckpt"])
def test_a_trap_is_not_sprung(name: str, tmp_path: Path) -> None:
    save_pretrained(SmolLM(MODEL, 64, 0), tmp_path, end_of_document=0)
    (tmp_path / "model.safetensors").unlink()
    torch.save(Trap(), tmp_path / name)
    with pytest.raises(SmolfastError, match=f"{name} holds its weights by pickle"):
        load_pretrained(tmp_path)
    pytest.importorskip("transformers")
    from smolfast.train.distillation.cache import _load_teacher

    with pytest.raises(SmolfastError, match=f"{name} holds its weights by pickle"):
        _load_teacher(tmp_path, 64, "cpu")

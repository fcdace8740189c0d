"""int8 and int4 folders, unpacked here by their description, and loaded by transformers where compressed-tensors is."""

from __future__ import annotations

import importlib.util
import json
import resource
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from smolfast.commands.main import main
from smolfast.edge.compressed import export_compressed, pack
from smolfast.errors import SmolfastError
from smolfast.model.network import SmolLM
from smolfast.model.pretrained import load_pretrained, save_pretrained
from tiny_models import tiny

CONFIG = tiny(
    hidden_size=64, intermediate_size=80, num_hidden_layers=4, no_rope_layer_interval=4, initializer_range=0.1
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "model"
    save_pretrained(SmolLM(CONFIG, 520, seed=3), folder, end_of_document=0)
    return folder


def unpacked(tensors: dict[str, torch.Tensor], module: str, bits: int) -> torch.Tensor:
    """Integers bit by bit, then times their scales: another way than `pack` goes."""
    words = tensors[f"{module}.weight_packed"].numpy().astype("<i4")
    rows, width = (int(size) for size in tensors[f"{module}.weight_shape"])
    flat = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little").reshape(rows, -1, bits)
    steps = flat[:, :width].astype(int) @ (1 << np.arange(bits)) - (1 << (bits - 1))
    scales = tensors[f"{module}.weight_scale"].float()
    return torch.from_numpy(steps).float() * scales.repeat_interleave(width // scales.shape[1], 1)


@pytest.mark.parametrize(("kind", "bits", "close"), [("int8", 8, 0.01), ("int4", 4, 0.1)])
def test_the_layout_holds_the_weights(
    kind: str, bits: int, close: float, model: Path, corpus: SimpleNamespace, tmp_path: Path
) -> None:
    summary = export_compressed(model, corpus.tokenizer, tmp_path / "out", kind)
    tensors = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    described = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    for name, weight in load_pretrained(model).state_dict().items():
        module = name.removesuffix(".weight")
        if name.startswith("mtp_heads."):
            assert not any(name.startswith("mtp_heads") for name in tensors)
        elif weight.ndim == 1 or "embed" in name or (kind == "int4" and "down_proj" in name):
            assert torch.equal(tensors[name], weight.bfloat16())
            assert weight.ndim == 1 or "embed" in name or module in described["ignore"]
        else:
            error = (unpacked(tensors, module, bits) - weight).norm() / weight.norm()
            assert 0 < error < close
            assert module not in described["ignore"]
    assert not (tmp_path / "out" / "mtp_heads.safetensors").exists()
    assert ("rows of 80" in json.dumps(summary)) == (kind == "int4")
    assert summary["left_out"] and summary["bits_per_weight"] < 16
    with pytest.raises(SmolfastError, match="the weights are quantized"):
        load_pretrained(tmp_path / "out")


def test_a_scale_has_less_error_than_the_largest_weight_asks_for() -> None:
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
    weight[3] = 0
    tensors = {f"m.{name}": tensor for name, tensor in pack(weight, 4, 32).items()}
    largest = weight.unflatten(1, (-1, 32)).abs().amax(-1, keepdim=True).clamp(min=1e-9) / 7
    plain = (weight.unflatten(1, (-1, 32)) / largest).round() * largest
    ours = unpacked(tensors, "m", 4)
    assert (ours - weight).square().sum() < 0.95 * (plain.flatten(1) - weight).square().sum()
    assert not ours[3].any()


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_transformers_loads_it(kind: str, model: Path, corpus: SimpleNamespace, tmp_path: Path) -> None:
    for package in ("transformers", "compressed_tensors", "accelerate"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} isn't installed")
    import transformers

    words = ["export", str(model), "--tokenizer", str(corpus.tokenizer), "--quantize", kind]
    assert main([*words, "-o", str(tmp_path / "out"), "--quiet"]) == 0
    loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    with torch.no_grad():
        loaded(torch.tensor([[1, 2, 3]]))  # unpacks
    tensors = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    expected = unpacked(tensors, "model.layers.1.mlp.up_proj", int(kind[3:]))
    torch.testing.assert_close(loaded.model.layers[1].mlp.up_proj.weight.float(), expected, atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_a_disk_that_fills_leaves_no_folder(
    kind: str, model: Path, corpus: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["export", str(model), "--tokenizer", str(corpus.tokenizer), "-o", str(out), "--quantize", kind, "--quiet"]
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (100, 20_000, 60_000):  # the first file; the tokenizer; the weights
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited[1]))
        try:
            assert main(words) == 2
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        said = capsys.readouterr().err
        assert "larger than the disk or ulimit -f allows" in said and said.count("\n") == 1
        assert not [path for path in tmp_path.iterdir() if path.name != ".smolfast"]
    assert main(words) == 0

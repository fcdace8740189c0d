"""Folders that become one: transformers loads the result, and what doesn't fit is refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch

from smolfast.errors import SmolfastError
from smolfast.merge import folders, merge
from smolfast.model.export import export
from smolfast.model.network import SmolLM
from smolfast.model.pretrained import load_pretrained, save_pretrained
from tiny_models import tiny

ROWS = 512


def model(folder: Path, seed: int, **changes: Any) -> Path:
    torch.manual_seed(seed)
    save_pretrained(SmolLM(tiny(**changes), ROWS), folder, end_of_document=0)
    return folder


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    return [model(tmp_path / f"model-{seed}", seed) for seed in range(3)]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that even a tiny tensor comes in several."""
    monkeypatch.setattr(folders, "PIECE", 1000)


def test_the_mean_of_models(three: list[Path], tmp_path: Path) -> None:
    result = merge(three, tmp_path / "out", weights=[1, 2, 1])
    found = load_pretrained(tmp_path / "out").state_dict()
    states = [load_pretrained(path).state_dict() for path in three]
    assert found.keys() == states[0].keys()
    for name, tensor in found.items():
        expected = (states[0][name].double() + 2 * states[1][name].double() + states[2][name].double()) / 4
        torch.testing.assert_close(tensor, expected.float(), rtol=1e-6, atol=1e-9)
    assert result["method"] == "linear"
    assert result["parameters"] == sum(p.numel() for p in SmolLM(tiny(mtp_heads=1), ROWS).parameters())
    assert "mtp_heads.safetensors" in result["files"]


@pytest.mark.parametrize("method", ["linear", "slerp"])
def test_models_of_other_activations_and_norms(method: str, tmp_path: Path) -> None:
    variant = {"activation": "relu2", "norm": "layernorm"}
    both = [model(tmp_path / f"{seed}", seed, **variant) for seed in range(2)]
    merge(both, tmp_path / "out", method=method)
    assert load_pretrained(tmp_path / "out").config == tiny(**variant)
    with pytest.raises(SmolfastError, match="activation"):
        merge([both[0], model(tmp_path / "other", 3, norm="layernorm", intermediate_size=48)], tmp_path / "no")


@pytest.mark.parametrize("settings", [{"method": "slerp", "t": 0.0}, {"weights": [1, 0]}, {"method": "ties"}])
def test_ends_of_each_method_are_models(three: list[Path], tmp_path: Path, settings: dict[str, Any]) -> None:
    """All of the first, or the base that nothing differs from."""
    models, base = three[:2], None
    if settings.get("method") == "ties":
        shutil.copytree(three[0], tmp_path / "copy")
        models, base = [tmp_path / "copy"], three[0]
    merge(models, tmp_path / "out", base=base, **settings)
    one, found = (load_pretrained(path).state_dict() for path in (three[0], tmp_path / "out"))
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, one[name], rtol=1e-6, atol=1e-8)


def test_an_export_stays_one(corpus: SimpleNamespace, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    exports = []
    for seed in range(2):
        export(model(tmp_path / f"m{seed}", seed), corpus.tokenizer, tmp_path / f"e{seed}")
        exports.append(tmp_path / f"e{seed}")
    merge(exports, tmp_path / "out", method="slerp", dtype="bfloat16")
    found = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert found.dtype == torch.bfloat16
    assert (tmp_path / "out/tokenizer.json").read_bytes() == (exports[0] / "tokenizer.json").read_bytes()
    assert "SLERP" in (tmp_path / "out/README.md").read_text()
    merge([model(tmp_path / "bare", 2), exports[0]], tmp_path / "second")
    assert (tmp_path / "second/tokenizer.json").is_file()


def test_shards_and_a_second_copy_of_a_tied_embedding(three: list[Path], tmp_path: Path) -> None:
    """As folders of the hub are."""
    weights = safetensors.torch.load_file(three[1] / "model.safetensors")
    parts: list[dict[str, torch.Tensor]] = [{}, {}]
    for at, (name, tensor) in enumerate(sorted(weights.items())):
        parts[at % 2][name] = tensor
    parts[0]["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    merge(three[:2], tmp_path / "plain")
    (three[1] / "model.safetensors").unlink()
    names = [f"model-{at}.safetensors" for at in range(2)]
    for name, part in zip(names, parts, strict=True):
        safetensors.torch.save_file(part, three[1] / name)
    index = {name: names[at] for at in range(2) for name in parts[at]}
    (three[1] / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    merge(three[:2], tmp_path / "sharded")
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("plain", "sharded"))
    assert one == other


def test_heads_that_one_lacks_are_left_out(three: list[Path], tmp_path: Path) -> None:
    (three[1] / "mtp_heads.safetensors").unlink()
    result = merge(three, tmp_path / "out")
    assert result["mtp_left_out"] == f"{three[1]} has no further heads"
    assert "mtp_heads.safetensors" not in result["files"]
    assert load_pretrained(tmp_path / "out").config.mtp_heads == 1


def _broken(path: Path, change: str) -> None:
    file = path / "model.safetensors"
    weights = safetensors.torch.load_file(file)
    if change == "nan":
        weights["model.norm.weight"][3] = float("nan")
    elif change == "int":
        weights["model.norm.weight"] = weights["model.norm.weight"].to(torch.int8)
    elif change == "shape":
        weights["model.norm.weight"] = weights["model.norm.weight"][:5].clone()
    elif change == "name":
        weights["model.other"] = weights.pop("model.norm.weight")
    safetensors.torch.save_file(weights, file)
    if change == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    if change == "pickled":
        file.rename(path / "pytorch_model.bin")
    if change == "gone":
        file.unlink()
    if change == "theta":
        config = json.loads((path / "config.json").read_text())
        config |= {"rope_theta": 5.0, "rope_parameters": {"rope_type": "default", "rope_theta": 5.0}}
        (path / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("nan", r"model\.norm\.weight holds NaN or infinity; merge without"),
        ("int", r"model\.norm\.weight is stored as I8, and a merge takes"),
        ("shape", r"can't be merged: model\.norm\.weight is \[32\] in the first and \[5\] in the second"),
        ("name", r"can't be merged: .*model-1 has no tensor model\.norm\.weight"),
        ("cut", r"model\.safetensors is damaged .*; export or train again"),
        ("pickled", "holds its weights by pickle"),
        ("gone", r"model\.safetensors is missing; give a folder"),
        ("theta", r"can't be merged: rope_theta is .* in the first and 5\.0 in the second"),
    ],
)
def test_models_that_do_not_fit(three: list[Path], tmp_path: Path, change: str, message: str) -> None:
    _broken(three[1], change)
    with pytest.raises(SmolfastError, match=message):
        merge(three, tmp_path / "out")


def test_another_shape_or_tokenizer(three: list[Path], corpus: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(SmolfastError, match="num_hidden_layers is 2 in the first and 1 in the second"):
        merge([three[0], model(tmp_path / "flat", 0, num_hidden_layers=1)], tmp_path / "out")
    for path in three[:2]:
        shutil.copy(corpus.tokenizer / "tokenizer.json", path)
        shutil.copy(corpus.tokenizer / "tokenizer_config.json", path)
    merge(three, tmp_path / "out")
    text = (three[1] / "tokenizer.json").read_text()
    changed = json.loads(text)
    vocab = changed["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    (three[1] / "tokenizer.json").write_text(json.dumps(changed))
    with pytest.raises(SmolfastError, match="their tokenizers differ"):
        merge(three, tmp_path / "out2")


@pytest.mark.parametrize(
    ("count", "settings", "message"),
    [
        (1, {}, "linear takes 2 or more models, not 1"),
        (3, {"method": "slerp"}, "slerp takes two models, not 3"),
        (2, {"method": "mean"}, "there is no method 'mean'; give one of linear, slerp, ties, model-stock"),
        (2, {"method": "ties"}, "ties needs the model that the others were trained from; give --base DIR"),
        (2, {"base": 2}, "linear has no base; leave out --base"),
        (2, {"method": "ties", "base": 0}, "is given twice"),
        (2, {"weights": [1]}, "1 weights for 2 models"),
        (2, {"weights": [1, -1]}, "their sum isn't 0"),
        (2, {"weights": [1, float("nan")]}, "finite"),
        (2, {"method": "ties", "base": 2, "weights": [1, 0]}, "above 0"),
        (2, {"method": "slerp", "weights": [1, 2]}, "slerp takes no weights"),
        (2, {"method": "slerp", "t": 1.5}, r"t = 1\.5 is not from 0 to 1"),
        (2, {"method": "ties", "base": 2, "density": 0}, "density = 0 is not above 0"),
        (2, {"dtype": "int8"}, "there is no dtype 'int8'"),
    ],
)
def test_settings_that_do_not_fit(
    three: list[Path], tmp_path: Path, count: int, settings: dict[str, Any], message: str
) -> None:
    if "base" in settings:
        settings = {**settings, "base": three[settings["base"]]}
    with pytest.raises(SmolfastError, match=message):
        merge(three[:count], tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_a_merge_out_of_range_of_its_type(three: list[Path], tmp_path: Path) -> None:
    for path in three[:2]:
        weights = safetensors.torch.load_file(path / "model.safetensors")
        weights["model.norm.weight"] *= 1e6
        safetensors.torch.save_file(weights, path / "model.safetensors")
    with pytest.raises(SmolfastError, match=r"model\.norm\.weight leaves the range of float16; give --dtype float32"):
        merge(three[:2], tmp_path / "out", dtype="float16")


def test_the_output_is_no_input(three: list[Path]) -> None:
    with pytest.raises(SmolfastError, match="input"):
        merge(three, three[0])


def test_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces, never a tensor: what is read at once is bounded by the size of a piece."""
    from smolfast.merge.tensor_files import Entry

    sizes: list[int] = []
    read = Entry.read

    def counted(self: Entry, start: int, stop: int) -> torch.Tensor:
        sizes.append(stop - start)
        return read(self, start, stop)

    monkeypatch.setattr(Entry, "read", counted)
    models = [model(tmp_path / f"wide-{seed}", seed, intermediate_size=512) for seed in range(3)]
    for number, settings in enumerate([{}, {"method": "model-stock"}, {"method": "ties"}]):
        merge(models[1:], tmp_path / f"out{number}", base=models[0] if settings else None, **settings)
    assert max(sizes) == 1000

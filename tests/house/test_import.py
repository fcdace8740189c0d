"""Importing the base package stays light, and the floors point down."""

from __future__ import annotations

import importlib
import pydoc
import re
import subprocess
import sys
import textwrap
from importlib import metadata
from pathlib import Path

import pytest

import smolfast

BASE_MODULES = [
    "smolfast",
    "smolfast.text",
    "smolfast.dedup",
    "smolfast.io",
    "smolfast.files",
    "smolfast.pipeline",
    "smolfast.report",
    "smolfast.cli",
]
# The paths that the documentation has named so far, and one name in each.
KEPT_PATHS = {
    "smolfast.text": "normalize",
    "smolfast.dedup": "deduplicate",
    "smolfast.ops": "gqa_attention",
    "smolfast.optim": "MuonAdamW",
    "smolfast.distill": "distilled_loss",
    "smolfast.patch": "apply_to_llama",
    "smolfast.kernels.mtp_loss": "forward",
    "smolfast.integrations.transformers": "register",
    "smolfast.reference": "newton_schulz",
    "smolfast.model": "SmolLM",
    "smolfast.config": "TrainConfig",
    "smolfast.pretrained": "load_pretrained",
    "smolfast.errors": "SmolfastError",
    "smolfast.train": "train",
    "smolfast.report": "write_report",
    "smolfast.cli": "main",
}
KERNELS = sorted(path for path in (Path(__file__).parents[2] / "kernels").glob("*.py") if path.name != "__init__.py")


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("module", BASE_MODULES)
def test_base_modules_pull_in_no_extra(module: str) -> None:
    loaded = run_python(f"import sys, {module}; print(*sys.modules)").split()
    assert module in loaded
    assert not {"torch", "triton", "pydantic", "tokenizers", "transformers", "safetensors"} & set(loaded)


def test_the_front_door_loads_no_wing() -> None:
    loaded = run_python("import sys, smolfast; print(*sys.modules)").split()
    assert not {"numpy", "pyarrow", "torch", "pydantic", "smolfast._native"} & set(loaded)
    assert [name for name in loaded if name.startswith("smolfast.")] == []


COMMAND = """
import sys
from smolfast.commands.main import main
try:
    main({words!r})
except SystemExit:
    pass
print(*sys.modules)
"""
HEAVY = {"numpy", "pyarrow", "torch", "pydantic", "xxhash", "smolfast._native", "urllib.request", "importlib.metadata"}


@pytest.mark.parametrize("words", [[], ["--help"], ["--version"], ["deduup"], ["config", "--help"]])
def test_the_first_page_needs_next_to_nothing(words: list[str]) -> None:
    """What it loads decides how long it takes: numpy and pyarrow alone take five times as long as the page."""
    loaded = set(run_python(COMMAND.format(words=words)).splitlines()[-1].split())
    assert "smolfast.commands.main" in loaded
    assert not HEAVY & loaded


@pytest.mark.parametrize("name", ["dedup", "report", "tokenize"])
def test_a_command_loads_no_other(name: str) -> None:
    loaded = run_python(COMMAND.format(words=[name, "--help"])).splitlines()[-1].split()
    commands = {
        module.removeprefix("smolfast.commands.") for module in loaded if module.startswith("smolfast.commands.")
    }
    assert commands <= {name, "main", "overview", "completion", "parsers", "options"} and name in commands
    assert not {"torch", "pydantic", "tokenizers", "smolfast.curate"} & set(loaded)


def test_a_deduplication_loads_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "one"}\n' * 10)
    words = ["dedup", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out"), "--json", "--quiet"]
    result, loaded = run_python(COMMAND.format(words=words)).splitlines()
    assert '"documents_in": 10' in result
    assert not {"torch", "pydantic", "pandas", "smolfast.curate", "smolfast.classify", "pyarrow.dataset"} & set(
        loaded.split()
    )


def test_import_takes_under_a_twentieth_of_a_second() -> None:
    code = "import time; t = time.process_time(); import smolfast; print(time.process_time() - t)"
    assert min(float(run_python(code)) for _ in range(3)) < 0.05


def test_the_front_door_hands_out_every_public_name() -> None:
    code = "import smolfast; print(*(type(getattr(smolfast, name)).__name__ for name in dir(smolfast)))"
    assert len(run_python(code).split()) == len(smolfast.__all__)
    assert dir(smolfast) == sorted(smolfast.__all__)
    assert set(smolfast._PUBLIC) | {"__version__"} == set(smolfast.__all__)
    documentation = pydoc.render_doc(smolfast, renderer=pydoc.plaintext)
    for name, (_, _, purpose) in smolfast._PUBLIC.items():
        assert re.search(rf"^ +{name} +{re.escape(purpose)}$", documentation, re.MULTILINE), name
    with pytest.raises(AttributeError, match="has no attribute 'texts'"):
        _ = smolfast.texts


@pytest.mark.parametrize("path", KEPT_PATHS)
def test_documented_paths_work(path: str) -> None:
    assert callable(getattr(importlib.import_module(path), KEPT_PATHS[path]))


@pytest.mark.parametrize("wing", ["dedup", "io", "tokens", "model", "evaluate", "train", "pipeline", "ops", "optim"])
def test_wings_hand_out_what_they_say(wing: str) -> None:
    module = importlib.import_module(f"smolfast.{wing}")
    assert module.__doc__ and module.__all__ == sorted(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


def test_there_are_kernels() -> None:
    assert {kernel.stem for kernel in KERNELS} >= {"gqa_attention", "mtp_loss", "newton_schulz"}


ALONE = {
    "gqa_attention": """
        q, k, v = (torch.randn(1, 37, heads, 16, requires_grad=True) for heads in (4, 2, 2))
        heads_first = [x.transpose(1, 2) for x in (q, k, v)]
        theirs = F.scaled_dot_product_attention(*heads_first, is_causal=True, enable_gqa=True).transpose(1, 2)
        ours = kernel.gqa_attention(q, k, v, causal=True)
        weights = torch.randn_like(ours)
        ours = [ours, *torch.autograd.grad((ours * weights).sum(), (q, k, v))]
        theirs = [theirs, *torch.autograd.grad((theirs * weights).sum(), (q, k, v))]
    """,
    "mtp_loss": """
        hidden, weight = torch.randn(1, 19, 32), torch.randn(75, 32, requires_grad=True)
        targets = torch.arange(19)[None]
        losses, lse, _ = kernel.forward(hidden, weight, None, targets)
        theirs = F.cross_entropy(hidden[0] @ weight.T, targets[0], reduction="none")[None]
        gradient = kernel.backward(torch.ones_like(losses), hidden, weight, None, targets, lse)[1]
        ours, theirs = [losses, gradient], [theirs, *torch.autograd.grad(theirs.sum(), weight)]
    """,
    "newton_schulz": """
        G = torch.randn(2, 20, 36)
        X = G / G.norm(dim=(1, 2), keepdim=True)
        for a, b, c in (kernel.MUON,) * 5:
            A = X @ X.mT
            X = a * X + (b * A + c * A @ A) @ X
        ours, theirs = [kernel.newton_schulz(G, dtype=torch.float32)], [X]
    """,
}


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda path: path.stem)
def test_each_kernel_file_works_alone(kernel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the one file, where smolfast can't be imported, computes with torch and triton what torch computes."""
    pytest.importorskip("triton", reason="Triton has no build for this platform")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    (tmp_path / "kernel.py").write_bytes(kernel.read_bytes())
    code = f"""
        import sys
        sys.modules["smolfast"] = None  # importing it is an error from here on
        sys.path.insert(0, {str(tmp_path)!r})
        import torch, kernel
        import torch.nn.functional as F
        torch.manual_seed(0)
        {ALONE[kernel.stem].strip()}
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        print(len(ours), float(ours[0].abs().max()), *(name for name in sys.modules if name.startswith("smolfast.")))
    """
    compared, largest, *loaded = run_python(textwrap.dedent(code)).split()
    assert int(compared) >= 1
    assert float(largest) > 0.1
    assert not loaded


def test_kernels_ship_inside_the_package_only() -> None:
    files = [str(file) for file in metadata.files("smolfast") or []]
    assert not [file for file in files if file.startswith("kernels/")]
    run_python("import smolfast.kernels")


def test_versions_agree() -> None:
    assert metadata.version("smolfast") == smolfast.__version__

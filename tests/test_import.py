"""Importing the base package stays light, and the floors point down."""

from __future__ import annotations

import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import smolfast

BASE_MODULES = ["smolfast", "smolfast.text", "smolfast.dedup", "smolfast.documents", "smolfast.files", "smolfast.cli"]
KERNELS = sorted(path for path in (Path(__file__).parents[1] / "kernels").glob("*.py") if path.name != "__init__.py")


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("module", BASE_MODULES)
def test_base_modules_pull_in_no_extra(module: str) -> None:
    loaded = run_python(f"import sys, {module}; print(*sys.modules)").split()
    assert module in loaded
    assert not {"torch", "triton", "pydantic", "tokenizers", "transformers", "safetensors"} & set(loaded)


def test_import_takes_under_three_tenths_of_a_second() -> None:
    code = "import time; t = time.process_time(); import smolfast; print(time.process_time() - t)"
    assert statistics.median(float(run_python(code)) for _ in range(3)) < 0.3


def test_there_are_kernels() -> None:
    assert {kernel.stem for kernel in KERNELS} >= {"gqa_attention", "mtp_loss", "newton_schulz"}


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda path: path.stem)
def test_each_kernel_file_works_alone(kernel: Path, tmp_path: Path) -> None:
    """A copy of the one file, outside any package, imports with torch and triton and nothing of smolfast."""
    pytest.importorskip("triton", reason="Triton has no build for this platform")
    copy = tmp_path / f"alone_{kernel.name}"
    copy.write_bytes(kernel.read_bytes())
    loaded = run_python(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {copy.stem}; print(*sys.modules)"
    ).split()
    assert copy.stem in loaded
    assert not [name for name in loaded if name.startswith("smolfast")]


def test_kernels_ship_inside_the_package_only() -> None:
    files = [str(file) for file in metadata.files("smolfast") or []]
    assert not [file for file in files if file.startswith("kernels/")]
    run_python("import smolfast.kernels")


def test_versions_agree() -> None:
    assert metadata.version("smolfast") == smolfast.__version__

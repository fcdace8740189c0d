"""The ahead-of-time table: what the golden file promises, and that the command still measures what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "aot.txt"
SHARED_LIMIT = {"sm_80": 101_376, "sm_90": 232_448, "sm_100": 232_448, "gfx942": 65_536}


class Row(NamedTuple):
    device: str
    kernel: str
    warps: int
    stages: int
    registers: int
    spilled: int
    shared: int
    loads: int
    matrix: str


def golden() -> list[Row]:
    rows = []
    for line in GOLDEN.read_text().splitlines()[2:]:
        kernel, figures = line[9:65].rstrip(), line[65:].split(None, 6)
        rows.append(Row(line[:9].strip(), kernel, *(int(x) for x in figures[:6]), figures[6]))
    return rows


def attention(device: str, what: str) -> Row:
    return next(r for r in golden() if r.device == device and r.kernel == f"gqa_attention/bfloat16 {what}")


def test_no_default_spills_or_outgrows_its_device() -> None:
    assert {row.device for row in golden()} == SHARED_LIMIT.keys()
    for row in golden():
        assert row.spilled == 0, row
        assert row.shared <= SHARED_LIMIT[row.device], row


@pytest.mark.parametrize("device", SHARED_LIMIT)
@pytest.mark.parametrize("width", ["D64", "D128"])
@pytest.mark.parametrize("kernel", ["forward", "dkv", "dq"])
def test_attention_uses_the_matrix_units_of_each_device(device: str, width: str, kernel: str) -> None:
    name = {"sm_80": r"HMMA", "sm_90": r"HGMMA", "sm_100": r"UTC\w*MMA", "gfx942": r"v_mfma"}[device]
    assert re.search(rf"\b{name}", attention(device, f"{width} {kernel}").matrix)


@pytest.mark.parametrize("device", SHARED_LIMIT)
def test_max_logit_costs_no_load(device: str) -> None:
    with_max, without = attention(device, "D128 max forward"), attention(device, "D128 forward")
    assert with_max.loads == without.loads
    assert with_max.matrix == without.matrix


def run_aot(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: this one's kernels belong to Triton's interpreter."""
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    command = [sys.executable, str(ROOT / "benchmarks" / "aot.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_one_row_compiles_to_what_the_golden_file_says() -> None:
    triton = pytest.importorskip("triton", reason="Triton has no build for this platform")
    result = run_aot("--check", "--target", "gfx942", "--match", "bfloat16 D64 dq$")
    assert result.returncode == 0, result.stderr
    row = result.stdout.splitlines()[1]
    assert row.startswith("gfx942   gqa_attention/bfloat16 D64 dq")
    if GOLDEN.read_text().startswith(f"triton {triton.__version__}\n"):
        assert row in GOLDEN.read_text().splitlines()


def test_a_changed_row_fails_as_a_diff(tmp_path: Path) -> None:
    triton = pytest.importorskip("triton", reason="Triton has no build for this platform")
    if not GOLDEN.read_text().startswith(f"triton {triton.__version__}\n"):
        pytest.skip("rows are compared under the golden file's Triton only")
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'benchmarks')!r}); import aot, pathlib\n"
        f"aot.GOLDEN = pathlib.Path({str(tmp_path / 'aot.txt')!r})\n"
        "sys.exit(aot.main(['--check', '--target', 'gfx942', '--match', 'bfloat16 D64 delta$']))"
    )
    text = GOLDEN.read_text()
    changed = re.sub(r"(gfx942 +gqa_attention/bfloat16 D64 delta +4 +\d+ +)\d\d", r"\g<1>99", text)
    assert changed != text
    (tmp_path / "aot.txt").write_text(changed)
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert "-gfx942   gqa_attention/bfloat16 D64 delta" in result.stderr
    assert "+gfx942   gqa_attention/bfloat16 D64 delta" in result.stderr

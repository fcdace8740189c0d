"""benchmarks/gpu.py, run on the CPU under Triton's interpreter: it covers kernels and peers, and sees wrong ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton has no build for this platform")
pytest.importorskip("torch")

from smolfast.bench.results import Results, Row, read_results

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "benchmarks" / "gpu.py"


def run(tmp_path: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], Results]:
    path = tmp_path / "gpu.json"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), "--dry-run", "--json", str(path), *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert path.exists(), done.stdout + done.stderr
    return done, read_results(path)


def by_kernel(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.name, []).append(row)
    return found


@pytest.mark.slow
def test_every_kernel_and_every_peer_has_its_row(tmp_path: Path) -> None:
    done, results = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    checks = [row for row in results.rows if row.part == "check"]
    assert all(0 <= row.facts["error"] <= row.facts["bound"] < 0.2 for row in checks)
    kernels = by_kernel(checks)
    assert kernels.keys() == {"gqa_attention", "newton_schulz", "mtp_loss", "distill_loss"}
    cases = {name: " ".join(row.case for row in rows) for name, rows in kernels.items()}
    for feature in ("causal", "varlen", "all pairs", "window", "softcap", "sinks", "rope", "max_logit", "lse", "d q",
                    "d k", "d v", "d sinks", "bfloat16", "float16", "float32"):  # fmt: skip
        assert feature in cases["gqa_attention"]
    for feature in ("plain", "gram", "auto", "ABᵀ", "AX", "bfloat16", "float16", "float32", "2 × 32 × 11"):
        assert feature in cases["newton_schulz"]
    for feature in ("linear_cross_entropy", "k = 3", "shared", "d hidden", "d weight", "d bias", "float16", "float32"):
        assert feature in cases["mtp_loss"]
    assert all(f"{teacher} teacher" in cases["distill_loss"] for teacher in ("dense", "hidden", "stored"))

    attention = {"smolfast", "smolfast + max_logit", "sdpa", "sdpa flash_attention", "sdpa cudnn_attention",
                 "sdpa efficient_attention", "sdpa math", "flex_attention", "flash-attn", "flash-attn 3",
                 "eager (HF)", "float32 matrix product"}  # fmt: skip
    expected = {
        "attention forward": attention,
        "attention forward + backward": attention,
        "loss forward + backward": {"smolfast", "naive", "torch chunked", "liger", "cut-cross-entropy"},
        "Newton–Schulz": {"smolfast", "smolfast plain", "smolfast gram", "plain loop", "gram-newton-schulz", "dion"},
        "Muon's step": {"smolfast", "torch.optim.Muon", "dion.Muon", "heavyball.Muon"},
        "XXᵀ": {"smolfast", "cuBLAS"},
        "distillation forward + backward": {"smolfast", "naive"},
    }
    timings = [row for row in results.rows if row.part != "check"]
    assert {row.part for row in timings} == expected.keys()
    for part, names in expected.items():
        assert names <= {row.name for row in timings if row.part == part}, part
    for row in timings:
        assert bool(row.wall) != bool(row.failed), row
        if row.role == "ours":
            assert row.wall is not None and row.wall.least > 0 and row.facts["share of peak"] > 0, row
        if row.name in ("sdpa", "naive", "plain loop", "cuBLAS", "torch.optim.Muon"):  # they run everywhere
            assert row.facts["ours is faster by"] > 0
            assert "tolerance" not in row.facts, "disagrees with ours"


def test_a_wrong_kernel_and_one_that_dies_are_flagged_and_the_rest_goes_on(tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    shutil.copytree(REPOSITORY / "kernels", planted)
    path = planted / "newton_schulz.py"
    source = path.read_text(encoding="utf-8")
    assert source.count("acc *= alpha\n") == 1
    path.write_text(source.replace("acc *= alpha\n", "acc *= alpha * 1.001\n"), encoding="utf-8")
    path = planted / "gqa_attention.py"
    source = path.read_text(encoding="utf-8")
    assert source.count("    constants = problem.constants(q, k)\n    heads, batch") == 1
    dying = "    import sys\n    print('planted', file=sys.stderr, flush=True)\n    os._exit(77)\n    heads, batch"
    source = source.replace("    constants = problem.constants(q, k)\n    heads, batch", dying)
    path.write_text(source, encoding="utf-8")
    wanted = r"check (gqa_attention causal float32|newton_schulz products float32|mtp_loss k = 3 bfloat16)"
    done, results = run(tmp_path, "--kernels", str(planted), "--match", wanted)
    assert done.returncode == 1, done.stdout + done.stderr
    kernels = by_kernel(list(results.rows))
    (dead,) = kernels["gqa_attention"]
    assert dead.failed == "the process died (77): planted"
    symmetric, product = kernels["newton_schulz"]
    assert symmetric.failed.startswith("WRONG") and symmetric.facts["error"] > 1e-4
    assert not product.failed
    assert len(kernels["mtp_loss"]) == 3 and not any(row.failed for row in kernels["mtp_loss"])
    assert "4 of 6 comparisons are right" in done.stdout


def test_what_the_minutes_leave_no_time_for_is_said(tmp_path: Path) -> None:
    done, results = run(tmp_path, "--minutes", "0.1", "--match", "XXᵀ 4096|check distill_loss hidden")
    assert done.returncode == 1
    assert {row.failed for row in results.rows} == {"skipped: the minutes are over"}
    assert [row.part for row in results.rows] == ["check", "timing"]

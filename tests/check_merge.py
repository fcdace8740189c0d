"""Compare `smolfast merge` with mergekit's on the same folders, and say how much memory it takes.

    python tests/check_merge.py [--hidden 256] [--vocab 49152]

Needs mergekit (0.1.5), which wants older packages than ours: an environment of its own, with smolfast in it.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

WEIGHTS = "model.safetensors"
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "linear": ({"weights": [1.0, 2.0, 0.5]}, {}),
    "slerp": ({"t": 0.3}, {"t": 0.3}),
    "ties": ({"weights": [1.0, 2.0, 0.5], "density": 0.2}, {"normalize": True}),
    "model-stock": ({}, {}),
}


def main() -> None:
    """Make models, merge them by both, and print the largest difference of each method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--vocab", type=int, default=49_152)
    parser.add_argument("--memory", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        method, output, base, *models = arguments.memory
        _memory(method, output, base, models)
        return
    import safetensors.torch

    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        base, *models = _models(work / "large", arguments.hidden, arguments.vocab)
        tiny = _models(work / "tiny", 32, 64)
        largest = max(t.nbytes for t in safetensors.torch.load_file(base / WEIGHTS).values())
        print(f"largest tensor {largest / 1e6:.0f} MB")
        for method, (ours, theirs) in CASES.items():
            of_method = models[:2] if method == "slerp" else models
            based = base if method in ("ties", "model-stock") else None
            both = [
                path
                for folders in (tiny, [base, *models])
                for path in (folders if based else folders[1 : len(of_method) + 1])
            ]
            command = [sys.executable, __file__, "--memory", method, str(work / "ours"), str(based), *map(str, both)]
            print(method, subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
            _mergekit(work / "theirs", method, of_method, based, ours, theirs)
            one, other = (safetensors.torch.load_file(work / side / WEIGHTS) for side in ("ours", "theirs"))
            assert one.keys() == other.keys()
            worst = _largest_difference(one, other)
            print(f"  differs from mergekit by {worst:.1e} of a tensor's largest number (fp32 rounds by 6e-8)")
            if method in ("slerp", "model-stock"):
                # It takes angles in fp32. Of vectors this long that leaves three digits.
                exact = _in_fp64(of_method, based)
                print(f"  mergekit differs from the formula in fp64 by {_largest_difference(other, exact):.1e}")
                worst = _largest_difference(one, exact)
                print(f"  differs from the formula in fp64 by {worst:.1e}")
            assert worst < 1e-6


def _largest_difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    return max(float((one[name].double() - other[name]).abs().max() / other[name].abs().max()) for name in one)


def _in_fp64(models: list[Path], base: Path | None) -> dict[str, Any]:
    """The formulas of SLERP at 0.3 and of Model Stock, for whole tensors."""
    import numpy as np
    import safetensors.numpy
    import torch

    def read(path: Path) -> dict[str, Any]:
        return {name: one.astype(float) for name, one in safetensors.numpy.load_file(path / WEIGHTS).items()}

    def cosine(one: Any, other: Any) -> float:
        return float((one * other).sum() / np.linalg.norm(one) / np.linalg.norm(other))

    found = [read(path) for path in models]
    result = {}
    for name in found[0]:
        tensors = [one[name] for one in found]
        if base is None:
            angle = np.arccos(cosine(*tensors))
            line = angle < np.arccos(0.9995)
            shares = (0.7, 0.3) if line else (np.sin(0.7 * angle) / np.sin(angle), np.sin(0.3 * angle) / np.sin(angle))
            merged = shares[0] * tensors[0] + shares[1] * tensors[1]
        else:
            start = read(base)[name]
            moved = [one - start for one in tensors]
            mean = np.mean([cosine(one, other) for one, other in itertools.combinations(moved, 2)])
            merged = start + np.mean(moved, axis=0) * len(moved) * mean / (1 + (len(moved) - 1) * mean)
        result[name] = torch.from_numpy(merged)
    return result


def _models(work: Path, hidden: int, vocab: int) -> list[Path]:
    import torch

    from smolfast.config import ModelConfig
    from smolfast.model.network import SmolLM
    from smolfast.model.pretrained import save_pretrained

    shape = ModelConfig(hidden_size=hidden, num_hidden_layers=2, mtp_heads=1)
    torch.manual_seed(0)
    model = SmolLM(shape, vocab)
    shared = [torch.randn_like(p) * 0.01 for p in model.parameters()]
    start = [p.detach().clone() for p in model.parameters()]
    folders = []
    for at in range(4):
        for parameter, first, moved in zip(model.parameters(), start, shared, strict=True):
            parameter.data = first + (moved + 0.02 * torch.randn_like(first) if at else 0)
        folders.append(work / f"model-{at}")
        save_pretrained(model, folders[-1], end_of_document=0)
    return folders


def _memory(method: str, output: str, base: str, models: list[str]) -> None:
    """Merge, and print by how much the peak grew over that of a merge of two tiny models."""
    from smolfast.merge import merge

    def peak() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

    def run(found: list[str], target: str) -> None:
        own = None if base == "None" else found[0]
        merge(found[own is not None :], target, method=method, base=own, **CASES[method][0])

    run(models[: len(models) // 2], f"{output}-tiny")
    before = peak()
    run(models[len(models) // 2 :], output)
    print(f"peak grew by {(peak() - before) / 1024:.0f} MB, from {before / 1024:.0f} MB with torch in it")


def _mergekit(
    output: Path, method: str, models: list[Path], base: Path | None, ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    from mergekit.config import MergeConfiguration
    from mergekit.merge import MergeOptions, run_merge

    weights = ours.get("weights", [1.0] * len(models))
    parameters = [{"weight": weight, "density": ours.get("density", 1.0)} for weight in weights]
    if method == "slerp":
        base = models[0]
    entries = [
        {"model": str(model), "parameters": own if method in ("linear", "ties") else {}}
        for model, own in zip(models, parameters, strict=True)
    ]
    settings: dict[str, Any] = {"models": entries, "merge_method": method.replace("-", "_"), "dtype": "float32"}
    settings |= {"parameters": theirs} if theirs else {}
    settings |= {"base_model": str(base)} if base is not None else {}
    run_merge(MergeConfiguration.model_validate(settings), str(output), MergeOptions(copy_tokenizer=False, quiet=True))


if __name__ == "__main__":
    os.environ.setdefault("TQDM_DISABLE", "1")
    main()

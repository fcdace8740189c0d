"""Two walks through the house, as docs/design.md writes them down: each room once, and no way back up."""

from __future__ import annotations

import ast
import importlib.util
import re
from itertools import pairwise
from pathlib import Path

import pytest

from smolfast.commands.main import GROUPS

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "smolfast"

STRING = [
    "commands/main.py",
    "commands/dedup.py",
    "dedup/job.py",
    "dedup/signing.py",
    "dedup/rules.py",
    "dedup/minhash.py",
    "_native",
]
READING = ["dedup/signing.py", "io/documents.py", "io/sources.py"]
NATIVE = [
    "csrc/bindings/dedup.cpp",
    "csrc/dedup/minhasher.h",
    "csrc/dedup/tokens.h",
    "csrc/text/unicode_words.h",
]
TENSOR = [
    "train/loop.py",
    "train/run/parts.py",
    "train/micro_batches.py",
    "model/network.py",
    "ops/__init__.py",
    "ops/attention.py",
    "reference",
]


def imports(path: Path) -> set[str]:
    """Modules of smolfast that a file imports, as paths in the package or names of wings."""
    found = set()
    if path == PACKAGE / "commands" / "main.py":  # each command is loaded by its name
        found |= {f"smolfast.commands.{name.replace('-', '_')}" for group in GROUPS.values() for name in group}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "smolfast":
            for name in node.names:
                # Either a name out of a module, or a module out of a wing.
                room = PACKAGE.joinpath(*f"{node.module}.{name.name}".split(".")[1:])
                is_room = room.is_dir() or any(room.with_suffix(suffix).is_file() for suffix in (".py", ".pyi"))
                found.add(f"{node.module}.{name.name}" if is_room else str(node.module))
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found


def module_of(step: str) -> str:
    return "smolfast." + step.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@pytest.mark.parametrize("walk", [STRING, READING, TENSOR], ids=["string", "reading", "tensor"])
def test_each_room_leads_to_the_next(walk: list[str]) -> None:
    for here, there in pairwise(walk):
        assert module_of(there) in imports(PACKAGE / here), f"{here} doesn't import {there}"


@pytest.mark.parametrize("walk", [STRING, READING, TENSOR], ids=["string", "reading", "tensor"])
def test_no_room_leads_back(walk: list[str]) -> None:
    for index, here in enumerate(walk):
        if here.endswith(".py"):
            back = {module_of(earlier) for earlier in walk[:index]} & imports(PACKAGE / here)
            assert not back, f"{here} imports {back}, which lies before it"


def test_each_wing_is_entered_once() -> None:
    for walk in (STRING, READING, TENSOR):
        wings = [step.split("/")[0] for step in walk]
        assert len(list(dict.fromkeys(wings))) == sum(a != b for a, b in zip([None, *wings], wings, strict=False))


def test_the_native_part_goes_down_too() -> None:
    for here, there in pairwise(NATIVE):
        included = re.findall(r'#include "(.+)"', (ROOT / here).read_text(encoding="utf-8"))
        assert there.removeprefix("csrc/") in included, f"{here} doesn't include {there}"


def test_kernels_are_reached_by_name_from_the_operation_alone() -> None:
    for kernel, operation in (("gqa_attention", "attention"), ("mtp_loss", "loss"), ("newton_schulz", "orthogonalize")):
        assert f"smolfast.kernels.{kernel}" in (PACKAGE / "ops" / f"{operation}.py").read_text(encoding="utf-8")
        assert importlib.util.find_spec(f"smolfast.kernels.{kernel}") is not None
        users = [
            path for path in PACKAGE.rglob("*.py") if f"smolfast.kernels.{kernel}" in path.read_text(encoding="utf-8")
        ]
        assert [path.name for path in users] == [f"{operation}.py"]


def test_the_page_tells_these_walks() -> None:
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    for step in (*STRING[:-1], *READING, *NATIVE, *TENSOR[:4]):
        assert step.replace(".h", ".cpp") in page, f"docs/design.md doesn't name {step}"

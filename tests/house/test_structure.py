"""What a reader relies on to find things: imports point down, files stay short, and named paths exist."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "python" / "smolfast"
# From the ground up; a module that stands in none of them is as high as the highest that it imports.
FLOORS: list[tuple[str, str]] = [
    ("ground", "_native __version__ errors files progress signals background workers row_groups sources batch_writer"),
    ("ground", "documents json_lines options presets"),
    ("data", "text dedup normalize run_folder stages"),
    ("kernels", "kernels"),
    ("reference", "reference"),
    ("ops", "ops"),
    ("model", "config rope model optim hub_config pretrained flops distill attention_logits features nonfinite"),
    ("model", "clipping integrations patch"),
    ("train", "train quickstart"),
    ("cli", "command_line model_commands train_command cli __main__"),
]
ORDER = list(dict.fromkeys(floor for floor, _ in FLOORS))
FLOOR_OF = {module: ORDER.index(floor) for floor, modules in FLOORS for module in modules.split()}
MODULES = sorted(PACKAGE.rglob("*.py"))

SOURCES = [
    path
    for folder in ("csrc", "kernels", "python", "tests", "benchmarks", "examples")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".pyi", ".cpp", ".h", ".css", ".js", ".cmake"} or path.name == "CMakeLists.txt"
]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FOLDERS = "csrc|kernels|python|tests|benchmarks|docs|examples|build|\\.ci|\\.github"


def imported(path: Path) -> set[str]:
    """The modules of smolfast that a file imports, anywhere in it, without the package's own name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            if node.module == "smolfast":
                found |= {name.name for name in node.names}
            elif (node.module or "").startswith("smolfast."):
                found.add((node.module or "").removeprefix("smolfast."))
        elif isinstance(node, ast.Import):
            found |= {name.name.removeprefix("smolfast.") for name in node.names if name.name.startswith("smolfast.")}
    return found - {"SmolfastError"}


@functools.cache
def floor_of(module: str) -> int:
    top = module.split(".")[0]
    if top in FLOOR_OF:
        return FLOOR_OF[top]
    files = [path for path in MODULES if path.relative_to(PACKAGE).parts[0].removesuffix(".py") == top]
    assert files, f"smolfast has no module {top}"
    others = {other for path in files for other in imported(path) if other.split(".")[0] != top}
    return max(map(floor_of, others), default=0)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_down(path: Path) -> None:
    module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    if module == "__init__":
        return
    up = {other for other in imported(path) if floor_of(other) > floor_of(module)}
    assert not up, f"{module} is on the floor '{ORDER[floor_of(module)]}' and imports {up} from above"


def test_the_floors_name_what_exists() -> None:
    present = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert set(FLOOR_OF) - present == {"_native", "__version__", "kernels"}


def test_files_are_short_or_say_why_they_are_not() -> None:
    assert len(SOURCES) > 200
    for path in SOURCES:
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > 600:
            assert "longer than 600 lines" in "\n".join(lines[:30]), f"{path} has {len(lines)} lines and no reason"


def named_paths(page: Path) -> set[str]:
    """Paths of this repository in a page's code spans and blocks: with a folder, or a source file by its name alone."""
    spans = re.findall(r"```.*?```|`[^`\n]+`", page.read_text(encoding="utf-8"), re.DOTALL)
    words = {word.strip("`'\"()[],;:") for span in spans for word in span.split()}
    path = re.compile(rf"(?:{FOLDERS})/[\w.*/-]*|[\w-]+\.(?:py|cpp|h)")
    return {word for word in words if path.fullmatch(word) and not word.startswith("build/") and "NAME" not in word}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_named_paths_exist(page: Path) -> None:
    names = {path.name for path in SOURCES}
    for word in named_paths(page):
        # As git reads `csrc/*.h`, a star goes through folders.
        there = any(ROOT.glob(word.rstrip("/").replace("*", "**/*"))) if "/" in word else word in names
        assert there, f"{page.name} names {word}"


def test_paths_are_seen() -> None:
    assert {"python/smolfast/config.py", "csrc/text/clean.cpp"} <= named_paths(ROOT / "CONTRIBUTING.md")

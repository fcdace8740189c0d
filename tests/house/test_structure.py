"""What a reader relies on to find things: imports point down, files stay short, and named paths exist."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from smolfast.commands.main import GROUPS

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "smolfast"
# Paths by which modules were known before they moved into wings: each only hands out what lives there now.
KEPT_PATHS = {"cli": "commands", "pretrained": "model"}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "kernels" not in path.relative_to(PACKAGE).parts)
SOURCES = [
    path
    for folder in ("csrc", "kernels", "python", "tests", "benchmarks", "examples", "docs")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".pyi", ".cpp", ".h", ".inl", ".css", ".js", ".cmake"} or path.name == "CMakeLists.txt"
]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FOLDERS = "csrc|kernels|python|tests|benchmarks|docs|examples|build|\\.ci|\\.github"


def script(path: str) -> Any:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DRAWING = script("docs/draw_floors.py")
FLOORS = DRAWING.read_floors()
MAY_IMPORT: dict[str, list[str]] = {wing: allowed for floor in FLOORS for wing, allowed in floor["wings"].items()}
FLOOR_OF = {wing: number for number, floor in enumerate(FLOORS) for wing in floor["wings"]}


def wing_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_wings(path: Path) -> set[str]:
    """The wings that a file imports, anywhere in it. `smolfast` itself holds names of the ground only."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            if node.module == "smolfast":
                found |= {name.name for name in node.names}
            elif (node.module or "").startswith("smolfast."):
                found.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {name.name.split(".")[1] for name in node.names if name.name.startswith("smolfast.")}
    return found - {"SmolfastError", "__version__", "_native"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_down(path: Path) -> None:
    wing = wing_of(path)
    if wing in {"__init__", "__main__"}:  # the front door, which names every wing and loads none
        return
    allowed = {KEPT_PATHS[wing]} if wing in KEPT_PATHS else {wing, *MAY_IMPORT[wing]}
    up = imported_wings(path) - allowed
    assert not up, (
        f"{path.relative_to(PACKAGE)} imports {sorted(up)}, which tests/house/wings.toml doesn't allow {wing}"
    )


def test_what_a_wing_may_import_lies_on_no_higher_floor_and_goes_in_no_circle() -> None:
    order = list(MAY_IMPORT)
    for wing, allowed in MAY_IMPORT.items():
        for other in allowed:
            assert FLOOR_OF[other] <= FLOOR_OF[wing], f"{wing} may import {other} from a higher floor"
            # On one floor, what stands earlier in the table is lower: so no circle can be written down.
            assert order.index(other) < order.index(wing), f"{wing} may import {other}, which stands after it"


def test_the_table_names_what_exists_and_allows_no_more_than_is_used() -> None:
    present = {wing_of(path) for path in MODULES} - {"__init__", "__main__", *KEPT_PATHS}
    assert set(MAY_IMPORT) - {"kernels"} == present
    for wing, allowed in MAY_IMPORT.items():
        if wing == "kernels":
            continue
        used = set().union(*(imported_wings(path) for path in MODULES if wing_of(path) == wing))
        # The kernels are looked up by name, and only where there is Triton.
        assert set(allowed) - used <= {"kernels"}, f"{wing} doesn't import {sorted(set(allowed) - used)}"


def test_few_files_stand_beside_the_wings() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 14


def test_each_wing_says_what_it_is_for() -> None:
    for folder in {path.parent for path in MODULES if path.parent != PACKAGE}:
        said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
        assert said, f"{folder.relative_to(PACKAGE)}/__init__.py says nothing"


def test_the_drawing_is_of_this_table() -> None:
    assert DRAWING.PICTURE.read_text(encoding="utf-8") == DRAWING.draw(FLOORS), "run python docs/draw_floors.py"


def test_no_room_is_crowded() -> None:
    """Entries of a folder: past about twelve a wing wants rooms. Each command has a file of its name beside them."""
    commands = {name.replace("-", "_") for group in GROUPS.values() for name in group}
    for folder in {path.parent for path in MODULES} - {PACKAGE}:
        known = {"__init__", "__pycache__", *(commands if folder == PACKAGE / "commands" else ())}
        entries = [entry for entry in folder.iterdir() if entry.stem not in known]
        assert len(entries) <= 13, f"{folder.relative_to(ROOT)} holds {len(entries)} entries: make rooms"


def test_what_sanitizers_run_is_there() -> None:
    for patterns in script("tests/sanitize.py").TESTS.values():
        for pattern in patterns:
            assert list((ROOT / "tests").glob(pattern)), pattern


def test_files_are_short_or_say_why_they_are_not() -> None:
    assert len(SOURCES) > 200
    for path in SOURCES:
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > 600:
            assert "longer than 600 lines" in "\n".join(lines[:30]), f"{path} has {len(lines)} lines and no reason"


def test_the_loop_is_read_in_one_sitting() -> None:
    assert len((PACKAGE / "train" / "loop.py").read_text(encoding="utf-8").splitlines()) < 350


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
    assert {"csrc/fuzz/", "tests/house/wings.toml"} <= named_paths(ROOT / "CONTRIBUTING.md")

"""Kinds of stages of the user's own: a Python function, or a command."""

from __future__ import annotations

import ast
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from smolfast.config import Section
from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error
from smolfast.pipeline.recipes import references
from smolfast.pipeline.recipes.kinds.kind import PORTS, Binding, Kind, Paths, Take
from smolfast.pipeline.stages import Stage
from smolfast.progress import ProgressCallback

_ANY = {name: Take((name,), least=0, most=1000) for name in PORTS}


class _Own(Section):
    input: Paths = ()
    gives: dict[str, str] = Field(default_factory=lambda: {"documents": ""})

    @field_validator("gives")
    @classmethod
    def _known(cls, value: dict[str, str]) -> dict[str, str]:
        for name, path in value.items():
            if name not in PORTS:
                raise ValueError(f"{name!r} is none of {', '.join(PORTS)}")
            if Path(path).is_absolute() or ".." in Path(path).parts:
                raise ValueError(f"{path!r} is no path inside the output")
        return value


class _Python(_Own):
    python: str


class _Command(_Own):
    command: tuple[str, ...] = Field(min_length=1)


def _files(b: Binding) -> dict[str, Path]:
    return {name: Path(name) for name in b.options.input}


def _python(b: Binding) -> Stage:
    module, colon, function = b.options.python.partition(":")
    if not colon or not module or not function:
        raise SmolfastError(f"{b.name}: python = {b.options.python!r}: give MODULE:FUNCTION")
    needed = dict(b.needed)
    settings = dict(b.settings)

    def work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
        call = _function(b.name, module, function)
        path.mkdir(parents=True, exist_ok=True)
        said = call(needed, path, **settings)
        if said is not None and not isinstance(said, Mapping):
            raise SmolfastError(
                f"{b.name}: {b.options.python} gave {type(said).__name__}; return a dict of numbers, or None"
            )
        return dict(said or {})

    parameters = {"python": b.options.python, "code": _code(module), "seed": b.config.seed, **settings}
    return Stage(b.name, {**needed, **_files(b)}, b.output, parameters, work)


def _code(module: str) -> str:
    """What a module does, with those of the recipe's folder that it imports: their syntax without comments and layout.

    Empty where the module is installed, and not of this folder.
    """
    found = _own_modules(module)
    if not found:
        return ""
    said = "\n".join(f"{name} {ast.dump(tree)}" for name, tree in sorted(found.items()))
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _own_modules(module: str) -> dict[str, ast.Module]:
    """The modules of this folder that a module consists of: itself, and what it imports from here."""
    found: dict[str, ast.Module] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = Path(*name.split("."))
        file = next((one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file()), None)
        if name in found or file is None:
            continue
        try:
            found[name] = ast.parse(file.read_bytes())
        except (OSError, SyntaxError, ValueError) as error:
            raise SmolfastError(f"can't read {file}: {' '.join(str(error).split())}") from error
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        for node in ast.walk(found[name]):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                base = ".".join([*(part for part in above if part), *([node.module] if node.module else [])])
                waiting += [base, *(f"{base}.{alias.name}" if base else alias.name for alias in node.names)]
    return found


def _function(stage: str, module: str, function: str) -> Any:
    here = str(Path.cwd())
    # As the files are now, not as this process, or a recipe of another folder, has met them before.
    importlib.invalidate_caches()
    for name in _own_modules(module):
        sys.modules.pop(name, None)
    sys.path[:] = [here, *(path for path in sys.path if path != here)]
    # Bytecode is known by its source's size and second. Of a file changed twice in a second, it would be the old one.
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        return getattr(importlib.import_module(module), function)
    except ImportError as error:
        raise SmolfastError(f"{stage}: can't import {module} from {here}: {error}") from error
    except AttributeError:
        raise SmolfastError(f"{stage}: the module {module} has no {function}") from None
    finally:
        sys.dont_write_bytecode = writes


PYTHON = Kind(
    "a Python function", _python, gives={"documents": ""}, takes=_ANY, options=_Python, free=True, seeded=True
)


def _command(b: Binding) -> Stage:
    words = list(b.options.command)
    scripts = {word: Path(word) for word in words if not Path(word).is_absolute() and Path(word).is_file()}

    def work(path: Path, progress: ProgressCallback) -> Mapping[str, Any]:
        path.mkdir(parents=True, exist_ok=True)
        filled = [
            str(references.replace(word, lambda name: path if name == "output" else "${" + name + "}"))
            for word in words
        ]
        if shutil.which(filled[0]) is None:
            raise SmolfastError(f"{b.name}: there is no program {filled[0]!r}; check command")
        try:
            with Path(b.log or os.devnull).open("ab") as log:
                environment = {**os.environ, "OUTPUT": str(path)}
                done = subprocess.run(
                    filled, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, check=False
                )
        except OSError as error:
            raise SmolfastError(f"{b.name}: can't run {filled[0]}: {describe_os_error(error)}") from error
        if done.returncode:
            how = f"ended by signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
            raise SmolfastError(f"{b.name}: {' '.join(filled)[:120]}: {how}")
        return {}

    inputs = {**b.needed, **scripts, **_files(b)}
    # Where the folder lies isn't what the command does.
    said = [word.replace(str(b.folder), "${folder}") for word in words]
    return Stage(b.name, inputs, b.output, {"command": said}, work)


COMMAND = Kind("a command", _command, gives={"documents": ""}, takes=_ANY, options=_Command, free=True)

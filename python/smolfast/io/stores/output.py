"""One place for outputs in a store: made in a local folder, uploaded file by file, said to be whole at the end.

The local folder is a cache: what a killed run made there the same command goes on from. The record in the store is
written before the first file and again after the last, so that half of an output is never taken for one, and only
files that a record names are replaced.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import xxhash

from smolfast import __version__
from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error, finite, is_temporary, names_below, remove
from smolfast.io.json.journal import append_entry
from smolfast.io.locks import hold
from smolfast.io.sources import is_url, walk_folder
from smolfast.io.stores.address import RECORD, Place, StoreUrl, check_record, normal, place
from smolfast.io.stores.changes import stat_all, stat_source

_UPLOADED = ".uploaded.jsonl"
_SIDE_BY_SIDE = 4
_NO_MATTER = {"output", "output_folder", "overwrite", "threads", "engine", "address", "progress", "quiet", "json"}
_NO_MATTER |= {"run", "after", "goes_on", "extra"}
"""Arguments that change nothing of what is written."""
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass
class Output:
    """An output of a store while it is made."""

    local: Path
    """Where to make it."""
    result: Any = None
    """What the work says of it; kept in the record."""
    done: bool = False
    """It stands already as the same work made it: `result` is what that said."""
    renames: Mapping[str, str] = field(default_factory=dict)
    """Local names, and what users know them by."""


@contextlib.contextmanager
def store_output(url: str, made_from: Mapping[str, Any], *, overwrite: bool) -> Iterator[Output]:
    """Make an output of a store: gives a local path; when the block ends well, what lies there is uploaded.

    Args:
        made_from: what decides the output. Equal ones are one run, which goes on where it was stopped.

    Raises:
        SmolfastError: the store refuses; the output is or contains an input; something stands there that no record
            names, or that other work made, without `overwrite`.
    """
    _check_apart(url, made_from)
    at = Place(url)
    key = xxhash.xxh3_128_hexdigest(json.dumps([__version__, made_from], sort_keys=True, default=str).encode())
    root = work_folder() / xxhash.xxh3_64_hexdigest(normal(url).encode())
    with hold(root.with_suffix(".lock"), url):
        standing = _Standing(at)
        if standing.is_whole(key):
            yield Output(root / key / at.name, standing.record["result"], done=True)
            return
        standing.check(key, overwrite=overwrite)
        for other in root.iterdir() if root.is_dir() else ():
            if other.name != key:
                remove(other)
        output = Output(root / key / at.name)
        output.renames = {str(output.local): url, str(output.local.parent): url.rpartition("/")[0]}
        try:
            output.local.parent.mkdir(parents=True, exist_ok=True)
            yield output
        except OSError as error:
            raise SmolfastError(f"can't write the work folder {root}: {describe_os_error(error)}") from error
        except SmolfastError as error:
            said = str(error)
            for name, known in output.renames.items():
                said = said.replace(name, known)
            raise SmolfastError(said) from error
        standing.upload(output, key)
        remove(root)


def to_stores(of: type[Any] | None = None, *, output: str = "output") -> Callable[[Function], Function]:
    """Let a function's argument of that name be a URL of a store.

    Args:
        of: the dataclass that the function gives, which its `as_dict()` is made into again; None for a dict.
    """

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)

        @wraps(function)
        def with_stores(*arguments: Any, **options: Any) -> Any:
            given = signature.bind(*arguments, **options)
            given.apply_defaults()
            asked = os.fspath(given.arguments[output])
            if not is_url(asked):
                return function(*arguments, **options)
            where = place(asked)
            if not isinstance(where, StoreUrl):
                given.arguments[output] = where
                return function(*given.args, **given.kwargs)
            made_from = {"function": function.__name__, **describe(given.arguments)}
            with store_output(where, made_from, overwrite=bool(given.arguments.get("overwrite"))) as made:
                if made.done:
                    return made.result if of is None else of(**made.result)
                given.arguments[output] = made.local
                found = function(*given.args, **given.kwargs)
                made.result = found if of is None else found.as_dict()
                return found

        return cast("Function", with_stores)

    return decorate


def describe(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, as far as they decide an output; of those that are files or folders also what these hold."""
    said: dict[str, Any] = {}
    for name, value in arguments.items():
        if name in _NO_MATTER:
            continue
        if isinstance(value, Mapping) and name != "types":  # further options, or inputs by their names
            said |= {f"{name} {inner}": found for inner, found in describe(value).items()}
            continue
        values = value if isinstance(value, list | tuple) else [value]
        said[name] = [[_name(one), _seen(one)] for one in values]
    return said


def _name(value: Any) -> str:
    """A value in words; of a function that of its module and its own, which are the same in every process."""
    if callable(value):
        return f"{getattr(value, '__module__', '')}:{getattr(value, '__qualname__', type(value).__qualname__)}"
    return str(value)


def _seen(value: Any) -> Any:
    """Sizes and times of the files that a value names; None where it names none."""
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        return None
    path = os.fspath(value)
    try:
        if is_url(path):
            return [list(one) for one in stat_all(path)]
        if Path(path).is_dir():
            return [[name, *stat_source(name)] for name in walk_folder(path)[0]]
        return stat_source(path) if Path(path).is_file() else None
    except (OSError, ValueError, SmolfastError):
        return None  # what reads it will say what is wrong


def _check_apart(url: str, made_from: Mapping[str, Any]) -> None:
    own = normal(url)
    for values in made_from.values():
        for given in (pair[0] for pair in values) if isinstance(values, list) else ():
            if not is_url(str(given)):
                continue
            other = normal(str(given))
            if other == own or other.startswith(f"{own}/"):
                how = "is" if other == own else "contains"
                raise SmolfastError(f"the output {url} {how} the input {given}; choose another output")


def work_folder() -> Path:
    """Where outputs of stores are made: $SMOLFAST_WORK, or a folder of the user's cache."""
    given = os.environ.get("SMOLFAST_WORK")
    if given:
        return Path(given)
    cache = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(cache) if cache else Path.home() / ".cache") / "smolfast" / "stores"
    except RuntimeError:  # no home
        return Path(tempfile.gettempdir()) / f"smolfast-stores-{os.getuid()}"


class _Standing:
    """What the store has where the output goes."""

    def __init__(self, at: Place) -> None:
        self.at = at
        self.names = [name for name in at.standing() if not is_temporary(name)]
        self._of_folder, self._of_file = f"{at.path}/{RECORD}", f"{at.parent}/.{at.name}{RECORD}"
        found = None
        if self.names:
            found = at.read(self._of_file if self.names == [""] else self._of_folder)
        self.record: dict[str, Any] = {"key": "", "whole": False, "files": {}, "replaces": [], "result": None}
        if found is not None:
            try:
                self.record = check_record(json.loads(found), at.url)
            except ValueError as error:
                raise SmolfastError(f"the record of {at.url} is damaged; choose another output") from error
        self.names = [name for name in self.names if name != RECORD]

    def is_whole(self, key: str) -> bool:
        if not self.record["whole"] or self.record["key"] != key:
            return False
        return all(self.at.size(f"{self.at.parent}/{name}") == size for name, size in self.record["files"].items())

    def check(self, key: str, *, overwrite: bool) -> None:
        known = {*self.record["files"], *self.record["replaces"]}
        names = [f"{self.at.name}/{name}".rstrip("/") for name in self.names]
        for name in names:
            if name not in known:
                raise SmolfastError(
                    f"{self.at.url} holds {name}, and smolfast has no record of having written it; choose another "
                    "output, or move it"
                )
        if names and self.record["key"] != key and not overwrite:
            raise SmolfastError(
                f"{self.at.url} holds the result of other input or settings; choose another output or add --overwrite"
            )

    def upload(self, output: Output, key: str) -> None:
        """Bring all files to the store; the command's own manifest last, but for the record."""
        root = output.local.parent
        names = [name for name in names_below(root) if not any(part.startswith(".") for part in name.split("/")[:1])]
        names = [name for name in names if not is_temporary(name)]
        if not names:
            return
        files = {name: (root / name).stat().st_size for name in sorted(names, key=lambda name: (_is_late(name), name))}
        replaces = sorted({*self.record["files"], *self.record["replaces"]} - files.keys())
        result = json.loads(json.dumps(finite(output.result), default=str))
        record = {"key": key, "whole": False, "files": files, "replaces": replaces, "result": result}
        path = self._of_folder if output.local.is_dir() else self._of_file
        going_on = self.record["key"] == key and not self.record["whole"]
        self.at.write(path, json.dumps(record).encode())
        uploaded = _uploaded(root) if going_on else set()

        def put(name: str) -> None:
            where = f"{self.at.parent}/{name}"
            if name not in uploaded or self.at.size(where) != files[name]:
                self.at.put(root / name, where)
                append_entry(root / _UPLOADED, {"name": name})

        early = [name for name in files if not _is_late(name)]
        with ThreadPoolExecutor(_SIDE_BY_SIDE, "smolfast-upload") as pool:
            list(pool.map(put, early))
        for name in files:
            if _is_late(name):
                put(name)
        for name in replaces:
            self.at.delete(f"{self.at.parent}/{name}")
        self.at.write(path, json.dumps({**record, "whole": True, "replaces": []}).encode())
        if path == self._of_file and self.record["key"]:
            self.at.delete(self._of_folder)


def _is_late(name: str) -> bool:
    """Whether a file says what others are."""
    return name.count("/") == 1 and name.endswith(".json")


def _uploaded(root: Path) -> set[str]:
    try:
        lines = (root / _UPLOADED).read_text(encoding="utf-8").splitlines()
        return {str(json.loads(line)["name"]) for line in lines}
    except (OSError, ValueError, KeyError, TypeError):
        return set()

"""Outputs kept apart from inputs: none is, contains or replaces one, under whatever name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from smolfast.errors import SmolfastError
from smolfast.files import final_path
from smolfast.io.sources import PassedOver, Source, Sources, check_all_read, find_sources

PathLike = str | os.PathLike[str]
_Identity = tuple[int, int]
_MOST_LINKS = 40


def check_apart(
    output: PathLike, inputs: Iterable[PathLike], *, writes: Sequence[str] = (), called: str = "output"
) -> None:
    """Refuse an output that is or contains an input, or what an input's path leads through.

    Files are told by their numbers on disk, so that links (symbolic or hard), `..`, and upper case where the disk
    doesn't tell it from lower can't hide one behind another. URLs are passed over.

    Args:
        writes: names of the files that will be written in the folder `output`; none of them may be an input either.
        called: what the output is, for the message.

    Raises:
        SmolfastError: names the output and the input.
    """
    # With `..` taken out: new/../data is data once new is made.
    paths = [(Path(output, name), Path(os.path.realpath(output), name)) for name in ("", *writes)]
    targets = [(path, identity) for path, real in paths if (identity := _identity(real))]
    if not targets:
        return
    ways = _Ways()
    for given in inputs:
        source = os.fspath(given)
        if "://" in source:
            continue
        passed = ways.of(source)
        for target, identity in targets:
            if identity in passed:
                same = identity == _identity(Path(source))
                raise SmolfastError(
                    f"the {called} {target} {'is' if same else 'contains'} the input {source}; choose another {called}"
                )


def find_apart(
    inputs: Sequence[PathLike],
    output: PathLike,
    *,
    strict: bool = False,
    writes: Sequence[str] = (),
    find: Callable[[Sequence[PathLike]], Sources] = find_sources,
) -> tuple[Sources, Sources]:
    """The sources that inputs name and that don't lie in `output`, and those that do.

    Args:
        output: may be the temporary path of an output.
        strict: raise if a file of a folder outside the output is passed over.
        writes: as for `check_apart`.
        find: what finds the sources.

    Raises:
        SmolfastError: as `find`; or the output is or contains an input, or holds all of them.
    """
    final = final_path(Path(output))
    check_apart(final, inputs, writes=writes)
    sources, inside = leave_out(find(inputs), final)
    if strict:
        check_all_read(sources.passed_over)
    check_apart(final, (source.path for source in sources), writes=writes)
    if not sources:
        raise SmolfastError(f"the input holds nothing but the output {final}; give other input")
    return sources, inside


def check_free(output: PathLike, names: Iterable[str], inside: Iterable[Source]) -> None:
    """Refuse to replace files of an input folder that aren't read because the output lies there too.

    Nothing tells them from documents of the user. Outputs under a temporary name are replaced by who renames them.

    Args:
        names: what will be written in the folder `output`; "" for `output` itself.
        inside: the sources that lie in `output`, from `find_apart`.

    Raises:
        SmolfastError: names the file.
    """
    if final_path(Path(output)) != Path(output):
        return
    identities = {_identity(Path(source.path)) for source in inside} - {None}
    for name in names:
        if _identity(Path(output, name)) in identities:
            raise SmolfastError(
                f"{Path(output, name)} lies in the input and would be replaced; move it away or choose another output"
            )


def leave_out(sources: Sources, output: PathLike) -> tuple[Sources, Sources]:
    """Sources that don't lie in `output` (and aren't it), and those that do. Each part has what it passed over."""
    identity = _identity(Path(os.path.realpath(output)))
    if identity is None:
        return sources, Sources([])
    known: dict[Path, bool] = {}

    def inside(folder: Path) -> bool:
        if folder not in known:
            known[folder] = _identity(folder) == identity or (folder.parent != folder and inside(folder.parent))
        return known[folder]

    def is_in(path: str) -> bool:
        if "://" in path:
            return False
        return _identity(Path(path)) == identity or inside(Path(os.path.realpath(Path(path).parent)))

    parts: tuple[list[Source], list[Source]] = ([], [])
    for source in sources:
        parts[is_in(source.path)].append(source)
    passed_over: tuple[list[PassedOver], list[PassedOver]] = ([], [])
    for other in sources.passed_over:
        passed_over[is_in(other.path)].append(other)
    return Sources(parts[0], passed_over[0]), Sources(parts[1], passed_over[1])


def _identity(path: Path) -> _Identity | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


class _Ways:
    """Which folders and links the paths of many inputs lead through."""

    def __init__(self) -> None:
        self._of_folder: dict[Path, tuple[Path, set[_Identity]]] = {}

    def of(self, path: str) -> set[_Identity]:
        """The file itself and every folder that it or a link on the way to it lies in."""
        return self._follow(Path.cwd() / path, 0)[1]

    def _follow(self, path: Path, links: int) -> tuple[Path, set[_Identity]]:
        """Where an absolute path leads, and what it passes."""
        if path.parent == path:
            return path, _identities(path)
        folder, passed = self._folder(path.parent, links)
        if path.name == os.pardir:
            return folder.parent, (passed - _identities(folder)) | self._folder(folder.parent, links)[1]
        place = folder / path.name
        passed = passed | _identities(place)
        if place.is_symlink() and links < _MOST_LINKS:
            target, others = self._follow(folder / place.readlink(), links + 1)
            return target, passed | others
        return place, passed

    def _folder(self, path: Path, links: int) -> tuple[Path, set[_Identity]]:
        if path not in self._of_folder:
            self._of_folder[path] = self._follow(path, links)
        return self._of_folder[path]


def _identities(path: Path) -> set[_Identity]:
    identity = _identity(path)
    return set() if identity is None else {identity}

"""Find the files of a crawl that the user named: WARC and WET, in folders and by patterns too."""

from __future__ import annotations

import os
from collections.abc import Sequence

from smolfast.errors import SmolfastError
from smolfast.io.keep_apart import leave_out
from smolfast.io.sources import CRAWLS, Sources, find_by_name, find_sources, is_crawl

PathLike = str | os.PathLike[str]


def find_crawls(inputs: Sequence[PathLike]) -> Sources:
    """List the WARC and WET files that `inputs` name: files, folders, patterns, and URLs of files.

    A file that is named is read whatever its name; below a folder and among what a pattern matches the name decides.

    Raises:
        SmolfastError: nothing given, a missing path, nothing found.
    """
    return find_by_name(inputs, "crawl", is_crawl, CRAWLS)


def holds_crawls(inputs: Sequence[PathLike], *outputs: PathLike) -> bool:
    """Whether these inputs are of a crawl and not of documents; what can't be found is left to who reads it.

    What lies in `outputs` counts as neither: an earlier run wrote it.

    Raises:
        SmolfastError: both.
    """
    try:
        crawls = any(is_crawl(source.path) for source in find_crawls(inputs))
    except SmolfastError:
        return False
    if not crawls:
        return False
    for given in inputs:
        if is_crawl(os.fspath(given)):
            continue
        try:
            documents = find_sources([given])
        except SmolfastError:  # it holds none
            continue
        for output in outputs:
            documents, _ = leave_out(documents, output)
        if documents:
            raise SmolfastError(
                f"{documents[0].path} holds documents, and other input is a crawl; give one of them, by name or by a "
                "pattern such as 'FOLDER/*.warc.gz'"
            )
    return True

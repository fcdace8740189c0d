"""A page of a crawl, found by its id or address in what a run wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from smolfast.curate.explain.find import Found
from smolfast.curate.files.folder import KEPT, REMOVED
from smolfast.errors import SmolfastError
from smolfast.io.sources import one_line


def find_page(output: Path, name: str) -> Found:
    """The first page of that id or address, among those that went and then among those kept.

    Its text is as the rules saw it where they removed it, and as it was written where it is kept.

    Raises:
        SmolfastError: there is none, another stage than the rules removed it, or a file of the run is damaged.
    """
    for folder in (REMOVED, KEPT):
        for path in sorted((output / folder).rglob("*.parquet")):
            try:
                with pq.ParquetFile(path) as file:
                    row = _row(file, name)
            except (OSError, pa.ArrowException) as error:
                raise SmolfastError(f"can't read {path} ({one_line(error)}); run curate again") from error
            if row is None:
                continue
            if folder == REMOVED and row["stage"] != "rules":
                of = f" of {row['duplicate_of']}" if row["duplicate_of"] else ""
                raise SmolfastError(
                    f"{name} went at the stage {row['stage']} for: {row['reason']}{of}; the rules' numbers of what is "
                    "kept or went by the rules can be shown"
                )
            place = int(str(row["offset"]))
            return Found(place, str(row["file"]), place, folder == KEPT, row, str(row["text"]))
    raise SmolfastError(f"{output} has no page {name!r}; give an id or a URL of {KEPT} or {REMOVED}")


def _row(file: pq.ParquetFile, name: str) -> dict[str, object] | None:
    for group in range(file.num_row_groups):
        names = file.read_row_group(group, columns=["id", "url"])
        found = pc.or_kleene(pc.equal(names["id"], name), pc.equal(names["url"], name))
        rows = np.flatnonzero(pc.fill_null(found, False).to_numpy())
        if len(rows):
            return dict(file.read_row_group(group).slice(int(rows[0]), 1).to_pylist()[0])
    return None

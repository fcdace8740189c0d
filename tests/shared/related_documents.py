"""Documents of which many are like another, some equal, and some have no words, in files of several kinds."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def related(count: int, seed: int = 0) -> list[dict[str, object]]:
    """Documents whose near-duplicates lie anywhere among them."""
    drawn = random.Random(seed)
    words = [f"word{number}" for number in range(3000)]
    rows: list[dict[str, object]] = []
    for number in range(count):
        text = drawn.choices(words, k=drawn.randint(20, 90))
        if rows and drawn.random() < 0.35:
            text = str(drawn.choice(rows)["text"]).split()
            for _ in range(drawn.choice([0, 0, 1, 1, 2, 4])):
                if text:
                    text[drawn.randrange(len(text))] = drawn.choice(words)
        if drawn.random() < 0.02:
            text = []
        rows.append({"id": f"doc-{number}", "text": " ".join(text), "score": drawn.random(), "length": len(text)})
    return rows


def write_files(folder: Path, count: int, files: int = 4, seed: int = 0, group: int = 50) -> Path:
    """The documents in so many files of parquet (in row groups of so many rows) and one of JSON lines."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = related(count, seed)
    ends = [count * at // (files + 1) for at in range(files + 2)]
    for at in range(files):
        table = pa.Table.from_pylist(rows[ends[at] : ends[at + 1]])
        pq.write_table(table, folder / f"part-{at}.parquet", row_group_size=group)
    with (folder / "part-last.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows[ends[files] :])
    return folder

"""What an installed wheel must do with nothing but its own dependencies: README's examples without torch.

    python tests/wheel.py            # in an environment where smolfast is installed; needs no compiler and no pytest

Run from anywhere but the repository's root, whose `kernels/` would be found before other packages.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
SHARDS = (["the cat sat on the mat and looked at the dog"] * 2, ["an entirely different sentence about parquet files"])


def blocks(language: str, section: str) -> list[str]:
    """The fenced blocks of one language under one heading of the README."""
    text = README.read_text(encoding="utf-8").split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def main() -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    import smolfast
    from smolfast import _native
    from smolfast.commands.demo import FIRST, OTHER

    section = "Clean text, remove near-copies"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for index, texts in enumerate(SHARDS):
            pq.write_table(pa.table({"text": texts}), f"shard-{index}.parquet")
        page = f"{FIRST}\n{OTHER}".replace(". ", ".\n")  # as FineWeb would keep it
        lines = (json.dumps({"text": text}) + "\n" for text in ("e\u0301tude\r\n", page))
        Path("corpus.jsonl").write_text("".join(lines), encoding="utf-8")
        for block in blocks("python", section):
            exec(compile(block, str(README), "exec"), {})
        kept = pq.read_table("deduplicated/kept.parquet")
        assert kept.num_rows == 2, f"{kept.num_rows} rows kept of three, two of which are equal"
        environment = {**os.environ, "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))}
        for command in "".join(blocks("sh", section)).replace(".jsonl.zst", ".jsonl").splitlines():
            subprocess.run(command, shell=True, check=True, env=environment)
        texts = pq.read_table("normalized.parquet")["text"].to_pylist()
        assert texts[0] in ("\u00e9tude\n", "\u00e9tude") and texts[1] == page, texts
        assert pq.read_table("unique/kept.parquet")["text"].to_pylist() == [page]
    assert not importlib.util.find_spec("torch") or "torch" not in sys.modules
    print(
        f"smolfast {smolfast.__version__}, {_native.implementation()}, Unicode {smolfast.unicode_version}: examples run"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

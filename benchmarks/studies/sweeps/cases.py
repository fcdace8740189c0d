"""The trainings that pruners were chosen on, and those that they were checked on: other text, other models.

python benchmarks/studies/sweeps/cases.py FOLDER     # writes the texts, of this machine's documentation and headers
"""

from __future__ import annotations

import gzip
import random
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

BYTES = 2_500_000
"""Characters of a text, about."""
RATES = "train.adamw_learning_rate=log:0.001..0.1"
OPTIMIZERS = "train.optimizer=muon,adamw"
OBJECTIVE = "evaluate.bits_per_byte"
SEEDS = (0, 1)


@dataclass(frozen=True)
class Case:
    """A training: settings over the recipe `ablation`.

    Attributes:
        use: "choose" or "check".
        shape: width, width of the feed-forward part, layers, of a head.
        batch: sequences of 64 tokens in a step.
    """

    name: str
    use: str
    shape: tuple[int, int, int, int]
    steps: int
    batch: int
    more: tuple[str, ...] = ()

    def settings(self, texts: Path, seed: int) -> tuple[str, ...]:
        """As `--set` takes them."""
        width, inner, layers, head = self.shape
        return (
            f"seed={seed}",
            f"collect.input={texts / self.name}.parquet",
            f"model.hidden_size={width}",
            f"model.intermediate_size={inner}",
            f"model.num_hidden_layers={layers}",
            f"model.head_dim={head}",
            f"train.steps={self.steps}",
            f"train.batch_size={self.batch}",
            "train.micro_batch_size=8",
            f"train.evaluate_every={self.steps // 12}",
            "evaluate.max_bytes=100_000",
            *self.more,
        )


CASES = (
    Case("python", "choose", (96, 256, 3, 24), 60, 16),
    Case("headers", "choose", (64, 160, 2, 16), 96, 8),
    Case("manuals", "choose", (64, 192, 4, 16), 60, 16, ("train.schedule=cosine", "tokenizer.vocab_size=512")),
    Case("perl", "check", (128, 416, 4, 32), 60, 16, ("tokenizer.vocab_size=2048",)),
    Case("nodejs", "check", (64, 192, 2, 16), 120, 8, ("model.activation=gelu",)),
    Case("changelogs", "check", (96, 192, 3, 24), 72, 16, ("train.schedule=cosine", "model.norm=layernorm")),
)


def write_text(name: str, folder: Path) -> Path:
    """Documents of this machine, in an order by chance; made if they aren't there."""
    path = folder / f"{name}.parquet"
    if not path.exists():
        texts: list[str] = []
        for text in SOURCES[name]():
            if 300 < len(text) < 40_000:
                texts.append(text)
            if sum(map(len, texts)) > BYTES:
                break
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"text": texts}), path)
    return path


def _files(root: str | Path, pattern: str) -> Iterator[str]:
    named = (path for path in Path(root).rglob("*") if re.search(pattern, path.name))
    found = sorted((path for path in named if path.is_file() and not path.is_symlink()), key=str)
    random.Random(0).shuffle(found)
    for path in found:
        try:
            yield (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode()
        except (OSError, UnicodeDecodeError):
            continue


def _plain(pages: Iterator[str]) -> Iterator[str]:
    return (re.sub(r"<[^>]+>", "", page) for page in pages)


SOURCES: dict[str, Callable[[], Iterator[str]]] = {
    "python": lambda: _files(sysconfig.get_path("stdlib"), r"^[a-z]\w*\.py$"),
    "headers": lambda: _files("/usr/include", r"\.(h|hpp)$"),
    "manuals": lambda: _files("/usr/share/man/man1", r"\.gz$"),
    "perl": lambda: _files("/usr/share/perl", r"\.(pm|pod|pl)$"),
    "nodejs": lambda: (
        re.sub(r"<[^>]+>", "", text) for text in _files("/usr/share/doc/nodejs", r"\.(html|md)(\.gz)?$")
    ),
    "changelogs": lambda: (text[:20_000] for text in _files("/usr/share/doc", r"^(changelog|NEWS)")),
}


if __name__ == "__main__":
    for name in SOURCES:
        print(write_text(name, Path(sys.argv[1])))

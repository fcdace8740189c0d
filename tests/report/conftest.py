"""A run folder made by code, and a strict reader of pages."""

from __future__ import annotations

import json
import math
import shutil
import struct
import textwrap
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolfast.config import Config
from smolfast.report import write_report

HOSTILE = "</pre><script>alert('x')</script><img src=x onerror=alert(1)>\"'&\x00\x1b[31m\u202e]]>--><!--"
LICENCE = Path(textwrap.__file__).read_text(encoding="utf-8")
PROSE = (
    "The harbour was quiet when the last boat came in, and the men who had waited on the wall since noon put out their "
    "pipes and went down the steps to take her lines. "
) * 6
STEPS = 120


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_table(path: Path, columns: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        name: pa.array(values, pa.large_string()) if name == "text" else pa.array(values)
        for name, values in columns.items()
    }
    pq.write_table(pa.table(arrays), path)


def _documents() -> tuple[list[tuple[str, str]], list[dict[str, Any]]]:
    """(id, text) of every document, and the removal record."""
    vendored = LICENCE.replace("self.width", "self.columns", 3).replace("import re", "import re  # vendored", 1)
    documents = [
        ("lib/textwrap.py", LICENCE),
        ("site-packages/pip/_vendor/wrap.py", vendored),
        ("docs/harbour.md", PROSE + "Nobody spoke of the storm. " + PROSE),
        ("old/harbour-1.md", PROSE + "Everybody spoke about the storm that night. " + PROSE),
        (f"evil/{HOSTILE}.txt", f"first line\n{HOSTILE}\nlast line\n" + PROSE),
        (f"evil/{HOSTILE}-copy.txt", f"first line\n{HOSTILE} and more\nlast line\n" + PROSE),
        ("a/same.txt", "twice the same text"),
        ("b/same.txt", "twice the same text"),
        ("c/alike.txt", "alike  text"),
        ("d/alike.txt", "alike text"),
    ]
    removals = [
        (1, 0, 0.9732142857, "near"),
        (3, 2, 0.875, "near"),
        (5, 4, 0.9196428571, "near"),
        (7, 6, 1.0, "exact"),
        (9, 8, 1.0, "near"),
    ]
    record = [
        {
            "file": "documents.parquet",
            "row": row,
            "id": documents[row][0],
            "kept_file": "documents.parquet",
            "kept_row": kept,
            "kept_id": documents[kept][0],
            "jaccard": jaccard,
            "cluster_id": kept,
            "kind": kind,
        }
        for row, kept, jaccard, kind in removals
    ]
    return documents, record


def metrics(steps: int = STEPS) -> list[dict[str, Any]]:
    out = []
    for step in range(1, steps + 1):
        wave = 0.15 * math.sin(step * 1.7) + 0.08 * math.cos(step * 0.9)
        rate = min(1.0, step / (0.05 * steps), (steps - step + 1) / (0.4 * steps))
        heads = [3.4 + 4.9 * math.exp(-step / 25) + wave, 4.3 + 4.0 * math.exp(-step / 30) + wave]
        entry = {
            "step": step,
            "loss": heads[0] + 0.3 * heads[1],
            "head_losses": heads,
            "muon_learning_rate": 0.02 * rate,
            "adamw_learning_rate": 0.003 * rate,
            "gradient_norm": 0.4 + 12 * math.exp(-step / 4) + abs(wave),
            "tokens": step * 4096,
            "seconds": step * 0.7,
        }
        if step % 20 == 0:
            entry["held_out_loss"] = heads[0] + 0.12 - wave
        out.append(entry)
    return out


def shapes() -> dict[str, list[int]]:
    found = {
        "model.embed_tokens.weight": [4096, 256],
        "model.norm.weight": [256],
        "mtp_heads.0.projection.weight": [256, 512],
    }
    for layer in range(4):
        prefix = f"model.layers.{layer}"
        found |= {
            f"{prefix}.self_attn.{n}_proj.weight": [o, 256] for n, o in (("q", 256), ("k", 64), ("v", 64), ("o", 256))
        }
        found |= {f"{prefix}.mlp.gate_proj.weight": [704, 256], f"{prefix}.mlp.up_proj.weight": [704, 256]}
        found |= {f"{prefix}.mlp.down_proj.weight": [256, 704], f"{prefix}.input_layernorm.weight": [256]}
    return found


def build_run(folder: Path) -> Path:
    """A run folder as `smolfast quickstart` leaves it, but for the files that the report doesn't read."""
    documents, record = _documents()
    ids, texts = [d[0] for d in documents], [d[1] for d in documents]
    write_table(folder / "normalize" / "documents.parquet", {"id": ids, "text": texts})
    write_table(folder / "dedup" / "removed.parquet", {key: [r[key] for r in record] for key in record[0]})

    counts = {
        "collect": (4321, 26_400_000, 4002, 24_000_000, {"skipped_not_utf8": 3, "skipped_too_long": 316}),
        "normalize": (4002, 24_000_000, 4002, 23_998_000, {"documents_changed": 17}),
        "dedup": (
            4002,
            23_998_000,
            3456,
            20_100_000,
            {
                "exact_duplicates": 221,
                "near_duplicates": 325,
                "clusters": 3456,
                "skipped": 0,
                "near_by_jaccard": {"0.00-0.50": 0, "0.70-0.75": 125, "0.90-0.95": 200},
            },
        ),
        "split": (3456, 20_100_000, 3456, 20_100_000, {"train_documents": 3283, "held_out_documents": 173}),
    }
    plain = {
        "tokenizer": {"vocab_size": 4096, "bytes_per_token": 3.71},
        "tokenize": {"train_tokens": 5_140_000, "held_out_tokens": 271_000},
        "train": {"steps": STEPS, "parameters": 3_000_000, "final_loss": 4.7},
        "evaluate": {"bits_per_byte": 1.432},
        "export": {"files": 4},
        "generate": {"new_tokens": 160},
        "report": {"bytes": 1},
    }
    for index, name in enumerate([*counts, *plain]):
        if name in counts:
            d_in, b_in, d_out, b_out, more = counts[name]
            summary: dict[str, Any] = {
                "documents_in": d_in,
                "bytes_in": b_in,
                "documents_out": d_out,
                "bytes_out": b_out,
                **more,
            }
        else:
            summary = plain[name]
        manifest = {
            "stage": name,
            "key": f"{index:032x}",
            "seconds": 221.5 if name == "train" else 1.25 + index,
            "peak_rss_bytes": (180 + 70 * index) * 1_000_000,
            "summary": summary,
            "inputs": {},
            "output": {"path": name, "xxh3_128": f"{index + 7:032x}"},
        }
        write_json(folder / "stages" / f"{name}.json", manifest)
    write_json(folder / "stages" / "train.started.json", {"stage": "train", "key": "0"})

    (folder / "train" / "model").mkdir(parents=True)
    (folder / "train" / "metrics.jsonl").write_text("".join(json.dumps(e) + "\n" for e in metrics()), encoding="utf-8")
    for name, extra in (("model.safetensors", False), ("mtp_heads.safetensors", True)):
        found = {n: shape for n, shape in shapes().items() if n.startswith("mtp_heads.") == extra}
        entries = {n: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for n, shape in found.items()}
        header = json.dumps({"__metadata__": {"format": "pt"}} | entries).encode()
        (folder / "train" / "model" / name).write_bytes(struct.pack("<Q", len(header)) + header)
    write_json(
        folder / "evaluate" / "evaluation.json",
        {
            "bits_per_byte": 1.4321,
            "nats_per_token": 3.68,
            "tokens": 271_000,
            "bytes": 998_123,
            "documents": 173,
            "unigram_bits_per_byte": 4.8123,
            "zlib_bits_per_byte": 2.4567,
            "xz_bits_per_byte": 2.1234,
        },
    )
    sample = 'args):\n    """Return the <b>first</b> line."""\n    return args & HOSTILE\n' + HOSTILE
    write_json(
        folder / "generate" / "sample.json", {"prompt": "def main(", "text": sample, "seed": 0, "temperature": 0.7}
    )
    config = Config().model_dump(mode="json")
    write_json(
        folder / "run.json",
        {
            "identity": {"config": config, "input": [], "text_column": "text", "errors": "fail", "minutes": 5.0},
            "seed": 0,
            "threads": 2,
            "versions": {
                "python": "3.12.4",
                "smolfast": "0.1.0",
                "torch": "2.13.0",
                "numpy": "2.3.1",
                "unicode": "18.0.0",
            },
            "hardware": {
                "cpu": "Example CPU @ 2.60GHz",
                "threads": 2,
                "memory_bytes": 25_769_803_776,
                "implementation": "avx2",
            },
        },
    )
    return folder


class Page(HTMLParser):
    """Reads a page strictly: every element closed in order, ids unique; keeps what the tests ask about."""

    VOID = frozenset({"meta", "br", "col"})

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.ids: set[str] = set()
        self.text: list[str] = []
        self.raw: dict[str, str] = {}
        self.feed(html)
        self.close()
        assert self.open == []
        self.words = " ".join("".join(self.text).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        assert len(attributes) == len(attrs), f"<{tag}> has an attribute twice"
        self.elements.append((tag, attributes))
        if (key := attributes.get("id")) is not None:
            assert key not in self.ids, f"id {key} twice"
            self.ids.add(key)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            self.raw[self.open[-1]] = data
        else:
            self.text.append(data + ("" if self.open and self.open[-1] in ("del", "ins", "span", "code") else " "))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="session")
def fake() -> SimpleNamespace:
    """What the made run holds, and what writes and reads such files."""
    return SimpleNamespace(
        hostile=HOSTILE,
        steps=STEPS,
        metrics=metrics,
        shapes=shapes,
        write_json=write_json,
        write_table=write_table,
        page=Page,
    )


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to read only."""
    return build_run(tmp_path_factory.mktemp("report") / "my-run")


@pytest.fixture
def own_run(run_folder: Path, tmp_path: Path) -> Path:
    """A run of the test's own, to take things from and to break."""
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


@pytest.fixture
def report(own_run: Path, fake: SimpleNamespace) -> Callable[[], tuple[Any, dict[str, Any]]]:
    """Writes the report of the test's run; gives the page and the summary."""

    def write() -> tuple[Any, dict[str, Any]]:
        output = own_run.parent / "out.html"
        summary = write_report(own_run, output)
        return fake.page(output.read_text(encoding="utf-8")), summary

    return write

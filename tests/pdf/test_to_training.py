"""From PDF files to a trained model, by the commands that each prints as the next."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from made_pdfs import essay
from smolfast.commands.main import main

Make = Callable[..., Path]
SMALL = {
    "tokenizer.vocab_size": 300,
    "model.hidden_size": 32,
    "model.intermediate_size": 64,
    "model.head_dim": 8,
    "train.sequence_length": 32,
    "train.batch_size": 2,
    "train.micro_batch_size": 2,
    "train.steps": 4,
    "train.checkpoint_every": 2,
    "train.evaluate_every": 2,
    "split.held_out_fraction": 0.3,
    "generate.max_new_tokens": 5,
}


def test_pdfs_become_a_model(make: Make, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(14):
        make(f"in/{number:02}.pdf", essay(40 * number, 40 * number + 20), essay(40 * number + 20, 40 * number + 40))
    make("in/near.pdf", essay(0, 20), essay(20, 41))  # a sentence more than 00.pdf
    shutil.copy(tmp_path / "in" / "03.pdf", tmp_path / "in" / "copy.pdf")
    (tmp_path / "in" / "picture.pdf").write_bytes(b"\xff\xd8\xff\xe0 JFIF")
    assert main(["pdf", "in", "-o", "text", "--threads", "1", "--quiet"]) == 0
    assert main(["dedup", "text/kept", "-o", "unique", "--quiet"]) == 0
    settings = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    assert main(["quickstart", "--input", "unique", "--out", "run", "--threads", "1", "--quiet", *settings]) == 0
    gone = [row["reason"] for row in pq.read_table("text/removed").to_pylist()]
    assert sorted(gone) == ["duplicate_file", "not a PDF"]
    stages = {path.stem: json.loads(path.read_text())["summary"] for path in Path("run/stages").glob("*.json")}
    assert json.loads(Path("text/pdf.json").read_text())["summary"]["documents_out"] == 15
    assert stages["collect"]["documents_in"] == 14, "the near-duplicate went"
    assert 0 < json.loads(Path("run/evaluate/evaluation.json").read_text())["bits_per_byte"] < 9
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert 'id="funnel"' in page and "collect 14 documents" in page

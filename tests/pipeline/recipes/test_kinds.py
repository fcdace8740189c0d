"""Each kind of stage in a recipe, beside those that the shipped ones have."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from smolfast.pipeline.recipes import load_recipe, plan, run

LIBRARY = Path(sysconfig.get_path("stdlib"))
RECIPE = """
name = "kinds"
preset = "compact"

[train]
steps = 4
batch_size = 4
micro_batch_size = 2

[model]
hidden_size = 32
intermediate_size = 64
head_dim = 8

[stages.convert]
input = "LIBRARY/email"
format = "jsonl"

[stages.curate]
needs = "convert"
rules = "rules.toml"

[stages.normalize]
needs = "curate"
clean = true
lower = true

[stages.dedup]
needs = ["normalize", "convert"]
simplify = true

[stages.upper]
needs = "dedup"
python = "own:upper"
gives = { documents = "upper.parquet" }

[stages.split]
needs = "upper"
held_out_fraction = 0.3

[stages.tokenizer]
needs = "split"
vocab_size = 400

[stages.tokenize]
needs = ["split", "tokenizer"]

[stages.teacher]
kind = "train"
needs = "tokenize"

[stages.teacher-export]
kind = "export"
needs = ["teacher", "tokenizer"]

[stages.distill-cache]
needs = ["tokenize", "teacher-export"]
samples = 4

[stages.train]
needs = ["tokenize", "distill-cache"]

[stages.tuned]
kind = "train"
needs = "tokenize"
init = "${train.model}"

[stages.export]
needs = ["tuned", "tokenizer"]

[stages.page]
kind = "report"
needs = "tuned"
output = "page.html"
"""
OWN = """
import pyarrow as pa, pyarrow.compute as pc, pyarrow.parquet as pq

def upper(inputs, output):
    table = pq.read_table(inputs["dedup"] / "kept.parquet").select(["text"])
    text = pc.utf8_upper(table["text"])
    pq.write_table(pa.table({"text": text}), output / "upper.parquet")
    return {"rows": len(text)}
"""


def test_each_kind(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "rules.toml").write_text(
        'name = "few"\nversion = "1"\n[[filter]]\nname = "gopher_quality"\nmin_doc_words = 200\n'
        "max_doc_words = 100000\n"
        "min_avg_word_length = 0\nmax_avg_word_length = 0\nmax_symbol_word_ratio = 0\nmax_bullet_lines_ratio = 0\n"
        "max_ellipsis_lines_ratio = 0\nmax_non_alpha_words_ratio = 0\nmin_stop_words = 0\nstop_words = []\n"
    )
    recipe = tmp_path / "kinds.toml"
    recipe.write_text(RECIPE.replace("LIBRARY", str(LIBRARY)))
    out = tmp_path / "out"
    outcome = run(load_recipe(recipe), out)
    outcome.check(out / "stages")
    found = outcome.summaries
    for name, node in load_recipe(recipe).nodes.items():  # a reference to a number is checked by these names
        assert set(node.kind.summary or ()) <= found[name].keys(), name
    assert (out / "convert" / "documents.jsonl").stat().st_size > 100_000
    assert 0 < found["curate"]["documents_out"] < found["curate"]["documents_in"] == found["convert"]["documents_out"]
    assert found["dedup"]["documents_in"] == found["curate"]["documents_out"] + found["convert"]["documents_out"]
    assert found["dedup"]["exact_duplicates"] + found["dedup"]["near_duplicates"] > 0
    text = pq.read_table(out / "split" / "train.parquet")["text"]
    assert pa.types.is_large_string(text.type) or pa.types.is_string(text.type)
    assert text[0].as_py() == text[0].as_py().upper()
    assert found["distill-cache"]["tokens"] == found["tokenize"]["train_tokens"]
    assert json.loads((out / "tuned" / "run.json").read_text())
    assert b"<!doctype html>" in (out / "page.html").read_bytes()[:20]
    # The rules are a file: another number there judges anew.
    rules = tmp_path / "rules.toml"
    rules.write_text(rules.read_text().replace("200", "300"))
    planned = {one.node.name: one.outlook for one in plan(load_recipe(recipe), out)}
    assert planned["convert"].action == "skip" and planned["curate"].reasons == ["rules changed"]

"""JSON and TOML from strangers: 10⁵ deep, of another shape, with numbers that aren't numbers and paths that lead out.

Every reader of such a file gives one clear line, and no file outside its folder is read, cut off or replaced.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolfast.dedup import deduplicate, explain
from smolfast.dedup.index import INDEX, Index
from smolfast.dedup.store import COMMITS, Column, DocumentStore
from smolfast.errors import SmolfastError
from smolfast.files import read_json, write_json
from smolfast.io.documents import find_sources, read_batches
from smolfast.pipeline.run_folder import open_run
from smolfast.pipeline.stages import Runner, Stage
from smolfast.progress import Console

DEEP = 100_000
TEXTS: dict[str, str] = {
    "deep array": "[" * DEEP + "]" * DEEP,
    "deep object": '{"a":' * DEEP + "1" + "}" * DEEP,
    "deep and open": "[" * DEEP,
    "deep under a key": '{"key": ' + "[" * DEEP + "]" * DEEP + "}",
    "many digits": '{"key": ' + "9" * DEEP + "}",
    "null": "null",
    "a list": "[1, 2]",
    "a string": '"text"',
    "a number": "1e999",
    "an empty object": "{}",
    "nothing": "",
    "half": '{"key": {"a',
    "a zero byte": '{"key": "\0"}',
    "two values": "{} {}",
    "not a number": '{"key": NaN, "documents": Infinity}',
}
# Values to stand in the place of each value of a good file.
VALUES: tuple[Any, ...] = (None, [], {}, "x", -1, 1e999, 2**70, [[["x"]]], {"x": {"x": 1}}, "../../x", True)


def replaced(tree: Any, value: Any) -> list[Any]:
    """Copies of a tree, each with one of its inner values replaced, and each with one key taken away."""
    found = []
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, inner in items:
        for new in (value, *replaced(inner, value)):
            copy = json.loads(json.dumps(tree))
            copy[key] = new
            found.append(copy)
        if isinstance(tree, dict):
            found.append({name: item for name, item in tree.items() if name != key})
    return found


def outcome(call: Callable[[], Any]) -> str:
    """ "refused" by one clear line, or "exact"; anything else is the test's failure."""
    try:
        call()
    except SmolfastError as error:
        message = str(error)
        assert message and "\n" not in message and len(message) < 2000, message[:3000]
        return "refused"
    return "exact"


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", TEXTS)
def test_read_json(name: str, tmp_path: Path, tried: Any) -> None:
    (tmp_path / "a.json").write_text(TEXTS[name])
    tried("files.read_json", outcome(lambda: read_json(tmp_path / "a.json")))


def test_json_lines(tmp_path: Path, tried: Any) -> None:
    good = json.dumps({"text": "one", "key": 1}) + "\n"
    for text in TEXTS.values():
        for position in (text + "\n" + good, good + text + "\n"):
            (tmp_path / "a.jsonl").write_text(position)
            source = find_sources([tmp_path / "a.jsonl"])[0]
            tried("documents.read_batches (jsonl)", outcome(lambda source=source: list(read_batches(source))))


def test_index(tmp_path: Path, tried: Any) -> None:
    folder = tmp_path / "in" / "index"
    documents = [{"id": str(number), "text": f"Document number {number} says {'so ' * number}."} for number in range(5)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, documents)))
    pq.write_table(pa.table({"file": ["stolen"], "row": [7], "id": ["secret"]}), tmp_path / "x")
    deduplicate([tmp_path / "a.jsonl"], tmp_path / "out", index=folder, update_index=True)
    good = json.loads((folder / INDEX).read_text())
    columns = snapshot(folder)

    def against() -> str:
        found = Index(folder, good["parameters"], {"text-low": Column(np.dtype("u8"))})
        found.piece("text-low")
        return str(found.names(np.arange(min(found.documents, 5))))

    assert outcome(against) == "exact"
    trees = [json.dumps(tree) for value in VALUES for tree in replaced(good, value)]
    for name in ("../../x", str(tmp_path / "x"), "sub/../../../x", "..", ".", "", "names\0.parquet"):
        trees.append(json.dumps({**good, "additions": [{**good["additions"][0], "names": name}]}))
    for text in (*TEXTS.values(), *trees):
        (folder / INDEX).write_text(text)
        result = outcome(against)
        assert result == "refused" or "stolen" not in against()
        tried("dedup.Index", result)
        for name, data in columns.items():
            assert name == INDEX or (folder / name).read_bytes() == data


def test_work_folder_cuts_no_other_files(tmp_path: Path, tried: Any) -> None:
    layout = {"a": Column(np.dtype("u8"))}
    work = tmp_path / "deep" / "work"
    work.mkdir(parents=True)
    victims = [tmp_path / "victim.bin", tmp_path / "deep" / "victim.bin"]
    for victim in victims:
        victim.write_bytes(bytes(64))
    good = {"documents": 2, "source": 0, "row": 2, "extra": {"bytes": 5}, "sizes": {"a": 16}}
    trees = [tree for value in VALUES for tree in replaced(good, value)]
    for name in ("../victim", "../../victim", str(tmp_path / "victim")):
        trees += [{**good, "sizes": {name: 0}}, {**good, "sizes": {"a": 16, name: 0}}]
    for text in (*TEXTS.values(), *map(json.dumps, [good, *trees])):
        (work / "a.bin").write_bytes(bytes(24))
        (work / COMMITS).write_text(text + "\n")
        tried("dedup.DocumentStore", outcome(lambda: DocumentStore(layout, work, 1 << 20)))
        assert all(victim.stat().st_size == 64 for victim in victims)


def test_manifest_of_a_result(tmp_path: Path, tried: Any) -> None:
    (tmp_path / "a.jsonl").write_text(
        "\n".join([json.dumps({"id": str(n), "text": "The same text."}) for n in range(3)])
    )
    out = tmp_path / "out"
    deduplicate([tmp_path / "a.jsonl"], out)
    (manifest,) = (path for path in out.iterdir() if path.suffix == ".json")
    whole = manifest.read_text()
    good = json.loads(whole)
    results = {name: data for name, data in snapshot(out).items() if name != manifest.name}
    trees = [json.dumps(tree) for value in VALUES[:7] for tree in replaced(good, value)]
    for text in (*TEXTS.values(), *trees):
        manifest.write_text(text)
        tried("dedup.explain", outcome(lambda: explain(out, "1")))
        if '"key"' not in text or json.loads(whole)["key"] not in text:
            tried("dedup.deduplicate (manifest)", outcome(lambda: deduplicate([tmp_path / "a.jsonl"], out)))
        assert {name: data for name, data in snapshot(out).items() if name != manifest.name} == results


def test_stage_manifests(tmp_path: Path, tried: Any) -> None:
    source, output = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_text("text")

    def run() -> None:
        def work(path: Path, _: Any) -> dict[str, Any]:
            path.write_text("made")
            return {"documents": 1}

        Runner(tmp_path / "stages", Console(quiet=True)).run(Stage("copy", {"in": source}, output, {}, work))

    run()
    manifest = tmp_path / "stages" / "copy.json"
    good = json.loads(manifest.read_text())
    trees = [json.dumps(tree) for value in VALUES for tree in replaced(good, value)]
    for text in (*TEXTS.values(), *trees):
        manifest.write_text(text)
        tried("stages.Runner", outcome(run))
        assert output.read_text() == "made"


def test_run_folders(tmp_path: Path, tried: Any) -> None:
    def claim() -> None:
        with open_run(tmp_path / "run", {"config": {"seed": 1}}, {}, overwrite=False):
            pass

    claim()
    (tmp_path / "run" / "precious").write_text("stays")
    for text in TEXTS.values():
        (tmp_path / "run" / "run.json").write_text(text)
        tried("run_folder.open_run", outcome(claim))
        assert (tmp_path / "run" / "precious").read_text() == "stays"


def test_overwriting_a_run_follows_no_links(tmp_path: Path, tried: Any) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("stays")
    with open_run(tmp_path / "run", {"config": {"seed": 1}}, {}, overwrite=False):
        (tmp_path / "run" / "folder").symlink_to(outside)
        (tmp_path / "run" / "file").symlink_to(outside / "precious")
    with open_run(tmp_path / "run", {"config": {"seed": 2}}, {}, overwrite=True):
        pass
    assert (outside / "precious").read_text() == "stays"
    tried("run_folder.open_run", "exact", 2)


@pytest.mark.parametrize("name", ["../outside/precious", "/precious", "link/precious", "a/../../outside/precious"])
def test_a_manifest_leads_to_no_file_outside(tmp_path: Path, name: str) -> None:
    outside, run = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    (outside / "precious").write_text("stays")
    with open_run(run, {"config": {"seed": 1}}, {}, overwrite=False):
        (run / "split").mkdir()
        (run / "split" / "link").symlink_to(outside)
    output = {
        "path": "split",
        "xxh3_128": "",
        "files": [name.replace("/precious", f"{outside}/precious", name[0] == "/")],
    }
    write_json(run / "stages" / "split.json", {"key": "", "summary": {}, "output": output})
    with contextlib.suppress(SmolfastError), open_run(run, {"config": {"seed": 2}}, {}, overwrite=True):
        pass
    assert (outside / "precious").read_text() == "stays"


TOML: dict[str, str] = {
    "deep array": "seed = " + "[" * DEEP + "]" * DEEP,
    "hidden deep array": "[train]\nsteps = " + "[" * 300 + "]" * 300,
    "deep inline table": "seed = " + "{a = " * 20_000 + "1" + "}" * 20_000,
    "deep dotted key": "a" + ".a" * DEEP + " = 1",
    "deep quoted key": '"a"' + ' . "a b"' * 50_000 + " = 1",
    "deep table": "[" + "a." * DEEP + "a]",
    "many digits": "seed = " + "9" * DEEP,
    "beyond 64 bits": "seed = 99999999999999999999",
    "below 64 bits": "[train]\nsteps = -99999999999999999999",
    "nan": "[model]\nrope_theta = nan",
    "infinity": "[train]\nmuon_learning_rate = inf",
    "minus infinity": "[train]\nweight_decay = -inf",
    "nan in a table": "[train.mixture]\na = nan",
    "very many layers": "[model]\nnum_hidden_layers = 1_000_000_000",
    "very many keys": "\n".join(f"key{number} = 1" for number in range(10_000)),
    "a megabyte": "[generate]\nprompt = '" + "x" * (1 << 20) + "'",
    "a zero byte": "seed = '\0'",
    "a date": "seed = 1979-05-27",
    "a name for a table": "train = 5",
    "a table for a name": "[train.steps]\nx = 1",
    "twice": "seed = 1\nseed = 2",
}


@pytest.mark.parametrize("name", TOML)
def test_configurations(name: str, tmp_path: Path, tried: Any) -> None:
    config = pytest.importorskip("smolfast.config")
    (tmp_path / "c.toml").write_text(TOML[name])
    result = outcome(lambda: config.load_config(tmp_path / "c.toml"))
    assert result == "refused"
    tried("config.load_config", result)


def test_names_of_sources_are_no_paths(corpus: SimpleNamespace, tried: Any) -> None:
    from smolfast.tokens.files import TokenFile

    index = read_json(corpus.tokens / "tokens.json")
    for name in ("../tokens/train", str(corpus.tokens / "train"), "./train", "..", "", "train\0"):
        assert outcome(lambda name=name: TokenFile.open(corpus.tokens, name)) == "refused"
        tried("tokens.TokenFile", "refused")
    assert "train" in index["files"]


def test_run_reports_and_model_folders(tmp_path: Path, tried: Any) -> None:
    pytest.importorskip("torch")
    from smolfast.model.pretrained import load_pretrained
    from smolfast.report.training.run import read_run

    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "events.jsonl").write_text("")
    good = {
        "model_type": "llama",
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 300,
        "rope_parameters": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4},
    }
    texts = (*TEXTS.values(), *(json.dumps(tree) for value in VALUES for tree in replaced(good, value)))
    for text in texts:
        (tmp_path / "config.json").write_text(text)
        assert outcome(lambda: load_pretrained(tmp_path)) == "refused"  # there are no weights
        tried("pretrained.load_pretrained (config.json)", "refused")
    for text in TEXTS.values():
        for name in ("run.json", "train/metrics.jsonl", "train/events.jsonl"):
            (tmp_path / name).write_text(text + "\n" + "{}")
            tried("report.read_run", outcome(lambda: read_run(tmp_path)))
            (tmp_path / name).unlink()

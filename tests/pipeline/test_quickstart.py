"""The main job on a small real input: whole, repeatable, resumable, the same at any number of threads."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from smolfast.commands.main import main

EMAIL = str(Path(sysconfig.get_path("stdlib")) / "email")  # 30 real files
SMALL = (
    "tokenizer.vocab_size=512",
    "model.hidden_size=64",
    "model.intermediate_size=96",
    "model.head_dim=8",
    "train.sequence_length=64",
    "train.batch_size=4",
    "train.micro_batch_size=2",
    "train.steps=12",
    "train.checkpoint_every=4",
    "train.evaluate_every=6",
    "split.held_out_fraction=0.2",
    "generate.max_new_tokens=20",
)
OPTIONS = ["--input", EMAIL, *(word for setting in SMALL for word in ("--set", setting))]
KILLER = Path(__file__).parents[1] / "kill_quickstart.py"


def run(out: Path, *options: str) -> None:
    assert main(["quickstart", "--quiet", "--out", str(out), *OPTIONS, *options]) == 0


@pytest.fixture(scope="module")
def killer() -> Any:
    """The comparison of artefacts that the kill check uses."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("kill_quickstart", KILLER)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(KILLER.parent)  # for what it shares with the other kill checks
        spec.loader.exec_module(module)
        from killing import differences
    return SimpleNamespace(artefacts=module.artefacts, differences=differences)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("quickstart") / "run"
    run(out, "--threads", "2")
    return out


def test_everything_is_there_and_adds_up(finished: Path) -> None:
    stages = {path.stem: json.loads(path.read_text())["summary"] for path in (finished / "stages").glob("*.json")}
    assert stages["collect"]["documents_out"] == stages["normalize"]["documents_in"] >= 25
    kept = pq.read_table(finished / "dedup" / "kept.parquet")
    removed = pq.read_table(finished / "dedup" / "removed.parquet")
    assert kept.num_rows + removed.num_rows == stages["normalize"]["documents_out"]
    train = pq.read_table(finished / "split" / "train.parquet")
    held_out = pq.read_table(finished / "split" / "held_out.parquet")
    assert sorted(train["id"].to_pylist() + held_out["id"].to_pylist()) == sorted(kept["id"].to_pylist())
    found = json.loads((finished / "evaluate" / "evaluation.json").read_text())
    assert 0 < found["bits_per_byte"] < 8
    assert found["bytes"] == sum(len(text.encode()) for text in held_out["text"].to_pylist())
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert f"{found['bits_per_byte']:.3f}" in page
    assert json.loads((finished / "generate" / "sample.json").read_text())["text"]


def test_the_loss_falls(finished: Path) -> None:
    losses = [
        json.loads(line)["head_losses"][0] for line in (finished / "train" / "metrics.jsonl").read_text().splitlines()
    ]
    assert len(losses) == 12
    assert losses[-1] < losses[0] - 0.3


def test_running_again_skips_all(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {
        path: path.stat().st_mtime_ns
        for path in finished.rglob("*")
        if path.is_file() and path.name not in ("run.json", "recipe.json", "recipe.html")
    }
    assert main(["quickstart", "--json", "--threads", "2", "--out", str(finished), *OPTIONS]) == 0
    captured = capsys.readouterr()
    said = [line for line in captured.err.splitlines() if not line.startswith("next ")]
    assert sum("unchanged, skipped" in line for line in said) == len(said) == 11
    result = json.loads(captured.out)
    assert result["documents"] >= 25 and result["bits_per_byte"] > 0
    after = {
        path: path.stat().st_mtime_ns
        for path in finished.rglob("*")
        if path.is_file() and path.name not in ("run.json", "recipe.json", "recipe.html")
    }
    assert after.keys() - {finished / ".lock"} == before.keys() - {finished / ".lock"}
    assert all(before[path] == after[path] for path in before if path.name != ".lock")


def test_one_thread_gives_the_bytes_of_two(finished: Path, killer: Any, tmp_path: Path) -> None:
    run(tmp_path / "run", "--threads", "1")
    assert killer.differences(killer.artefacts(finished), killer.artefacts(tmp_path / "run")) == []


def test_another_seed_gives_other_losses_and_the_same_documents(finished: Path, killer: Any, tmp_path: Path) -> None:
    run(tmp_path / "run", "--seed", "1")
    differing = killer.differences(killer.artefacts(finished), killer.artefacts(tmp_path / "run"))
    assert "train/metrics.jsonl" in differing
    assert "normalize/documents.parquet" not in differing


def test_minutes_fix_the_steps_once(tmp_path: Path) -> None:
    options = ("--minutes", "0.05", "--set", "train.warmup_fraction=0.1")
    run(tmp_path / "run", *options)
    metrics = (tmp_path / "run" / "train" / "metrics.jsonl").read_text()
    run(tmp_path / "run", *options)
    assert (tmp_path / "run" / "train" / "metrics.jsonl").read_text() == metrics
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.slow
def test_kill_and_rerun_give_the_same_artefacts(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, str(KILLER), "--kills", "3", "--work", str(tmp_path), "--", *OPTIONS],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("identical") == 3


def test_each_stage_by_itself_gives_the_same_files(finished: Path, tmp_path: Path) -> None:
    """The commands on files, chained by hand, end in the very export that quickstart wrote."""
    settings = [word for setting in SMALL for word in ("--set", setting)]

    def step(*arguments: str | Path) -> None:
        assert main([*map(str, arguments), "--quiet"]) == 0

    step("collect", EMAIL, "-o", tmp_path / "corpus", *settings)
    step("normalize", tmp_path / "corpus" / "documents.parquet", "-o", tmp_path / "normalized.parquet")
    step("dedup", tmp_path / "normalized.parquet", "-o", tmp_path / "dedup")
    step("split", tmp_path / "dedup" / "kept.parquet", "-o", tmp_path / "split", *settings)
    train, held_out = tmp_path / "split" / "train.parquet", tmp_path / "split" / "held_out.parquet"
    step("tokenize", train, "--held-out", held_out, "-o", tmp_path / "tokens", *settings)
    step("train", tmp_path / "tokens", "-o", tmp_path / "train", *settings)
    model = tmp_path / "train" / "model"
    step("evaluate", model, "--tokens", tmp_path / "tokens", "--held-out", held_out, "-o", tmp_path / "evaluate")
    step("export", model, "--tokenizer", tmp_path / "tokens-tokenizer", "-o", tmp_path / "export")
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "export" / name).read_bytes() == (finished / "export" / name).read_bytes()
    for folder in ("evaluate/evaluation.json", "split/held_out.parquet"):
        assert (tmp_path / folder).read_bytes() == (finished / folder).read_bytes()
    step("train", tmp_path / "tokens", "-o", tmp_path / "train", *settings)  # skipped
    assert main(["train", str(tmp_path / "tokens"), "-o", str(tmp_path / "train"), "--seed", "9", "--quiet"]) == 2


@pytest.mark.parametrize("name", ["tokenize", "train", "evaluate", "export", "split", "collect"])
def test_a_disk_that_fills_leaves_nothing_half(
    name: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A limit on the sizes of files fails writes where a full disk would. Then the same command does it."""
    split, model = finished / "split", finished / "train" / "model"
    train, held_out, tokens = split / "train.parquet", split / "held_out.parquet", finished / "tokens"
    words = {
        "collect": ["collect", EMAIL],
        "split": ["split", finished / "dedup" / "kept.parquet"],
        "tokenize": ["tokenize", train, "--held-out", held_out, "--tokenizer", finished / "tokenizer"],
        "train": ["train", tokens],
        "evaluate": ["evaluate", model, "--tokens", tokens, "--held-out", held_out],
        "export": ["export", model, "--tokenizer", finished / "tokenizer"],
    }[name]
    settings = [word for setting in SMALL for word in ("--set", setting)] if name != "export" else []
    command = [*map(str, words), "-o", str(tmp_path / "out"), "--quiet", *settings]
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in {"train": (0, 400), "evaluate": (0,)}.get(name, (0, 400, 10_000)):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited[1]))
        try:
            assert main(command) == 2
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("smolfast: error: can't write ") and "; raise the limit or write to another disk" in line
        assert ".smolfast-partial" not in line
        assert name == "train" or not (tmp_path / "out").exists()
    assert main(command) == 0


def test_generate_and_report_again(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "generate",
        str(finished / "export"),
        "--prompt",
        "def ",
        "--max-new-tokens",
        "5",
        "--temperature",
        "0",
    ]
    texts = []
    for _ in range(2):
        assert main([*arguments, "--json"]) == 0
        texts.append(json.loads(capsys.readouterr().out)["text"])
    assert texts[0] == texts[1] != ""
    assert main(["report", str(finished), "-o", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_text() == (finished / "report.html").read_text()

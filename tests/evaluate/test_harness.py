"""lm-evaluation-harness: its absence, what it is asked for, and a task of our own where it is installed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from smolfast.commands.main import main
from smolfast.config import ModelConfig
from smolfast.errors import SmolfastError
from smolfast.evaluate.harness import run_harness
from smolfast.machine import install_command
from smolfast.model.export import export
from smolfast.model.network import SmolLM
from smolfast.model.pretrained import save_pretrained

TASK = """\
task: local_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{data}"}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: ["one", "two"]
doc_to_target: label
metric_list: [{{metric: acc}}]
"""


@pytest.fixture(scope="module")
def exported(corpus: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("harness")
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8}
    save_pretrained(SmolLM(ModelConfig(**sizes), 512, seed=0), folder / "model", end_of_document=0)
    export(folder / "model", corpus.tokenizer, folder / "export")
    return folder / "export"


def test_without_the_package_the_extra_is_named(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert main(["evaluate", str(exported), "--harness", "arc_easy", "-o", str(tmp_path / "out"), "--quiet"]) == 2
    assert f"--harness needs lm_eval; install it with: {install_command('harness')}" in capsys.readouterr().err
    assert main(["evaluate", str(exported), "-o", str(tmp_path / "out")]) == 2
    assert "evaluate: give --tokens and --held-out, or --needle, or --harness" in capsys.readouterr().err


def test_what_the_harness_is_asked_for(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def simple_evaluate(**options: Any) -> dict[str, Any]:
        asked.update(options)
        return {"results": {"arc_easy": {"alias": "arc_easy", "acc,none": 0.25, "acc_stderr,none": 0.1}}}

    package, tasks = ModuleType("lm_eval"), ModuleType("lm_eval.tasks")
    package.simple_evaluate = simple_evaluate  # type: ignore[attr-defined]
    tasks.TaskManager = lambda include_path: SimpleNamespace(all_tasks=["arc_easy"])  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lm_eval", package)
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", tasks)
    result = run_harness(exported, tmp_path, ["arc_easy"], limit=7)
    assert result == {"arc_easy": {"acc": 0.25, "acc_stderr": 0.1}}
    assert json.loads((tmp_path / "harness.json").read_text()) == result
    assert asked["model_args"] == {"pretrained": str(exported), "dtype": "float32"}
    assert (asked["model"], asked["tasks"], asked["limit"]) == ("hf", ["arc_easy"], 7)
    with pytest.raises(SmolfastError, match="lm-eval knows no task 'arc_hard'"):
        run_harness(exported, tmp_path, ["arc_hard"])


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed")
def test_a_task_on_file(exported: Path, tmp_path: Path) -> None:
    """In a process of its own: the harness warns of much."""
    rows = [{"question": f"Question {number}", "label": number % 2} for number in range(10)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "task.yaml").write_text(TASK.format(data=tmp_path / "data.jsonl"))
    options = ["--harness", "local_choice", "--harness-tasks", str(tmp_path / "tasks"), "-o", str(tmp_path / "out")]
    command = [sys.executable, "-m", "smolfast", "evaluate", str(exported), *options]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    found = json.loads((tmp_path / "out" / "harness.json").read_text())
    assert found["local_choice"]["acc"] * 10 == pytest.approx(round(found["local_choice"]["acc"] * 10))

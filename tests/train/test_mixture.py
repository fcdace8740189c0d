"""Two sources of text and two stages, from documents to an evaluation of each source."""

from __future__ import annotations

import heapq
import inspect
import json
import shlex
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolfast.config import EvaluateConfig, StageConfig, TrainConfig
from smolfast.evaluate.bits_per_byte import evaluate
from smolfast.optim import MuonAdamW
from smolfast.tokens.files import tokenize
from smolfast.train.loop import train
from tiny_models import tiny

MODEL = tiny(max_position_embeddings=64)
STAGES = (
    StageConfig(fraction=0.5, weights={"code": 0.75, "prose": 0.25}),
    StageConfig(
        fraction=0.5, weights={"code": 0.25, "prose": 0.75}, rope_theta=200_000.0, sequence_length=64,
        reset_optimizer=True,
    ),
)  # fmt: skip
CONFIG = TrainConfig(
    steps=12, sequence_length=32, batch_size=8, micro_batch_size=4, evaluate_every=6, checkpoint_every=4, stages=STAGES
)


@pytest.fixture(scope="module")
def sources(corpus: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Token folders of two sources by one tokenizer."""
    folder = tmp_path_factory.mktemp("sources")
    code = [inspect.getsource(module) for module in (heapq, shlex, textwrap)]
    prose = [inspect.getdoc(module) or "" for module in (heapq, str, dict, list, textwrap, int, json, pytest)]
    prose = [text * 8 for text in prose if text]
    for name, texts in (("code", code), ("prose", prose)):
        sides = {"train": texts[:-1], "held_out": texts[-1:]}
        for side, part in sides.items():
            table = {"id": [f"{side}-{index}" for index in range(len(part))], "text": part}
            pq.write_table(pa.table(table), folder / f"{name}-{side}.parquet")
        tokenize({side: folder / f"{name}-{side}.parquet" for side in sides}, corpus.tokenizer, folder / name)
    rows = [(text, name) for name, texts in (("code", code), ("prose", prose)) for text in texts[-1:]]
    table = {"id": ["0", "1"], "text": [text for text, _ in rows], "source": [name for _, name in rows]}
    pq.write_table(pa.table(table), folder / "held_out.parquet")
    return {name: folder / name for name in ("code", "prose")}


def lines(output: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in ("seconds", "speed")} for row in rows]


def run(sources: dict[str, Path], output: Path, progress: Callable[..., None] | None = None) -> dict[str, Any]:
    return train(sources, output, model=MODEL, config=CONFIG, device="cpu", threads=1, progress=progress)


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many parameters the optimiser remembers anything of when each step begins."""
    counts: list[int] = []
    step = MuonAdamW.step

    def counted(self: MuonAdamW, *arguments: Any) -> Any:
        counts.append(len(self.state))
        return step(self, *arguments)

    monkeypatch.setattr(MuonAdamW, "step", counted)
    return counts


def test_two_sources_and_two_stages(
    sources: dict[str, Path], corpus: SimpleNamespace, tmp_path: Path, remembered: list[int]
) -> None:
    run(sources, tmp_path / "run")
    rows = lines(tmp_path / "run")

    # The second stage begins at step 7: longer windows, and an optimiser that has forgotten.
    tokens = [row["tokens"] for row in rows]
    assert tokens == [*range(256, 6 * 256 + 1, 256), *range(6 * 256 + 512, 6 * 256 + 6 * 512 + 1, 512)]
    assert [count == 0 for count in remembered] == [step in (0, 6) for step in range(12)]
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert [(event["step"], event["number"]) for event in events if event["event"] == "stage"] == [(7, 1)]
    exported = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert exported["rope_theta"] == 200_000.0 == exported["rope_parameters"]["rope_theta"]

    # Each source's held-out loss, and their mean by the weights of the stage.
    for row, weights in ((rows[5], STAGES[0].weights), (rows[11], STAGES[1].weights)):
        assert row["held_out_losses"].keys() == {"code", "prose"}
        mean = sum(weights[name] * loss for name, loss in row["held_out_losses"].items())
        assert row["held_out_loss"] == pytest.approx(mean)
    first, last = rows[5]["held_out_losses"], rows[11]["held_out_losses"]
    assert all(last[name] < first[name] for name in first)

    documents = sources["code"].parent / "held_out.parquet"
    tokenize({"held_out": documents}, corpus.tokenizer, tmp_path / "both")
    found = evaluate(
        tmp_path / "run" / "model", tmp_path / "both", tmp_path / "evaluation", EvaluateConfig(),
        held_out_documents=documents, source_column="source",
    )["sources"]  # fmt: skip
    assert found.keys() == {"code", "prose"}
    assert all(0 < source["bits_per_byte"] < 8 for source in found.values())


def test_a_stop_in_the_second_stage_changes_nothing(
    sources: dict[str, Path], tmp_path: Path, remembered: list[int]
) -> None:
    class Stop(BaseException):
        pass

    def stop(done: float, total: float, note: str) -> None:
        if done == 10:
            raise Stop

    run(sources, tmp_path / "whole")
    with pytest.raises(Stop):
        run(sources, tmp_path / "stopped", stop)
    remembered.clear()
    assert run(sources, tmp_path / "stopped")["resumed_from_step"] == 8
    assert all(remembered)  # the stage had begun: nothing is forgotten again
    assert lines(tmp_path / "stopped") == lines(tmp_path / "whole")

"""Stages that lengthen: long documents drawn more often, and the rotary embedding of each stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smolfast.config import StageConfig, TrainConfig, validate_config
from smolfast.errors import SmolfastError
from smolfast.model.network import SmolLM
from smolfast.model.pretrained import save_pretrained
from smolfast.tokens.files import TokenFile
from smolfast.train.data_plan import DataPlan
from smolfast.train.loop import train
from tiny_models import tiny


def documents(*lengths: int) -> TokenFile:
    """One source; a token is the number of its document, plus 1."""
    tokens = np.repeat(np.arange(1, len(lengths) + 1), lengths).astype(np.uint16)
    starts = np.cumsum([0, *lengths]).astype(np.int64)
    return TokenFile(Path("x"), tokens, starts, 0, 60_000, 0)


def plan(file: TokenFile, share: float, **changes: Any) -> DataPlan:
    stages = (StageConfig(fraction=0.5), StageConfig(fraction=0.5, sequence_length=16, long_documents=share))
    config = TrainConfig(sequence_length=8, batch_size=8, micro_batch_size=2, stages=stages)
    return DataPlan({"text": file}, config, 20, seed=3)


# Two of 200 documents are long: 100 of 1,300 tokens.
MIXED = documents(*[6] * 100, 50, *[6] * 100, 50)
LONG = (101, 202)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_a_share_of_the_windows_is_of_long_documents(share: float) -> None:
    mixed = plan(MIXED, share)
    alone = [bool(np.isin(row, LONG).all()) for step in range(10, 20) for row in mixed.rows(step).tokens]
    assert sum(alone) >= share * len(alone)
    if share == 0:
        assert sum(alone) < 0.2 * len(alone)
    assert not all(np.isin(row, LONG).all() for step in range(10) for row in mixed.rows(step).tokens)
    assert all(sum(mixed.counts(step).values()) == 8 for step in range(20))
    # Documents of a window are told apart wherever it comes from.
    for step in (10, 19):
        rows = mixed.rows(step)
        for tokens, ids in zip(rows.tokens, rows.document_ids, strict=True):
            assert np.array_equal(tokens[1:] != tokens[:-1], ids[1:] != ids[:-1])
    # Rows of a rank are rows of the whole.
    assert np.array_equal(mixed.rows(15, 3, 6).positions, mixed.rows(15).positions[3:6])


def test_long_documents_that_are_not_there() -> None:
    with pytest.raises(SmolfastError, match=r"stages\[1\].long_documents: the longest document of x has 9 tokens and"):
        plan(documents(*[9] * 40), 0.5)


def test_each_stage_has_its_rotary_embedding_from_the_first_on(write_tokens: Any, tmp_path: Path) -> None:
    model = tiny(mtp_heads=1, yarn_context=16, max_position_embeddings=64)
    stages = (
        StageConfig(fraction=0.5, sequence_length=32, yarn_factor=2.0, rope_theta=20_000.0),
        StageConfig(fraction=0.5, sequence_length=64, yarn_factor=4.0, long_documents=0.5),
    )
    config = TrainConfig(
        steps=4, sequence_length=16, batch_size=4, micro_batch_size=2, mtp_weights=(1.0,), stages=stages,
        evaluate_every=0, monitor_every=0, checkpoint_every=1,
    )  # fmt: skip
    start = tmp_path / "start"
    save_pretrained(SmolLM(tiny(mtp_heads=1, max_position_embeddings=16), 64), start, end_of_document=0)
    seen = []

    def step(self: SmolLM, *arguments: Any) -> Any:
        seen.append((self.config.rope_theta, self.config.yarn_factor))
        return before(self, *arguments)

    before = SmolLM.trunk
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SmolLM, "trunk", step)
        train(
            write_tokens(tmp_path / "t"),
            tmp_path / "run",
            model=model,
            config=config,
            init=start,
            device="cpu",
            threads=1,
        )
    assert seen[:8] == [(20_000.0, 2.0)] * 4 + [(10_000.0, 4.0)] * 4  # two micro-batches a step; then an evaluation
    written = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert written["rope_parameters"] == {
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 10_000.0
    }  # fmt: skip


def test_a_stretch_needs_the_context_that_it_stretches() -> None:
    stages = [{"fraction": 1.0, "yarn_factor": 2.0}]
    with pytest.raises(SmolfastError, match=r"stretches model\.yarn_context, which is 0; set it"):
        validate_config({"train": {"stages": stages}})
    validate_config({"train": {"stages": stages}, "model": {"yarn_context": 64}})
    with pytest.raises(SmolfastError, match="shrinks; give 1 or more"):
        validate_config({"train": {"stages": [{"fraction": 1.0, "yarn_factor": 0.5}]}})

"""Packing by length: no document is cut that fits, every token is a target once an epoch, nothing crosses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolfast.errors import SmolfastError
from smolfast.model.network import IGNORE_INDEX, PackedBatch
from smolfast.tokens.files import TokenFile
from smolfast.tokens.fitted_windows import FittedWindows, best_fit, windows_of


def token_file(lengths: list[int], learned: bool = False) -> TokenFile:
    """Documents whose tokens tell where they stand, closed by 0."""
    starts = np.cumsum([0, *lengths])
    tokens = np.arange(1, starts[-1] + 1).astype(np.uint16)
    tokens[starts[1:] - 1] = 0
    marks = tokens % 3 == 1 if learned else None
    return TokenFile(Path("x.tokens.npy"), tokens, starts, int(starts[-1]), 65_535, 0, marks, None)


LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=40)


@settings(max_examples=200)
@given(LENGTHS, st.integers(8, 20), st.booleans(), st.integers(0, 3))
def test_every_token_is_a_target_once_and_short_documents_are_whole(
    lengths: list[int], size: int, learned: bool, seed: int
) -> None:
    file = token_file(lengths, learned)
    fitted = FittedWindows(file, size, 1, seed)
    count = fitted.steps_per_epoch
    for epoch in range(2):
        tokens, document_ids, positions = fitted.windows(epoch * count, count)
        marks = fitted.learned(positions)
        assert marks is not None and tokens.shape == (count, size + 1)
        batch = PackedBatch.from_windows(tokens, document_ids, learned=marks)
        targets = batch.targets.numpy()
        found = np.flatnonzero(targets != IGNORE_INDEX)
        flat = positions.reshape(-1)
        # Each target is what follows in the file, in the same document.
        assert (flat[found + 1] == flat[found] + 1).all()
        assert (targets[found] == file.tokens[flat[found] + 1]).all()
        possible = np.ones(len(file.tokens), bool) if file.learned is None else file.learned.copy()
        possible[file.document_starts[:-1]] = False
        assert sorted(flat[found + 1]) == np.flatnonzero(possible).tolist()
        runs = {tuple(map(int, window[ids == number])) for window, ids in zip(positions, document_ids, strict=True)
                for number in set(ids.tolist())}  # fmt: skip
        for start, length in zip(file.document_starts, lengths, strict=False):
            if length <= size + 1:
                assert tuple(range(start, start + length)) in runs


@given(LENGTHS)
def test_bins_hold_no_more_than_they_can(lengths: list[int]) -> None:
    falling = np.sort(np.array(lengths))[::-1]
    bins = best_fit(falling, 40)
    sums = np.bincount(bins, falling)
    assert sums.max() <= 40 and sums.min() > 0
    assert len(sums) <= 1 + 11 / 9 * -(-sum(lengths) // 40) + sum(length > 20 for length in lengths)


def test_few_windows_stay_empty_and_epochs_differ() -> None:
    lengths = np.random.default_rng(0).integers(5, 200, 3000).tolist()
    fitted = FittedWindows(token_file(lengths), 255, 8, seed=1)
    assert fitted._windows_in_file * 256 < 1.02 * sum(lengths)
    first, second = (fitted.batch(step)[0] for step in (0, fitted.steps_per_epoch))
    assert not np.array_equal(first, second)
    again = windows_of("fit", token_file(lengths), 255, 8, seed=1)
    assert np.array_equal(again.batch(fitted.steps_per_epoch)[0], second)


def test_too_little_text_is_named() -> None:
    with pytest.raises(SmolfastError, match=r"fit into 1 windows, and a batch has 2; give more text or lower train\."):
        FittedWindows(token_file([3, 4]), 16, 2, seed=0)


def test_a_run_trains_on_whole_conversations(tmp_path: Path) -> None:
    """By the commands: fitted windows leave out no answer, go on after a stop, and give the same run twice."""
    from smolfast.config import TokenizerConfig, TrainConfig
    from smolfast.tokens.conversations import tokenize_conversations
    from smolfast.tokens.tokenizer import train_tokenizer
    from smolfast.train.loop import train
    from tiny_models import tiny

    talks = [
        {"messages": [{"role": "user", "content": f"{n} ?"}, {"role": "assistant", "content": "yes " * (n % 7 + 1)}]}
        for n in range(80)
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(talk) + "\n" for talk in talks))
    (tmp_path / "text.jsonl").write_text("".join(json.dumps({"text": json.dumps(talk)}) + "\n" for talk in talks))
    train_tokenizer([tmp_path / "text.jsonl"], tmp_path / "tokenizer", TokenizerConfig(vocab_size=270, chat=True))
    path = tmp_path / "a.jsonl"
    tokenize_conversations({"train": path, "held_out": path}, tmp_path / "tokenizer", tmp_path / "tokens")
    settings_ = TrainConfig(
        steps=4,
        sequence_length=128,
        batch_size=4,
        micro_batch_size=2,
        mtp_weights=(1.0,),
        packing="fit",
        evaluate_every=2,
        checkpoint_every=2,
    )

    def stop(done: float, total: float, note: str) -> None:
        if (done, total) == (3, 4):
            raise KeyboardInterrupt

    def run(name: str, **options: Any) -> dict[str, Any]:
        model = tiny(mtp_heads=1)
        return train(
            tmp_path / "tokens", tmp_path / name, model=model, config=settings_, seed=1, device="cpu", **options
        )

    with pytest.raises(KeyboardInterrupt):
        run("two", progress=stop)
    losses = []
    for name in ("one", "two"):
        assert run(name)["resumed_from_step"] == (2 if name == "two" else 0)
        rows = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        losses.append([row["loss"] for row in rows])
    assert losses[0] == losses[1] and None not in losses[0]


def test_one_short_conversation_is_enough(tmp_path: Path) -> None:
    """Fewer tokens than a window has: it is filled up. Two windows of it are too many, and that is said."""
    from smolfast.config import TokenizerConfig, TrainConfig
    from smolfast.tokens.conversations import tokenize_conversations
    from smolfast.tokens.tokenizer import train_tokenizer
    from smolfast.train.loop import train
    from tiny_models import tiny

    path = tmp_path / "a.jsonl"
    talk = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "yes"}]
    path.write_text(json.dumps({"messages": talk}) + "\n")
    (tmp_path / "text.jsonl").write_text(json.dumps({"text": "yes and no"}) + "\n")
    train_tokenizer([tmp_path / "text.jsonl"], tmp_path / "tokenizer", TokenizerConfig(vocab_size=260, chat=True))
    tokenize_conversations({"train": path, "held_out": path}, tmp_path / "tokenizer", tmp_path / "tokens")

    def run(size: int) -> dict[str, Any]:
        config = TrainConfig(
            steps=2, sequence_length=128, batch_size=size, micro_batch_size=1, mtp_weights=(1.0,), packing="fit"
        )
        output = tmp_path / f"run-{size}"
        return train(tmp_path / "tokens", output, model=tiny(mtp_heads=1), config=config, seed=1, device="cpu")

    assert run(1)["loss"] > 0
    with pytest.raises(SmolfastError, match="fit into 1 windows, and a batch has 2"):
        run(2)

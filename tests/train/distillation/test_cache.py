"""A teacher's draws in parquet: what they hold, that they resume to the same bytes, and what is refused."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from smolfast import SmolfastError
from smolfast.commands import main as cli
from smolfast.tokens.files import TokenFile
from smolfast.train.distillation import cache as distill_cache
from smolfast.train.distillation.cache import TeacherCache, write_cache

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, sharp enough to tell tokens apart; a few rows more than the tokens' vocabulary, as padding."""
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=520, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=1, max_position_embeddings=32, initializer_range=0.5,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven documents, one of a single token, two longer than the teacher's context."""
    folder = tmp_path_factory.mktemp("tokens")
    lengths = np.array([40, 1, 7, 90, 33, 2, 32])
    ids = np.random.default_rng(0).integers(1, 512, lengths.sum()).astype("<u2")
    starts = np.concatenate([[0], lengths.cumsum()])
    ids[starts[1:] - 1] = 0
    np.save(folder / "train.tokens.npy", ids)
    np.save(folder / "train.documents.npy", starts)
    files = {"train": {"documents": len(lengths), "tokens": int(lengths.sum()), "utf8_bytes": 700}}
    (folder / "tokens.json").write_text(json.dumps({"vocab_size": 512, "end_of_document": 0, "files": files}))
    return folder


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distill_cache, "PART_TOKENS", 40)
    monkeypatch.setattr(distill_cache, "_BATCH_LOGITS", 2 * 16 * 512)


def parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}


def test_draws_are_the_teachers_distribution(teacher: Path, tokens: Path, tmp_path: Path) -> None:
    """Against the teacher run on each position's own window: over 250 draws, shares near the probabilities."""
    summary = write_cache(teacher, tokens, tmp_path / "cache", samples=250, context=16)
    file = TokenFile.open(tokens, "train")
    cache = TeacherCache.open(tmp_path / "cache", file)
    stored = cache.at(np.arange(len(file.tokens)))
    assert stored.unbiased
    shares = torch.zeros(len(file.tokens), 512).scatter_add_(1, stored.tokens, stored.probabilities)
    model = transformers.AutoModelForCausalLM.from_pretrained(teacher)
    chi_squares = []
    for start, end in zip(file.document_starts[:-1], file.document_starts[1:], strict=True):
        ids = torch.from_numpy(file.tokens[start:end].astype(np.int64))
        assert not shares[end - 1].any()
        # Windows of 16 start every 8 tokens; a position is predicted in the first that holds it.
        with torch.no_grad():
            windows = {at: model(ids[None, at : at + 16]).logits[0, :, :512] for at in range(0, len(ids), 8)}
        for position in range(len(ids) - 1):
            first = 0 if position < 16 else (position - 16) // 8 * 8 + 8
            q = torch.softmax(windows[first][position - first], 0)
            seen = shares[start + position]
            assert seen.sum().item() == pytest.approx(1)
            common = q > 0.02
            chi_squares.append(float(((seen - q)[common].square() / (q * (1 - q) / 250)[common]).mean()))
    assert 0.8 < np.mean(chi_squares) < 1.2  # 1 for draws from q
    assert summary["tokens"] == len(file.tokens)
    assert summary["pairs_per_token"] == pytest.approx(len(cache.tokens) / len(file.tokens), abs=0.01)
    assert summary["bytes"] == sum(map(len, parts(tmp_path / "cache").values()))
    assert summary["bytes_per_token"] == pytest.approx(summary["bytes"] / len(file.tokens), abs=0.01)
    table = pq.read_table(tmp_path / "cache" / "train.00000.parquet")
    assert table.schema.field("tokens").type == pa.list_(pa.uint16())


def test_goes_on_where_it_was_stopped_with_the_same_bytes(
    teacher: Path, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = write_cache(teacher, tokens, tmp_path / "whole", samples=9)
    assert whole["parts"] >= 3
    predict, calls = distill_cache._predict, []

    def stop(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:  # within the second part
            raise KeyboardInterrupt
        return predict(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(distill_cache, "_predict", stop)
        with pytest.raises(KeyboardInterrupt):
            write_cache(teacher, tokens, tmp_path / "parts", samples=9)
    with pytest.raises(SmolfastError, match="no finished cache"):
        TeacherCache.open(tmp_path / "parts", TokenFile.open(tokens, "train"))
    assert 0 < len(parts(tmp_path / "parts")) < whole["parts"]
    again = write_cache(teacher, tokens, tmp_path / "parts", samples=9)
    assert 0 < again["parts_resumed"] < whole["parts"]
    assert parts(tmp_path / "parts") == parts(tmp_path / "whole")
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == [
        "cache.json",
        *parts(tmp_path / "whole"),
    ]


def test_command(teacher: Path, tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["distill-cache", str(teacher), "--tokens", str(tokens), "-o", str(tmp_path / "cache"), "--json"]
    assert cli.main([*arguments, "--samples", "5"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["bytes_per_token"] > 0
    assert shown["parts_resumed"] == 0
    assert cli.main([*arguments, "--samples", "5"]) == 0  # finished: skipped
    assert cli.main([*arguments, "--samples", "6"]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_a_disk_that_fills_keeps_what_is_finished(
    teacher: Path, tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["distill-cache", str(teacher), "--tokens", str(tokens), "--samples", "4", "--quiet", "-o"]
    assert cli.main([*command, str(tmp_path / "whole")]) == 0
    capsys.readouterr()
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 700):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited[1]))
        try:
            assert cli.main([*command, str(tmp_path / "out")]) == 2
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        line = capsys.readouterr().err.splitlines()[-1]  # transformers draws a bar before
        assert "can't write" in line and "raise the limit or write to another disk" in line
    assert cli.main([*command, str(tmp_path / "out")]) == 0
    assert parts(tmp_path / "out") == parts(tmp_path / "whole")


def test_refuses_what_does_not_fit(teacher: Path, tokens: Path, tmp_path: Path) -> None:
    out = tmp_path / "cache"
    for options, message in (
        ({"samples": 0}, "outside 1 to 255"),
        ({"samples": 256}, "outside 1 to 255"),
        ({"temperature": 0.0}, "must be above 0"),
        ({"context": 33}, "the teacher's 32"),
        ({"name": "test"}, "describes no token file 'test'"),
    ):
        with pytest.raises(SmolfastError, match=message):
            write_cache(teacher, tokens, out, **options)  # type: ignore[arg-type]
    with pytest.raises(SmolfastError, match="can't load the teacher"):
        write_cache(tmp_path / "nothing", tokens, out)
    write_cache(teacher, tokens, out, samples=3)
    with pytest.raises(SmolfastError, match="holds a cache with another samples"):
        write_cache(teacher, tokens, out, samples=4)
    file = TokenFile.open(tokens, "train")
    part = out / "train.00001.parquet"
    data = part.read_bytes()
    part.write_bytes(data[: len(data) // 2])
    with pytest.raises(SmolfastError, match=r"train\.00001\.parquet is missing or damaged"):
        TeacherCache.open(out, file)
    part.write_bytes((out / "train.00000.parquet").read_bytes())
    with pytest.raises(SmolfastError, match="delete it and make it again"):
        TeacherCache.open(out, file)


def test_refuses_a_smaller_vocabulary_and_other_tokens(teacher: Path, tokens: Path, tmp_path: Path) -> None:
    other = tmp_path / "tokens"
    other.mkdir()
    for file in tokens.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    index = json.loads((other / "tokens.json").read_text())
    (other / "tokens.json").write_text(json.dumps(index | {"vocab_size": 600}))
    with pytest.raises(SmolfastError, match="vocabulary of 520, the tokens one of 600"):
        write_cache(teacher, other, tmp_path / "cache")
    write_cache(teacher, tokens, tmp_path / "cache", samples=3)
    (other / "tokens.json").write_text(json.dumps(index))
    ids = np.load(other / "train.tokens.npy")
    ids[0] += 1
    np.save(other / "train.tokens.npy", ids)
    with pytest.raises(SmolfastError, match="made from other tokens"):
        TeacherCache.open(tmp_path / "cache", TokenFile.open(other, "train"))

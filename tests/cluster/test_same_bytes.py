"""What an engine of many processes writes is, byte for byte, what one process writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pickling_engine import PicklingEngine
from related_documents import write_files
from smolfast.classify import label_documents, train
from smolfast.curate import curate_files
from smolfast.curate.files import parts, spread
from smolfast.curate.files.verdicts import judge_batch
from smolfast.dedup import deduplicate
from smolfast.dedup.spread import components
from smolfast.dedup.spread import job as apart
from smolfast.errors import SmolfastError
from smolfast.io.parquet import stretches
from smolfast.pipeline.normalize import normalize_documents


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretches, ranges, shards and bins of a few documents, so that there are many."""
    for module in (stretches, apart):
        monkeypatch.setattr(module, "STRETCH_BYTES", 40_000)
    monkeypatch.setattr(apart, "RANGE_BYTES", 100_000)
    monkeypatch.setattr(apart, "SHARD_DOCUMENTS", 300)
    monkeypatch.setattr(apart, "BIN_DOCUMENTS", (20, 100))
    for module in (parts, spread):
        monkeypatch.setattr(module, "PART_BYTES", 70_000)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("documents") / "in", 1500)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    } or pytest.fail(f"{folder} is empty")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"keep": "longest"},
        {"keep": "score", "verify": "exact"},
        {"verify": "none", "chains": True},
        {"scheme": "datasketch", "num_perm": 64, "threshold": 0.6, "simplify": True},
        {"exact": "simplified", "id_column": "nothing", "prefix": "x_"},
    ],
    ids=lambda options: "-".join(map(str, options)) or "defaults",
)
def test_deduplicate(documents: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    engine = PicklingEngine()
    here = deduplicate([documents], tmp_path / "here", **options)
    there = deduplicate([documents], tmp_path / "there", engine=engine, **options)
    assert here == there
    assert files(tmp_path / "here") == files(tmp_path / "there")
    assert here.near_duplicates + here.exact_duplicates > 50
    assert min(engine.pieces[name] for name in ("sign_piece", "link", "decide", "choose_rows")) > 2


def test_deduplicate_against(documents: Path, tmp_path: Path) -> None:
    against = write_files(tmp_path / "against", 300)
    for name, engine in (("here", "local"), ("there", PicklingEngine())):
        deduplicate([documents], tmp_path / name, against=[against], engine=engine)
    assert files(tmp_path / "here") == files(tmp_path / "there")


def test_deduplicate_needs_one_place_for_lines_and_indexes(documents: Path, tmp_path: Path) -> None:
    with pytest.raises(SmolfastError, match="leave out --engine ray"):
        deduplicate([documents], tmp_path / "out", lines=10, engine=PicklingEngine())
    with pytest.raises(SmolfastError, match="leave out --engine ray"):
        deduplicate([documents], tmp_path / "out", index=tmp_path / "i", update_index=True, engine=PicklingEngine())


@pytest.mark.parametrize(
    "texts", [[], [""], ["a"], ["same words here to be equal"] * 200], ids=["0", "empty", "1", "="]
)
def test_deduplicate_odd_inputs(texts: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    said = []
    for name, engine in (("here", "local"), ("there", PicklingEngine())):
        try:
            deduplicate([tmp_path / "a.jsonl"], tmp_path / name, engine=engine)
            said.append(files(tmp_path / name))
        except SmolfastError as error:
            said.append(str(error))  # type: ignore[arg-type]
    assert said[0] == said[1]


@pytest.mark.parametrize("options", [{}, {"signals": True, "rules": "gopher@0.10"}], ids=["defaults", "signals"])
def test_curate(documents: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    engine = PicklingEngine()
    here = curate_files([documents], tmp_path / "here", **options)
    there = curate_files([documents], tmp_path / "there", engine=engine, **options)
    assert here == there
    assert files(tmp_path / "here") == files(tmp_path / "there")
    assert engine.pieces["_judge"] > 3


def test_curate_leaves_out_what_is_no_text(tmp_path: Path) -> None:
    rows = [json.dumps({"text": f"text {number} " * 30}).encode() for number in range(900)]
    rows = [row.replace(b"text", b"te\xff", 2) if number % 7 == 3 else row for number, row in enumerate(rows)]
    rows = [row.replace(b'{"te\xff"', b'{"text"') for row in rows]
    for name in "abc":
        (tmp_path / f"{name}.jsonl").write_bytes(b"\n".join(rows))
    for name, engine in (("here", "local"), ("there", PicklingEngine())):
        curate_files(sorted(tmp_path.glob("*.jsonl")), tmp_path / name, errors="skip", engine=engine)
    assert files(tmp_path / "here") == files(tmp_path / "there")


def test_curate_goes_on(documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fails(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 25:
            raise SmolfastError("stopped")
        return judge_batch(*arguments)

    monkeypatch.setattr(spread, "judge_batch", fails)
    with pytest.raises(SmolfastError, match="stopped"):
        curate_files([documents], tmp_path / "there", engine=PicklingEngine())
    engine = PicklingEngine()
    curate_files([documents], tmp_path / "there", engine=engine)
    curate_files([documents], tmp_path / "here")
    assert files(tmp_path / "here") == files(tmp_path / "there")
    assert 0 < engine.pieces["_judge"] < len(list((tmp_path / "here" / "kept").iterdir()))


@pytest.mark.parametrize("name", ["n.parquet", "n.jsonl", "folder"])
def test_normalize(documents: Path, tmp_path: Path, name: str) -> None:
    for place, engine in (("here", "local"), ("there", PicklingEngine())):
        (tmp_path / place).mkdir()
        said = normalize_documents(
            [documents], tmp_path / place / name, engine=engine, form="NFKC", words=name[-1] != "l"
        )
        assert said["documents_in"] == 1500
    assert files(tmp_path / "here") == files(tmp_path / "there")


@pytest.mark.parametrize("name", ["labelled.parquet", "labelled.jsonl"])
def test_classify(documents: Path, tmp_path: Path, name: str) -> None:
    good = [f"word{number} word{number + 1} word3" for number in range(0, 60, 2)]
    bad = [f"word{number} word{number + 7} word9" for number in range(1000, 1060, 2)]
    train({"good": good, "bad": bad}, tmp_path / "m.bin", dim=4, epoch=2, bucket=100, threads=1)
    engine = PicklingEngine()
    for place, chosen in (("here", "local"), ("there", engine)):
        (tmp_path / place).mkdir()
        said = label_documents([documents], tmp_path / place / name, model=tmp_path / "m.bin", engine=chosen)
        assert said["documents_labelled"] > 1000
    assert files(tmp_path / "here") == files(tmp_path / "there")
    assert engine.pieces["_batches"] > 4


def test_tokenize(documents: Path, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    from byte_level import byte_level
    from smolfast.tokens.files import tokenize
    from smolfast.tokens.tokenizer_folder import SPLIT_PATTERN

    tokenizer = byte_level(SPLIT_PATTERN, [("w", "o"), ("r", "d")])
    tokenizer.add_special_tokens(["<|endoftext|>"])
    (tmp_path / "tokenizer").mkdir()
    tokenizer.save(str(tmp_path / "tokenizer" / "tokenizer.json"))
    said = [
        tokenize({"train": documents}, tmp_path / "tokenizer", tmp_path / name, engine=engine)
        for name, engine in (("here", "local"), ("there", PicklingEngine()))
    ]
    assert said[0] == said[1]
    assert files(tmp_path / "here") == files(tmp_path / "there")


def test_a_bad_file_costs_no_other(documents: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"text": ')
    for name, engine in (("here", "local"), ("there", PicklingEngine())):
        with pytest.raises(SmolfastError, match=r"bad\.jsonl"):
            normalize_documents([tmp_path / "bad.jsonl", documents], tmp_path / name, engine=engine)
        made = sorted(path.name for path in (tmp_path / name).rglob("part-*.*") if ".smolfast" not in str(path))
        assert made == [f"part-{at}.parquet" for at in range(4)] + ["part-last.jsonl"], name


def test_another_disk(documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from smolfast.cluster import places

    monkeypatch.setattr(places.Place, "is_here", False)
    engine = PicklingEngine()
    curate_files([documents], tmp_path / "there", engine=engine)
    normalize_documents([documents], tmp_path / "n-there", engine=engine)
    monkeypatch.undo()
    normalize_documents([documents], tmp_path / "n-here")
    assert files(tmp_path / "n-here") == files(tmp_path / "n-there")
    assert engine.bytes["_judge"] > 100_000


@pytest.mark.parametrize("shape", ["chain", "drawn chain", "star", "drawn", "cliques"])
@pytest.mark.parametrize("shards", [1, 2, 7])
def test_components(shape: str, shards: int) -> None:
    count = 2000
    drawn = np.random.default_rng(shards)
    order = drawn.permutation(count) if "drawn" in shape else np.arange(count)
    pairs = {
        "chain": np.stack([order[:-1], order[1:]], 1),
        "drawn chain": np.stack([order[:-1], order[1:]], 1),
        "star": np.stack([np.full(count - 1, count - 1), np.arange(count - 1)], 1),
        "drawn": drawn.integers(0, count, (1500, 2)),
        "cliques": drawn.integers(0, 10, (1500, 2)) + 10 * drawn.integers(0, 200, (1500, 1)),
    }[shape]
    bounds = np.array([count * at // shards for at in range(shards + 1)])
    engine = PicklingEngine()
    links = [[engine.submit(lambda_of, one)] for one in components.scattered(pairs, bounds, both=True)]
    found = components.find_components(engine, links, bounds)
    truth = components.join(pairs, count)
    for a, b in pairs:
        assert truth[a] == truth[b]
    members = np.concatenate([engine.get(one) for one in found.shards])
    sizes = np.bincount(truth, minlength=count)
    expected = np.flatnonzero(sizes[truth] > 1)
    assert np.array_equal(np.sort(members[:, 1]), expected)
    assert np.array_equal(members[np.argsort(members[:, 1]), 0], truth[expected])
    assert found.rounds <= 2 * np.log2(count)


def lambda_of(value: Any) -> Any:
    return value

"""Each document that goes is like the one kept for it: the native rule beside a plain one, and its bounds."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolfast import SmolfastError, _native
from smolfast.commands.main import main
from smolfast.dedup import MinHasher, deduplicate, explain
from smolfast.dedup.banding import band_threshold
from smolfast.dedup.histogram import count_by_jaccard, draw
from smolfast.pipeline.split import _follow_clusters, split_documents
from smolfast.text import simplify

BANDS, ROWS, HASHES = 4, 2, 16


def write(path: Path, texts: list[str], **columns: Any) -> Path:
    pq.write_table(pa.table({"id": [f"d{i}" for i in range(len(texts))], "text": texts, **columns}), path)
    return path


def rows_of(output: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(output / f"{name}.parquet").to_pylist()
    return found


# -- beside the rule, written plainly ----------------------------------------------------------------------------------


class Plain:
    """What the documentation says, pair by pair."""

    def __init__(self, texts: list[str], options: dict[str, Any]) -> None:
        hasher = MinHasher(HASHES, 1, "whitespace")
        self.signatures = hasher.signatures(texts)
        ends, values = hasher.shingles(texts)
        self.sets = [set(values[a:b].tolist()) for a, b in pairwise(ends)]
        simplified = [simple or text for simple, text in zip(pa.array(simplify(texts)).to_pylist(), texts, strict=True)]
        self.same = simplified if options["exact"] == "simplified" else texts
        self.verify = options["verify"]
        self.threshold = options.get("threshold") or (1 / BANDS) ** (1 / ROWS)

    def jaccard(self, a: int, b: int) -> float:
        if not self.sets[a] or not self.sets[b]:
            return 0.0
        if self.verify == "exact":
            return len(self.sets[a] & self.sets[b]) / len(self.sets[a] | self.sets[b])
        return float((self.signatures[a] == self.signatures[b]).mean())

    def meet(self, a: int, b: int) -> bool:
        bands = self.signatures[:, : BANDS * ROWS].reshape(-1, BANDS, ROWS)
        return bool(self.sets[a] and self.sets[b] and (bands[a] == bands[b]).all(axis=1).any())

    def alike(self, a: int, b: int) -> bool:
        return self.meet(a, b) if self.verify == "none" else self.jaccard(a, b) >= self.threshold

    def clusters(self) -> list[int]:
        roots = list(range(len(self.same)))
        for b in range(len(roots)):
            for a in range(b):
                if self.same[a] == self.same[b] or (self.meet(a, b) and self.alike(a, b)):
                    low, high = sorted((roots[a], roots[b]))
                    roots = [low if root == high else root for root in roots]
        return roots

    def choose(self, roots: list[int], value: list[float], protected: int, *, chains: bool) -> dict[int, int]:
        """The document kept for each that goes."""
        gone: dict[int, int] = {}
        for cluster in set(roots):
            members = [i for i, root in enumerate(roots) if root == cluster]
            members.sort(key=lambda i: (i >= protected, 0 if i < protected else -value[i], i))
            kept: list[int] = []
            for i in members:
                equal = [k for k in kept if self.same[k] == self.same[i]]
                like = kept[:1] if chains else equal or [k for k in kept if self.alike(k, i)]
                if like and i >= protected:
                    gone[i] = like[0]
                else:
                    kept.append(i)
        return gone


TEXTS = st.lists(
    st.one_of(
        st.lists(st.sampled_from("abcdefgh"), max_size=8).map(" ".join),
        st.sampled_from(["", "...", "!", " ", "a b c d", "A, b c d", "a b c d e", "b c d e f"]),
    ),
    min_size=1,
    max_size=24,
)
OPTIONS = st.fixed_dictionaries(
    {
        "verify": st.sampled_from(["signature", "exact", "none"]),
        "chains": st.booleans(),
        "keep": st.sampled_from(["first", "longest", "score"]),
        "exact": st.sampled_from(["text", "simplified"]),
        "threads": st.sampled_from([1, 3]),
    },
    optional={"threshold": st.sampled_from([0.3, 0.5, 0.7, 0.75, 1.0])},
)
SCORES = st.sampled_from([None, math.nan, -math.inf, math.inf, -1.0, 0.0, -0.0, 1.0, 1.0, 2.5])


@settings(max_examples=100)
@given(TEXTS, TEXTS | st.just([]), OPTIONS, st.data())
def test_the_plain_rule_gives_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[str],
    against: list[str],
    options: dict[str, Any],
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("star")
    scores = data.draw(st.lists(SCORES, min_size=len(texts), max_size=len(texts)))
    source = write(folder / "in.parquet", texts, score=pa.array(scores, pa.float64(), from_pandas=False))
    others = [write(folder / "against.parquet", against)] if against else []
    signed = {"num_perm": HASHES, "ngram": 1, "tokens": "whitespace", "bands": BANDS, "rows": ROWS}
    deduplicate([source], folder / "out", against=others, **signed, **options)
    kept, removed = rows_of(folder / "out", "kept"), rows_of(folder / "out", "removed")

    everything = against + texts
    plain = Plain(everything, options)
    roots = plain.clusters()
    value = [0.0] * len(everything)
    if options["keep"] == "longest":
        value = [float(len(text.encode())) for text in everything]
    elif options["keep"] == "score":
        ranks = sorted({s for s in scores if s is not None and not math.isnan(s)})
        value = [0.0] * len(against)
        value += [-1.0 if s is None or math.isnan(s) else float(ranks.index(s)) for s in scores]  # missing: below −∞
    first = len(against)
    gone = plain.choose(roots, value, first, chains=options["chains"])
    assert {
        first + row["row"]: row["kept_row"] + (0 if "against" in row["kept_file"] else first) for row in removed
    } == gone
    assert [first + int(row["id"][1:]) for row in kept] == [i for i in range(first, len(everything)) if i not in gone]
    for row in kept:
        i = first + int(row["id"][1:])
        assert (row["cluster_id"], row["cluster_size"]) == (roots[i], roots.count(roots[i]))
    for row in removed:
        i, k = first + row["row"], gone[first + row["row"]]
        assert row["cluster_id"] == roots[i] == roots[k]
        assert row["kind"] == ("exact" if plain.same[i] == plain.same[k] else "near")
        assert row["jaccard"] == (1.0 if row["kind"] == "exact" else plain.jaccard(i, k))
        if row["kind"] == "near" and not options["chains"] and options["verify"] != "none":
            assert row["jaccard"] >= plain.threshold
    summary = json.loads((folder / "out" / "dedup.json").read_text())["summary"]
    assert sum(summary["near_by_jaccard"].values()) == summary["near_duplicates"]


# -- what the default does ---------------------------------------------------------------------------------------------


def chain(length: int, words: int = 120, step: int = 12) -> list[str]:
    """Each document shares all but `step` words at either end with the next."""
    return [" ".join(f"w{i}" for i in range(step * n, step * n + words)) for n in range(length)]


def test_a_chain_keeps_what_is_not_alike(tmp_path: Path) -> None:
    texts = chain(12)
    source = write(tmp_path / "d.parquet", texts)
    deduplicate([source], tmp_path / "out", bands=28, rows=4, threshold=0.7)
    kept, removed = rows_of(tmp_path / "out", "kept"), rows_of(tmp_path / "out", "removed")
    assert {row["cluster_id"] for row in kept} == {0} and {row["cluster_size"] for row in kept} == {12}
    assert 4 <= len(kept) < 12
    assert all(abs(row["row"] - row["kept_row"]) <= 2 and row["jaccard"] >= 0.7 for row in removed)
    summary = deduplicate([source], tmp_path / "chains", bands=28, rows=4, threshold=0.7, chains=True)
    assert (summary.documents_out, summary.clusters) == (1, 1)
    assert min(row["jaccard"] for row in rows_of(tmp_path / "chains", "removed")) < 0.1
    assert summary.near_by_jaccard["0.00-0.50"] > 0
    found = explain(tmp_path / "out", removed[0]["id"])
    assert (found.kept_id, found.jaccard) == (removed[0]["kept_id"], removed[0]["jaccard"])


def test_datatroves_rule_is_there(tmp_path: Path) -> None:
    """Everything that shares a band, directly or through others, is one cluster, of which one stays."""
    texts = chain(12)
    source = write(tmp_path / "d.parquet", texts)
    options: dict[str, Any] = {"bands": 28, "rows": 4, "verify": "none"}
    assert deduplicate([source], tmp_path / "chains", chains=True, **options).documents_out == 1
    # Without chains what goes shares a band with what is kept for it.
    deduplicate([source], tmp_path / "star", **options)
    keys = _native.band_keys(MinHasher().signatures(texts), 28, 4, 1)
    removed = rows_of(tmp_path / "star", "removed")
    assert removed and all((keys[:, row["row"]] == keys[:, row["kept_row"]]).any() for row in removed)


def test_nothing_kept_of_a_cluster_crosses_a_split(tmp_path: Path) -> None:
    texts = [text.replace("w", f"c{n}w") for n in range(60) for text in chain(12)]
    deduplicate([write(tmp_path / "d.parquet", texts)], tmp_path / "out", bands=28, rows=4, threshold=0.7)
    # Without the sizes, and with a column of nulls among the clusters, too.
    table = pq.read_table(tmp_path / "out" / "kept.parquet")
    assert len(table) > 2 * len(set(table["cluster_id"].to_pylist())) > 100
    pq.write_table(table.drop(["cluster_size"]), tmp_path / "no-sizes.parquet", row_group_size=7)
    for source in (tmp_path / "out" / "kept.parquet", tmp_path / "no-sizes.parquet"):
        split_documents(source, tmp_path / "split", held_out_fraction=0.3, seed=1)
        train, held_out = (
            pq.read_table(tmp_path / "split" / f"{side}.parquet")["cluster_id"].to_pylist()
            for side in ("train", "held_out")
        )
        assert not set(train) & set(held_out) and len(train) + len(held_out) == len(table)
        assert 8 <= len(set(held_out)) <= 30


def test_a_split_leaves_other_columns_of_that_name_alone(tmp_path: Path) -> None:
    texts = [f"document {i}" for i in range(400)]
    sides = []
    for name, ids in (("none", None), ("words", ["same"] * 400), ("nulls", pa.nulls(400, pa.int64()))):
        columns = {} if ids is None else {"cluster_id": ids}
        split_documents(
            write(tmp_path / f"{name}.parquet", texts, **columns), tmp_path / "out", held_out_fraction=0.3, seed=1
        )
        sides.append(pq.read_table(tmp_path / "out" / "train.parquet")["text"].to_pylist())
    assert sides[0] == sides[1] == sides[2]
    # A renamed column of ours is known by its metadata, beside one of the user's.
    fields = [pa.field("text", pa.string()), pa.field("cluster_id", pa.int64())]
    fields.append(pa.field("our_cluster_id", pa.int64(), metadata={"smolfast": "cluster_id"}))
    held_out = np.arange(400) % 2 == 0
    arrays = [pa.array(texts), pa.array(range(400)), pa.array([i // 2 for i in range(400)])]
    _follow_clusters(pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields)), held_out, {})
    assert held_out.all()


# -- bounded work ------------------------------------------------------------------------------------------------------


def choose(
    signatures: np.ndarray[Any, Any], bands: int, rows: int, threshold: float, **options: Any
) -> tuple[Any, int]:
    """One cluster of all documents, in their order, of texts that differ."""
    count = len(signatures)
    stored = _native.StoredSignatures([signatures], signatures.shape[1], 4)
    order = np.arange(count, dtype=np.uint32)
    texts = options.pop("texts", order)
    return _native.choose_stars(
        order, np.array([0, count], np.int64), texts, stored, threshold, stored, bands, rows,
        options.pop("protected", 0), options.pop("text_decides", True), options.pop("threads", 1),
    )  # fmt: skip


def test_a_cluster_of_many_unlike_documents_takes_bounded_work() -> None:
    generator = np.random.default_rng(0)
    signatures = generator.integers(0, 1 << 32, (50_000, 16), dtype=np.uint32)
    signatures[:, 0] = 7  # one band of one row that all share
    signatures[40_000:, :14] = signatures[30_000:40_000, :14]  # and these are like an earlier one
    stays, compared = choose(signatures, 16, 1, 0.8)
    assert compared <= 50_000 * (64 + 16 * 8)
    assert (stays[:40_000] == np.arange(40_000)).all()
    assert (stays[40_000:] == np.arange(30_000, 40_000)).all()


def test_many_clusters_on_threads_and_from_a_file(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    signatures = generator.integers(0, 3, (30_000, 8), dtype=np.uint32)
    path = tmp_path / "signatures.bin"
    signatures.tofile(path)
    order = generator.permutation(30_000).astype(np.uint32)
    starts = np.array([0, *sorted(generator.choice(29_999, 400, replace=False) + 1), 30_000], np.int64)
    found = []
    for source in ([signatures[:7], signatures[7:]], str(path)):
        stored = _native.StoredSignatures(source, 8, 4)
        for threads in (1, 3):
            stays, compared = _native.choose_stars(
                order, starts, np.arange(30_000, dtype=np.uint32), stored, 0.75, stored, 4, 2, 100, True, threads
            )
            found.append((stays.tobytes(), compared))
    assert len(set(found)) == 1
    assert (stays[order < 100] == order[order < 100]).all()
    gone = stays != order
    assert gone.any() and (stored.jaccard(order[gone], stays[gone], 1) >= 0.75).all()


def test_what_is_not_compared_stays() -> None:
    """More than 8 in a band beyond the first 64: of those the best 8 are compared with."""
    signatures = np.arange(200 * 4, dtype=np.uint32).reshape(200, 4)
    signatures[:, 0] = 5
    signatures[64:100, 1] = 6  # these share two bands
    signatures[100:, :2] = [9, 8]
    like_late = signatures[[70, 80]] + np.array([0, 0, 0, 1], np.uint32)  # like the 70th and the 80th, in three of four
    stays, _ = choose(np.concatenate([signatures, like_late]), 2, 1, 0.75)
    assert stays[-2:].tolist() == [70, 201]


def test_a_million_equal_documents_are_one_comparison() -> None:
    count = 1_000_000
    signatures = np.zeros((count, 2), np.uint32)
    texts = np.zeros(count, np.uint32)
    for protected in (0, count - 1):
        stays, compared = choose(signatures, 1, 1, 0.5, texts=texts, protected=protected)
        assert compared == 0
        assert stays[-1] == 0 and (stays[:protected] == np.arange(protected)).all()


@pytest.mark.parametrize("kind", ["documents", "starts", "bands", "texts"])
def test_what_the_native_part_refuses(kind: str) -> None:
    signatures = np.zeros((3, 4), np.uint32)
    stored = _native.StoredSignatures([signatures], 4, 4)
    order, starts, texts = np.arange(3, dtype=np.uint32), np.array([0, 3], np.int64), np.arange(3, dtype=np.uint32)
    bands = 2
    if kind == "documents":
        order[1] = 3
    elif kind == "starts":
        starts[0] = 1
    elif kind == "bands":
        bands = 5
    else:
        with pytest.raises(SmolfastError, match="texts: expected 3 numbers"):
            _native.DocumentSets(3).unite([[np.zeros(3, np.uint64)]], texts[:2], 1, 1, None, 0.0)
        return
    with pytest.raises(SmolfastError, match=kind):
        _native.choose_stars(order, starts, texts, stored, 0.5, stored, bands, 1, 0, True, 1)


# -- scores ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        (pa.array([2**53, 2**53 + 1, 2**53], pa.int64()), 1),
        (pa.array([2**63, 2**64 - 2, 2**64 - 1], pa.uint64()), 2),
        (pa.array([-(2**62), -(2**62) + 1, None], pa.int64()), 1),
        (pa.array([Decimal("0.10"), Decimal("0.11"), None], pa.decimal128(20, 2)), 1),
        (
            pa.array(
                [Decimal("12345678901234567890.1"), Decimal("12345678901234567890.3"), None], pa.decimal128(30, 1)
            ),
            1,
        ),
        (pa.array([False, True, True], pa.bool_()), 1),
        (pa.array([None, None, None], pa.null()), 0),
        (pa.array([math.nan, None, -math.inf], pa.float64(), from_pandas=False), 2),
        (pa.array([math.nan, 1.0, math.inf], pa.float32(), from_pandas=False), 2),
        (pa.array(np.array([1, 2, 1], np.float16)), 1),
    ],
)
def test_the_highest_score_stays(tmp_path: Path, scores: pa.Array, best: int) -> None:
    source = write(tmp_path / "d.parquet", ["one two three four five six"] * 3, score=scores)
    deduplicate([source], tmp_path / "out", keep="score")
    assert [row["id"] for row in rows_of(tmp_path / "out", "kept")] == [f"d{best}"]


# -- what it says ------------------------------------------------------------------------------------------------------


def test_texts_of_punctuation_are_no_exact_duplicates(tmp_path: Path) -> None:
    source = write(tmp_path / "d.parquet", ["", "...", "!?", "...", "?!"])
    deduplicate([source], tmp_path / "out", exact="simplified", simplify=True)
    assert [row["id"] for row in rows_of(tmp_path / "out", "kept")] == ["d0", "d1", "d2", "d4"]


def test_counts_by_similarity() -> None:
    counts = count_by_jaccard(np.array([0.0, 0.49, 0.5, 0.55, 0.7, 7 / 10, 0.85, 0.999, 1.0]))
    assert list(counts.values()) == [2, 1, 1, 0, 0, 2, 0, 0, 1, 0, 2]
    assert list(counts)[:2] == ["0.00-0.50", "0.50-0.55"] and list(counts)[-1] == "0.95-1.00"
    assert draw(count_by_jaccard(np.array([]))) == []
    assert [line.split()[0] for line in draw(counts)] == list(counts)
    assert len(draw(count_by_jaccard(np.array([0.9])))) == 2


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "d.parquet", chain(12))
    command = ["dedup", str(source), "--quiet", "--bands", "28", "--rows", "4", "--threshold", "0.7"]
    assert main([*command, "-o", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "dedup.json").read_text())["summary"]["near_by_jaccard"]
    first = next(name for name, count in found.items() if count)
    assert first >= "0.70" and first in shown and "█" in shown and "0.00-0.50" not in shown
    assert main([*command, "-o", str(tmp_path / "chains"), "--chains", "--verify", "none", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["documents_out"] == 1
    parameters = json.loads((tmp_path / "out" / "dedup.json").read_text())["parameters"]
    assert (parameters["verify"], parameters["chains"], parameters["threshold"]) == ("signature", False, 0.7)


def test_the_threshold_without_one_is_the_bands_own(tmp_path: Path) -> None:
    source = write(tmp_path / "d.parquet", ["a b c"])
    deduplicate([source], tmp_path / "out")
    parameters = json.loads((tmp_path / "out" / "dedup.json").read_text())["parameters"]
    assert parameters["threshold"] == band_threshold(14, 8) == pytest.approx(0.719, abs=5e-4)
    assert band_threshold(1, 112) == 1.0

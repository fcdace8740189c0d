"""Comparing with documents already kept: an index on disk, another corpus; and explaining what went."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from smolfast import SmolfastError
from smolfast.commands.main import main
from smolfast.dedup import deduplicate, explain
from smolfast.files import fingerprint


def text(generator: random.Random, words: int = 200) -> str:
    return " ".join(f"w{generator.randrange(10_000)}" for _ in range(words))


def write(path: Path, texts: list[str], prefix: str) -> Path:
    rows = [{"id": f"{prefix}{i}", "text": t} for i, t in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def ids(output: Path, name: str = "kept") -> list[str]:
    return [row["id"] for row in pq.read_table(output / f"{name}.parquet").to_pylist()]


@pytest.fixture
def days(tmp_path: Path) -> list[Path]:
    """Three shards: the second repeats a document of the first, the third one of each."""
    generator = random.Random(1)
    own = [text(generator) for _ in range(9)]
    near = own[1] + " changed end"
    return [
        write(tmp_path / "day1.jsonl", [*own[:3], own[0]], "a"),
        write(tmp_path / "day2.jsonl", [*own[3:6], near], "b"),
        write(tmp_path / "day3.jsonl", [own[6], own[2], own[4], own[7], own[7]], "c"),
    ]


def index_bytes(index: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(index.iterdir())}


def test_an_index_grows_by_what_is_new(days: list[Path], tmp_path: Path) -> None:
    index = tmp_path / "index"
    outputs = [tmp_path / f"out{i}" for i in range(3)]
    summaries = [
        deduplicate([day], output, index=index, update_index=True) for day, output in zip(days, outputs, strict=True)
    ]
    assert [ids(output) for output in outputs] == [["a0", "a1", "a2"], ["b0", "b1", "b2"], ["c0", "c3"]]
    assert [summary.documents_in for summary in summaries] == [4, 4, 5]
    assert [summary.documents_out for summary in summaries] == [3, 3, 2]
    removed = {row["id"]: row for row in pq.read_table(outputs[2] / "removed.parquet").to_pylist()}
    assert {name: row["kept_id"] for name, row in removed.items()} == {"c1": "a2", "c2": "b1", "c4": "c3"}
    assert removed["c1"]["kept_file"] == str(days[0]) and removed["c1"]["kept_row"] == 2
    assert (removed["c1"]["kind"], removed["c1"]["jaccard"]) == ("exact", 1.0)
    # Rerunning adds nothing twice.
    before = index_bytes(index)
    deduplicate([days[2]], outputs[2], index=index, update_index=True)
    assert index_bytes(index) == before


def test_the_index_and_one_run_over_everything_keep_the_same(days: list[Path], tmp_path: Path) -> None:
    kept = []
    for i, day in enumerate(days):
        deduplicate([day], tmp_path / f"out{i}", index=tmp_path / "index", update_index=True)
        kept += ids(tmp_path / f"out{i}")
    deduplicate(days, tmp_path / "all")
    assert kept == ids(tmp_path / "all")


def test_a_run_killed_after_the_index_was_written_adds_nothing_twice(
    days: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smolfast.dedup import job

    index = tmp_path / "index"
    deduplicate([days[0]], tmp_path / "out0", index=index, update_index=True)
    deduplicate([days[1]], tmp_path / "whole", index=index, update_index=True)
    expected, kept = index_bytes(index), ids(tmp_path / "whole")
    # The same once more beside it, stopped between the index and the output's manifest.
    again = tmp_path / "again"
    deduplicate([days[0]], tmp_path / "again0", index=again, update_index=True)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    real = job.fingerprint
    with monkeypatch.context() as patch:
        patch.setattr(job, "fingerprint", lambda path: stop() if "parquet" in str(path) else real(path))
        with pytest.raises(KeyboardInterrupt):
            deduplicate([days[1]], tmp_path / "out", index=again, update_index=True)
    deduplicate([days[1]], tmp_path / "out", index=again, update_index=True)
    assert index_bytes(again) == expected
    assert ids(tmp_path / "out") == kept


def test_what_was_added_by_another_output_is_known(days: list[Path], tmp_path: Path) -> None:
    index = tmp_path / "index"
    for output, kept in (("first", ["a0", "a1", "a2"]), ("second", []), ("third", [])):
        summary = deduplicate([days[0]], tmp_path / output, index=index, update_index=True)
        assert ids(tmp_path / output) == kept
        assert summary.documents_out == len(kept)
    assert {row["kept_id"] for row in pq.read_table(tmp_path / "second" / "removed.parquet").to_pylist()} == {
        "a0",
        "a1",
        "a2",
    }
    # An output that was thrown away is made again against the index as it is now.
    shutil.rmtree(tmp_path / "third")
    deduplicate([days[0]], tmp_path / "third", index=index, update_index=True)
    assert ids(tmp_path / "third") == []


def test_one_killed_addition_and_another_output(
    days: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smolfast.dedup import job

    index = tmp_path / "index"
    with monkeypatch.context() as patch:
        patch.setattr(job, "fingerprint", lambda path: 1 / 0 if "kept" in str(path) else fingerprint(path))
        with pytest.raises(ZeroDivisionError):
            deduplicate([days[0]], tmp_path / "killed", index=index, update_index=True)
    # It had added its documents already, so another output doesn't keep them; it goes on as if it hadn't.
    deduplicate(days[:2], tmp_path / "other", index=index, update_index=True)
    assert ids(tmp_path / "other") == ["b0", "b1", "b2"]
    before = index_bytes(index)
    for _ in range(2):
        deduplicate([days[0]], tmp_path / "killed", index=index, update_index=True)
        assert index_bytes(index) == before
        assert ids(tmp_path / "killed") == ["a0", "a1", "a2"]


def test_a_query_leaves_the_index_alone(days: list[Path], tmp_path: Path) -> None:
    index = tmp_path / "index"
    deduplicate(days[:2], tmp_path / "base", index=index, update_index=True)
    before = index_bytes(index)
    deduplicate([days[2]], tmp_path / "out", index=index)
    assert ids(tmp_path / "out") == ["c0", "c3"]
    assert index_bytes(index) == before


@pytest.mark.parametrize("verify", ["none", "exact"])
def test_against_another_corpus(days: list[Path], tmp_path: Path, verify: Any) -> None:
    options: dict[str, Any] = {} if verify == "none" else {"threshold": 0.8, "verify": verify}
    summary = deduplicate([days[2], days[1]], tmp_path / "out", against=[days[0]], keep="longest", **options)
    # The near-duplicate of a1 is longer, but what is compared against stays.
    assert ids(tmp_path / "out") == ["c0", "c2", "c3", "b0", "b2"]
    assert (summary.documents_in, summary.documents_out) == (9, 5)
    assert summary.bytes_in == sum(
        len(json.loads(line)["text"]) for day in (days[1], days[2]) for line in day.read_text().splitlines()
    )
    removed = {row["id"]: row["kept_id"] for row in pq.read_table(tmp_path / "out" / "removed.parquet").to_pylist()}
    assert removed == {"c1": "a2", "c4": "c3", "b1": "c2", "b3": "a1"}


def test_an_index_of_other_signatures_is_refused(days: list[Path], tmp_path: Path) -> None:
    deduplicate([days[0]], tmp_path / "out", index=tmp_path / "index", update_index=True)
    with pytest.raises(SmolfastError, match="was made with seed = 1, not 2"):
        deduplicate([days[1]], tmp_path / "out2", index=tmp_path / "index", seed=2)
    with pytest.raises(SmolfastError, match="there is no index in"):
        deduplicate([days[1]], tmp_path / "out2", index=tmp_path / "none")
    with pytest.raises(SmolfastError, match="is not an index"):
        deduplicate([days[1]], tmp_path / "out2", index=tmp_path / "out", update_index=True)
    with pytest.raises(SmolfastError, match="keeps no shingle sets"):
        deduplicate([days[1]], tmp_path / "out2", index=tmp_path / "index", threshold=0.8, verify="exact")
    with pytest.raises(SmolfastError, match="update_index needs an index"):
        deduplicate([days[1]], tmp_path / "out2", update_index=True)


@pytest.mark.parametrize("version", [None, 1, 99])
def test_an_index_of_another_version_is_refused(days: list[Path], tmp_path: Path, version: int | None) -> None:
    index = tmp_path / "index"
    deduplicate([days[0]], tmp_path / "out", index=index, update_index=True)
    found = json.loads((index / "index.json").read_text())
    del found["parameters"]["version"]
    if version is not None:
        found["parameters"]["version"] = version
    (index / "index.json").write_text(json.dumps(found))
    before = index_bytes(index)
    for update in (False, True):
        with pytest.raises(SmolfastError, match=r"another version of smolfast.*build it again"):
            deduplicate([days[1]], tmp_path / "out2", index=index, update_index=update)
    assert index_bytes(index) == before


def test_explaining_a_removed_document(days: list[Path], tmp_path: Path) -> None:
    deduplicate(days, tmp_path / "out")
    found = explain(tmp_path / "out", "b3")
    assert (found.kept_id, found.kind) == ("a1", "near")
    assert found.text == found.kept_text + " changed end"
    assert "+" + found.text in found.report() and "-" + found.kept_text in found.report()
    assert "the texts are equal" in explain(tmp_path / "out", "c4").report()
    with pytest.raises(SmolfastError, match="has no document 'a0'"):
        explain(tmp_path / "out", "a0")


def test_the_command_line(days: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index, first, second = str(tmp_path / "index"), str(tmp_path / "o1"), str(tmp_path / "o2")
    assert main(["dedup", "index", "build", str(days[0]), "--index", index, "-o", first, "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["documents_out"] == 3
    assert main(["dedup", "index", "add", str(days[1]), "--index", index, "-o", second, "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["near_duplicates"] == 1
    assert main(["dedup", "explain", "b3", "-o", second]) == 0
    assert "kept     a1" in capsys.readouterr().out
    assert main(["dedup", "index", "build", str(days[2]), "--index", index, "-o", first, "--quiet"]) == 2
    assert "is an index already" in capsys.readouterr().err
    assert main(["dedup", str(days[0]), "-o", str(tmp_path / "o3"), "--memory", "1g", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["exact_duplicates"] == 1
    with pytest.raises(SystemExit):
        main(["dedup", str(days[0]), "-o", str(tmp_path / "o3"), "--memory", "much"])
    assert "is not a size" in capsys.readouterr().err

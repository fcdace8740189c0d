"""The job on files: what stays, what goes and why; reruns, spilling, interruption, bad input."""

from __future__ import annotations

import io
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolfast import SmolfastError, _native
from smolfast.commands import main as cli
from smolfast.dedup import band_probability, choose_bands, deduplicate


def text(generator: random.Random, words: int = 300) -> str:
    return " ".join(f"w{generator.randrange(10_000)}" for _ in range(words))


def edited(original: str, generator: random.Random, count: int) -> str:
    words = original.split()
    for index in generator.sample(range(len(words)), count):
        words[index] = f"e{generator.randrange(10_000)}"
    return " ".join(words)


@pytest.fixture
def documents() -> list[dict[str, Any]]:
    """400 documents: 200 of their own, 100 exact copies, 100 with a few words changed."""
    generator = random.Random(3)
    own = [text(generator) for _ in range(200)]
    copies = generator.sample(own, 100)
    near = [edited(original, generator, 2) for original in generator.sample(own, 100)]
    texts = own + copies + near
    return [
        {"id": f"d{i}", "text": t, "score": (i * 37) % 400, "kind": "own" if i < 200 else "copy" if i < 300 else "near"}
        for i, t in enumerate(texts)
    ]


@pytest.fixture
def parquet(tmp_path: Path, documents: list[dict[str, Any]]) -> Path:
    path = tmp_path / "documents.parquet"
    pq.write_table(pa.Table.from_pylist(documents), path, row_group_size=64)
    return path


def read(output: Path, name: str) -> list[dict[str, Any]]:
    return pq.read_table(output / f"{name}.parquet").to_pylist()


def content(output: Path) -> tuple[bytes, bytes]:
    return (output / "kept.parquet").read_bytes(), (output / "removed.parquet").read_bytes()


# -- what stays and what goes ------------------------------------------------------------------------------------------


def test_duplicates_go_and_everything_else_stays(
    parquet: Path, tmp_path: Path, documents: list[dict[str, Any]]
) -> None:
    output = tmp_path / "out"
    summary = deduplicate([parquet], output)
    kept, removed = read(output, "kept"), read(output, "removed")
    assert [row["id"] for row in kept] == [f"d{i}" for i in range(200)]
    assert {key: kept[7][key] for key in ("id", "text", "score", "kind")} == documents[7]
    assert summary.documents_in == 400
    assert summary.documents_out == len(kept) == 200
    assert summary.bytes_in == sum(len(d["text"].encode()) for d in documents)
    assert summary.bytes_out == sum(len(row["text"].encode()) for row in kept)
    assert (summary.exact_duplicates, summary.near_duplicates) == (100, 100)
    by_id = {d["id"]: d for d in documents}
    assert [row["id"] for row in removed] == [f"d{i}" for i in range(200, 400)]
    for row in removed:
        same = by_id[row["id"]]["text"] == by_id[row["kept_id"]]["text"]
        assert row["kind"] == ("exact" if same else "near")
        assert row["jaccard"] == 1.0 if same else 0.7 < row["jaccard"] < 1.0
        assert row["file"] == row["kept_file"] == str(parquet)
        assert row["id"] == f"d{row['row']}" and row["kept_id"] == f"d{row['kept_row']}"
        assert row["cluster_id"] == row["kept_row"]
    sizes = {row["cluster_id"]: row["cluster_size"] for row in kept}
    for cluster in {row["cluster_id"] for row in removed}:
        assert sizes[cluster] == 1 + sum(row["cluster_id"] == cluster for row in removed)
    assert summary.clusters == sum(size > 1 for size in sizes.values())


def test_which_document_stays(tmp_path: Path) -> None:
    long = "one two three four five six seven eight nine ten " * 20
    rows = [
        {"text": long, "quality": 1.0},
        {"text": long + "eleven", "quality": 2.0},
        {"text": long, "quality": 5.0},
        {"text": long, "quality": None},
    ]
    path = tmp_path / "d.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    for keep, expected in (("first", 0), ("longest", 1), ("quality", 2)):
        output = tmp_path / keep
        deduplicate([path], output, keep=keep)
        removed = read(output, "removed")
        assert {row["kept_row"] for row in removed} == {expected}
        assert [row["row"] for row in removed] == [i for i in range(4) if i != expected]
        # Without an id column, a row's place is its name.
        assert removed[0]["kept_id"] == f"{path}:{expected}"


def test_verification_keeps_what_is_not_alike_enough(tmp_path: Path) -> None:
    generator = random.Random(5)
    base = text(generator)
    # 15 of 300 words changed: Jaccard of the 5-grams near 0.6; 2 words: near 0.93.
    rows = [base, edited(base, generator, 15), edited(base, generator, 2)]
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in rows))
    removed = {}
    for verify in ("none", "signature", "exact"):
        deduplicate([path], tmp_path / verify, threshold=0.8, bands=56, rows=2, verify=verify)  # type: ignore[arg-type]
        removed[verify] = read(tmp_path / verify, "removed")
    assert [row["row"] for row in removed["none"]] == [1, 2]
    assert [row["row"] for row in removed["signature"]] == [2]
    assert [row["row"] for row in removed["exact"]] == [2]
    grams = [{tuple(t.split()[i : i + 5]) for i in range(296)} for t in rows]
    assert removed["exact"][0]["jaccard"] == pytest.approx(
        len(grams[0] & grams[2]) / len(grams[0] | grams[2]), abs=1e-6
    )


def test_documents_without_words_meet_only_their_equals(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in ["", "...", "", " \n", "..."]))
    summary = deduplicate([path], tmp_path / "out")
    assert summary.exact_duplicates == 2 and summary.near_duplicates == 0
    assert [row["text"] for row in read(tmp_path / "out", "kept")] == ["", "...", " \n"]


# -- one result, however it is made ------------------------------------------------------------------------------------


def test_output_does_not_depend_on_threads_memory_or_cpu(
    parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    before = _native.implementation()
    for name in _native.implementations():
        _native.force_implementation(name)
        for threads in (1, 3):
            output = tmp_path / f"{name}{threads}"
            deduplicate([parquet], output, threads=threads)
            results.append(content(output))
    _native.force_implementation(before)
    monkeypatch.setattr("smolfast.dedup.job.MIN_MEMORY", 1)
    for memory in (1, 40_000, 400_000):
        for verify in ("signature", "exact"):
            output = tmp_path / f"{memory}{verify}"
            deduplicate([parquet], output, memory=memory, threshold=0.7, bands=14, rows=8, verify=verify)  # type: ignore[arg-type]
            if memory == 1:
                ample = tmp_path / f"ample{verify}"
                deduplicate([parquet], ample, threshold=0.7, bands=14, rows=8, verify=verify)  # type: ignore[arg-type]
            assert content(output) == content(tmp_path / f"ample{verify}")
            assert not (output / ".work").exists()
    assert len(set(results)) == 1


def test_file_formats_and_splits_agree(tmp_path: Path, documents: list[dict[str, Any]], parquet: Path) -> None:
    deduplicate([parquet], tmp_path / "one")
    parts = []
    for start in range(0, 400, 150):
        part = tmp_path / f"part-{start:03}.jsonl"
        part.write_text("".join(json.dumps(row) + "\n" for row in documents[start : start + 150]), encoding="utf-8")
        parts.append(part)
    deduplicate(parts, tmp_path / "many")
    columns = ["id", "text", "score", "kind", "cluster_id", "cluster_size"]
    one = pq.read_table(tmp_path / "one" / "kept.parquet", columns=columns)
    many = pq.read_table(tmp_path / "many" / "kept.parquet", columns=columns)
    assert one.to_pylist() == many.to_pylist()
    removed = read(tmp_path / "many", "removed")
    assert removed[0]["file"] == str(parts[1]) and removed[0]["row"] == 50
    assert removed[0]["kept_file"] in {str(part) for part in parts}


def test_a_finished_run_is_not_done_again_and_another_is_refused(parquet: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    first = deduplicate([parquet], output)
    stamp = (output / "kept.parquet").stat().st_mtime_ns
    assert deduplicate([parquet], output) == first
    assert (output / "kept.parquet").stat().st_mtime_ns == stamp
    with pytest.raises(SmolfastError, match="holds the result of other input or settings"):
        deduplicate([parquet], output, seed=2)
    assert (output / "kept.parquet").stat().st_mtime_ns == stamp
    deduplicate([parquet], output, keep="longest", overwrite=True)
    assert json.loads((output / "dedup.json").read_text())["parameters"]["keep"] == "longest"
    (output / "kept.parquet").write_bytes(b"altered")
    with pytest.raises(SmolfastError, match=r"kept\.parquet was altered since it was made; .* or add --overwrite"):
        deduplicate([parquet], output, keep="longest")
    assert (output / "kept.parquet").read_bytes() == b"altered"
    deduplicate([parquet], output, keep="longest", overwrite=True)
    assert len(read(output, "kept")) == 200
    (output / "kept.parquet").unlink()
    deduplicate([parquet], output, keep="longest")
    assert len(read(output, "kept")) == 200


@pytest.mark.parametrize("name", ["kept.parquet", "removed.parquet", "dedup.json", ".work", ".work/notes"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_foreign_file_is_not_overwritten(parquet: Path, tmp_path: Path, name: str, overwrite: bool) -> None:
    precious = tmp_path / "out" / name
    precious.parent.mkdir(parents=True)
    precious.write_text('{"mine": 1}')
    with pytest.raises(SmolfastError, match="choose another output, or move") as error:
        deduplicate([parquet], tmp_path / "out", overwrite=overwrite)
    assert str(tmp_path / "out" / name.split("/")[0]) in str(error.value)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [precious]
    assert precious.read_text() == '{"mine": 1}'


KILLED_RUN = """
import sys
from smolfast.dedup import deduplicate, job
job.MIN_MEMORY = 1
print("started", flush=True)
deduplicate([sys.argv[1]], sys.argv[2], memory=1, threads=1)
"""


def test_a_killed_run_goes_on_to_the_same_bytes(parquet: Path, tmp_path: Path) -> None:
    deduplicate([parquet], tmp_path / "whole")
    output = tmp_path / "out"
    generator = random.Random(11)
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED_RUN, str(parquet), str(output)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(generator.random() * 0.12)
            os.kill(process.pid, signal.SIGKILL)
    subprocess.run([sys.executable, "-c", KILLED_RUN, str(parquet), str(output)], check=True, stdout=subprocess.PIPE)
    assert content(output) == content(tmp_path / "whole")


# Slow enough that the signal comes before the end on a busy machine.
STOPPED_RUN = """
import sys, time
from smolfast.commands import main as cli
from smolfast.dedup import job, signing
job.MIN_MEMORY = 1
read_batches = signing.read_batches
def read_slowly(*a, **k):
    for batch in read_batches(*a, **k | {"batch_bytes": 50_000}):
        yield batch
        time.sleep(0.05)
signing.read_batches = read_slowly
print("started", flush=True)
sys.exit(cli.main(["dedup", sys.argv[1], "-o", sys.argv[2], "--memory", "1", "--threads", "1", "--quiet", "--json"]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_a_run_which_then_goes_on(parquet: Path, tmp_path: Path, number: int, code: int) -> None:
    deduplicate([parquet], tmp_path / "whole")
    output = tmp_path / "out"
    command = [sys.executable, "-c", STOPPED_RUN, str(parquet), str(output)]
    commits = output / ".work" / "columns" / "commits.jsonl"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not commits.exists():
            time.sleep(0.005)
        process.send_signal(number)
        _, message = process.communicate()
    assert process.returncode == code
    assert b"run the same command again to go on from here" in message and b"Traceback" not in message
    assert sorted(path.name for path in output.iterdir()) == [".work"]
    before = commits.stat().st_size
    assert before > 0
    done = subprocess.run(command, check=True, capture_output=True)
    assert json.loads(done.stdout.splitlines()[-1])["documents_out"] == 200
    assert content(output) == content(tmp_path / "whole")


@pytest.mark.parametrize("where", ["signing", 1, 2, 3, "joining", "writing", "the last"])
def test_an_interrupted_run_in_memory_keeps_what_it_did(
    parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: int | str
) -> None:
    from smolfast.dedup import job, signing

    read_batches, sign = signing.read_batches, signing.sign_batch
    signed: list[int] = []
    inputs = [tmp_path / "first.jsonl", parquet, tmp_path / "last.jsonl"]
    for path in (inputs[0], inputs[2]):
        row = b'{"id": "x", "text": "%s", "score": 1, "kind": "own"}\n'
        path.write_bytes(row % b"\xff" + row % b"good" + row % b"\xfe")

    def sign_or_stop(job_: Any, batch: pa.RecordBatch, *rest: Any) -> Any:
        if stopping and len(signed) == {"signing": 0, "the last": 100}.get(str(where), where):
            raise KeyboardInterrupt
        signed.append(batch.num_rows)
        return sign(job_, batch, *rest)

    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(signing, "read_batches", lambda *a, **k: read_batches(*a, **(k | {"batch_bytes": 20_000})))
    monkeypatch.setattr(signing, "sign_batch", sign_or_stop)
    stopping = False
    whole = deduplicate(inputs, tmp_path / "whole", errors="skip")
    batches, stopping = len(signed), True
    assert batches > 4 and whole.skipped == 4
    signed.clear()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        for name in {"joining": ["find_clusters"], "writing": ["write_kept"], "the last": ["write_removed"]}.get(
            str(where), []
        ):
            patch.setattr(job, name, stop)
        deduplicate(inputs, tmp_path / "out", errors="skip")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".work"]
    before, stopping = len(signed), False
    signed.clear()
    assert deduplicate(inputs, tmp_path / "out", errors="skip") == whole
    assert len(signed) == batches - before
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_the_command_says_what_it_did(parquet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for said in (
        r"dedup +done in .*B/s: 400 → 200 documents \(50\.0% removed\), .* → .*; .*kept\.parquet, ",
        r"dedup +unchanged, skipped",
    ):
        assert cli.main(["dedup", str(parquet), "-o", str(tmp_path / "out"), "--json"]) == 0
        shown = capsys.readouterr()
        assert re.search(said, shown.err)
        assert json.loads(shown.out)["documents_out"] == 200
    assert cli.main(["dedup", str(parquet), "-o", str(tmp_path / "out"), "--json", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_a_run_goes_on_after_any_commit(parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops after every possible number of commits, with half-written columns beyond the last."""
    from smolfast.dedup import job, signing, store

    monkeypatch.setattr(job, "MIN_MEMORY", 1)
    read_batches = signing.read_batches
    monkeypatch.setattr(signing, "read_batches", lambda *a, **k: read_batches(*a, **k | {"batch_bytes": 50_000}))
    deduplicate([parquet], tmp_path / "whole", memory=1)
    spill = store.DocumentStore._spill
    output = tmp_path / "out"
    stops = 0
    for _ in range(100):

        def stop_after_one(self: store.DocumentStore) -> None:
            spill(self)
            raise KeyboardInterrupt

        monkeypatch.setattr(store.DocumentStore, "_spill", stop_after_one)
        try:
            deduplicate([parquet], output, memory=1)
            break
        except KeyboardInterrupt:
            stops += 1
            with (output / ".work" / "columns" / "band-003.bin").open("ab") as file:
                file.write(b"torn")
            with (output / ".work" / "columns" / "commits.jsonl").open("ab") as file:
                file.write(b'{"documents": 9')
    assert stops > 5
    assert content(output) == content(tmp_path / "whole")


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bands": 20, "rows": 8}, "bands × rows = 20 × 8 must be from 1 to num_perm = 112"),
        ({"bands": 20}, "give both bands and rows"),
        ({"threshold": 1.5}, "expected a Jaccard similarity above 0"),
        ({"verify": "exact", "threshold": 0.0}, "expected a Jaccard similarity above 0"),
        ({"threshold": 0.8, "verify": "twice"}, "choose one of none, signature, exact"),
        ({"keep": "quality"}, "has no column 'quality'"),
        ({"keep": "kind"}, "holds string, not numbers"),
        ({"memory": 5}, "give at least 64 MiB"),
        ({"text_column": "body"}, "body"),
        ({"errors": "ignore"}, "ignore"),
    ],
)
def test_bad_options_are_one_line(parquet: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SmolfastError, match=message) as caught:
        deduplicate([parquet], tmp_path / "out", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "kept.parquet").exists()


def test_a_full_disk_leaves_the_earlier_output(parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "out"
    deduplicate([parquet], output)
    before = content(output)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("smolfast.dedup.job.MIN_MEMORY", 1)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SmolfastError, match="the disk is full; free space"):
        deduplicate([parquet], output, seed=2, overwrite=True, memory=1)
    assert content(output) == before


def test_a_disk_that_fills_anywhere_leaves_the_earlier_output(
    parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit on file sizes fails writes where a full disk would: in columns, commits, the index, either output."""
    output = tmp_path / "out"
    deduplicate([parquet], output)
    before = content(output)
    deduplicate([parquet], tmp_path / "whole", seed=2)
    monkeypatch.setattr("smolfast.dedup.job.MIN_MEMORY", 1)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    messages = set()
    for memory in (1, 1 << 30):
        for limit in (0, 1000, 30_000, 150_000):
            shutil.rmtree(output / ".work", ignore_errors=True)  # or what was spilled before would be gone on with
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited[1]))
            try:
                with pytest.raises(SmolfastError, match="can't write") as caught:
                    deduplicate([parquet], output, seed=2, overwrite=True, memory=memory)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
            messages.add(str(caught.value).split(":")[0].rsplit("/", 1)[-1])
            assert content(output) == before
    assert {"columns", "kept.parquet"} <= messages
    deduplicate([parquet], output, seed=2, overwrite=True, memory=1)
    assert content(output) == content(tmp_path / "whole")


def test_read_errors_leave_the_earlier_output(parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from smolfast.io import documents

    output = tmp_path / "out"
    deduplicate([parquet], output)
    before = content(output)
    monkeypatch.setattr("smolfast.dedup.job.MIN_MEMORY", 1)
    real = documents.open_source
    reads = 0

    class Failing(io.RawIOBase):
        """A disk that fails at one read."""

        def __init__(self, path: str, at: int) -> None:
            self.file = Path(path).open("rb")  # noqa: SIM115
            self.at = at

        def read(self, size: int = -1) -> bytes:
            nonlocal reads
            reads += 1
            if reads == self.at:
                raise OSError(5, "Input/output error")
            return self.file.read(size)

        def seek(self, *where: int) -> int:
            return self.file.seek(*where)

        def tell(self) -> int:
            return self.file.tell()

        def readable(self) -> bool:
            return True

        def seekable(self) -> bool:
            return True

        def close(self) -> None:
            self.file.close()
            super().close()

    deduplicate([parquet], tmp_path / "whole", seed=2)
    failures = 0
    for at in range(1, 60, 5):
        reads = 0
        monkeypatch.setattr(documents, "open_source", lambda path, at=at: pa.PythonFile(Failing(path, at), "r"))
        try:
            deduplicate([parquet], output, seed=2, overwrite=True, memory=1, threads=1)
        except SmolfastError as error:
            failures += 1
            assert str(parquet) in str(error) and "Input/output error" in str(error)
            assert content(output) == before
    assert failures > 5
    monkeypatch.setattr(documents, "open_source", real)
    deduplicate([parquet], output, seed=2, overwrite=True, memory=1)
    assert content(output) == content(tmp_path / "whole")


def test_an_input_without_documents_says_so(tmp_path: Path) -> None:
    path = tmp_path / "none.jsonl"
    path.write_text("\n")
    with pytest.raises(SmolfastError, match="no documents in"):
        deduplicate([path], tmp_path / "out")


# -- banding -----------------------------------------------------------------------------------------------------------


def test_bands_for_a_threshold() -> None:
    assert band_probability(0.8, 14, 8) == pytest.approx(1 - (1 - 0.8**8) ** 14)
    for threshold in (0.3, 0.5, 0.7, 0.8, 0.9, 1.0):
        bands, rows = choose_bands(112, threshold)
        assert bands * rows <= 112
        assert band_probability(threshold, bands, rows) >= 0.95
        if rows < 112:
            assert band_probability(threshold, 112 // (rows + 1), rows + 1) < 0.95 or threshold == 1.0

"""Every bad input is one line with the remedy, exit code 2, nothing half-written and earlier output intact."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolfast.commands.main import main

Run = Callable[..., str]
PROSE = "\n".join(
    f"Line {i} of a short text about nothing in particular, {i * i} words from the end." for i in range(60)
)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `smolfast ARGUMENTS`; check the manner of its failure; return the error line."""

    def run(*arguments: str | Path) -> str:
        assert main([str(argument) for argument in arguments]) == 2
        captured = capsys.readouterr()
        errors = [line for line in captured.err.splitlines() if line.startswith("smolfast: error: ")]
        assert len(errors) == 1
        assert captured.err.splitlines()[-1] == errors[0]
        assert "Traceback" not in captured.err
        assert not [p for p in tmp_path.rglob("*") if ".partial" in p.name]
        return errors[0]

    return run


def quickstart(tmp_path: Path, *inputs: Path | str, options: tuple[str, ...] = ()) -> list[str]:
    return ["quickstart", "--out", str(tmp_path / "run"), "--input", *map(str, inputs), *options]


def compress(suffix: str, data: bytes) -> bytes:
    if suffix == "gz":
        return gzip.compress(data)
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def test_missing_file(tmp_path: Path, fails: Run) -> None:
    assert "none.jsonl" in fails(*quickstart(tmp_path, tmp_path / "none.jsonl"))


def test_empty_folder(tmp_path: Path, fails: Run) -> None:
    (tmp_path / "empty").mkdir()
    assert "empty" in fails(*quickstart(tmp_path, tmp_path / "empty"))


def test_no_text_column(tmp_path: Path, fails: Run) -> None:
    pq.write_table(pa.table({"content": ["a"], "id": ["1"]}), tmp_path / "a.parquet")
    error = fails(*quickstart(tmp_path, tmp_path / "a.parquet"))
    assert "'text'" in error and "content" in error and "--text-column" in error


def test_not_utf8(tmp_path: Path, fails: Run) -> None:
    rows = [json.dumps({"text": PROSE}).encode(), b'{"text": "caf\xe9"}']
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(rows))
    error = fails(*quickstart(tmp_path, tmp_path / "a.jsonl"))
    assert "a.jsonl" in error and "2" in error and "--errors" in error


@pytest.mark.parametrize(("errors", "documents"), [("replace", 2), ("skip", 1)])
def test_not_utf8_replaced_or_skipped(tmp_path: Path, errors: str, documents: int) -> None:
    rows = [json.dumps({"text": PROSE}).encode(), json.dumps({"text": PROSE + "caf#"}).encode().replace(b"#", b"\xe9")]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(rows))
    output = tmp_path / "out.parquet"
    assert main(["normalize", str(tmp_path / "a.jsonl"), "-o", str(output), "--errors", errors, "--quiet"]) == 0
    texts = pq.read_table(output)["text"].to_pylist()
    assert len(texts) == documents
    assert texts[-1].endswith("caf\ufffd") == (errors == "replace")


@pytest.mark.parametrize("cut", [0.5, 0.99])
def test_truncated_parquet(tmp_path: Path, fails: Run, cut: float) -> None:
    pq.write_table(pa.table({"text": [PROSE] * 50}), tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: int(len(whole) * cut)])
    assert "a.parquet" in fails(*quickstart(tmp_path, tmp_path / "a.parquet"))


@pytest.mark.parametrize("suffix", ["gz", "zst"])
@pytest.mark.parametrize("damage", ["truncated", "corrupt"])
def test_damaged_compression(tmp_path: Path, fails: Run, suffix: str, damage: str) -> None:
    rows = "\n".join(json.dumps({"text": f"{i} {PROSE}"}) for i in range(200))
    data = compress(suffix, rows.encode())
    middle = len(data) // 2
    data = data[:middle] if damage == "truncated" else data[:middle] + bytes(64) + data[middle + 64 :]
    file = tmp_path / f"a.jsonl.{suffix}"
    file.write_bytes(data)
    assert file.name in fails(*quickstart(tmp_path, file))


def test_broken_json_line(tmp_path: Path, fails: Run) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": PROSE}) + '\n{"text": "half\n')
    error = fails(*quickstart(tmp_path, tmp_path / "a.jsonl"))
    assert "a.jsonl" in error and "2" in error


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ((), "too little text for tokenizer.vocab_size"),
        (("tokenizer.vocab_size=300",), "training tokens where at least"),
    ],
    ids=["for the tokenizer", "for training"],
)
def test_too_little_text(tmp_path: Path, fails: Run, options: tuple[str, ...], remedy: str) -> None:
    options = tuple(word for setting in (*options, "split.held_out_fraction=0.3") for word in ("--set", setting))
    rows = [json.dumps({"text": " ".join(hex(i * 7919 + j * 104729) for j in range(20))}) for i in range(24)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    assert remedy in fails(*quickstart(tmp_path, tmp_path / "a.jsonl", options=options))


def test_output_of_another_configuration(tmp_path: Path, fails: Run) -> None:
    (tmp_path / "a.txt").write_text(PROSE)
    fails(*quickstart(tmp_path, tmp_path / "a.txt"))  # one document can't be split, but the folder is now that run's
    before = snapshot(tmp_path / "run")
    error = fails(*quickstart(tmp_path, tmp_path / "a.txt", options=("--set", "train.steps=7")))
    assert "train.steps = " in error and "not 7" in error and "--overwrite" in error
    assert snapshot(tmp_path / "run") == before


def test_bad_configuration(tmp_path: Path, fails: Run) -> None:
    (tmp_path / "a.txt").write_text(PROSE)
    error = fails(*quickstart(tmp_path, tmp_path / "a.txt", options=("--set", "train.stepz=7")))
    assert "did you mean 'train.steps'?" in error
    assert not (tmp_path / "run").exists()


def test_earlier_output_stays_when_a_later_run_fails(tmp_path: Path, fails: Run) -> None:
    good = tmp_path / "good.jsonl"
    good.write_text(json.dumps({"text": PROSE}))
    output = tmp_path / "out.parquet"
    assert main(["normalize", str(good), "-o", str(output), "--quiet"]) == 0
    before = output.read_bytes()
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{")
    fails("normalize", bad, "-o", output, "--overwrite", "--quiet")
    assert output.read_bytes() == before


def run_on_small_disk(tmp_path: Path, mount_options: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run smolfast in a mount namespace of its own where `tmp_path/disk` is a file system of the given kind."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("unshare") is None:
        pytest.skip("no unshare on this system")
    inside = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        f'mount -t tmpfs -o {mount_options} none "$0" && exec "$@"',
    ]
    probe = subprocess.run([*inside, str(disk), "true"], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"no mount namespaces on this system: {probe.stderr.strip()}")
    return subprocess.run(
        [*inside, str(disk), sys.executable, "-m", "smolfast", *arguments], capture_output=True, text=True
    )


def one_error(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr.splitlines()[-1]


WRITING = {
    "normalize to parquet": ("normalize", "out.parquet"),
    "normalize to lines": ("normalize", "out.jsonl"),
    "normalize to zstd": ("normalize", "out.jsonl.zst"),
    "normalize to gzip": ("normalize", "out.jsonl.gz"),
    "normalize to a folder": ("normalize", "out"),
    "dedup": ("dedup", "out"),
    "split": ("split", "out"),
    "collect": ("collect", "out"),
}


@pytest.mark.parametrize(("command", "name"), WRITING.values(), ids=WRITING)
def test_full_disk(command: str, name: str, tmp_path: Path) -> None:
    rng_like = "".join(json.dumps({"text": f"{i} " + hex(hash((i, "x")) ** 40)}) + "\n" for i in range(4000))
    (tmp_path / "a.jsonl").write_text(rng_like)
    output = tmp_path / "disk" / name
    arguments = (command, str(tmp_path / "a.jsonl"), "-o", str(output), "--quiet")
    error = one_error(run_on_small_disk(tmp_path, "size=256k", *arguments))
    assert "the disk is full" in error and ".smolfast-partial" not in error
    # The same command, given a disk with room, does it all.
    (tmp_path / "disk").rmdir()
    assert run_on_small_disk(tmp_path, "size=64m", *arguments).returncode == 0


@pytest.mark.parametrize(("command", "name"), WRITING.values(), ids=WRITING)
def test_unwritable_folder(command: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(PROSE)
    output = tmp_path / "disk" / "deep" / name
    result = run_on_small_disk(tmp_path, "ro,size=1m", command, str(tmp_path / "a.txt"), "-o", str(output), "--quiet")
    assert "read-only" in one_error(result)

"""Object stores as input and output: whole or not at all, faults survived, inputs and others' files never replaced."""

from __future__ import annotations

import importlib.util
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smolfast.commands.main import main
from smolfast.dedup import deduplicate
from smolfast.errors import SmolfastError
from smolfast.io.documents import find_sources, read_batches
from smolfast.io.sources import open_source
from smolfast.io.stores import reading, retries
from smolfast.io.stores.changes import describe_inputs
from smolfast.io.stores.output import describe, store_output

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("SMOLFAST_WORK", str(tmp_path / "work"))
    monkeypatch.setattr(retries, "FIRST_WAIT", 0.001)
    yield tmp_path / "work"
    fsspec.filesystem("memory").store.clear()


def documents(count: int, seed: int = 0) -> str:
    drawn = random.Random(seed)
    words = [f"word{number}" for number in range(400)]
    rows = [{"id": str(n), "text": " ".join(drawn.choices(words, k=30))} for n in range(count)]
    rows += [{**row, "id": f"again-{row['id']}"} for row in rows[::7]]
    return "".join(json.dumps(row) + "\n" for row in rows)


def put(url: str, content: str | bytes) -> None:
    filesystem, path = fsspec.core.url_to_fs(url)
    filesystem.pipe_file(path, content.encode() if isinstance(content, str) else content)


def files(url: str) -> dict[str, bytes]:
    filesystem, path = fsspec.core.url_to_fs(url)
    filesystem.invalidate_cache()
    return {name.split(path.lstrip("/"), 1)[1]: filesystem.cat_file(name) for name in filesystem.find(path)}


def visible(found: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in found.items() if "/." not in name}


def on_disk(folder: Path) -> dict[str, bytes]:
    return {f"/{path.relative_to(folder)}": path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def same_output(found: dict[str, bytes], folder: Path) -> None:
    """The same files with the same bytes; the manifest differs by the paths of its inputs."""
    local = on_disk(folder)
    assert found.keys() == local.keys()
    for name in found:
        assert found[name] == local[name] or name.endswith("dedup.json"), name


def test_output_in_a_store_is_that_on_disk(tmp_path: Path, work: Path) -> None:
    put("memory://in/a.jsonl", documents(50))
    deduplicate(["memory://in/a.jsonl"], tmp_path / "local")
    assert main(["dedup", "memory://in/a.jsonl", "-o", "memory://out/u", "--quiet"]) == 0
    same_output(visible(files("memory://out/u")), tmp_path / "local")
    assert not [path for path in work.rglob("*") if path.is_file()]
    assert json.loads(files("memory://out/u")["/.smolfast-store.json"])["whole"]


def test_functions_take_urls_too(capsys: pytest.CaptureFixture[str]) -> None:
    put("memory://in/a.jsonl", documents(50))
    first = deduplicate(["memory://in/a.jsonl"], "memory://out/u")
    before = files("memory://out/u")
    assert deduplicate(["memory://in/a.jsonl"], "memory://out/u") == first
    assert files("memory://out/u") == before
    with pytest.raises(SmolfastError, match=r"result of other input or settings.*--overwrite"):
        deduplicate(["memory://in/a.jsonl"], "memory://out/u", ngram=3)
    assert deduplicate(["memory://in/a.jsonl"], "memory://out/u", ngram=3, overwrite=True).documents_in == 58
    assert files("memory://out/u") != before


@pytest.mark.parametrize("command", ["dedup", "curate", "normalize", "convert", "split"])
@pytest.mark.parametrize("given", ["memory://in/a.jsonl", "memory://in", "memory://in/*.jsonl"])
@pytest.mark.parametrize("output", ["memory://out/u", "here"])
def test_a_changed_file_of_a_store_is_seen(
    command: str, given: str, output: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = output if "://" in output else str(tmp_path / output)
    output += ".jsonl" if command == "convert" else ""
    words = [command, given, "-o", output]
    words += ["--set", "split.held_out_fraction=0.4"] if command == "split" else []
    put("memory://in/a.jsonl", documents(60, seed=1).replace("1", "2"))
    assert main(words) == 0
    assert main([*words, "--quiet"]) == 0
    put("memory://in/a.jsonl", documents(60, seed=1).replace("1", "3"))  # as many bytes
    capsys.readouterr()
    try:
        assert main(words) == 2
    except SystemExit as ended:
        assert ended.code == 2
    assert "other input or settings" in capsys.readouterr().err


def test_a_web_server_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    filesystem = fsspec.filesystem("memory")
    put("memory://in/a.jsonl", documents(5))
    monkeypatch.setattr(type(filesystem), "info", lambda self, path: {"name": path, "type": "file", "size": None})
    said = [{"path": "memory://in/a.jsonl", "xxh3_128": "memory://in/a.jsonl 0 0"}]
    assert describe_inputs(["memory://in/a.jsonl"]) == said


def test_a_store_that_is_gone_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, path: str) -> None:
        raise RuntimeError("no\nanswer")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "info", broken)
    with pytest.raises(SmolfastError, match=r"can't read memory://in/a.jsonl: RuntimeError: no answer"):
        describe_inputs(["memory://in/a.jsonl"])


def test_a_file_of_a_store(tmp_path: Path) -> None:
    put("memory://in/a.jsonl", documents(20))
    assert main(["normalize", "memory://in", "-o", "memory://out/n.parquet", "--quiet"]) == 0
    assert main(["normalize", "memory://in", "-o", str(tmp_path / "n.parquet"), "--quiet"]) == 0
    assert files("memory://out")["/n.parquet"] == (tmp_path / "n.parquet").read_bytes()
    (source,) = find_sources(["memory://out"])
    assert sum(batch.num_rows for batch in read_batches(source)) == 23


def test_file_urls_are_paths(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(documents(20))
    assert main(["dedup", f"file://{tmp_path}/a.jsonl", "-o", f"file://{tmp_path}/out", "--quiet"]) == 0
    assert (tmp_path / "out" / "kept.parquet").is_file()
    assert deduplicate([f"file://{tmp_path}/a.jsonl"], f"file://{tmp_path}/out").documents_in == 23


@pytest.mark.parametrize("output", ["memory://in", "memory:///in/a.jsonl", "memory://in//a.jsonl/"])
def test_an_output_is_no_input(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    put("memory://in/a.jsonl", documents(5))
    assert main(["dedup", "memory://in/a.jsonl", "-o", output, "--overwrite"]) == 2
    assert "choose another output" in capsys.readouterr().err
    assert list(files("memory://in")) == ["/a.jsonl"]


def test_files_of_others_stay(capsys: pytest.CaptureFixture[str]) -> None:
    put("memory://in/a.jsonl", documents(5))
    put("memory://out/u/kept.parquet", b"mine")
    assert main(["dedup", "memory://in/a.jsonl", "-o", "memory://out/u", "--overwrite"]) == 2
    assert "no record of having written it" in capsys.readouterr().err
    assert files("memory://out/u") == {"/kept.parquet": b"mine"}


@pytest.mark.parametrize("url", ["https://example.org/x", "memory://", "s3:///"])
def test_what_is_no_place(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["dedup", "x.jsonl", "-o", url])
    assert ended.value.code == 2
    assert url in capsys.readouterr().err


def test_half_an_output_is_not_read_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put("memory://in/a.jsonl", documents(30))
    filesystem = fsspec.filesystem("memory")
    put_file, broken = type(filesystem).put_file, ["removed.parquet"]

    def fails(self: Any, local: str, remote: str, **options: Any) -> None:
        if broken and remote.endswith(broken[0]):
            raise OSError("no answer")
        put_file(self, local, remote, **options)

    monkeypatch.setattr(type(filesystem), "put_file", fails)
    with pytest.raises(SmolfastError, match=r"memory://out/u: the store gave up.*run the same command again"):
        deduplicate(["memory://in/a.jsonl"], "memory://out/u")
    with pytest.raises(SmolfastError, match="isn't whole"):
        find_sources(["memory://out/u"])
    broken.clear()
    deduplicate(["memory://in/a.jsonl"], "memory://out/u")
    deduplicate(["memory://in/a.jsonl"], tmp_path / "local")
    same_output(visible(files("memory://out/u")), tmp_path / "local")


def test_what_was_made_goes_on_after_a_kill(work: Path) -> None:
    made_from = {"a": 1}
    with pytest.raises(KeyboardInterrupt), store_output("memory://out/x", made_from, overwrite=False) as made:
        made.local.write_text("half")
        raise KeyboardInterrupt
    with store_output("memory://out/x", made_from, overwrite=False) as made:
        assert made.local.read_text() == "half"
        made.local.write_text("whole")
    assert files("memory://out") == {
        "/x": b"whole",
        "/.x.smolfast-store.json": files("memory://out")["/.x.smolfast-store.json"],
    }
    with store_output("memory://out/x", made_from, overwrite=False) as made:
        assert made.done


def test_a_function_decides_the_output_as_well() -> None:
    made = [describe({"extract": function, "progress": print}) for function in (str.upper, str.lower, str.upper)]
    assert made[0] == made[2] != made[1]
    assert describe({"progress": print}) == {}


def test_old_files_go_when_replaced() -> None:
    for names in (["a", "b"], ["b", "c"]):
        with store_output("memory://out/f", {"names": names}, overwrite=True) as made:
            made.local.mkdir()
            for name in names:
                (made.local / name).write_text(name)
    assert list(visible(files("memory://out/f"))) == ["/b", "/c"]


def test_blocks_and_seeks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BLOCK", 10)
    content = bytes(range(256)) * 2
    put("memory://in/x.bin", content)
    with open_source("memory://in/x.bin") as stream:
        assert stream.size() == 512
        assert stream.read(7) + stream.read(25) == content[:32]
        stream.seek(500)
        assert stream.read(100) == content[500:]
        stream.seek(95)
        assert stream.read() == content[95:]


def test_reads_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    put("memory://in/a.jsonl", documents(20))
    filesystem = fsspec.filesystem("memory")
    cat_file, calls = type(filesystem).cat_file, []

    def short(self: Any, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        calls.append(path)
        found: bytes = cat_file(self, path, start, end, **options)
        if len(calls) % 3:
            raise ConnectionResetError("gone") if len(calls) % 3 == 1 else OSError("slow down")
        return found

    monkeypatch.setattr(type(filesystem), "cat_file", short)
    (source,) = find_sources(["memory://in/a.jsonl"])
    assert sum(batch.num_rows for batch in read_batches(source)) == 23
    assert len(calls) >= 3


# A server


needs_server = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("moto", "s3fs", "werkzeug")),
    reason="needs moto[server] and s3fs",
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from store_server import FaultyServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with FaultyServer() as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        filesystem = fsspec.filesystem("s3", skip_instance_cache=True)
        if not filesystem.exists("bucket"):
            filesystem.mkdir("bucket")
        type(filesystem).clear_instance_cache()
        yield running
        type(filesystem).clear_instance_cache()


@needs_server
@pytest.mark.filterwarnings("ignore")
def test_a_server_that_throttles_breaks_off_and_is_slow(server: Any, tmp_path: Path) -> None:
    put("s3://bucket/in/a.jsonl", documents(300))
    deduplicate(["s3://bucket/in/a.jsonl"], tmp_path / "local")

    def fault(method: str, path: str, number: int) -> str:
        return {1: "slow down", 3: "break", 5: "slow"}.get(number % 7, "")

    server.fault = fault
    for run in range(3):
        deduplicate(["s3://bucket/in/a.jsonl"], f"s3://bucket/out/{run}")
    assert all(server.seen[kind] >= 3 for kind in ("slow down", "break", "slow"))
    server.fault = lambda method, path, number: ""
    for run in range(3):
        same_output(visible(files(f"s3://bucket/out/{run}")), tmp_path / "local")


@needs_server
@pytest.mark.filterwarnings("ignore")
def test_a_server_that_has_had_enough(server: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    put("s3://bucket/in/a.jsonl", documents(3))
    assert main(["dedup", "s3://nowhere/a.jsonl", "-o", str(tmp_path / "x")]) == 2
    assert main(["dedup", "s3://bucket/in/a.jsonl", "-o", "s3://nowhere/x"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert "s3://nowhere/x" in said[-1]

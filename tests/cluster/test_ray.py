"""Jobs on a real Ray cluster of this machine: the bytes of one process, whatever is killed meanwhile."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from related_documents import write_files
from smolfast.cluster import open_engine
from smolfast.commands.main import main
from smolfast.curate import curate_files
from smolfast.curate.files import parts, spread
from smolfast.dedup import deduplicate
from smolfast.dedup.spread import job as apart
from smolfast.errors import SmolfastError
from smolfast.io.parquet import stretches
from smolfast.pipeline.normalize import normalize_documents
from warcs import essay, page, write

ray = pytest.importorskip("ray", reason="needs ray")
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("ray")]


def start(**options: Any) -> None:
    environment = {"env_vars": {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}}
    ray.init(runtime_env=environment, include_dashboard=False, log_to_driver=False, **options)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    start(num_cpus=2, object_store_memory=150 << 20)
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretches and parts of few documents, so that there are many pieces of work. Who asks decides on all of these."""
    for module in (stretches, apart):
        monkeypatch.setattr(module, "STRETCH_BYTES", 60_000)
    monkeypatch.setattr(apart, "BIN_DOCUMENTS", (20, 300))
    monkeypatch.setattr(spread, "PART_BYTES", 200_000)
    monkeypatch.setattr(parts, "PART_BYTES", 200_000)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("documents") / "in", 3000, files=6, group=100)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def workers() -> list[int]:
    """Processes of Ray's that do pieces of work."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                name = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if name.startswith(b"ray::") and not any(other in name for other in (b"IDLE", b"Agent")):
                found.append(int(process.name))
    return found


def test_same_bytes(cluster: None, documents: Path, tmp_path: Path) -> None:
    for name, engine in (("here", "local"), ("there", "ray")):
        curate_files([documents], tmp_path / name / "c", engine=engine)
        deduplicate([documents], tmp_path / name / "d", engine=engine)
        normalize_documents([documents], tmp_path / name / "n", engine=engine)
        normalize_documents([documents], tmp_path / name / "n.jsonl", engine=engine)
    assert files(tmp_path / "here") == files(tmp_path / "there")


def test_a_crawl_and_its_stages(cluster: None, tmp_path: Path) -> None:
    """Pages of a crawl are read by processes of their own on each worker; judged and deduplicated behind that."""
    pytest.importorskip("fastwarc")
    from smolfast.crawl.files.job import crawl_files

    (tmp_path / "in").mkdir()
    for number in range(3):
        pages = [page(f"{number}-{at}", essay(at + 7 * number)) for at in range(12)]
        write(tmp_path / "in" / f"{number}.warc.gz", pages)
    for name, engine in (("here", "local"), ("there", "ray")):
        crawl_files([tmp_path / "in"], tmp_path / name, dedup=True, engine=engine)
    assert files(tmp_path / "here") == files(tmp_path / "there")


def test_pdfs(cluster: None, tmp_path: Path) -> None:
    """One that can't be read costs no other."""
    pytest.importorskip("pypdfium2")
    from made_pdfs import essay as essay_of
    from made_pdfs import make_pdf
    from smolfast.pdf import extract_pdfs

    for number in range(6):
        make_pdf(tmp_path / "in" / f"{number}.pdf", essay_of(10 * number, 10 * number + 3))
    (tmp_path / "in" / "3.pdf").write_bytes(b"%PDF-1.7 nothing")
    for name, engine in (("here", "local"), ("there", "ray")):
        summary = extract_pdfs([tmp_path / "in"], tmp_path / name, memory=512 << 20, engine=engine)
        assert summary.documents_out == 5
    assert files(tmp_path / "here") == files(tmp_path / "there")


def test_a_command_on_ray(cluster: None, documents: Path, tmp_path: Path) -> None:
    assert main(["dedup", str(documents), "-o", str(tmp_path / "a"), "--engine", "ray", "--quiet"]) == 0
    assert main(["dedup", str(documents), "-o", str(tmp_path / "b"), "--quiet"]) == 0
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_errors_come_as_they_are(cluster: None, documents: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_bytes(b'{"text": "\xff"}\n')
    said = []
    for name, engine in (("here", "local"), ("there", "ray")):
        with pytest.raises(SmolfastError) as error:
            normalize_documents([documents, tmp_path / "bad.jsonl"], tmp_path / name, engine=engine)
        said.append(str(error.value))
        assert len(files(tmp_path / name)) > 6
    assert said[0] == said[1]


def test_an_address_needs_the_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dedup", "x.jsonl", "-o", str(tmp_path / "o"), "--address", "auto"]) == 2
    assert "add --engine ray" in capsys.readouterr().err


def test_an_address_where_nobody_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from smolfast.cluster.ray_engine import RayEngine

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(SmolfastError, match=r"nobody answers at 127\.0\.0\.1:1 .*--address"):
        RayEngine.connected("127.0.0.1:1")


def killing(pick: Callable[[], list[int]], kills: int, wait: float) -> tuple[threading.Thread, list[int]]:
    """A thread that kills processes, one after another, and those that it has killed."""
    done: list[int] = []

    def run() -> None:
        drawn = random.Random(0)
        ends = time.monotonic() + 120
        while len(done) < kills and time.monotonic() < ends:
            time.sleep(wait)
            if found := pick():
                chosen = drawn.choice(found)
                try:
                    os.kill(chosen, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                done.append(chosen)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, done


@pytest.mark.slow
def test_workers_are_killed(cluster: None, documents: Path, tmp_path: Path) -> None:
    curate_files([documents], tmp_path / "here" / "c")
    deduplicate([documents], tmp_path / "here" / "d")
    killed = 0
    for run in range(20):
        thread, done = killing(workers, 2, 0.3)
        curate_files([documents], tmp_path / str(run) / "c", engine="ray")
        deduplicate([documents], tmp_path / str(run) / "d", engine="ray")
        thread.join(timeout=0)
        killed += len(done)
        assert files(tmp_path / str(run)) == files(tmp_path / "here")
        if killed >= 5:
            break
    assert killed >= 5


@pytest.mark.slow
def test_a_file_that_ends_processes_costs_no_other(cluster: None, documents: Path, tmp_path: Path) -> None:
    engine = open_engine("ray")
    found = engine.stream(ends_at_three, range(5), lost=lambda item, what: f"{item} lost: {what}")
    said = list(found)
    assert [*said[:3], said[4]] == ["0", "1", "2", "4"]
    assert "3 lost: a worker's process ended" in said[3]
    with pytest.raises(SmolfastError, match="a worker's process ended"):
        list(engine.stream(ends_at_three, [3]))


def ends_at_three(number: int) -> list[str]:
    if number == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    return [str(number)]


@pytest.mark.slow
def test_a_driver_is_killed(documents: Path, tmp_path: Path) -> None:
    deduplicate([documents], tmp_path / "here")
    command = [sys.executable, "-m", "smolfast", "dedup", str(documents), "-o", str(tmp_path / "there")]
    command += ["--engine", "ray", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    for seconds in (6.0, 12.0):
        driver = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        time.sleep(seconds)
        driver.kill()
        driver.wait()
    assert subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, timeout=300).returncode == 0
    assert files(tmp_path / "there") == files(tmp_path / "here")


@pytest.mark.slow
def test_a_machine_is_lost(documents: Path, tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    ray.shutdown()
    deduplicate([documents], tmp_path / "here")
    machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 << 20})
    try:
        other = machines.add_node(num_cpus=1, object_store_memory=100 << 20)
        start(address=machines.address)
        timer = threading.Timer(3.0, lambda: machines.remove_node(other, allow_graceful=False))
        timer.start()
        deduplicate([documents], tmp_path / "there", engine="ray")
        timer.join()
        assert files(tmp_path / "there") == files(tmp_path / "here")
    finally:
        ray.shutdown()
        machines.shutdown()

"""Settings that every test shares."""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import importlib.util
import inspect
import json.decoder
import os
import pathlib
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable, Generator, Iterator
from types import SimpleNamespace
from typing import Any

import hypothesis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolfast import _native

if "PYTEST_XDIST_WORKER" in os.environ:
    # One torch thread for each of pytest-xdist's workers. Set before torch is first imported, also for children.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("MKL_NUM_THREADS", "1")

hypothesis.settings.register_profile("ci", max_examples=200, deadline=None, print_blob=True, derandomize=True)
hypothesis.settings.register_profile("dev", max_examples=50, deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")

# Triton reads this when its kernels are defined. Without a GPU they run in its interpreter; TRITON_INTERPRET=0 says no.
os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a test that is skipped has failed: all it needs is here")
    parser.addoption("--slow", action="store_true", help="run the slow tests too, as continuous integration does")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests run when asked for: by --slow, or by name. They begin first, so that no process is left alone with one
    in the end. Coverage leaves them out: it makes them half as slow again, and short ones go through the same lines."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    named = [argument for argument in config.args if "::" in argument]
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker("no_cover")
            if not config.getoption("--slow") and not any(item.nodeid.startswith(name) for name in named):
                item.add_marker(pytest.mark.skip(reason="slow; pytest --slow runs it"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and item.config.getoption("--no-skips"):
        report.outcome = "failed"
    return report


@pytest.fixture(scope="session", autouse=True)
def kernels_are_measured_once() -> Iterator[None]:
    """Coverage follows an interpreted kernel once for each grid and set of flags: a launch that it follows takes twice
    as long, and the next one with the same goes through the same lines."""
    interpreter = sys.modules.get("triton.runtime.interpreter")
    if sys.gettrace() is None or interpreter is None:
        yield
        return
    seen: set[Any] = set()
    launch = interpreter.GridExecutor.__call__

    def measured_launch(executor: Any, *arguments: Any, **options: Any) -> None:
        values = (*arguments, *options.values())
        grid = executor.grid(options) if callable(executor.grid) else executor.grid
        flags = (executor.fn, grid, *(bool(value) if isinstance(value, int) else value is None for value in values))
        tracer = sys.gettrace()
        if flags in seen:
            sys.settrace(None)
        seen.add(flags)
        try:
            launch(executor, *arguments, **options)
        finally:
            sys.settrace(tracer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter.GridExecutor, "__call__", measured_launch)
        yield


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """What the data stages make of a few sources of the standard library: folders `tokenizer` and `tokens`, and the
    documents in `held_out`."""
    pytest.importorskip("tokenizers")
    from smolfast.config import TokenizerConfig
    from smolfast.tokens.files import tokenize
    from smolfast.tokens.tokenizer import train_tokenizer

    folder = tmp_path_factory.mktemp("corpus")
    files = {}
    for name, modules in (
        ("train", (argparse, dataclasses, json.decoder, pathlib, textwrap)),
        ("held_out", (heapq, shlex)),
    ):
        texts = [part for module in modules for part in inspect.getsource(module).split("\n\n\n") if len(part) > 200]
        files[name] = folder / f"{name}.parquet"
        table = {"id": [f"{name}-{index}" for index in range(len(texts))], "text": texts}
        pq.write_table(pa.table(table), files[name])
    train_tokenizer([files["train"]], folder / "tokenizer", TokenizerConfig(vocab_size=512))
    tokenize(files, folder / "tokenizer", folder / "tokens")
    return SimpleNamespace(tokenizer=folder / "tokenizer", tokens=folder / "tokens", held_out=files["held_out"])


@pytest.fixture(scope="session")
def write_tokens() -> Any:
    """The function of synthetic_tokens.py: folder, and seed → token files that are the same on every machine."""
    path = pathlib.Path(__file__).with_name("synthetic_tokens.py")
    spec = importlib.util.spec_from_file_location("synthetic_tokens", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.write_tokens


@pytest.fixture(params=_native.implementations())
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set that the native functions have on this CPU, in force while the test runs."""
    _native.force_implementation(request.param)
    yield request.param
    _native.force_implementation("auto")


@pytest.fixture
def run_ranks(tmp_path: pathlib.Path) -> Callable[..., None]:
    """Runs `SCRIPT RANK WORLD STORE *arguments` in `world` processes; fails with the output of one that does."""

    def run(script: pathlib.Path, world: int, *arguments: str) -> None:
        store = tmp_path / "store"
        ranks = [
            subprocess.Popen(
                [sys.executable, "-W", "error::FutureWarning", script, str(rank), str(world), store, *arguments],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
            for rank in range(world)
        ]  # fmt: skip
        try:
            outputs = [rank.communicate(timeout=180)[0] for rank in ranks]
        finally:
            for rank in ranks:
                rank.kill()
        for rank, output in zip(ranks, outputs, strict=True):
            assert rank.returncode == 0, output

    return run

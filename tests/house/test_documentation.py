"""Every Python and shell block of the README and of docs/ runs, in the order of its page.

The blocks of a page share their Python names and a folder, filled anew from `material`. `tests/pages/PAGE.py`, where
there is one, runs first, for names that a page takes for granted (`q`, `model`). Lines that begin with `smolfast` run
in this process, so that torch is imported once, and with SMALL settings before their own; other lines go to bash.

A block can say in its title, which readers see:
- `Not run by the tests: REASON`, REASON one of REASONS, which are checked; few may.
- `Needs PACKAGE, …`: the page is run this far where a package isn't installed.
"""

from __future__ import annotations

import argparse
import dataclasses
import fractions
import importlib
import importlib.util
import inspect
import json
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolfast.commands.demo import FIRST, OTHER
from smolfast.commands.main import main
from smolfast.config import validate_config
from smolfast.pipeline.recipes.graph import build
from smolfast.pipeline.recipes.reading import recipe_of

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
MODEL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_key_value_heads": 2, "head_dim": 8}
TRAIN = {"steps": 2, "batch_size": 4, "micro_batch_size": 2, "evaluate_every": 0, "monitor_every": 0}
SMALL = [
    *(f"model.{key}={value}" for key, value in MODEL.items()),
    *(f"train.{key}={value}" for key, value in TRAIN.items()),
    "tokenizer.vocab_size=512",
    "split.held_out_fraction=0.3",
    "evaluate.max_bytes=2000",
]
CONFIGURED = {"collect", "split", "tokenize", "train", "evaluate", "generate", "quickstart"}
REASONS = {
    "it takes minutes; continuous integration does": ROOT / ".ci" / "run",
    "it takes minutes; a release does": ROOT / ".github" / "workflows" / "wheels.yml",
}
LANGUAGES = {"python", "sh", "toml", "text", "json"}


class Block(NamedTuple):
    language: str
    title: str
    code: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in re.finditer(r"^( *)```(\w*)([^\n]*)\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE):
        title = re.search(r'title="([^"]*)"', match[3])
        line = text.count("\n", 0, match.start()) + 2
        found.append(Block(match[2], title[1] if title else "", textwrap.dedent(match[4]), line))
    return found


RUNNABLE = [page for page in PAGES if any(block.language in ("python", "sh") for block in blocks(page))]


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pages call their own: a folder `raw` of text, shards, conversations, kernels copied out, a trained model."""
    folder = tmp_path_factory.mktemp("material")
    (folder / "raw").mkdir()
    documents = [
        part
        for module in (argparse, dataclasses, fractions, statistics)
        for part in inspect.getsource(module).split("\n\n\n")
        if len(part) > 400
    ]
    for index, text in enumerate(documents):
        (folder / "raw" / f"{index}.py").write_text(text, encoding="utf-8")
    documents = [*documents[:30], documents[0] + " # and one line more"]
    rows = [{"id": f"d{i}", "text": text, "url": f"https://example.org/{i}"} for i, text in enumerate(documents)]
    kept = f"{FIRST}\n{OTHER}".replace(". ", ".\n")  # by FineWeb's filters, which take sources for menus
    crawl = [*rows, {"id": "river", "text": kept, "url": "https://example.org/river"}]
    lines = "".join(json.dumps(row) + "\n" for row in crawl)
    with pa.CompressedOutputStream(str(folder / "corpus.jsonl.zst"), "zstd") as stream:
        stream.write(lines.encode())
    (folder / "test-sets.jsonl").write_text(json.dumps({"text": documents[5]}) + "\n")
    half = len(rows) // 2
    for index, part in enumerate((rows[:half], rows[half:])):
        pq.write_table(pa.Table.from_pylist(part), folder / f"shard-{index}.parquet")
    (folder / "shards").mkdir()
    for index in (0, 1):
        shutil.copy(folder / f"shard-{index}.parquet", folder / "shards")
    for name in ("talks", "more"):
        talks = [
            [{"role": "user", "content": f"What is {i} plus {i}?"}, {"role": "assistant", "content": f"It is {2 * i}."}]
            for i in range(40)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks))
    pairs = [{"prompt": f"{i} plus {i} =", "chosen": f" {2 * i}", "rejected": f" {3 * i + 1}"} for i in range(40)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    for kernel in (ROOT / "kernels").glob("[!_]*.py"):
        shutil.copy(kernel, folder)
    stages = """
        smolfast tokenize shard-0.parquet --held-out shard-1.parquet --set tokenizer.chat=true -o tokens
        smolfast train tokens -o trained --set train.checkpoint_every=1
        smolfast export trained/model --tokenizer tokens-tokenizer -o export
    """
    before = Path.cwd()
    os.chdir(folder)
    try:
        for line in stages.strip().splitlines():
            shell(line.strip(), "material")
    finally:
        os.chdir(before)
    shutil.copytree(folder / "tokens-tokenizer", folder / "tokenizer")
    shutil.copytree(folder / "trained" / "model", folder / "model")
    for number in (2, 3):
        shutil.copytree(folder / "export", folder / f"export-{number}")
    return folder


def shell(block: str, where: str) -> None:
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] == "smolfast" and not set("|&;<>$*") & set(line):
            words = words[1:]
            if words[0] in CONFIGURED and "--dry-run" not in words:
                words[1:1] = [part for setting in SMALL for part in ("--set", setting)]
            assert main(words) == 0, f"{where}: {line}"
        else:
            path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
            subprocess.run(["bash", "-euc", line], check=True, env=os.environ | {"PATH": path})


@pytest.fixture
def no_cluster_is_left() -> Iterator[None]:
    """A page's commands run in this process, and one that starts Ray leaves it to the process's end. Later tests start
    their own."""
    yield
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        ray.shutdown()


@pytest.mark.usefixtures("no_cluster_is_left")
@pytest.mark.parametrize("page", RUNNABLE, ids=[page.relative_to(ROOT).as_posix() for page in RUNNABLE])
def test_blocks_run(page: Path, material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(material, tmp_path / "here")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    names: dict[str, object] = {"__name__": "page"}
    setup = (ROOT / "tests" / "pages" / page.relative_to(ROOT if page.parent == ROOT else ROOT / "docs")).with_suffix(
        ".py"
    )
    if setup.exists():
        exec(compile(setup.read_text(encoding="utf-8"), str(setup), "exec"), names)
    for block in (block for block in blocks(page) if block.language in ("python", "sh")):
        where = f"{page.relative_to(ROOT)}:{block.line}"
        if block.title.startswith("Not run by the tests"):
            continue
        if block.title.startswith("Needs "):
            missing = [name for name in block.title.removeprefix("Needs ").split(", ") if not installed(name)]
            if missing:
                pytest.skip(f"{where} needs {', '.join(missing)}")
        if block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), names)
        else:
            shell(block.code, where)


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def test_every_command_and_example_is_a_block_that_is_known() -> None:
    for page in PAGES:
        check_blocks(page)


def check_blocks(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{page}:{block.line}: give the block a language of {LANGUAGES}"
        if block.language == "toml" and "[stages." in block.code:
            build(recipe_of(block.code, page.name))
        elif block.language == "toml":
            validate_config(tomllib.loads(block.code))
    outside = re.sub(r"^( *)```.*?^\1```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    indented = re.findall(
        r"^ {4,}(?:\$ |(?:smolfast|python|pip|pytest|cmake|torchrun) [\w-].*$)", outside, re.MULTILINE
    )
    assert not indented, f"{page}: {indented[0].strip()}: make it a fenced block"


def test_what_is_not_run_has_a_reason_that_holds() -> None:
    unrun = [
        (page, block, block.title.partition(": ")[2])
        for page in PAGES
        for block in blocks(page)
        if block.title.startswith("Not run by the tests")
    ]
    assert 2 <= len(unrun) <= 5, f"{len(unrun)} blocks aren't run"
    for page, block, reason in unrun:
        assert reason in REASONS, f"{page}:{block.line}: {reason!r} is none of {list(REASONS)}"
        elsewhere = REASONS[reason].read_text(encoding="utf-8")
        for command in re.split(r"&&|\n", block.code):
            words = shlex.split(command, comments=True)[:2]
            assert " ".join(words) in elsewhere, f"{page}:{block.line}: {REASONS[reason].name} has no {words}"


def test_every_command_is_on_its_page(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = set(re.findall(r"^    ([a-z-]+)(?: |$)", capsys.readouterr().out, re.MULTILINE))
    assert len(commands) > 10
    page = (ROOT / "docs/reference/commands.md").read_text()
    shown = re.findall(r"^\{\{ smolfast ([a-z][a-z-]*)", page, re.MULTILINE)
    assert set(shown) == commands


def test_readme_shows_what_the_demo_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    printed = capsys.readouterr().out.splitlines()
    shown = next(block.code for block in blocks(ROOT / "README.md") if block.language == "text")
    assert set(shown.splitlines()) <= set(printed)


def test_every_public_name_has_its_place_in_the_reference() -> None:
    pages = {page: page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md")}
    for wing in (
        "text",
        "dedup",
        "io",
        "tokens",
        "ops",
        "optim",
        "patch",
        "distill",
        "preference",
        "model",
        "evaluate",
        "train",
        "pipeline",
    ):
        text = next((text for text in pages.values() if f"::: smolfast.{wing}\n" in text), "")
        assert text, f"smolfast.{wing} has no page in docs/reference"
        if "members:" in text:
            missing = set(importlib.import_module(f"smolfast.{wing}").__all__) - set(re.findall(r"\w+", text))
            assert not missing, f"docs/reference says nothing of smolfast.{wing}'s {sorted(missing)}"


def test_readme_runs_without_torch_and_compiler_as_a_wheel_must(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "tests" / "wheel.py"], cwd=tmp_path, check=True)

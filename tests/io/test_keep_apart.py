"""Whatever is asked, inputs and files of others stay byte for byte as they are."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smolfast import SmolfastError
from smolfast.commands.main import main
from smolfast.dedup import deduplicate
from smolfast.io.keep_apart import check_apart, leave_out
from smolfast.io.sources import find_sources
from smolfast.pipeline.normalize import normalize_documents
from smolfast.pipeline.split import split_documents
from smolfast.pipeline.stages import Runner, Stage
from smolfast.progress import Console


def lines(name: str) -> str:
    return "".join(
        json.dumps({"id": f"{name}-{i}", "text": f"Document {i} of {name}, cafe\u0301."}) + "\n" for i in range(30)
    )


def lay_out(folder: Path) -> None:
    """Documents, files of others with names that outputs have, and links to all of them."""
    (folder / "data" / "deep").mkdir(parents=True)
    for name in ("data/a", "data/deep/b", "data/out", "elsewhere/c", "foreign/a"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.jsonl").write_text(lines(name))
    table = pa.table({"id": [str(i) for i in range(40)], "text": [f"Row {i} of the table." for i in range(40)]})
    for name in ("data/d", "foreign/kept", "foreign/train", "other/removed", "other/deep/documents"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        pq.write_table(table, folder / f"{name}.parquet")
    for name in ("foreign/dedup.json", "foreign/notes", "other/.work/notes", "data.old", "out.partial", "out.old/a"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text('{"precious": 1}')
    (folder / "hard.jsonl").hardlink_to(folder / "data" / "a.jsonl")
    (folder / "empty").mkdir()
    for link, target in {
        "link": "data",
        "link.jsonl": "data/a.jsonl",
        "data/link.jsonl": "../elsewhere/c.jsonl",
        "chain.jsonl": "data/link.jsonl",
        "to-out": "elsewhere/out",
        "to-empty": "empty",
        "circle": "circle",
    }.items():
        (folder / link).symlink_to(target)


def words(text: str) -> list[str]:
    return text.split()


pytest.importorskip("pydantic")

PLACES = words("""
data data/ ./data data/deep/.. link link/deep data/a.jsonl link/a.jsonl hard.jsonl link.jsonl chain.jsonl data/d.parquet
data/../data/d.parquet elsewhere elsewhere/c.jsonl foreign other . data/deep/b.jsonl
""")
OUTPUTS = PLACES + words("""
out out.jsonl out.parquet data/new data/new.jsonl data/out.jsonl link/new data/deep/new/deep to-out to-empty empty
circle circle/a foreign/new foreign/a.jsonl foreign/kept.parquet foreign/notes .. new/../data data/a.jsonl/below
other/deep elsewhere/../out empty/.. data.old out.partial
""")


def standing(folder: Path) -> dict[str, bytes | str]:
    """Every file by name, and where every link leads."""
    found: dict[str, bytes | str] = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = str(path.readlink())
        elif path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve() / "around" / "here"
        lay_out(folder)
        os.chdir(folder)
        try:
            yield folder
        finally:
            os.chdir(before)


def command(*arguments: str) -> None:
    """Ends well, or with one line."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main(arguments)
    assert code in (0, 2), said.getvalue()
    if code == 2:
        (line,) = [line for line in said.getvalue().splitlines() if line.startswith("smolfast: error: ")]
        assert ".smolfast-partial" not in line


def stage(source: str, output: str, folder: bool, content: str, on_change: str) -> None:
    def work(path: Path, progress: object) -> dict[str, object]:
        target = path / "train.parquet" if folder else path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
        return {}

    made = Stage("made", {"in": Path(source)}, Path(output), {"content": content}, work)
    Runner(Path("stages"), Console(io.StringIO()), on_change).run(made)  # type: ignore[arg-type]


COMMANDS: dict[str, Callable[[str, str, bool, int], None]] = {
    "normalize": lambda source, output, overwrite, turn: command(
        "normalize", source, "-o", output, "--form", ("NFC", "NFD")[turn], *(["--overwrite"] * overwrite)
    ),
    "dedup": lambda source, output, overwrite, turn: command(
        "dedup", source, "-o", output, "--seed", str(turn), "--threads", "1", *(["--overwrite"] * overwrite)
    ),
    "split": lambda source, output, overwrite, turn: command(
        "split", source, "-o", output, "--seed", str(turn), "--set", "split.held_out_fraction=0.4",
        *(["--overwrite"] * overwrite),
    ),
    "collect": lambda source, output, overwrite, turn: command(
        "collect", source, "-o", output, "--set", "collect.min_document_bytes=1",
        "--set", f"collect.max_bytes={10**6 + turn}", *(["--overwrite"] * overwrite),
    ),
    "stage": lambda source, output, overwrite, turn: stage(
        source, output, True, str(turn), "redo" if overwrite else "refuse"
    ),
    "stage of a file": lambda source, output, overwrite, turn: stage(
        source, output, False, str(turn), "redo" if overwrite else "refuse"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
@settings(max_examples=12)
@given(
    source=st.sampled_from(PLACES),
    output=st.sampled_from(OUTPUTS),
    overwrite=st.lists(st.booleans(), min_size=2, max_size=3),
    absolute=st.tuples(st.booleans(), st.booleans()),
)
def test_inputs_and_files_of_others_stay(
    name: str, source: str, output: str, overwrite: list[bool], absolute: tuple[bool, bool]
) -> None:
    with workplace() as folder:
        paths = [str(folder / path) if whole else path for path, whole in zip((source, output), absolute, strict=True)]
        before = standing(folder.parent)
        for turn, with_overwrite in enumerate(overwrite):
            with contextlib.suppress(SmolfastError):
                COMMANDS[name](paths[0], paths[1], with_overwrite, turn % 2)
            found = standing(folder.parent)
            assert before.items() <= found.items()
            made = Path(output)
            if made.is_dir() and turn == 0:  # a note left among what was made
                (made / "note.txt").write_text("precious")
                before[os.path.relpath(os.path.realpath(made / "note.txt"), folder.parent)] = b"precious"


@settings(max_examples=20)
@given(source=st.sampled_from(PLACES), output=st.sampled_from(OUTPUTS), function=st.integers(0, 2))
@example(source=".", output="foreign", function=2)
@example(source=".", output="foreign", function=0)
def test_functions_leave_inputs_as_they_are(source: str, output: str, function: int) -> None:
    with workplace() as folder:
        with contextlib.suppress(SmolfastError):
            inputs = [found.path for found in find_sources([source])]
        before = {path: Path(path).read_bytes() for path in inputs}
        with contextlib.suppress(SmolfastError):
            if function == 0:
                normalize_documents([source], output, threads=1)
            elif function == 1:
                deduplicate([source], output, threads=1, overwrite=True)
            else:
                split_documents(source, output, held_out_fraction=0.4, seed=0)
        assert {path: Path(path).read_bytes() for path in inputs} == before, folder


def test_a_file_of_the_input_is_not_taken_for_an_earlier_output() -> None:
    with workplace() as folder:
        Path("data/deep/normal/deep").mkdir(parents=True)
        shutil.copy("data/a.jsonl", "data/deep/normal/deep/b.jsonl")
        shutil.copy("data/d.parquet", "data/deep/train.parquet")
        before = standing(folder)
        with pytest.raises(
            SmolfastError, match=r"normal/deep/b.jsonl lies in the input and would be replaced; move it"
        ):
            normalize_documents(["data"], "data/deep/normal", threads=1)
        with pytest.raises(SmolfastError, match=r"data/deep/train.parquet lies in the input and would be replaced"):
            split_documents("data", "data/deep", held_out_fraction=0.4, seed=0)
        assert standing(folder) == before
        shutil.rmtree("data/deep/normal")
        normalize_documents(["data"], "data/deep/normal", threads=1)
        assert Path("data/deep/normal/deep/b.jsonl").exists()


@pytest.mark.parametrize(
    ("output", "given", "apart"),
    [
        ("data", "data/a.jsonl", False),
        (".", "data", False),
        ("data", "data", False),
        ("data/new", "data", True),
        (".", "../beside", True),
        ("data/deep", "data/deep/../a.jsonl", True),
        ("link", "data/a.jsonl", False),
        ("data", "link/a.jsonl", False),
        ("data", "chain.jsonl", False),
        ("elsewhere", "chain.jsonl", False),
        ("hard.jsonl", "data/a.jsonl", False),
        ("foreign", "data/a.jsonl", True),
        ("data", "s3://data/a.jsonl", True),
        ("circle", "data", True),
        ("new/../data", "data", False),
        ("new/deep/../../data", "data/a.jsonl", False),
        ("new/../out", "data", True),
    ],
)
def test_what_is_apart(output: str, given: str, apart: bool) -> None:
    with workplace() as folder:
        (folder.parent / "beside").mkdir()
        if apart:
            check_apart(output, [given])
        else:
            with pytest.raises(SmolfastError, match=r"(is|contains) the input .*; choose another output"):
                check_apart(output, [given])


def test_an_output_inside_an_input_is_not_read(capsys: pytest.CaptureFixture[str]) -> None:
    with workplace() as folder:
        before = standing(folder)
        for _ in range(2):
            assert main(["normalize", "data", "-o", "link/new", "--json"]) == 0
            said = capsys.readouterr()
            assert json.loads(said.out)["documents_in"] == 3 * 30 + 40 + 30
        assert "link/new lies in the input; what it holds is not read" in said.err and "unchanged, skipped" in said.err
        sources, inside = leave_out(find_sources(["data"]), "data/new")
        assert len(sources) == 5 and len(inside) == 5
        for _ in range(2):
            assert main(["dedup", "data/deep", "-o", "data/deep/new", "--json"]) == 0
            assert json.loads(capsys.readouterr().out)["documents_in"] == 30
        assert before.items() <= standing(folder).items()


@pytest.mark.parametrize("output", ["", " ", "..", "/", "a\0b", "x" * 300, "data/a.jsonl/below", "/proc/none/out"])
@pytest.mark.parametrize("verb", ["normalize", "dedup", "split", "collect", "quickstart"])
def test_outputs_that_cannot_be(verb: str, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    with workplace() as folder:
        before = standing(folder.parent)
        source = ["--input", "elsewhere"] if verb == "quickstart" else ["elsewhere/c.jsonl"]
        try:
            code = main([verb, *source, "--out" if verb == "quickstart" else "-o", output])
        except SystemExit as end:  # argparse's own
            code = int(str(end.code))
        error = capsys.readouterr().err
        assert code == 2 and "Traceback" not in error and "error: " in error.splitlines()[-1]
        assert standing(folder.parent) == before


@pytest.mark.parametrize("verb", ["normalize", "dedup", "split", "collect"])
def test_here_as_an_output(verb: str) -> None:
    with workplace() as folder:
        os.chdir(folder / "empty")
        extra = ["--set", "collect.min_document_bytes=1"] if verb == "collect" else []
        for _ in range(2):
            assert main([verb, "../data", "-o", ".", "--quiet", *extra]) == 0
        assert Path.cwd() == folder / "empty" and list(Path().iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        "normalize data -o .",
        "split unique/kept.parquet -o unique",
        "collect data -o data",
        "dedup data --against elsewhere -o elsewhere",
        "dedup data -o data/deep",
        "tokenize data/d.parquet --held-out data/d.parquet -o data",
        "tokenize data/d.parquet --held-out elsewhere/c.jsonl --tokenizer elsewhere -o elsewhere",
        "train run/tokens -o run",
        "train run/tokens --init run/model -o run/model",
        "evaluate run/model --tokens run/tokens --held-out data/d.parquet -o run",
        "export run/model --tokenizer run/tokens -o run/model",
        "export run/model --tokenizer run/tokens -o run",
        "distill-cache run/model --tokens run/tokens -o run",
        "quickstart --input data --out data",
        "quickstart --input data/deep --out .",
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_every_command_refuses_an_output_around_its_input(
    arguments: str, overwrite: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if arguments.split()[0] not in ("normalize", "split", "collect", "dedup"):
        pytest.importorskip("torch")
        pytest.importorskip("tokenizers")
    with workplace() as folder:
        for name in ("run/model/config.json", "run/tokens/tokens.json", "run/notes", "unique/kept.parquet"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((folder / "data" / "d.parquet").read_bytes())
        before = standing(folder.parent)
        assert main([*arguments.split(), *(["--overwrite"] if overwrite else [])]) == 2
        error = capsys.readouterr().err
        assert re.search(r"the output \S+ (is|contains) the input \S+; choose another output", error), error
        assert standing(folder.parent) == before


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("normalize", "--form {}"),
        ("dedup", "--keep {} --threads 1"),
        ("split", "--seed {} --set split.held_out_fraction=0.4"),
        ("collect", "--set collect.min_document_bytes={}"),
    ],
)
def test_an_output_inside_its_input_is_neither_read_nor_judged(
    verb: str, options: str, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"normalize": ("NFC", "NFD"), "dedup": ("first", "longest")}.get(verb, ("1", "2"))
    with workplace():
        found = []
        for value, extra in ((values[0], ""), (values[0], ""), (values[1], "--overwrite")):
            arguments = f"{verb} elsewhere -o elsewhere/deep/out --strict --json {extra} {options.format(value)}"
            assert main(arguments.split()) == 0, capsys.readouterr().err
            found.append(json.loads(capsys.readouterr().out))
        assert {summary["documents_in"] for summary in found} == {30}
        assert not any("passed_over" in summary for summary in found)
        if verb == "dedup":  # nor is an index
            for name in ("one", "two"):
                arguments = f"dedup index add elsewhere --index elsewhere/index -o {name} --strict --json"
                shutil.rmtree("elsewhere/deep", ignore_errors=True)
                assert main(arguments.replace("add", "build" if name == "one" else "add").split()) == 0
                assert "passed_over" not in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("verb", ["split", "tokenize", "evaluate"])
def test_files_passed_over_are_named_by_what_takes_folders_too(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    if verb != "split":
        pytest.importorskip("torch")
        pytest.importorskip("tokenizers")
    with workplace() as folder:
        (folder / "elsewhere" / "odd.bin").write_text("x")
        arguments = {
            "split": "split elsewhere -o out --set split.held_out_fraction=0.4",
            "tokenize": "tokenize elsewhere --held-out data -o out --set tokenizer.vocab_size=270",
            "evaluate": "evaluate data --tokens data --held-out elsewhere -o out",
        }[verb]
        assert main([*arguments.split(), "--strict"]) == 2
        assert "not all files are read: 1 of an unknown kind (elsewhere/odd.bin)" in capsys.readouterr().err
        if verb != "evaluate":
            assert main([*arguments.split(), "--json"]) == 0
            assert "elsewhere/odd.bin" in json.loads(capsys.readouterr().out)["passed_over_files"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("data --index out -o out", "the output out is the index; choose another output"),
        ("data/a.jsonl --index data -o out", "the index data contains the input data/a.jsonl; choose another index"),
        ("data --index data -o out", "the index data is the input data; choose another index"),
        ("data/d.parquet data --index link/deep -o out", "link/deep is not an index"),
    ],
)
def test_an_index_is_kept_apart_too(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with workplace() as folder:
        before = standing(folder)
        assert main(["dedup", "index", "build", *arguments.split()]) == 2
        error = capsys.readouterr().err
        assert message in error, error
        assert standing(folder) == before

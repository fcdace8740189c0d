"""Every option that an error message names is one that the command has."""

from __future__ import annotations

import argparse
import ast
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolfast.commands.main import _parser, main
from smolfast.commands.parsers import CommandParser

PACKAGE = Path(__file__).resolve().parents[2] / "python" / "smolfast"
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")

# Where each command starts; what those modules import is its own too.
ROOTS = {
    "quickstart": "pipeline/quickstart",
    "collect": "pipeline/collect",
    "normalize": "pipeline/normalize",
    "curate": "curate/files/job commands/curate",
    "curate explain": "curate/explain/explanation",
    "pdf": "pdf/files/job",
    "dedup": "dedup/job commands/dedup",
    "dedup explain": "dedup/explain",
    "dedup index build": "dedup/job dedup/index",
    "split": "pipeline/split",
    "tokenize": "tokens/tokenizer tokens/files tokens/conversations",
    "distill-cache": "train/distillation/cache",
    "train": "train/loop commands/train",
    "evaluate": "evaluate/bits_per_byte evaluate/harness",
    "export": "model/export",
    "merge": "merge/folders merge/checkpoints commands/merge",
    "generate": "model/generate",
    "report": "report/page",
}
READS_NO_DOCUMENTS = {"train", "export", "merge", "generate", "distill-cache", "report", "pdf"}
OF_DOCUMENTS = {
    "io/documents",
    "io/json/lines",
    "io/sources",
    "io/rows/record_batches",
    "tokens/files",
    "tokens/tokenizer",
    "tokens/document_encoder",
}
# Advised only where the option was given, or by `dedup` alone; or an option of torchrun.
GIVEN = {
    "--nproc-per-node",
    "--column-type",
    "--strict",
    "--prefix",
    "--index",
    "--lines",
    "--engine",
    "--address",
    "--layers",
}
# Commands named in full in the message ("run `smolfast train --dry-run`") or options of other programs.
OTHERS = {"train/dry_run", "cluster/ray_engine"}
# Imported for something else than what raises these errors.
UNUSED = {
    "quickstart": {"train/distillation/teaching", "tokens/document_encoder"},
    "evaluate": {"tokens/document_encoder"},
    "curate": {"config"},
    "merge": {"config", "processes/pool"},
    "pdf": {"config", "curate/files/options", "curate/files/scoring"},
    "curate explain": {"config", "curate/files/folder", "curate/files/options", "curate/files/scoring"},
    "dedup": {"config"},
    "dedup explain": {"io/stores/output"},
    "distill-cache": {"config"},
    "export": {"config"},
    "train": {"pipeline/run_folder"},
}


def modules_of(command: str) -> set[str]:
    found: set[str] = set()
    waiting = ROOTS[command].split()
    if command not in ("quickstart", "generate", "report") and not command.startswith(("dedup", "curate")):
        waiting.append("pipeline/stages")
    while waiting:
        module = waiting.pop()
        path = PACKAGE / f"{module}.py"
        if module in found or not path.exists():
            continue
        found.add(module)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("smolfast"):
                inner = (node.module or "").removeprefix("smolfast").lstrip(".").replace(".", "/")
                waiting += [inner, *(f"{inner}/{name.name}".lstrip("/") for name in node.names)]
    found -= OTHERS
    if command in READS_NO_DOCUMENTS:
        found -= OF_DOCUMENTS
    found -= UNUSED.get(command, set())
    if command == "curate explain":  # it turns what reading says into a message of its own
        found -= {"io/documents", "io/rows/record_batches"}
    if command == "dedup explain":  # so does this
        found -= {"io/documents", "io/rows/record_batches", "dedup/job", "dedup/signing", "dedup/index"}
        found -= {"dedup/spread/job"}
    return found


def advised(module: str) -> set[str]:
    """Options in the texts of errors that a module raises, and in the constants that these are made of."""
    found: set[str] = set()
    tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        raised = isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"SmolfastError", "naming"}
        constant = isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        if raised or constant:
            for text in ast.walk(node):
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    found |= set(OPTION.findall(text.value))
    return found


def parser_of(command: str) -> CommandParser:
    (commands,) = (action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction))
    parser = commands.choices[command.split()[0]]
    for word in command.split()[1:]:
        if word in parser.verbs:
            parser = parser.verbs[word]
        else:
            (inner,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
            parser = inner.choices[word]
    assert isinstance(parser, CommandParser)
    return parser


@pytest.mark.parametrize("command", ROOTS)
def test_every_option_advised_is_one_of_the_command(command: str) -> None:
    has = set(parser_of(command)._option_string_actions)
    for module in sorted(modules_of(command)):
        missing = advised(module) - has - GIVEN
        assert not missing, f"{module} advises {missing}, which smolfast {command} lacks"


def test_remedies_are_seen() -> None:
    assert {"--errors"} <= advised("io/rows/record_batches") and "--overwrite" in advised("pipeline/stages")
    assert "io/documents" in modules_of("tokenize") and "pipeline/stages" in modules_of("split")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = main([str(argument) for argument in arguments])
    return code, capsys.readouterr().err


@pytest.mark.parametrize("command", ["split", "collect", "normalize", "curate", "dedup", "tokenize", "quickstart"])
def test_what_reading_advises_works(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if command in ("tokenize", "quickstart"):
        pytest.importorskip("tokenizers")
    rows = [{"body": f"Document {i} has some words, and {i * 7919} of them are numbers."} for i in range(300)]
    good = "".join(json.dumps(row) + "\n" for row in rows).encode()
    documents = tmp_path / "in.jsonl"
    documents.write_bytes(good)
    out: list[Any] = ["-o", tmp_path / "out"] if command != "quickstart" else ["--out", tmp_path / "out"]
    given: list[Any] = [documents] if command != "quickstart" else ["--input", documents]
    settings = {
        "collect": ["--set", "collect.min_document_bytes=1"],
        "quickstart": ["--set", "collect.min_document_bytes=1"],
        "split": ["--set", "split.held_out_fraction=0.4"],
        "tokenize": ["--held-out", documents, "--set", "tokenizer.vocab_size=270"],
    }.get(command, [])
    code, error = run(capsys, command, *given, *out, *settings)
    assert code == 2 and "--text-column" in error and "body" in error
    documents.write_bytes(good + b'{"body": "\xff\xfe not UTF-8"}\n')
    out[1] = tmp_path / "other"
    code, error = run(capsys, command, *given, *out, *settings, "--text-column", "body")
    assert code == 2 and "--errors replace or --errors skip" in error
    if command != "quickstart":  # which would go on to train
        for index, errors in enumerate(("replace", "skip")):
            out = ["-o", tmp_path / f"out{index}"]
            reading = ["--text-column", "body", "--errors", errors]
            assert run(capsys, command, *given, *out, *settings, *reading)[0] == 0


def test_explain_of_an_input_that_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    documents = tmp_path / "in.parquet"
    pq.write_table(pa.table({"id": ["a", "b"], "text": ["the same text"] * 2}), documents)
    assert run(capsys, "dedup", documents, "-o", tmp_path / "out")[0] == 0
    pq.write_table(pa.table({"id": ["a", "b"], "body": ["another text"] * 2}), documents)
    code, error = run(capsys, "dedup", "explain", "b", "-o", tmp_path / "out")
    assert code == 2 and "changed since" in error and "--" not in error


def test_dedup_of_files_called_as_its_verbs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("explain", "index"):
        Path(name).mkdir()
        Path(name, "a.jsonl").write_text('{"text": "one"}\n')
        assert run(capsys, "dedup", f"./{name}", "-o", f"out-{name}")[0] == 0
    for words in (["index", "-o", "out"], ["explain", "-o", "out", "a", "b"], ["index", "add", "index", "-o", "out"]):
        with pytest.raises(SystemExit) as end:
            main(["dedup", *words])
        assert end.value.code == 2
    helps = []
    for words in ([], ["explain"], ["index"], ["index", "build"], ["index", "query"]):
        with pytest.raises(SystemExit):
            main(["dedup", *words, "--help"])
        helps.append(capsys.readouterr().out)
    assert ["--num-perm" in text for text in helps] == [True, False, False, True, True]
    assert len(set(helps)) == 5


@pytest.mark.parametrize("length", [237, 245, 250, 255])
def test_outputs_with_names_as_long_as_can_be(length: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "one"}\n')
    output = tmp_path / ("x" * (length - 6) + ".jsonl")
    for form in ("NFC", "NFC", "NFD"):
        assert main(["normalize", str(tmp_path / "in.jsonl"), "-o", str(output), "--form", form, "--overwrite"]) == 0
    assert output.read_text() == '{"text": "one"}\n'
    assert "unchanged, skipped" in capsys.readouterr().err


def test_a_teachers_output_beside_tokens_that_are_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    (tmp_path / "tokens").mkdir()
    monkeypatch.chdir(tmp_path / "tokens")
    for tokens in (".", "../tokens", "/"):
        assert main(["distill-cache", "teacher", "--tokens", tokens]) == 2
        assert "Traceback" not in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["tokens"]

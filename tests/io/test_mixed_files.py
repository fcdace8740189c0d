"""Files of several kinds for one job: their columns meet or are refused by name, and nothing of a row is lost."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from smolfast import SmolfastError, _native
from smolfast.commands.main import main
from smolfast.dedup import deduplicate
from smolfast.dedup.explain import explain
from smolfast.dedup.store import Column, DocumentStore, Position
from smolfast.io.documents import read_batches, stored_schema
from smolfast.io.rows.record_batches import RowReader
from smolfast.io.schemas import shards
from smolfast.io.sources import Source, find_sources, open_source
from smolfast.pipeline.normalize import normalize_documents
from smolfast.pipeline.split import split_documents
from smolfast.tokens.conversations import _conversations

PROSE = ["some words of the first", "other words of a second", "nothing like the others here"]


def write_lines(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.mark.parametrize("value", ["x", 0.5, ["x"]])
@pytest.mark.parametrize("null_first", [True, False])
def test_a_column_without_values_meets_any_other(tmp_path: Path, value: Any, null_first: bool) -> None:
    names = ["a.jsonl", "b.jsonl"] if null_first else ["b.jsonl", "a.jsonl"]
    write_lines(tmp_path / "in" / names[0], {"text": PROSE[0], "x": None, "never": None})
    write_lines(tmp_path / "in" / names[1], {"text": PROSE[1], "x": value, "never": None})
    for command in ("normalize", "dedup"):
        out = tmp_path / command if command == "dedup" else tmp_path / "out.parquet"
        assert main([command, str(tmp_path / "in"), "-o", str(out), "--quiet"]) == 0
        made = out / "kept.parquet" if command == "dedup" else out
        assert pq.read_schema(made).field("never").type == pa.null()
        normalize_documents([made], tmp_path / "back.jsonl")
        found = [json.loads(line)["x"] for line in (tmp_path / "back.jsonl").read_text().splitlines()]
        assert found == ([None, value] if null_first else [value, None])


def test_names_without_rows_are_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\n")
    normalize_documents([tmp_path / "a.csv"], tmp_path / "a.parquet")
    assert pq.read_schema(tmp_path / "a.parquet").names == ["id", "text"]
    (tmp_path / "nothing.csv").write_text("")
    assert stored_schema(Source(str(tmp_path / "nothing.csv"), "csv")) is None
    schema = stored_schema(Source(str(tmp_path / "a.csv"), "csv"), types={"id": "int64"})
    assert schema is not None and schema.field("id").type == pa.int64()


DIFFERENT = [
    ("csv", "id,text\n007,{0}\n7,{1}\n", [5, 6], "int64"),
    ("csv", "id,text\n007,{0}\n7,{1}\n", [0.5, 1.5], "float64"),
    ("csv", "id,text\ntrue,{0}\nFalse,{1}\n", [True, False], "bool"),
    ("jsonl", '{{"id": 5, "text": "{0}"}}\n{{"id": null, "text": "{1}"}}\n', ["a", "b"], "string"),
    ("jsonl", '{{"id": ["a"], "text": "{0}"}}\n{{"id": [], "text": "{1}"}}\n', ["a", "b"], "string"),
]


@pytest.mark.parametrize(
    ("kind", "text", "ids", "asked", "command"),
    [(*case, command) for number, case in enumerate(DIFFERENT) for command in ("normalize", "dedup", "split")[number:]]
    + [(*case, "normalize") for case in DIFFERENT[1:]],
)
def test_the_type_to_ask_for_is_named(
    tmp_path: Path, kind: str, text: str, ids: list[Any], asked: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / f"a.{kind}").write_text(text.format(*PROSE))
    pq.write_table(pa.table({"id": ids, "text": PROSE[1:]}), tmp_path / "in" / "b.parquet")
    out = ["-o", str(tmp_path / ("out.parquet" if command == "normalize" else "out")), "--quiet"]
    settings = ["--set", "split.held_out_fraction=0.49"] if command == "split" else []
    assert main([command, str(tmp_path / "in"), *out, *settings]) == 2
    error = capsys.readouterr().err
    advised = re.search(r"give (--column-type .*), or", error)
    assert advised and advised[1] == f"--column-type id={asked}"
    assert main([command, str(tmp_path / "in"), *out, *settings, *shlex.split(advised[1])]) == 0


def test_a_type_to_ask_for_is_named_only_if_it_helps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write_lines(tmp_path / "a b.jsonl", {"text": PROSE[0], "a name": ["x"]})
    second = write_lines(tmp_path / "c.jsonl", {"text": PROSE[1], "a name": "x"})
    pq.write_table(pa.table({"text": PROSE[:1], "a name": pa.array([{"k": 1}])}), tmp_path / "d.parquet")
    out = ["-o", str(tmp_path / "out.parquet")]
    assert main(["normalize", str(second), str(tmp_path / "d.parquet"), *out]) == 2
    assert "--column-type" not in capsys.readouterr().err
    assert main(["normalize", str(first), str(second), *out]) == 2
    assert "--column-type 'a name=string'" in capsys.readouterr().err
    assert main(["normalize", str(first), str(second), *out, "--column-type", "a name=string"]) == 0
    assert pq.read_table(tmp_path / "out.parquet").column("a name").to_pylist() == ['["x"]', "x"]


def test_the_type_to_ask_for_fits_all_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lines(tmp_path / "in" / "a.jsonl", {"text": PROSE[0], "id": 1})
    (tmp_path / "in" / "b.csv").write_text("id,text\n2,x\n")
    pq.write_table(pa.table({"id": pa.array([3], pa.int32()), "text": ["y"]}), tmp_path / "in" / "c.parquet")
    assert main(["normalize", str(tmp_path / "in"), "-o", str(tmp_path / "out.parquet")]) == 2
    assert "give --column-type id=int64, or" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["folder", "folder/*", "memory://split-of-urls"])
def test_split_of_folders_globs_and_urls(
    tmp_path: Path, given: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.chdir(tmp_path)
    lines = write_lines(Path("folder/a.jsonl"), *({"text": f"{number}"} for number in range(40)))
    Path("folder/README.md").write_text("about it")
    fsspec.filesystem("memory").pipe("/split-of-urls/a.jsonl", lines.read_bytes())
    fsspec.filesystem("memory").pipe("/split-of-urls/README.md", b"about it")
    settings = ["--set", "split.held_out_fraction=0.4", "--json"]
    for _ in range(2):
        assert main(["split", given, "-o", "folder/out", *settings]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["documents_in"] == 40 and found["passed_over"] == 1
    assert main(["split", given, "-o", "strict", *settings, "--strict"]) == 2
    assert "--strict: not all files are read: 1 text beside" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["tokenize", "evaluate"])
def test_strict_counts_in_every_command_that_has_it(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(write_lines(tmp_path / "in" / "a.jsonl", {"text": "x"}).parent)
    (tmp_path / "in" / "README.md").write_text("about it")
    given = {"tokenize": [folder], "evaluate": [folder, "--tokens", folder]}[command]
    assert main([command, *given, "--held-out", folder, "-o", str(tmp_path / "out"), "--strict"]) == 2
    assert "--strict: not all files are read" in capsys.readouterr().err


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz"])
def test_what_parts_the_texts_name_parts_the_cells(tmp_path: Path, separator: str, name: str) -> None:
    import gzip

    data = f'id{separator}text\n007{separator}"a, b; c\td|e"\n'.encode("utf-8-sig")
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    (source,) = find_sources([tmp_path / name])
    for columns in (None, []):
        (batch,) = read_batches(source, columns=columns)
        row = {"id": "007", "text": "a, b; c\td|e"}
        assert batch.to_pylist() == [row if columns is None else {"text": row["text"]}]
    with pytest.raises(SmolfastError, match="has no column 'body'; give as --text-column one of those it has: id"):
        list(read_batches(source, text_column="body"))


def test_names_that_are_not_utf8_are_not_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"caf\xe9,caf\xe8,text\n1,2,text\n")
    source = Source(str(tmp_path / "a.csv"), "csv")
    with pytest.raises(SmolfastError, match=r"line 1: the columns' names aren't UTF-8.*--errors replace"):
        list(read_batches(source, errors="skip"))
    with pytest.raises(SmolfastError, match="two columns of the same name"):
        list(read_batches(source, errors="replace"))
    (tmp_path / "a.csv").write_bytes(b"caf\xe9,text\n1,text\n")
    assert next(read_batches(source, errors="replace")).schema.names == ["caf\ufffd", "text"]


def test_a_key_that_comes_while_the_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The types are of the file as it was; nothing of a row that came since goes lost unmentioned."""
    path = write_lines(tmp_path / "a.jsonl", *({"text": text, "n": 1} for text in PROSE))
    whole = RowReader._scanned

    def grown(reader: RowReader) -> pa.Schema | None:
        schema = whole(reader)
        with path.open("a") as file:
            file.write('{"text": "late", "new": [1]}\n')
        return schema

    monkeypatch.setattr(RowReader, "_scanned", grown)
    with pytest.raises(SmolfastError, match="line 4: a column that wasn't there before; the file changed"):
        list(read_batches(Source(str(path), "jsonl"), batch_bytes=1))
    monkeypatch.undo()
    assert sum(batch.num_rows for batch in read_batches(Source(str(path), "jsonl"), columns=["n"], batch_bytes=1)) == 4


def test_json_is_parsed_twice_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_lines(tmp_path / "a.jsonl", *({"text": f"{i} {'x' * 1000}", "n": i} for i in range(10_000)))
    parsed = 0
    rows = RowReader.rows

    def counting(reader: RowReader) -> Any:
        nonlocal parsed
        for row in rows(reader):
            parsed += row[2]
            yield row

    monkeypatch.setattr(RowReader, "rows", counting)
    monkeypatch.setattr("smolfast.io.documents.BATCH_BYTES", 1 << 20)
    normalize_documents([path], tmp_path / "out.parquet")
    size = path.stat().st_size
    # Once for the types, once for the rows, and what is read ahead of either to see whether that is all.
    assert 2 * size <= parsed <= 2 * size + (17 << 20)
    parsed = 0
    split_documents(path, tmp_path / "split", held_out_fraction=0.3, seed=1)
    assert size <= parsed <= size + (17 << 20)  # the types are known by now
    assert main(["dedup", str(path), "-o", str(tmp_path / "dedup"), "--quiet"]) == 0
    assert parsed <= 2 * size + (34 << 20)


def test_everything_against_a_file_is_found_before_the_first_is_written(tmp_path: Path) -> None:
    for number, name in enumerate(["b.csv", "b.arrow", "b.tsv"]):
        folder = tmp_path / f"in{number}"
        write_lines(folder / "a.jsonl", {"text": "x"})
        if name == "b.arrow":
            pa.feather.write_feather(pa.table({"body": ["x"]}), str(folder / name))
        else:
            (folder / name).write_text("body\nx\n")
        with pytest.raises(SmolfastError, match="has no column 'text'"):
            normalize_documents([folder], tmp_path / f"out{number}")
        assert not (tmp_path / f"out{number}").exists()


def test_a_file_of_many_columns_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opened for each column that is promoted, two files of 3,000 took three minutes."""
    for name, value in (("a", 1), ("b", 0.5)):
        columns = {f"c{number}": [value] for number in range(50)}
        pq.write_table(pa.table({"text": ["x"], **columns}), tmp_path / f"{name}.parquet")
    opened: list[str] = []
    monkeypatch.setattr(shards, "open_source", lambda path: opened.append(path) or open_source(path))
    schema = shards.common_schema(find_sources([tmp_path]))
    assert schema is not None and schema.field("c49").type == pa.float64()
    assert opened == [str(tmp_path / "a.parquet")]


def test_what_dedup_wrote_is_read_without_its_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_lines(tmp_path / "a.jsonl", *({"text": f"{text} of {n % 5}"} for text in PROSE for n in range(10)))
    assert main(["dedup", str(source), "-o", str(tmp_path / "d"), "--quiet"]) == 0
    for command in ("normalize", "dedup", "split"):
        out = ["-o", str(tmp_path / command), "--quiet", "--json"]
        more = {"dedup": ["--prefix", "x_"], "split": ["--set", "split.held_out_fraction=0.4"]}.get(command, [])
        capsys.readouterr()
        assert main([command, str(tmp_path / "d"), *out, *more]) == 0
        assert json.loads(capsys.readouterr().out)["documents_in"] == 15
    sources = find_sources([tmp_path / "d"])
    assert "about data" in sources.summary()["passed_over_files"]
    (tmp_path / "d" / "dedup.json").unlink()
    assert len(find_sources([tmp_path / "d"])) == 2


@pytest.mark.parametrize("output", ["out.parquet", "out.jsonl", "out"])
@pytest.mark.parametrize("rule", ["skip", "replace"])
def test_documents_skipped_and_replaced_are_counted(
    tmp_path: Path, output: str, rule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": None}, {"text": "\ud83d"}, *({"text": f"{number}"} for number in range(9))]
    source = write_lines(tmp_path / "a.jsonl", *rows)
    reading = ["--errors", rule, "--quiet", "--json"]
    expected = {"documents_in": 11, "documents_out": 9, "documents_skipped": 2}
    if rule == "replace":
        expected = {"documents_in": 11, "documents_out": 11, "documents_replaced": 2}
    for command in ("normalize", "split"):
        more = ["--set", "split.held_out_fraction=0.49"] if command == "split" else []
        assert main([command, str(source), "-o", str(tmp_path / f"{command}-{output}"), *reading, *more]) == 0
        assert expected.items() <= json.loads(capsys.readouterr().out).items()


def test_a_type_for_a_column_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lines(tmp_path / "in" / "a.jsonl", {"text": PROSE[0], "n": 1})
    (tmp_path / "in" / "b.csv").write_text("text,m\nx,2\n")
    pq.write_table(pa.table({"text": ["x"], "p": [1]}), tmp_path / "in" / "c.parquet")
    for name, code in (("n", 0), ("m", 0), ("p", 2), ("a typo", 2)):
        out = ["-o", str(tmp_path / f"{name}.parquet"), "--column-type", f"{name}=float64", "--quiet"]
        assert main(["normalize", str(tmp_path / "in"), *out]) == code
    assert "no file of JSON or CSV has a column 'a typo' to give a type; correct the name" in capsys.readouterr().err
    folder = ["-o", str(tmp_path / "folder"), "--column-type", "m=int64", "--quiet"]
    assert main(["normalize", str(tmp_path / "in"), *folder]) == 0
    assert pq.read_schema(tmp_path / "folder" / "b.csv.parquet").field("m").type == pa.int64()


def test_categories_as_polars_has_them(tmp_path: Path) -> None:
    views = pa.DictionaryArray.from_arrays(pa.array([0, None, 1], pa.uint32()), pa.array(["a", "b"], pa.string_view()))
    table = pa.table({"text": PROSE, "kind": views})
    pa.feather.write_feather(table, str(tmp_path / "a.arrow"))
    normalize_documents([tmp_path / "a.arrow"], tmp_path / "a.parquet")
    kind = pq.read_table(tmp_path / "a.parquet").column("kind")
    assert kind.type == pa.dictionary(pa.uint32(), pa.string()) and kind.to_pylist() == ["a", None, "b"]
    nested = pa.table({"text": PROSE, "kind": pa.StructArray.from_arrays([views], ["k"])})
    pa.feather.write_feather(nested, str(tmp_path / "b.arrow"))
    with pytest.raises(SmolfastError, match="parquet has no form for column 'kind'"):
        normalize_documents([tmp_path / "b.arrow"], tmp_path / "b.parquet")


def test_intervals_are_refused_by_name(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "a.parquet"
    duckdb.sql(f"copy (select 'some text' as text, interval 1 day as pause) to '{path}'")
    with pytest.raises(SmolfastError, match="column 'pause' is an INTERVAL"):
        normalize_documents([path], tmp_path / "b.parquet")
    assert next(read_batches(Source(str(path), "parquet"), columns=[])).num_rows == 1


def test_conversations_that_a_stage_wrote(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    source = write_lines(tmp_path / "a.jsonl", {"text": "x", "messages": talk}, {"text": "y", "messages": None})
    normalize_documents([source], tmp_path / "a.parquet")
    found = [found.messages for _, found in _conversations(tmp_path / "a.parquet", "messages", "fail", Counter())]
    assert found == [talk, None]


def test_explain_counts_rows_as_dedup_did(tmp_path: Path) -> None:
    """A row that another column's bytes made dedup skip is not counted."""
    raw = pa.array([b"\xff", b"a", b"b", b"c"])
    table = pa.table({"text": ["first", "second", "third", "third"], "s": raw.view(pa.string())})
    pq.write_table(table, tmp_path / "a.parquet")
    deduplicate([tmp_path / "a.parquet"], tmp_path / "d", errors="skip")
    assert explain(tmp_path / "d", f"{tmp_path / 'a.parquet'}:2").text == "third"


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_names_that_are_not_utf8_through_every_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    os.mkdir(folder)  # noqa: PTH102
    file = f"{folder}/" + os.fsdecode(b"na\xefve.jsonl")
    rows = [{"text": f"document {n // 2} has {n // 2} words", "id": str(n)} for n in range(40)]
    write_lines(Path(file), *rows)
    for output in ("n.parquet", "n.jsonl", "n"):
        for _ in range(2):
            assert main(["normalize", file, "-o", f"{folder}/{output}", "--overwrite"]) == 0
        assert "unchanged, skipped" in capsys.readouterr().err
    assert main(["dedup", file, "-o", f"{folder}/d", "--index", f"{folder}/i"]) == 2
    assert main(["dedup", "index", "build", file, "-o", f"{folder}/b", "--index", f"{folder}/i"]) == 0
    assert main(["dedup", "index", "query", file, "-o", f"{folder}/q", "--index", f"{folder}/i"]) == 0
    assert main(["dedup", file, "-o", f"{folder}/d"]) == 0
    assert main(["dedup", "explain", "1", "-o", f"{folder}/d"]) == 0
    assert "document 0 has 0 words" in capsys.readouterr().out
    assert main(["split", f"{folder}/d/kept.parquet", "-o", f"{folder}/s", "--set", "split.held_out_fraction=0.4"]) == 0
    assert main(["collect", file, "-o", f"{folder}/c", "--set", "collect.min_document_bytes=1"]) == 0
    (Path(os.fsdecode(os.fsencode(folder) + b"/na\xf0ve.jsonl"))).write_text("{}")
    assert main(["dedup", "explain", "1", "-o", f"{folder}/d"]) == 2
    assert "2 files are called" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_store_on_disk_below_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    store = DocumentStore({"signature": Column(np.dtype(np.uint32), 2)}, folder, memory=0)
    store.append({"signature": np.arange(6, dtype=np.uint32)}, 3, Position(0, 3), {})
    store.finish()
    assert store.on_disk
    _native.StoredSignatures(store.source("signature"), 2, 4)

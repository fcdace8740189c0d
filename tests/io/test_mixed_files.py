"""Files of several kinds for one job: their columns meet or are refused by name, and nothing of a row is lost."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from smolfast import SmolfastError
from smolfast.commands.main import main
from smolfast.io.documents import read_batches, stored_schema
from smolfast.io.rows import RowReader
from smolfast.io.sources import Source, find_sources
from smolfast.pipeline.normalize import normalize_documents
from smolfast.pipeline.split import split_documents

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
    assert main(["dedup", file, "-o", f"{folder}/d"]) == 0
    assert main(["dedup", "explain", "1", "-o", f"{folder}/d"]) == 0
    assert "document 0 has 0 words" in capsys.readouterr().out
    assert main(["split", f"{folder}/d/kept.parquet", "-o", f"{folder}/s", "--set", "split.held_out_fraction=0.4"]) == 0
    assert main(["collect", file, "-o", f"{folder}/c", "--set", "collect.min_document_bytes=1"]) == 0
    (Path(os.fsdecode(os.fsencode(folder) + b"/na\xf0ve.jsonl"))).write_text("{}")
    assert main(["dedup", "explain", "1", "-o", f"{folder}/d"]) == 2
    assert "2 files are called" in capsys.readouterr().err

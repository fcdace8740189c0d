"""JSON values through reading and writing: none is changed, whatever came before it in its column."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolfast.commands.main import main
from smolfast.dedup import deduplicate
from smolfast.errors import SmolfastError
from smolfast.io.documents import BatchWriter, find_sources, read_batches
from smolfast.io.json.lines import JsonLinesWriter
from smolfast.io.json.values import decode_cell, is_json
from smolfast.pipeline.normalize import normalize_documents


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def column(path: Path, name: str = "v", **options: Any) -> pa.ChunkedArray:
    """A column read with a batch for each row."""
    return pa.Table.from_batches(list(read_batches(find_sources([path])[0], batch_bytes=1, **options)))[name]


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 is 1.0, but not true; the sign of -0.0 counts."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, float) and isinstance(other, (int, float)) and one == other == 0:
        return isinstance(other, int) or math.copysign(1, one) == math.copysign(1, other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return isinstance(one, type(None)) == isinstance(other, type(None)) and bool(one == other)


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        ([1, 1, 0.9], "double"),
        ([0.9, 1, 2**53], "double"),
        ([0.9, 2**53 + 1], "string"),
        ([1, 2**63], "uint64"),
        ([1, 2**64 - 1], "uint64"),
        ([-1, 2**63], "string"),
        ([1, 2**64], "string"),
        ([-(2**63), 2**63 - 1], "int64"),
        ([-(2**63) - 1], "string"),
        ([True, 1], "string"),
        ([1, True], "string"),
        ([1.5, False], "string"),
        ([1, "1"], "string"),
        (["[1]", [1], "null", None, "plain", '"quoted"', "NaN", "-", "[[["], "string"),
        ([None, None, {"a": 1}], "string"),
        ([None, 7], "int64"),
        ([-0.0, 1], "double"),
        ([10**400], "string"),
        (["", " ", "é\u2028"], "string"),
    ],
)
def test_a_later_batch_changes_nothing(tmp_path: Path, values: list[Any], type_: str) -> None:
    path = write(tmp_path / "a.jsonl", [{"text": "t", "v": value} for value in values])
    assert str(column(path).type) == type_
    (source,) = find_sources([path])
    with JsonLinesWriter(tmp_path / "b.jsonl") as writer:
        for batch in read_batches(source, batch_bytes=1):
            writer.write(batch)
    back = [json.loads(line)["v"] for line in (tmp_path / "b.jsonl").read_text().split("\n")[:-1]]
    assert len(back) == len(values) and all(map(same, values, back)), back


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), 0, 1]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.sampled_from(["1", "null", "true", "[]", '"a"', " 1", "1e5", "NaN", "-Infinity"]),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3)
)
rows = st.lists(
    st.dictionaries(st.sampled_from(["id", "v", "w", "", "é", "\0x"]), values, max_size=4).map(
        lambda row: {**row, "text": "some text"}
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=40, deadline=None)
@given(rows, st.sampled_from([1, 60, 1 << 20]))
def test_any_values_survive(
    tmp_path_factory: pytest.TempPathFactory, want: list[dict[str, Any]], batch_bytes: int
) -> None:
    """Through columns into JSON lines and parquet, and through normalize; an absent key is null in a column."""
    folder = tmp_path_factory.mktemp("json")
    (source,) = find_sources([write(folder / "a.jsonl", want)])
    names = list(dict.fromkeys(name for row in want for name in row))
    batches = list(read_batches(source, batch_bytes=batch_bytes))
    assert len({batch.schema for batch in batches}) == 1
    with JsonLinesWriter(folder / "b.jsonl") as lines, BatchWriter(folder / "b.parquet", threads=1) as parquet:
        for batch in batches:
            lines.write(batch)
            parquet.write(batch)
    back = [json.loads(line) for line in (folder / "b.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
    schema = batches[0].schema
    stored = [
        {
            name: json.loads(decode_cell(value)) if value is not None and is_json(schema.field(name)) else value
            for name, value in row.items()
        }
        for row in pq.read_table(folder / "b.parquet").to_pylist()
    ]
    for row, got, kept in zip(want, back, stored, strict=True):
        full = {name: row.get(name) for name in names}
        assert same(full, got), (full, got)
        assert same(full, kept), (full, kept)
    normalize_documents([folder / "a.jsonl"], folder / "n.jsonl")
    for row, line in zip(want, (folder / "n.jsonl").read_text(encoding="utf-8").split("\n")[:-1], strict=True):
        assert list(json.loads(line).items()) == list(row.items())


def test_normalize_leaves_lines_as_they_stand(tmp_path: Path) -> None:
    """Twice the same key, digits, escapes, order and absent keys; only the text's own form changes."""
    lines = [
        r'{"a": 1, "a": 2, "text": "e\u0301", "f": 1.0e2, "g": 0.10, "big": 123456789012345678901234567890}',
        r'{"text":"x","u":"\u00e9\ud83d\ude00\ud83d","nested":{"k":1,"k":[1.50]},"huge":1e400}',
        r'{"": [], "text": "\u0000", "text": "\u0000"}',
        r'{"n": null, "text": "three"}',
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    normalize_documents([tmp_path / "a.jsonl"], tmp_path / "b.jsonl")
    got = (tmp_path / "b.jsonl").read_text(encoding="utf-8").splitlines()
    assert got == [lines[0].replace(r"e\u0301", "é"), *lines[1:]]


def test_normalize_puts_a_text_where_none_is(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": null, "n": 1}\n{ "n": 2 }\n{}\n')
    with pytest.raises(SmolfastError, match="line 2: the text is missing"):
        normalize_documents([tmp_path / "a.jsonl"], tmp_path / "b.jsonl")
    normalize_documents([tmp_path / "a.jsonl"], tmp_path / "b.jsonl", errors="replace")
    got = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert got == [{"text": "a"}, {"text": "", "n": 1}, {"text": "", "n": 2}, {"text": ""}]
    assert normalize_documents([tmp_path / "a.jsonl"], tmp_path / "b.jsonl", errors="skip")["documents_out"] == 1
    (tmp_path / "c.jsonl").write_text('{"body": "a"}\n')
    with pytest.raises(SmolfastError, match="no column 'text'; give as --text-column one of those it has: body"):
        normalize_documents([tmp_path / "c.jsonl"], tmp_path / "b.jsonl")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a", "v": 1, "v": 2}', "line 2: the key 'v' stands twice with different values"),
        ('{"text": "a", "v": {"k": 1, "k": 1.5}}', "line 2: the key 'k' stands twice"),
        ('{"text": "a", "v": 1e400}', "line 2: 'v' is a number beyond 1.8e308"),
        ('{"text": "a", "v": [1e400]}', "line 2: 'v' holds NaN, Infinity or a number beyond"),
        ('{"text": "a", "v": [NaN]}', "line 2: 'v' holds NaN"),
        ('{"text": "a", "v": "x"}\n{"text": "a", "v": Infinity}', "'v' holds NaN or Infinity"),
    ],
)
def test_what_no_column_holds_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' + line + "\n")
    with pytest.raises(SmolfastError, match=message):
        column(tmp_path / "a.jsonl")


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_words_that_are_not_json_are_read_but_not_written(tmp_path: Path, word: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"text": "a", "v": 1}}\n{{"text": "b", "v": {word}}}\n')
    assert str(column(tmp_path / "a.jsonl")[1].as_py()) == str(float(word))
    normalize_documents([tmp_path / "a.jsonl"], tmp_path / "a.parquet")
    for source in ("a.jsonl", "a.parquet"):
        with pytest.raises(SmolfastError, match=r"(line 2: 'v' is|row 1, column 'v' holds) .*(write|null)") as error:
            normalize_documents(
                [tmp_path / source], tmp_path / ".b.jsonl.smolfast-partial"
            )  # the name that a stage gives
        assert "partial" not in str(error.value)
        assert not (tmp_path / "b.jsonl").exists()


def test_keep_score_that_turns_fractional(tmp_path: Path) -> None:
    """The case that was lost: 0.9 after whole numbers was read as 0."""
    long = "x" * (9 << 20)
    twins = "the same few words stand in both of these two documents here"
    rows_ = [
        {"text": "other", "score": 1},
        {"text": long, "score": 1},
        {"text": twins, "score": 0},
        {"text": twins, "score": 0.9},
    ]
    write(tmp_path / "a.jsonl", rows_)
    deduplicate([tmp_path / "a.jsonl"], tmp_path / "out", keep="score")
    kept = pq.read_table(tmp_path / "out" / "kept.parquet")
    assert kept["score"].to_pylist() == [1.0, 1.0, 0.9]


def test_types_that_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text('text,id,score,ok\n"a, ""b""\nc",007,1e5,true\nNA,,,\n')
    raw = {"id": ["007", ""], "score": ["1e5", ""], "ok": ["true", ""], "text": ['a, "b"\nc', "NA"]}
    for name, cells in raw.items():
        assert column(tmp_path / "a.csv", name).to_pylist() == cells
    command = ["normalize", str(tmp_path / "a.csv"), "-o", str(tmp_path / "o.parquet"), "--quiet", "--overwrite"]
    assert main([*command, "--column-type", "score=float64", "--column-type", "ok=bool"]) == 0
    table = pq.read_table(tmp_path / "o.parquet")
    assert table["score"].to_pylist() == [1e5, None] and table["ok"].to_pylist() == [True, None]
    assert table["id"].to_pylist() == ["007", ""]
    capsys.readouterr()
    assert main([*command, "--column-type", "score=int64"]) == 2
    assert "a.csv, line 2: 'score' is 1e5, which a column of int64 doesn't hold" in capsys.readouterr().err
    assert main([*command, "--column-type", "score=string"]) == 0
    with pytest.raises(SystemExit):
        main([*command, "--column-type", "score=decimal"])
    with pytest.raises(SmolfastError, match="the type 'decimal' of column 'v' is unknown; choose one of string"):
        column(tmp_path / "a.csv", types={"v": "decimal"})
    path = write(tmp_path / "b.jsonl", [{"text": "t", "v": value} for value in (1, 2.0, "3", None)])
    assert column(path, types={"v": "int64"}).to_pylist() == [1, 2, 3, None]
    assert column(path, types={"v": "string"}).to_pylist() == ["1", "2.0", "3", None]
    for type_, wrong in (("int64", 2**63), ("uint64", -1), ("float64", 2**53 + 1), ("bool", 1), ("int64", 0.5)):
        path = write(tmp_path / "b.jsonl", [{"text": "t", "v": None}, {"text": "t", "v": wrong}])
        with pytest.raises(SmolfastError, match=rf"line 2: 'v' is {wrong}, .* {type_.replace('float64', 'double')}"):
            column(path, types={"v": type_})
    normalize_documents([tmp_path / "a.csv"], tmp_path / "c.jsonl", types={"score": "float64"})
    assert json.loads((tmp_path / "c.jsonl").read_text().splitlines()[1]) == {
        "text": "NA",
        "id": "",
        "score": None,
        "ok": "",
    }


def test_keys_are_bounded(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"text": "t", **{f"k{n}": 1 for n in range(10_001)}}])
    with pytest.raises(SmolfastError, match="line 1: more than 10,000 different keys"):
        column(path)
    assert column(path, "text", columns=[]).to_pylist() == ["t"]


def test_keys_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": "b", "\\ud800": 1}\n')
    with pytest.raises(SmolfastError, match="line 2: a lone surrogate, so not UTF-8; give --errors"):
        column(tmp_path / "a.jsonl")
    assert column(tmp_path / "a.jsonl", "\ufffd", errors="replace").to_pylist() == [None, 1]
    (tmp_path / "b.jsonl").write_text('{"\\ud800": 1}\n')
    with pytest.raises(SmolfastError, match="lone surrogate"):
        column(tmp_path / "b.jsonl")

"""`normalize_documents` and `smolfast normalize`: formats, rules, and runs that are killed."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolfast import SmolfastError, text
from smolfast.commands.main import main
from smolfast.pipeline.normalize import normalize_documents

TEXTS = [
    "e\u0301tude \r\n\r\n\r\n\r\nUn\u00adtitled, 12.5",
    "déjà vu",
    "한글 \u1112\u1161\u11ab",
    "plain",
    "Ｆｕｌｌ ﬁ",
]


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """Files of every kind in folders below `in`, with columns beside the text."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    table = pa.table({"id": [str(i) for i in range(5)], "text": TEXTS, "score": [0.5, 1.0, None, 2.0, 3.0]})
    pq.write_table(table, folder / "a.parquet")
    lines = "".join(json.dumps({"text": t, "n": i, "ok": True}) + "\n" for i, t in enumerate(TEXTS))
    (folder / "deep" / "b.jsonl").write_text(lines)
    (folder / "deep" / "c.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "d.txt").write_text(TEXTS[0], newline="")
    (folder / "empty.jsonl").write_text("")
    return folder


def read(path: Path) -> list[dict[str, object]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, object]] = pq.read_table(path).to_pylist()
        return rows
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in data.decode().splitlines()]


def test_a_folder_becomes_a_folder_of_the_same_files(documents: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = normalize_documents([documents], out, form="NFKC")
    found = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert found == ["a.parquet", "d.txt.parquet", "deep/b.jsonl", "deep/c.jsonl.gz", "empty.jsonl"]
    expected = text.normalize(TEXTS, "NFKC").to_pylist()
    assert [row["text"] for row in read(out / "a.parquet")] == expected
    assert [row["score"] for row in read(out / "a.parquet")] == [0.5, 1.0, None, 2.0, 3.0]
    assert read(out / "deep" / "b.jsonl") == [{"text": t, "n": i, "ok": True} for i, t in enumerate(expected)]
    assert read(out / "deep" / "c.jsonl.gz") == read(out / "deep" / "b.jsonl")
    assert (out / "empty.jsonl").read_bytes() == b""
    assert summary["documents_in"] == summary["documents_out"] == 16
    assert summary["documents_changed"] == 3 * 3 + 1
    assert summary["bytes_out"] == 3 * sum(len(t.encode()) for t in expected) + len(expected[0].encode())


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_one_file_by_the_command_line(
    documents: Path, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"out{suffix}"
    source = documents / "a.parquet"
    assert (
        main(["normalize", str(source), str(out), "--clean", "--simplify", "--form", "NFKC", "--json", "--quiet"]) == 0
    )
    summary = json.loads(capsys.readouterr().out)
    cleaned = text.clean(TEXTS, form="NFKC")
    assert {k: v for k, v in summary.items() if k.startswith("cleaned_")} == {
        f"cleaned_{rule}": n for rule, n in cleaned.counts.items()
    }
    assert summary["cleaned_line_endings"] == 4
    if suffix != ".jsonl.zst":
        assert [row["text"] for row in read(out)] == text.simplify(cleaned.strings).to_pylist()
    again = tmp_path / f"again{suffix}"
    options = ["--clean", "--simplify", "--form", "NFKC", "--quiet", "--threads", "1"]
    assert main(["normalize", str(source), "-o", str(again), *options]) == 0
    assert again.read_bytes() == out.read_bytes()


def test_what_cannot_be_done(documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["normalize", str(documents), "--quiet"]) == 2
    assert "no output given; name it last" in capsys.readouterr().err
    (documents / "a.parquet").rename(documents / "d.txt.parquet")
    with pytest.raises(SmolfastError, match=r"two inputs would both become d\.txt\.parquet"):
        normalize_documents([documents], tmp_path / "out")
    stamps = tmp_path / "stamps.parquet"
    pq.write_table(pa.table({"text": ["a"], "when": pa.array([0], pa.timestamp("s"))}), stamps)
    with pytest.raises(SmolfastError, match=r"JSON has no form for column 'when' .* or write parquet"):
        normalize_documents([stamps], tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
@pytest.mark.parametrize("output", ["out", "out.parquet"])
def test_killed_runs_go_on_to_the_same_bytes(tmp_path: Path, output: str) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(12):
        rows = [f"{TEXTS[i % 5]} {number} {i}" * 20 for i in range(4000)]
        if number % 2:
            pq.write_table(pa.table({"text": rows}), source / f"{number:02}.parquet")
        else:
            (source / f"{number:02}.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in rows))
    command = [sys.executable, "-m", "smolfast", "normalize", str(source)]
    if output == "out.parquet":
        command[4:5] = [str(source / f"{number:02}.parquet") for number in range(1, 12, 2)]
    started = time.monotonic()
    rules = ["--clean", "--quiet"]
    subprocess.run([*command, str(tmp_path / "whole" / output), *rules], check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - started
    expected = tree(tmp_path / "whole")
    expected = {name: data for name, data in expected.items() if not name.startswith(".smolfast")}
    moments = random.Random(int(os.environ.get("SMOLFAST_KILL_SEED", "0")))
    folder = tmp_path / "killed"
    kills = 0
    while kills < 3:
        process = subprocess.Popen([*command, str(folder / output), *rules], stdout=subprocess.DEVNULL)
        try:
            process.wait(moments.uniform(0.2, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        kills += 1
    subprocess.run([*command, str(folder / output), *rules], check=True, stdout=subprocess.DEVNULL)
    left = {name: data for name, data in tree(folder).items() if not name.startswith(".smolfast")}
    assert left.keys() == expected.keys()
    assert left == expected


CHARACTERS = st.sampled_from("aé\u0301\u00a0\u200b\u00ad\r\n\t \u2028\x07Ã©ﬁ") | st.characters(codec="utf-8")
PHRASES = ["mail someone@gmail.com", "at 8.8.4.4 and 10.0.0.1", "a \n\n\n\n b", "cafÃ© noir", "a" + "\u0301" * 40]
MESSY = st.text(CHARACTERS, max_size=12) | st.sampled_from(PHRASES)
SINGLE = ("line_endings", "control_characters", "zero_width", "spaces", "trailing_whitespace", "emails", "ips")


@settings(max_examples=30)
@given(
    texts=st.lists(MESSY, min_size=1, max_size=8),
    on=st.sets(st.sampled_from(["fix_mojibake", "clean", "redact", "lower", "casefold", "simplify", "stream_safe"])),
    single=st.dictionaries(st.sampled_from(SINGLE), st.booleans()),
    blank_lines=st.sampled_from([None, 0, 1, 3, "all"]),
    form=st.sampled_from(["NFC", "NFD", "NFKC", "NFKD", "none"]),
    public_only=st.booleans(),
    replacements=st.lists(st.sampled_from(["[mail]", "<x>"]), max_size=2),
)
def test_options_do_what_the_functions_do(
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[str],
    on: set[str],
    single: dict[str, bool],
    blank_lines: int | str | None,
    form: str,
    public_only: bool,
    replacements: list[str],
) -> None:
    redacts = {kind: single.get(kind, "redact" in on) for kind in ("emails", "ips")}
    options = [f"--{name.replace('_', '-')}" for name in on]
    options += [f"--{'' if value else 'no-'}{name.replace('_', '-')}" for name, value in single.items()]
    options += ["--form", form, *([] if public_only else ["--no-public-only"])]
    options += [] if blank_lines is None else ["--blank-lines", str(blank_lines)]
    options += ["--email-replacements", *replacements] if replacements else []
    folder = tmp_path_factory.mktemp("rules")
    pq.write_table(pa.table({"text": texts}), folder / "in.parquet")
    code = main(["normalize", str(folder / "in.parquet"), "-o", str(folder / "out.parquet"), "--quiet", *options])
    if (form == "none" and "stream_safe" in on) or (replacements and not redacts["emails"]):
        assert code == 2
        return
    assert code == 0
    column: pa.Array = pa.array(texts)
    if "fix_mojibake" in on:
        column = text.fix_mojibake(column)
    most = (1 if "clean" in on else None) if blank_lines is None else None if blank_lines == "all" else blank_lines
    switches = {name: single.get(name, "clean" in on) for name in SINGLE[:5]}
    column = text.clean(column, form=None, blank_lines=most, **switches).strings  # type: ignore[arg-type]
    if form != "none":
        column = text.normalize(column, form, stream_safe="stream_safe" in on)  # type: ignore[arg-type]
    if any(redacts.values()):
        column = text.redact(
            column, **redacts, public_only=public_only, email_replacements=replacements or text.EMAIL_REPLACEMENTS
        )
    for name in ("lower", "casefold", "simplify"):
        column = getattr(text, name)(column) if name in on else column
    assert [row["text"] for row in read(folder / "out.parquet")] == column.to_pylist()


def test_rules_count_what_they_changed_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps({"text": "a\r\nb\u200b  "}) + "\n")
    without_line_endings = {
        "cleaned_control_characters": 1,
        "cleaned_zero_width": 1,
        "cleaned_spaces": 0,
        "cleaned_trailing_whitespace": 2,
    }
    for options, counts in (
        (["--line-endings"], {"cleaned_line_endings": 1, "cleaned_form": 0}),
        (["--line-endings", "--form", "none"], {"cleaned_line_endings": 1}),
        (["--clean", "--no-line-endings", "--blank-lines", "all", "--form", "none"], without_line_endings),
        (["--form", "none"], {}),
    ):
        out = str(tmp_path / f"{len(options)}{options[-1]}.jsonl")
        assert main(["normalize", str(source), out, "--json", *options]) == 0
        summary = json.loads(capsys.readouterr().out)
        assert {name: value for name, value in summary.items() if name.startswith("cleaned_")} == counts


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_words_are_a_column(tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"text": value}) + "\n" for value in ["Ünï córn, two", "", "漢字"]))
    out = tmp_path / f"out{suffix}"
    assert main(["normalize", str(source), str(out), "--words", "--lower", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["words"] == 5
    found = [[row["text"].encode()[a:b].decode() for a, b in row["words"]] for row in read(out)]
    assert found == [["ünï", "córn", "two"], [], ["漢", "字"]]
    assert main(["normalize", str(out), str(tmp_path / "again.parquet"), "--words"]) == 2
    assert "has a column 'words' already; rename it" in capsys.readouterr().err
    assert main(["normalize", str(out), str(tmp_path / "again.parquet"), "--form", "NFD"]) == 0


def test_words_beside_lines_that_stay_as_they_stand(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"n":1.0,  "text":"e\\u0301 b" ,"words of":"\\u0077ords"}\n')
    normalize_documents([source], tmp_path / "out.jsonl", words=True)
    made = (tmp_path / "out.jsonl").read_text()
    assert made == '{"n":1.0,  "text":"é b" ,"words of":"\\u0077ords", "words": [[0, 2], [3, 4]]}\n'
    source.write_text('{"text":"b", "\\u0077ords": 1}\n')
    with pytest.raises(SmolfastError, match="has a column 'words' already"):
        normalize_documents([source], tmp_path / "other.jsonl", words=True)


def test_the_outputs_name_tells_its_kind(documents: Path, tmp_path: Path) -> None:
    normalize_documents([documents / "a.parquet"], tmp_path / "OUT.PARQUET")
    assert pq.read_table(tmp_path / "OUT.PARQUET").num_rows == 5
    for name in ("out.json", "out.csv", "out.txt", "out.arrow"):
        with pytest.raises(SmolfastError, match=rf"writes \.parquet and \.jsonl .*, not {name}; give another name"):
            normalize_documents([documents], tmp_path / name)
        (tmp_path / name).mkdir()
        normalize_documents([documents / "d.txt"], tmp_path / name)
        assert (tmp_path / name / "d.txt.parquet").exists()

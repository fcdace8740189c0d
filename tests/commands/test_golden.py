"""What the command line says: the help of every command, its happy end and three of its errors, in one file to read.

`python tests/commands/test_golden.py` writes tests/golden/commands.txt anew. Measured figures stand there as `#`.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import io
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from smolfast import progress
from smolfast.commands.main import _parser, main
from smolfast.processes.loopback import LocalServer

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "commands.txt"
NEEDED = ("optuna", "torch", "tokenizers", "safetensors", "pydantic", "transformers")
SMALL = (
    "--set model.hidden_size=32 --set model.intermediate_size=48 --set model.num_hidden_layers=2 "
    "--set model.num_key_value_heads=2 --set model.head_dim=8 --set train.steps=2 --set train.batch_size=4 "
    "--set train.micro_batch_size=2 --set train.sequence_length=32 --set train.evaluate_every=0 "
    "--set tokenizer.vocab_size=300 --set split.held_out_fraction=0.3 --set generate.max_new_tokens=4"
)
PDF = b"""%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Resources<</Font<</F 4 0 R>>>>/Contents 5 0 R>>endobj
4 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj
5 0 obj<</Length 38>>stream
BT /F 12 Tf 20 99 Td (A page.) Tj ET
endstream endobj
trailer<</Root 1 0 R>>
%%EOF
"""
RECIPE = """\
[stages.normalize]
input = "raw.jsonl"

[stages.dedup]
needs = "normalize"
threshold = 0.8
"""
# The happy end, and the errors. `{small}` stands for SMALL, which the golden file leaves out.
SCENES = {
    "demo": ["demo", "demo --josn", "demo twice", "demmo"],
    "quickstart": [
        "quickstart --input raw.jsonl -o run {small}",
        "quickstart --minutes 0",
        "quickstart --input nowhere -o other",
        "quickstart --input raw.jsonl -o other --set train.stepz=9",
    ],
    "collect": [
        "collect raw.jsonl -o collected",
        "collect nowhere -o other",
        "collect raw.jsonl",
        "collect raw.jsonl -o .",
    ],
    "normalize": [
        "normalize collected/documents.parquet -o clean.parquet --clean",
        "normalize raw.jsonl",
        "normalize raw.jsonl -o other.parquet --form NFX",
        "normalize raw.jsonl -o other.parquet --text-column body",
    ],
    "convert": [
        "convert raw.jsonl -o converted.parquet",
        "convert raw.jsonl -o converted.csv",
        "convert raw.json -o other.parquet",
        "convert raw.jsonl -o other.parquet --text-column body",
    ],
    "pdf": [
        "pdf raw.jsonl -o pdfs",
        "pdf nowhere -o other",
        "pdf ftp://example.org/a.pdf -o other",
        "pdf raw.jsonl -o other --extractor nonesuch",
    ],
    "pdf show": [
        "pdf show page.pdf -o page.html",
        "pdf show raw.jsonl -o page.html",
        "pdf show nowhere.pdf --page 3 -o page.html",
        "pdf show raw.jsonl -o page.html --ocr nonesuch",
    ],
    "curate": [
        "curate raw.jsonl -o curated",
        "curate raw.jsonl -o other --rules finewab@0.10",
        "curate raw.jsonl -o other --language qqq",
        "curate raw.jsonl -o curated --signals",
    ],
    "curate explain": [
        "curate explain raw.jsonl:1 -o curated",
        "curate explain nobody -o curated",
        "curate explain raw.jsonl:1 -o collected",
        "curate explain raw.jsonl:1 -o curated --check lorem",
    ],
    "dedup": [
        "dedup clean.parquet -o unique",
        "dedup clean.parquet -o other --threshold 2",
        "dedup clean.parquet -o other --keep score",
        "dedup clean.parquet -o unique --ngram 3",
    ],
    "dedup explain": [
        "dedup explain raw.jsonl:1 -o unique",
        "dedup explain nobody -o unique",
        "dedup explain raw.jsonl:1 -o collected",
        "dedup explain",
    ],
    "dedup index build": [
        "dedup index build clean.parquet --index index -o first",
        "dedup index build clean.parquet --index index -o second",
        "dedup index build nowhere --index other -o second",
        "dedup index built clean.parquet --index other -o second",
    ],
    "dedup index add": [
        "dedup index add more.jsonl --index index -o added",
        "dedup index add more.jsonl --index other -o second",
        "dedup index add more.jsonl -o second",
        "dedup index add more.jsonl --index index -o second --memory lots",
    ],
    "dedup index query": [
        "dedup index query more.jsonl --index index -o asked",
        "dedup index query more.jsonl --index other -o second",
        "dedup index query more.jsonl --index index",
        "dedup index query more.jsonl --index index -o second --text-column body",
    ],
    "classify train": [
        "classify train clean.parquet --against more.jsonl -o quality.bin --dim 4 --bucket 50 --held-out 0.3",
        "classify train clean.parquet -o other.bin",
        "classify train nowhere --against more.jsonl -o other.bin",
        "classify train clean.parquet --against more.jsonl -o other.bin --dim 0",
    ],
    "classify predict": [
        "classify predict clean.parquet -m quality.bin -o labelled.parquet --column quality",
        "classify predict clean.parquet -o other.parquet",
        "classify predict clean.parquet -m raw.jsonl -o other.parquet",
        "classify predict clean.parquet -m quality.bin -o other.txt",
    ],
    "split": [
        "split unique/kept.parquet -o split {small}",
        "split nowhere.parquet -o other",
        "split unique/kept.parquet -o other --set split.held_out_fraction=2",
        "split unique/kept.parquet -o collected",
    ],
    "tokenize": [
        "tokenize split/train.parquet --held-out split/held_out.parquet -o tokens --set tokenizer.chat=true {small}",
        "tokenize split/train.parquet -o other",
        "tokenize split/train.parquet --held-out split/held_out.parquet -o other --chat",
        "tokenize split/train.parquet --held-out split/held_out.parquet -o other --tokenizer raw.jsonl",
    ],
    "train": [
        "train tokens -o trained {small}",
        "train tokens",
        "train tokens run -o other",
        "train tokens -o other --set train.optimizer=sgd",
    ],
    "evaluate": [
        "evaluate trained/model --tokens tokens --held-out split/held_out.parquet -o evaluated",
        "evaluate trained/model -o other",
        "evaluate nowhere --tokens tokens --held-out split/held_out.parquet -o other",
        "evaluate trained --tokens tokens --held-out split/held_out.parquet -o other",
    ],
    "export": [
        "export trained/model --tokenizer tokens-tokenizer -o export",
        "export trained --tokenizer tokens-tokenizer -o other",
        "export trained/model -o other",
        "export trained/model --tokenizer tokens-tokenizer --format gguf --quantize q4_km -o other",
    ],
    "merge": [
        "merge trained/model export -o merged --method slerp",
        "merge trained/model -o other",
        "merge trained/model trained -o other",
        "merge trained/model export -o other --method ties",
    ],
    "generate": [
        "generate export --prompt Once --max-new-tokens 4",
        "generate trained/model",
        "generate export --max-new-tokens 0",
        "generate nowhere",
    ],
    "chat": ["chat export --web", "chat trained", "chat export --temperature -1", "chat export --web --port 70000"],
    "distill-cache": [
        "distill-cache export --tokens tokens -o teacher --samples 3",
        "distill-cache export --tokens nowhere",
        "distill-cache export --tokens tokens --samples 0",
        "distill-cache export --tokens tokens --name other",
    ],
    "run": [
        "run small.toml -o graph",
        "run smal.toml -o graph",
        "run small.toml -o graph --set dedup.treshold=0.5",
        "run small.toml -o run",
    ],
    "plan": [
        "plan small.toml -o graph --set dedup.threshold=0.9",
        "plan small.toml",
        "plan small.toml -o graph --profile smoke",
        "plan circle.toml -o graph",
    ],
    "watch": ["watch graph", "watch nowhere", "watch graph --port 70000", "watch graph --refresh 0"],
    "recipes": ["recipes", "recipes show quickstar", "recipes shwo", "recipes --jsn"],
    "show": ["show graph/dedup/kept.parquet", "show graph", "show nowhere", "show raw.jsonl"],
    "scaling fit": [
        "scaling fit losses.csv -o fit --bootstraps 100",
        "scaling fit nowhere.csv",
        "scaling fit few.csv",
        "scaling fit losses.csv --bad ignore",
    ],
    "scaling predict": [
        "scaling predict losses.csv --params 1e9 --tokens 2e10 --bootstraps 100",
        "scaling predict losses.csv --params 1e9",
        "scaling predict losses.csv --params 1e6 --loss 1.7",
        "scaling predict losses.csv --flops many",
    ],
    "scaling plan": [
        "scaling plan --budget 1e18 --to 1e20 --most 8 --speed 1e12 -o planned.csv",
        "scaling plan --to 1e20",
        "scaling plan --budget 1e10 --to 1e20",
        "scaling plan --budget 1e18 --to 1e20 -o planned.txt",
    ],
    "sweep": [
        "sweep small.toml -o swept --sampler grid --param dedup.threshold=0.5,0.7,0.9 --objective dedup.documents_out",
        "sweep small.toml -o swept --param dedup.treshold=0.5..0.9 --objective dedup.documents_out",
        "sweep small.toml -o swept --param dedup.threshold=0.9..0.5 --objective dedup.documents_out",
        "sweep small.toml -o swept --param dedup.threshold=0.5..0.9 --objective dedup.documents_uot",
    ],
    "ablate": [
        "ablate small.toml lower.toml -o ablated --seeds 1 --objective dedup.documents_out",
        "ablate small.toml lower.toml -o ablated --objective dedup.documents_out",
        "ablate small.toml nothing.toml -o ablated --objective dedup.documents_out",
        "ablate small.toml -o ablated --objective dedup.documents_out",
    ],
    "report": ["report run", "report nowhere", "report collected", "report run -o run"],
    "bench": [
        "bench --draw -o results",
        "bench speed",
        "bench --draw -o nowhere",
        "bench --benchmarks nowhere",
    ],
    "config": ["config --json", "config --tolm", "config train", "confg"],
}
LONG_OUTPUT = {
    "config --json",
    "scaling fit losses.csv -o fit --bootstraps 100",
    "generate export --prompt Once --max-new-tokens 4",
}
# What is measured, or the size of a file that has a date or was made by another library.
MEASURED = [
    (r"\b(in|of) [\d.:]+ s\b", r"\1 # s"),
    (r"[\d,.]+ (?:k|M|G)?B/s", "# B/s"),
    (r"[\d,.]+ tokens/s", "# tokens/s"),
    (r"\d+\.\d{4}", "#"),
    (
        r"^(bytes +)[\d,]+(\n(?:near duplicate ex|bytes per token))",
        r"\1#\2",
    ),
    (r"^(seconds +)[\d.]+(\npage )", r"\1#\2"),
    (r"\([\d.:]+ s last time\)", "(# s last time)"),
    (r"about [\d.:]+ s by", "about # s by"),
    (r"http://127\.0\.0\.1:\d+/[\w-]+/", "http://127.0.0.1:#/#/"),
    (r", \d{4}-\d\d-\d\d \d\d:\d\d, [\d.]+ s, [\d.]+ k?B, smolfast [\w. ]+$", ", # s, # kB, smolfast #"),
    (r"^.*Loading weights.*\n", ""),  # transformers' own bar
]


@contextlib.contextmanager
def folder_of_material() -> Iterator[None]:
    """A folder to be in, with documents, two of which are alike; what commands write there is as wide as a page."""
    words = ("river", "stone", "bread", "candle", "window", "garden", "letter", "winter", "harbour", "morning", "quiet")
    texts = []
    for page in range(40):
        things = [(words[(page * 5 + line * 7) % 11], words[(page + line) % 11], page * line) for line in range(8)]
        texts.append(f"Page {page}. " + " ".join(f"The {a} and the {b} of day {day}." for a, b, day in things))
    texts[1] = texts[0].replace("The river", "A river", 1)
    before, environment = Path.cwd(), dict(os.environ)
    seconds, progress._LINE_SECONDS = progress._LINE_SECONDS, float("inf")  # no line more on a slow machine
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ |= {"COLUMNS": "100", "NO_COLOR": "1"}
        try:
            for name, chosen in (("raw", texts), ("more", [texts[3], "Something that was not there before."])):
                Path(f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in chosen))
            Path("benchmarks").mkdir()
            Path("benchmarks", "bench_text.py").touch()  # where a wheel is tested, which has none of its own
            Path("results").mkdir()
            sizes = [(params, params * each) for params in (1e6, 4e6, 2e7, 1e8) for each in (5, 20, 80)]
            losses = [f"{n},{d},{1.8 + 400 / n**0.34 + 2000 / d**0.36}" for n, d in sizes]
            Path("losses.csv").write_text("\n".join(["params,tokens,loss", *losses]))
            Path("few.csv").write_text("\n".join(["params,tokens,loss", *losses[:4]]))
            Path("small.toml").write_text(RECIPE)
            Path("page.pdf").write_bytes(PDF)
            Path("lower.toml").write_text("dedup.threshold = 0.5\n")
            Path("circle.toml").write_text(RECIPE.replace('input = "raw.jsonl"', 'needs = "dedup"'))
            shutil.copy(ROOT / "benchmarks" / "results" / "dedup.json", "results")
            yield
        finally:
            progress._LINE_SECONDS = seconds
            os.chdir(before)
            os.environ.clear()
            os.environ.update(environment)


def said(words: list[str], *, shown: bool = True) -> str:
    """What a command prints, its exit code where that isn't 0."""
    out, err = io.StringIO(), io.StringIO()
    serve = LocalServer.serve_forever
    LocalServer.serve_forever = lambda self, poll_interval=0.5: None  # type: ignore[method-assign]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code: object = main(words)
        except SystemExit as end:
            code = end.code
        finally:
            LocalServer.serve_forever = serve  # type: ignore[method-assign]
    printed = out.getvalue() if shown else f"({'a document' if '--json' in words else 'text'})\n"
    text = err.getvalue() + printed + (f"(exit code {code})\n" if code else "")
    for pattern, mask in MEASURED:
        text = re.sub(pattern, mask, text, flags=re.MULTILINE)
    return text.lstrip("\n").replace(str(Path.cwd()), "HERE").replace(str(ROOT), "CHECKOUT")


def written() -> str:
    """The whole file."""
    parts = ["$ smolfast\n" + said([])]
    for command, lines in SCENES.items():
        parts.append(f"{'=' * 100}\n$ smolfast {command} --help\n{said([*command.split(), '--help'])}")
        for line in lines:
            words = shlex.split(line.format(small=SMALL))
            shown = line.replace(" {small}", " …")
            parts.append(f"$ smolfast {shown}\n{said(words, shown=line not in LONG_OUTPUT)}")
    return "\n".join(parts)


def test_every_command_is_in_the_file_with_three_errors() -> None:
    assert {command.split()[0] for command in SCENES} == set(_parser().commands.choices)
    assert all(len(lines) == 4 for lines in SCENES.values())
    golden = GOLDEN.read_text(encoding="utf-8")
    assert golden.count("(exit code 2)") == 3 * len(SCENES)
    assert "Traceback" not in golden and golden.count("(exit code") == golden.count("error: ")


@pytest.mark.filterwarnings("default")  # of transformers
def test_the_command_line_says_what_the_file_says() -> None:
    for package in NEEDED:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    with folder_of_material():
        now = written()
    golden = GOLDEN.read_text(encoding="utf-8")
    changes = "\n".join(difflib.unified_diff(golden.splitlines(), now.splitlines(), "golden", "now", lineterm="", n=2))
    assert now == golden, f"if that is meant, run python tests/commands/test_golden.py:\n{changes}"


if __name__ == "__main__":
    with folder_of_material():
        text = written()
    GOLDEN.write_text(text, encoding="utf-8")
    print(f"{GOLDEN}: {len(text.splitlines())} lines", file=sys.stderr)

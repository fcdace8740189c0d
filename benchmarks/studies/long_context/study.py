"""Needles in 1,024 tokens, by a model that was trained at 256 and lengthened with YaRN; before and after.

    python benchmarks/studies/long_context/study.py FOLDER      # then draw.py --needles FOLDER

Each part is a command of smolfast. What is done is passed over, and a training that was stopped goes on, so the same
line resumes the study.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from documents import SETS, write_documents

HERE = Path(__file__).resolve().parent
STRETCHED = ["model.max_position_embeddings=1024", "model.yarn_factor=4.0", "model.yarn_context=256"]
ASKED = ['needles.tasks=["needle"]', "needles.lengths=[256,512,1024]", "needles.samples=40"]


def commands(folder: Path) -> list[list[str | Path]]:
    """The arguments of every command, in order."""
    documents, tokens, tokenizer = folder / "documents", folder / "tokens", folder / "tokens" / "short-tokenizer"
    found: list[list[str | Path]] = []
    for name in SETS:
        if name.startswith("held_out"):
            continue
        held_out = documents / ("held_out.parquet" if name in ("short", "middle") else "held_out_long.parquet")
        given = ["--set", "tokenizer.vocab_size=384"] if name == "short" else ["--tokenizer", tokenizer]
        found.append(["tokenize", documents / f"{name}.parquet", "--held-out", held_out, *given, "-o", tokens / name])
    model = folder / "base"
    found.append(["train", *_sources(tokens, "short", "middle"), "--config", HERE / "base.toml", "-o", model])
    for settings, kind in (("lengthen", "long"), ("settle", "alike")):
        found.append(
            ["train", *_sources(tokens, "middle", kind), "--init", model / "model",
             "--config", HERE / f"{settings}.toml", *_set(STRETCHED), "-o", folder / settings]
        )  # fmt: skip
        model = folder / settings
    for when, asked in (("before", folder / "base"), ("after", model)):
        found.append(
            ["evaluate", asked / "model", "--needle", "--tokenizer", tokenizer, *_set(ASKED), "-o",
             folder / f"needles-{when}"]
        )  # fmt: skip
    return found


def _sources(tokens: Path, *names: str) -> list[str]:
    """Token folders, each named by its first letter, as the settings name them."""
    return [f"{name[0]}={tokens / name}" for name in names]


def _set(settings: list[str]) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    write_documents(arguments.folder / "documents")
    for line in commands(arguments.folder):
        threads = [] if line[0] == "tokenize" else ["--threads", str(arguments.threads)]
        print("smolfast", *line, flush=True)
        subprocess.run([sys.executable, "-P", "-m", "smolfast", *map(str, line), *threads], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

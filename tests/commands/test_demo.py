"""`smolfast demo` shows what it does, does what it shows, and needs no torch."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from smolfast.commands.demo import MESSY, shown
from smolfast.commands.main import main


def test_what_is_shown() -> None:
    messy, personal, judged, language, alike, near = shown()
    assert messy.before == repr(MESSY) and "The café was  full.\\nWe’ll meet at eight." in messy.after
    assert "@analytical" in personal.before and "@analytical" not in personal.after and "8.8.8.8" not in personal.after
    assert judged.after == "goes for dup_line_frac: 0.43 of its lines repeat one before"
    assert len(language.before.split("\n")) == 5 and language.after == "English, German, French, Spanish, Czech"
    assert 0.5 < float(alike.after.split()[-1]) < 0.9
    assert "'river again' went for 'river'" in near.after and near.after.endswith("differ: four, old, three")


def test_it_prints_the_python_of_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    printed = capsys.readouterr().out
    assert all(f">>> {step.python}" in printed for step in shown())
    assert main(["demo", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["steps"]) == 6


def test_it_takes_seconds_and_no_torch() -> None:
    code = "import sys; from smolfast.cli import main; main(['demo', '--json']); print(*sys.modules)"
    began = time.monotonic()
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert time.monotonic() - began < 5
    assert not {"torch", "pydantic", "tokenizers", "transformers"} & set(loaded)

"""Commands that the page offers are commands that the parser takes."""

from __future__ import annotations

import html
import itertools
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from smolfast.commands.main import _parser
from smolfast.config import changed_settings, load_config
from smolfast.report import write_report
from smolfast.report.next_steps import next_steps
from smolfast.report.run import read_run

Report = Callable[[], tuple[Any, dict[str, Any]]]


def commands(run: Path) -> list[list[str]]:
    body = next_steps(read_run(run)).body
    found = [part.partition("</code>")[0] for part in body.split("<code>")[2:]]
    return [shlex.split(html.unescape(text)) for text in found if text.startswith("smolfast")]


def change(run: Path, fake: SimpleNamespace, **changes: Any) -> None:
    about = json.loads((run / "run.json").read_text())
    fake.write_json(run / "run.json", about | {"identity": about["identity"] | changes})


@pytest.mark.parametrize("name", ["run", "a run's", "-run"])
def test_every_command_is_one(own_run: Path, fake: SimpleNamespace, name: str) -> None:
    own_run = own_run.rename(own_run.with_name(name))
    change(own_run, fake, input=["a b.jsonl", "c"], errors="skip", text_column="body", changed={"train.steps": 100})
    found = commands(own_run)
    assert [words[1] for words in found] == ["generate", "quickstart", "quickstart", "report"]
    for words in found:
        _parser().parse_args(words[1:])
    longer = _parser().parse_args(found[1][1:])
    assert longer.input == ["a b.jsonl", "c"] and longer.errors == "skip" and longer.text_column == "body"


def test_longer_is_four_times_the_steps_with_the_same_settings(own_run: Path, fake: SimpleNamespace) -> None:
    config = load_config(
        None, ["train.steps=100", "train.mtp_weights=[1.0, 0.3]", "seed=4", 'generate.prompt="a \\" b"']
    )
    change(own_run, fake, minutes=None, config=config.model_dump(mode="json"), changed=changed_settings(config))
    words = commands(own_run)[1]
    sets = [value for key, value in itertools.pairwise(words) if key == "--set"]
    assert len(sets) == 4
    again = load_config(None, sets)
    assert again.train.steps == 400
    assert again.model_copy(update={"train": config.train}) == config


def test_longer_is_more_minutes_where_there_was_a_budget(own_run: Path, fake: SimpleNamespace) -> None:
    words = commands(own_run)[1]
    assert words[words.index("--minutes") + 1] == "20"  # of five
    assert "--config" in words  # this run doesn't say which settings were changed
    assert "Save the configuration under “Make it again” as config.toml first." in next_steps(read_run(own_run)).body


def test_date_and_commit_are_at_the_top(own_run: Path, fake: SimpleNamespace, report: Report) -> None:
    change(own_run, fake, begun="2026-11-29T21:18:10+00:00", commit="0123456789abcdef0123+")
    words = report()[0].words
    assert "2026-11-29, smolfast at commit 0123456789ab" in words
    assert "begun 2026-11-29T21:18:10+00:00" in words and "commit of smolfast 0123456789abcdef0123+" in words


def test_the_folder_of_train_alone_has_its_curves_and_its_own_commands(own_run: Path, fake: SimpleNamespace) -> None:
    trained = own_run / "train"
    fake.write_json(trained / "run.json", {"model": {"hidden_size": 256}, "train": {"steps": 120}, "seed": 3})
    assert [words[1] for words in commands(trained)] == ["export", "generate", "report"]
    for words in commands(trained):
        _parser().parse_args(words[1:])
    summary = write_report(trained, own_run.parent / "page.html")
    assert summary["missing"] == ["Result", "Make it again"]  # bits per byte; versions and hardware
    words = fake.page((own_run.parent / "page.html").read_text(encoding="utf-8")).words
    assert "training steps 120" in words and "smolfast quickstart" not in words and "steps = 120" in words
    assert "Good. It does about as well on text that it hasn't seen" in words  # by its own held-out losses

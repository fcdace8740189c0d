"""Where the run came from, exactly, and how to make it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from smolfast.progress import format_bytes
from smolfast.report.markup import Markup, command, folded, markup, pairs, table, tag
from smolfast.report.section import Section, counted, numeric, words
from smolfast.report.training.run import Run

_NAMES = {"memory_bytes": "memory", "implementation": "instruction set"}


def provenance(run: Run) -> Section:
    """Command, seed, versions, hardware, configuration and the fingerprints of every stage."""
    about = run.about
    lacking = []
    # The folder of `smolfast train` doesn't say which token files it was given.
    body: list[Markup] = [_command(run)] if run.whole else []
    named = {"begun": "begun", "commit": "commit of smolfast", "seed": "seed", "threads": "threads (0: all)"}
    basics = [
        (name, _value(key, about[key]))
        for key, name in {**named, "minutes": "minutes"}.items()
        if about.get(key) is not None
    ]
    if basics:
        body.append(pairs("Run", basics))
    for key, title in (("versions", "Versions"), ("hardware", "Hardware")):
        value = about.get(key)
        if isinstance(value, Mapping) and value:
            entries = [
                (_NAMES.get(str(name)) or words(str(name)), _value(str(name), item)) for name, item in value.items()
            ]
            body.append(pairs(title, entries))
        elif isinstance(value, str) and value:
            body.append(pairs(title, [(key, value)]))
        else:
            lacking.append(
                f"{title} are not recorded in this run (run.json)."
                if key == "versions"
                else "Hardware is not recorded in this run (run.json)."
            )
    if run.config:
        body.append(folded("The configuration (config.toml)", command(toml(run.config))))
    else:
        lacking.append("The configuration is not recorded in this run (run.json).")
    fingerprints = [
        [str(stage["stage"]), tag("code", str(output.get("path", ""))), tag("code", str(output.get("xxh3_128", "")))]
        for stage in run.stages
        if isinstance(output := stage.get("output"), Mapping)
    ]
    if fingerprints:
        grid = table("xxh3-128 of what each stage wrote", ("Stage", "Output", "Fingerprint"), fingerprints)
        body.append(folded("Fingerprints of the outputs", grid))
    return Section("again", "Make it again", markup(body), lacking)


def toml(config: Mapping[str, Any]) -> str:
    """A configuration of plain values and tables of plain values, as TOML."""
    lines = [
        f"{key} = {_toml(value)}"
        for key, value in config.items()
        if not isinstance(value, Mapping) and value is not None
    ]
    for key, section in config.items():
        if isinstance(section, Mapping):
            lines += [
                "",
                f"[{key}]",
                *(f"{name} = {_toml(value)}" for name, value in section.items() if value is not None),
            ]
    return "\n".join(lines).lstrip("\n") + "\n"


def set_options(run: Run, without: str) -> list[str] | None:
    """`--set KEY=VALUE` for each setting but one that differs from the defaults; None where the run doesn't say."""
    changed = run.about.get("changed")
    if not isinstance(changed, Mapping):
        return None
    return [word for key, value in changed.items() if key != without for word in ("--set", f"{key}={_toml(value)}")]


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(str(key))} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, float):
        return repr(value)
    # A JSON string is a TOML string, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


def _command(run: Run) -> Markup:
    """The command on one line a part, and what else decides the result."""
    about = run.about
    parts = [["smolfast", "quickstart"], ["--out", f"{run.folder.resolve().name}-again"]]
    notes = []
    if run.config:
        parts.append(["--config", "config.toml"])
    elif about.get("seed") is not None:
        parts.append(["--set", f"seed={about['seed']}"])
    if (minutes := numeric(about.get("minutes"))) is not None:
        if steps := numeric(run.summary("train").get("steps")):
            # A budget's number of steps depends on the machine's speed; the number itself doesn't.
            parts.append(["--set", f"train.steps={steps:.0f}"])
            had = f"{minutes:g} {'minute' if minutes == 1 else 'minutes'}"
            notes.append(f"The run had {had}, which came to {counted(steps, 'step')}.")
        else:
            parts.append(["--minutes", f"{minutes:g}"])
    for key, flag, default in (("text_column", "--text-column", "text"), ("errors", "--errors", "fail")):
        if about.get(key) not in (None, default):
            parts.append([flag, str(about[key])])
    inputs = about.get("input")
    if isinstance(inputs, list) and inputs:
        parts.append(["--input", *map(str, inputs)])
    elif inputs is not None:
        notes.append(
            "The input is the text of the Python installation that it ran in; another installation has other text."
        )
    first = ["install the versions below"] if about.get("versions") else []
    first += ["save the configuration below as config.toml"] if run.config else []
    lead = f"{', '.join(first).capitalize()}, then:" if first else "The command:"
    lines = " \\\n  ".join(shlex.join(part) for part in parts)
    note = tag("p", " ".join(notes), class_="muted") if notes else None
    return markup((tag("p", lead), command(lines), note))


def _value(name: str, value: Any) -> str:
    if name.endswith("bytes") and isinstance(value, int) and not isinstance(value, bool):
        return format_bytes(value)
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)

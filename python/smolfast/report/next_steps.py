"""What to do next with a run: commands to copy."""

from __future__ import annotations

import shlex

from smolfast.report.markup import command, markup, tag
from smolfast.report.provenance import set_options
from smolfast.report.run import Run
from smolfast.report.section import Section, numeric

_MINUTES = 15
_TIMES_LONGER = 4


def next_steps(run: Run) -> Section:
    """Generate, load elsewhere, train longer, use other text; paths start where the run folder lies."""
    name = run.folder.resolve().name
    name = f"./{name}" if name.startswith("-") else name
    entries = _after_quickstart(run, name) if run.whole else _after_training(name)
    entries.append(
        ("Lay another run over this one", shlex.join(["smolfast", "report", name, "--with", f"{name}-longer"]))
    )
    needs_config = any("--config config.toml" in text for _, text in entries)
    saved = " Save the configuration under “Make it again” as config.toml first." if needs_config else ""
    body = [tag("p", "Run these in the folder that holds ", tag("code", name), f".{saved}")]
    for title, text in entries:
        body += [tag("h3", title), command(text)]
    return Section("next", "What next", markup(body))


def _after_quickstart(run: Run, name: str) -> list[tuple[str, str]]:
    """Titles and commands."""
    longer, more = _longer(run, name)
    own = ["smolfast", "quickstart", "-o", f"{name}-own", "--input", "YOUR-FOLDER"]
    return [
        *_use(f"{name}/export"),
        (f"Train longer: {more}", shlex.join(longer)),
        ("Train on your own text: a folder, files or URLs", shlex.join(own)),
    ]


def _after_training(name: str) -> list[tuple[str, str]]:
    export = ["smolfast", "export", f"{name}/model", "--tokenizer", "YOUR-TOKENIZER", "-o", f"{name}-export"]
    return [("Export the model; the tokenizer is that of the tokens", shlex.join(export)), *_use(f"{name}-export")]


def _use(export: str) -> list[tuple[str, str]]:
    load = (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f"tokenizer = AutoTokenizer.from_pretrained({export!r})\n"
        f"model = AutoModelForCausalLM.from_pretrained({export!r})"
    )
    return [
        ("Let it write", shlex.join(["smolfast", "generate", export, "--prompt", "Once upon a time"])),
        ("Load the export with transformers (Python)", load),
    ]


def _longer(run: Run, name: str) -> tuple[list[str], str]:
    """The command of a longer run on the same text with the same settings, and how much longer it is."""
    words = ["smolfast", "quickstart", "-o", f"{name}-longer"]
    settings = set_options(run, without="train.steps")
    # Where the run doesn't say what was changed, its whole configuration is on the page to be saved.
    words += ["--config", "config.toml"] if settings is None and run.config else settings or []
    steps, minutes = numeric(run.config.get("train", {}).get("steps")), numeric(run.about.get("minutes"))
    if steps and minutes is None:
        more = f"{_TIMES_LONGER * steps:,.0f} steps instead of {steps:,.0f}"
        words += ["--set", f"train.steps={_TIMES_LONGER * steps:.0f}"]
    else:
        budget = max(_MINUTES, round(_TIMES_LONGER * (minutes or 0.0)))
        more = f"{budget} minutes"
        words += ["--minutes", str(budget)]
    for key, flag, default in (("text_column", "--text-column", "text"), ("errors", "--errors", "fail")):
        if run.about.get(key) not in (None, default):
            words += [flag, str(run.about[key])]
    inputs = run.about.get("input")
    return words + (["--input", *map(str, inputs)] if isinstance(inputs, list) and inputs else []), more

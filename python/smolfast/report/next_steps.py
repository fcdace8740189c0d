"""What to do next with a run: commands to copy."""

from __future__ import annotations

import shlex

from smolfast.report.markup import command, markup, tag
from smolfast.report.provenance import set_options
from smolfast.report.run import Run
from smolfast.report.section import Section, numeric

_MINUTES = 15
_DOUBLED = 4


def next_steps(run: Run) -> Section:
    """Generate, load elsewhere, train longer, use other text; paths start where the run folder lies."""
    name = run.folder.resolve().name
    name = f"./{name}" if name.startswith("-") else name
    folder = shlex.quote(name)
    inputs = run.about.get("input")
    given = [str(path) for path in inputs] if isinstance(inputs, list) else []
    longer = ["smolfast", "quickstart", "-o", f"{name}-longer"]
    settings = set_options(run, without="train.steps")
    # Where the run doesn't say what was changed, its whole configuration is on the page to be saved.
    longer += ["--config", "config.toml"] if settings is None and run.config else settings or []
    steps = numeric(run.config.get("train", {}).get("steps"))
    if steps and run.about.get("minutes") is None:
        more = f"{_DOUBLED * steps:,.0f} steps instead of {steps:,.0f}"
        longer += ["--set", f"train.steps={_DOUBLED * steps:.0f}"]
    else:
        minutes = numeric(run.about.get("minutes")) or 0.0
        budget = max(_MINUTES, round(_DOUBLED * minutes))
        more = f"{budget} minutes"
        longer += ["--minutes", str(budget)]
    for key, flag, default in (("text_column", "--text-column", "text"), ("errors", "--errors", "fail")):
        if run.about.get(key) not in (None, default):
            longer += [flag, str(run.about[key])]
    if given:
        longer += ["--input", *given]
    load = (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f"tokenizer = AutoTokenizer.from_pretrained({f'{name}/export'!r})\n"
        f"model = AutoModelForCausalLM.from_pretrained({f'{name}/export'!r})"
    )
    entries: list[tuple[str, str]] = [
        ("Let it write", f"smolfast generate {folder}/export --prompt 'Once upon a time'"),
        ("Load the export with transformers (Python)", load),
        (f"Train longer: {more}", shlex.join(longer)),
        (
            "Train on your own text: a folder, files or URLs",
            shlex.join(["smolfast", "quickstart", "-o", f"{name}-own", "--input", "YOUR-FOLDER"]),
        ),
        ("Lay another run over this one", f"smolfast report {folder} --with {shlex.quote(f'{name}-longer')}"),
    ]
    saved = " Save the configuration under “Make it again” as config.toml first." if "config.toml" in longer else ""
    body = [tag("p", "Run these in the folder that holds ", tag("code", name), f".{saved}")]
    for title, text in entries:
        body += [tag("h3", title), command(text)]
    return Section("next", "What next", markup(body))

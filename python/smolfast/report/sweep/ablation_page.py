"""The page of an ablation: what each change was worth, with its interval, and every run behind it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.errors import SmolfastError
from smolfast.files import naming, read_json
from smolfast.report.document import document, save_page
from smolfast.report.markup import Markup, command, markup, table, tag
from smolfast.report.section import Section, counted


def write_ablation_report(folder: str | os.PathLike[str], output_html: str | os.PathLike[str]) -> dict[str, Any]:
    """Write one self-contained HTML page about an ablation, from the files of its folder.

    Returns:
        `bytes` of the page.

    Raises:
        SmolfastError: the folder holds no ablation, a file is damaged, or the page can't be written.
    """
    folder = Path(folder)
    path = folder / "ablation.json"
    if not path.is_file():
        raise SmolfastError(f"{folder} holds no ablation; give the output folder of smolfast ablate")
    with naming(path, "run the ablation again"):
        said = read_json(path)
        sections = [_changes(folder, said), _runs(said), _settings(said)]
    page = document(
        f"smolfast ablation of {said['identity']['recipe']}", sections, "the files of the ablation's folder"
    )
    save_page(output_html, page)
    return {"bytes": len(page.encode())}


def _changes(folder: Path, said: Mapping[str, Any]) -> Section:
    objective, seeds = said["identity"]["objective"], said["seeds"]
    better = "larger" if said["identity"]["maximize"] else "smaller"
    text = (
        f"Each change alone against the baseline, paired by {counted(seeds, 'seed')}: the mean difference of "
        f"{objective} ({better} is better) and its 95% confidence interval (Student's t). An interval that holds 0 "
        "shows no difference."
    )
    rows = [
        (
            row["change"],
            row["verdict"],
            _signed(row.get("mean")),
            f"{_signed(row.get('low'))} to {_signed(row.get('high'))}" if "mean" in row else "–",
            row.get("note", "–"),
        )
        for row in said["changes"]
    ]
    body: list[Markup] = [tag("p", text)]
    headers = ("Change", "Verdict", "Mean difference", "95% interval", "Note")
    body.append(table("Changes", headers, rows, numeric=(2, 3), class_="scroll sortable"))
    if said["changes"]:
        body.append(_drawn(said))
        body += [_also(said, number) for number in said.get("also", ())]
    if said["winners"]:
        body.append(tag("p", f"Shown to help: {', '.join(said['winners'])}. Together, which is another question:"))
        body.append(command(f"smolfast run {folder.name}/winners.toml --profile winners -o winners"))
    return Section("changes", "Changes", markup(body))


def _also(said: Mapping[str, Any], number: str) -> Markup:
    """What each change did to another number, which decided nothing."""
    rows = []
    for name, row in [("baseline", None), *((row["change"], row["also"][number]) for row in said["changes"])]:
        known = [value for value in said["also"][number][name] if value is not None]
        mean = f"{sum(known) / len(known):.4g}" if known else "–"
        difference = "–" if row is None else f"{_signed(row['low'])} to {_signed(row['high'])}"
        rows.append((name, mean, "–" if row is None else _signed(row["mean"]), difference))
    headers = ("Variant", "Mean", "Mean difference", "95% interval")
    return table(f"Also: {number}", headers, rows, numeric=(1, 2, 3), class_="scroll sortable")


def _drawn(said: Mapping[str, Any]) -> Markup:
    """Each interval as a line with its mean, on one scale with 0 in it."""
    known = [row for row in said["changes"] if row.get("low") is not None]
    if not known:
        return Markup()
    low = min(0.0, *(row["low"] for row in known))
    high = max(0.0, *(row["high"] for row in known))
    wide = high - low or 1.0

    def across(value: float) -> str:
        return f"{100 * (value - low) / wide:.2f}%"

    rows = []
    for row in known:
        line = tag("line", x1=across(row["low"]), x2=across(row["high"]), y1=12, y2=12, class_="curve s0")
        zero = tag("line", x1=across(0.0), x2=across(0.0), y1=0, y2=24, class_="mark")
        dot = tag("circle", cx=across(row["mean"]), cy=12, r=4, class_="dot s0")
        drawing = tag(
            "svg",
            tag("title", f"{row['change']}: {_signed(row['mean'])}, {_signed(row['low'])} to {_signed(row['high'])}"),
            zero,
            line,
            dot,
            width="100%",
            height=24,
            role="img",
        )
        head = tag(
            "div",
            tag("span", row["change"], class_="bar-label"),
            tag("span", _signed(row["mean"]), class_="bar-value"),
            class_="bar-head",
        )
        rows.append(tag("div", head, drawing, class_="bar-row"))
    side = "right" if said["identity"]["maximize"] else "left"
    text = f"Intervals, from {_signed(low)} to {_signed(high)}. The upright line is 0; {side} of it is better."
    caption = tag("figcaption", text)
    return tag("figure", caption, tag("div", rows, class_="bar-rows"))


def _runs(said: Mapping[str, Any]) -> Section:
    headers = ("Variant", *(f"seed {seed}" for seed in range(said["seeds"])), "Tokens")
    rows = [
        (
            name,
            *("failed" if value is None else f"{value:.6g}" for value in values),
            f"{max(said['tokens'][name], default=0):,}",
        )
        for name, values in said["values"].items()
    ]
    body: list[Markup] = [table(said["identity"]["objective"], headers, rows, numeric=range(1, 2 + said["seeds"]))]
    body += [tag("p", f"{name}: {why}", class_="missing") for name, why in said["failed"].items()]
    return Section("runs", "Runs", markup(body))


def _settings(said: Mapping[str, Any]) -> Section:
    rows = [(row["change"], ", ".join(row["settings"])) for row in said["changes"]]
    return Section("settings", "What each change sets", table("Settings", ("Change", "Settings"), rows))


def _signed(value: float | None) -> str:
    return "unknown" if value is None else f"{value:+.4g}" if value else "0"

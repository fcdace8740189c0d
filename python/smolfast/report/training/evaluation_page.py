"""The page of an evaluation: needles by length and depth, bits per byte by position, by language and by source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from smolfast.report.charts import BarRow, Lane, Series, axis_from_zero, bar_chart, line_chart
from smolfast.report.document import document
from smolfast.report.markup import Markup, folded, markup, pairs, table, tag
from smolfast.report.section import Section, count, counted

_TITLES = {
    "needle": "One needle",
    "needles": "One of four needles",
    "tracking": "A value handed on",
    "counting": "The word that comes most often",
}


def evaluation_page(model: str, evaluation: Mapping[str, Any] | None, needles: Mapping[str, Any] | None) -> str:
    """The whole page as HTML.

    Args:
        evaluation: what evaluation.json holds. needles: what needles.json holds. None for what wasn't made.
    """
    sections = []
    if needles is not None:
        sections.append(Section("needles", "Needles", _needles(needles)))
    if evaluation is not None:
        if found := evaluation.get("positions"):
            sections.append(Section("positions", "By position", _positions(found, evaluation["context"])))
        for key, title in (("languages", "By language"), ("sources", "By source")):
            if key in evaluation:
                sections.append(Section(key, title, _groups(key, title, evaluation[key])))
        plain = [
            (key.replace("_", " "), value) for key, value in evaluation.items() if not isinstance(value, dict | list)
        ]
        sections.append(Section("figures", "Figures", pairs("Of all documents", plain)))
    return document(f"Evaluation of {model}", sections, "needles.json" if evaluation is None else "evaluation.json")


def _needles(found: Mapping[str, Any]) -> Markup:
    intro = tag(
        "p",
        f"A cell is the share of {counted(found['samples'], 'prompt')} whose greedy answer was right to the token. The "
        f"model's context is {count(found['context'])} tokens.",
    )
    return markup([intro, *(_task(name, values, found) for name, values in found["tasks"].items())])


def _task(name: str, values: Mapping[str, Any], found: Mapping[str, Any]) -> Markup:
    title = f"{_TITLES.get(name, name)}: {values['accuracy']:.1%} right"
    depths = [f"{depth:.0%}" for depth in found["depths"]]
    lengths = [f"{length:,}" for length in found["lengths"]]
    rows = [
        [f"{length} tokens", *(f"{share:.0%}" for share in shares)]
        for length, shares in zip(lengths, values["right"], strict=True)
    ]
    return tag(
        "figure",
        tag("figcaption", tag("strong", title)),
        heat_map(f"needles-{name}", title, lengths, depths, values["right"]),
        folded("The numbers as a table", table(title, ["length", *depths], rows, numeric=range(1, len(depths) + 1))),
        class_="chart",
    )


def heat_map(
    key: str, title: str, lengths: Sequence[str], depths: Sequence[str], right: Sequence[Sequence[float]]
) -> Markup:
    """Lengths across, depths down, each cell's share in words and in how dark it is. `right` is [lengths][depths]."""
    wide, high = 100 / len(lengths), 100 / len(depths)
    cells: list[Markup] = []
    for column, shares in enumerate(right):
        for row, share in enumerate(shares):
            x, y = column * wide, row * high
            shade = f"{0.08 + 0.62 * share:.2f}"
            size = {"width": f"{wide:.3f}%", "height": f"{high:.3f}%"}
            cells.append(tag("rect", x=f"{x:.3f}%", y=f"{y:.3f}%", **size, class_="cell", fill_opacity=shade))
            cells.append(_text(f"{share:.0%}", x + wide / 2, y + high / 2, "middle", class_="share"))
    labels = [_text(depth, 0, (row + 0.5) * high, "end", dx=-8) for row, depth in enumerate(depths)]
    labels += [_text(length, (at + 0.5) * wide, 100, "middle", dy=20) for at, length in enumerate(lengths)]
    drawing = tag(
        "svg",
        tag("title", title, id=f"{key}-title"),
        cells,
        tag("g", labels, class_="labels"),
        role="img",
        aria_labelledby=f"{key}-title",
        width="100%",
        height="100%",
    )
    return markup(
        [
            tag("p", "how deep the needle lies, by tokens of the prompt", class_="axis"),
            tag("div", drawing, class_="plot"),
        ]
    )


def _text(words: str, x: float, y: float, anchor: str, **attributes: Any) -> Markup:
    """Words at shares of the drawing, so that they keep their size on a phone."""
    place = {"x": f"{x:.3f}%", "y": f"{y:.3f}%", "dy": "0.32em"}
    return tag("text", words, text_anchor=anchor, **{**place, **attributes})


def _positions(found: Sequence[Mapping[str, Any]], context: int) -> Markup:
    known = [one for one in found if one["bits_per_byte"] is not None]
    middles = [(one["from"] + one["to"]) / 2 for one in known]
    bits = [one["bits_per_byte"] for one in known]
    return line_chart(
        "positions",
        "Bits per byte by position",
        f"Tokens with so many tokens of their document before them, in windows of {context:,}.",
        [Series("bits per byte", middles, bits, 1), Series("a bin of positions", middles, bits, 1, "points")],
        x_name="tokens seen before",
        y_name="bits per byte",
    )


def _groups(key: str, title: str, found: Mapping[str, Mapping[str, Any]]) -> Markup:
    known = {name: each for name, each in found.items() if each["bits_per_byte"] is not None}
    most = max((each["bits_per_byte"] for each in known.values()), default=0.0)
    rows = [
        BarRow(
            name,
            f"{each['bits_per_byte']:.4f} bits per byte of {count(each['documents'])} documents",
            (Lane(each["bits_per_byte"] / most if most else 0.0, 1),),
        )
        for name, each in sorted(known.items(), key=lambda item: item[1]["bits_per_byte"])
    ]
    return bar_chart(key, title, "Lower is better.", rows, axis_from_zero(most, "bits per byte"))

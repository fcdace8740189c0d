"""Draws `docs/pictures/recipe.svg`: the graph of a recipe that ships.

python docs/draw_recipe.py
"""

from __future__ import annotations

import re
from pathlib import Path

from smolfast.pipeline.recipes import load_recipe
from smolfast.report.recipe.graph import draw
from smolfast.report.recipe.run import Stage

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "pictures" / "recipe.svg"
_STYLE = (
    "text{font:13px ui-sans-serif,system-ui,sans-serif;fill:#54595e}.name{fill:#1b1d1f;font-weight:600}"
    "rect{fill:#f1f3f1;stroke:#0c7a5c}.need{fill:none;stroke:#7c848b}"
    "@media (prefers-color-scheme:dark){text{fill:#a9aeb4}.name{fill:#e8e9ea}rect{fill:#1d2125;stroke:#4cc9a0}}"
)


def drawn() -> str:
    """The picture as SVG."""
    graph = load_recipe("web-and-pdf", settings=["web.input=crawl.warc.gz", "pdf.input=manuals"])
    stages = [
        Stage(node.name, node.kind_name, node.needs, node.output, " and ".join(node.kind.gives).replace("_", "-"))
        for node in graph.nodes.values()
        if node.name != "report"
    ]
    found = re.search(r"<svg.*</svg>", draw(stages), re.DOTALL)
    assert found is not None
    words = "; ".join(f"{stage.name} needs {', '.join(stage.needs) or 'nothing'}" for stage in stages)
    head = f'<title id="t">The recipe web-and-pdf</title><desc id="d">{words}</desc><style>{_STYLE}</style>'
    svg = re.sub(r"<title>.*?</title>", head, found[0], count=1)
    svg = re.sub(r' role="img" class="stages"', "", svg)
    svg = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="t d" ', 1)
    return re.sub(r"<title>[^<]*</title>", "", svg) + "\n"


def main() -> None:
    """Write the picture."""
    PICTURE.write_text(drawn(), encoding="utf-8")
    print(f"wrote {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

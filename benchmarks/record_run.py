"""Keep what the pictures and the report page's "what is normal" need of a quickstart run: its losses and its result.

python benchmarks/record_run.py RUN benchmarks/results/runs/quickstart.json
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from smolfast.report.run import read_run


def record(folder: Path) -> dict[str, Any]:
    """The losses of each step to four decimals, the evaluation, and where and with what it ran."""
    run = read_run(folder)
    versions = {name: version for name, version in run.about["versions"].items() if name != "system"}
    return {
        "command": "smolfast quickstart",
        "changed": run.about.get("changed", {}),
        "hardware": run.about["hardware"],
        "versions": versions,
        "parameters": sum(math.prod(shape) for shape in run.shapes.values()),
        "tokens": run.metrics[-1]["tokens"],
        "evaluation": run.evaluation,
        "steps": [entry["step"] for entry in run.metrics],
        "training_loss": [round(entry["head_losses"][0], 4) for entry in run.metrics],
        "held_out_loss": [
            [entry["step"], round(entry["held_out_loss"], 4)] for entry in run.metrics if "held_out_loss" in entry
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in record(options.run).items()]
    options.output.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

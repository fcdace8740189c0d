"""`smolfast demo`: what smolfast does, in seconds, on a few lines of text that come with it. Needs no torch."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from smolfast import __version__, text
from smolfast.classify import Model, train
from smolfast.commands.demo_languages import FIVE, SPOKEN
from smolfast.commands.parsers import command
from smolfast.curate import judge
from smolfast.dedup import MinHasher, deduplicate, explain

MESSY = "The\u00a0cafÃ© was  full\u200b.\r\nWeâ€™ll meet at eight.\ufeff\x07"
PERSONAL = "Write to ada.lovelace@analytical.engine.org, or to 8.8.8.8."
FIRST = (
    "The river rose for three days before the town took notice. On the first morning the ferryman moved his boat to "
    "the upper landing. On the second, the miller carried his flour to the loft. On the third, the school was closed, "
    "and the children watched from the church tower as the meadows turned into a lake."
)
COPY = FIRST.replace("three days", "four days").replace("church tower", "old church tower")
OTHER = (
    "A good loaf needs four things: flour, water, salt and time. Mix the first three until no dry flour is left. Then "
    "give the dough the fourth. After a night in a cool place it has done most of the work by itself."
)
PAGE = "Home\nProducts\nContact\nHome\nProducts\nContact\nOur shop has moved to the old mill by the river."


@dataclass(frozen=True)
class Shown:
    """One thing that was done: a title, the Python that did it, and what there was before and after."""

    title: str
    python: str
    before: str
    after: str


def add_demo(commands: Any) -> None:
    """The parser of `smolfast demo`."""
    command(commands, "demo", _demo)


def shown() -> Iterator[Shown]:
    """Do what the demo shows. Each line of Python is the one that is run."""
    names: dict[str, Any] = {"text": text, "messy": [MESSY], "personal": [PERSONAL], "MinHasher": MinHasher}

    def run(python: str) -> Any:
        """The constant strings below, so that what is shown is what was done."""
        before, _, last = python.rpartition("; ")
        exec(before, names)
        return eval(last, names)

    python = "text.clean(text.fix_mojibake(messy)).strings"
    yield Shown("A messy string, repaired and cleaned", python, repr(MESSY), repr(run(python)[0].as_py()))
    python = "text.redact(personal)"
    yield Shown("An e-mail address and an IP address, redacted", python, PERSONAL, run(python)[0].as_py())
    names |= {"page": [PAGE], "judge": judge}
    python = 'verdict = judge(page, "fineweb@0.10", signals=True).to_pylist()[0]; verdict'
    verdict = run(python)
    yield Shown(
        "A page judged by FineWeb's rules",
        python.partition(";")[0],
        repr(PAGE),
        f"goes for {verdict['reason']}: {verdict['gopher_repetition_dup_line_frac']:.2f} of its lines "
        "repeat one before",
    )
    with tempfile.TemporaryDirectory() as folder:
        small = {"dim": 16, "bucket": 4096, "epoch": 200, "lr": 1.0, "word_ngrams": 1}
        names |= {"train": train, "Model": Model, "spoken": SPOKEN, "five": FIVE, "small": small}
        names["file"] = Path(folder, "languages.bin")
        python = 'train(spoken, file, minn=1, maxn=3, **small); Model(file).predict(five)["label"]'
        labels = run(python).to_pylist()
    sentences = sum(map(len, SPOKEN.values()))
    title = f"The language of five sentences, by a model that was just trained on {sentences} others"
    yield Shown(title, python, "\n".join(FIVE), ", ".join(labels))
    names["two"] = [FIRST, COPY]
    python = "a, b = MinHasher().signatures(two); (a == b).mean()"
    yield Shown(
        "How alike two texts are, by their MinHash signatures",
        python,
        f"{FIRST[:58]}…\n{COPY[:57]}…",
        f"Jaccard similarity {run(python):.2f}",
    )
    yield _near_duplicate()


def _near_duplicate() -> Shown:
    with tempfile.TemporaryDirectory() as folder:
        documents = Path(folder, "documents.jsonl")
        lines = {"river": FIRST, "bread": OTHER, "river again": COPY}
        documents.write_text(
            "".join(json.dumps({"id": name, "text": body}) + "\n" for name, body in lines.items()), encoding="utf-8"
        )
        found = deduplicate([documents], Path(folder, "unique"), ngram=2)
        why = explain(Path(folder, "unique"), "river again")
    changed = sorted(set(why.text.split()) ^ set(why.kept_text.split()))
    return Shown(
        "A near-duplicate among files, found and explained",
        'deduplicate(["documents.jsonl"], "unique", ngram=2); explain("unique", "river again")',
        f"{found.documents_in} documents: {', '.join(lines)}",
        f"{found.documents_out} kept. {why.id!r} went for {why.kept_id!r}: similarity {why.jaccard:.2f}.\n"
        f"Only these words differ: {', '.join(changed)}",
    )


def _demo(arguments: argparse.Namespace) -> Mapping[str, Any] | None:
    started = time.perf_counter()
    steps = list(shown())
    seconds = time.perf_counter() - started
    if arguments.json:
        return {"steps": [asdict(step) for step in steps], "seconds": round(seconds, 3)}
    print(f"smolfast {__version__}. Each line after >>> is the Python that did it.\n")
    for step in steps:
        print(f"{step.title}\n  >>> {step.python}")
        for label, value in (("before", step.before), ("after", step.after)):
            for index, line in enumerate(value.split("\n")):
                print(f"  {label if index == 0 else '':<7} {line}")
        print()
    print(
        f"Done in {seconds:.2f} s. Next, on your own files:\n"
        "  smolfast normalize YOUR.jsonl clean.parquet --clean\n"
        "  smolfast curate clean.parquet -o judged\n"
        "  smolfast dedup clean.parquet -o unique"
    )
    return None

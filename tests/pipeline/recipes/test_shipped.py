"""The recipes that ship, in their short form, on real text."""

from __future__ import annotations

import gzip
import json
import random
import sysconfig
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from smolfast.errors import SmolfastError
from smolfast.pipeline.recipes import Graph, load_recipe, plan, run

TINY = (
    "model.hidden_size=32",
    "model.intermediate_size=64",
    "model.head_dim=8",
    "train.steps=6",
    "train.batch_size=4",
    "train.micro_batch_size=2",
)
LIBRARY = Path(sysconfig.get_path("stdlib"))


def done(graph: Graph, out: Path) -> dict[str, dict[str, object]]:
    outcome = run(graph, out)
    outcome.check(out / "stages")
    for name, node in graph.nodes.items():  # a reference to a number is checked by these names
        assert set(node.kind.summary or ()) <= outcome.summaries[name].keys(), name
    return {name: dict(summary) for name, summary in outcome.summaries.items()}


def test_quickstart_runs_what_its_recipe_says_and_the_plan_knows_why(tmp_path: Path) -> None:
    settings = [f"collect.input={LIBRARY / 'email'}", "split.held_out_fraction=0.2", *TINY]
    out = tmp_path / "out"
    summaries = done(load_recipe("quickstart", profile="smoke", settings=settings), out)
    assert summaries["evaluate"]["bits_per_byte"] and (out / "report.html").is_file()
    same = load_recipe("quickstart", profile="smoke", settings=settings)
    assert {one.outlook.action for one in plan(same, out)} == {"skip"}

    faster = load_recipe("quickstart", profile="smoke", settings=[*settings, "train.muon_learning_rate=0.011"])
    planned = {one.node.name: one for one in plan(faster, out)}
    runs = [name for name, one in planned.items() if one.outlook.action != "skip"]
    assert runs == ["train", "evaluate", "export", "generate", "report"]
    assert planned["train"].outlook.reasons == ["train.muon_learning_rate 0.05 → 0.011"]
    assert set(run(faster, out).skipped) == planned.keys() - set(runs)


@pytest.mark.parametrize("profile", ["smoke", pytest.param("yarn", marks=pytest.mark.slow)])
def test_lengthen(profile: str, tmp_path: Path) -> None:
    settings = [
        f"collect.input={LIBRARY / 'email'}", "split.held_out_fraction=0.2", "tokenizer.vocab_size=512",
        "model.hidden_size=32", "model.intermediate_size=64", "model.head_dim=8", "base.steps=4", "base.batch_size=4",
        "base.micro_batch_size=2", "lengthen.steps=4", "lengthen.batch_size=4", "lengthen.micro_batch_size=2",
        "evaluate.max_bytes=20_000", "needles.samples=1", "needles.depths=[0.5]",
    ]  # fmt: skip
    out = tmp_path / "out"
    summaries = done(load_recipe("lengthen", profile=profile, settings=settings), out)
    assert {"evaluate@base", "evaluate@lengthen", "needles@base", "needles@lengthen"} <= summaries.keys()
    config = json.loads((out / "lengthen" / "model" / "config.json").read_text())
    assert config["max_position_embeddings"] == 256
    if profile == "yarn":
        assert (config["rope_parameters"]["rope_type"], config["rope_parameters"]["factor"]) == ("yarn", 4.0)
    else:
        assert config["rope_theta"] == 160_000.0
    # Both are judged in windows of the longer context.
    for name in ("base", "lengthen"):
        found = json.loads((out / f"evaluate@{name}" / "evaluation.json").read_text())
        assert found["context"] == 256
        assert [one["to"] for one in found["positions"]] == [15, 31, 63, 127, 255, 511][: len(found["positions"])]
        assert len(found["positions"]) >= 5


def test_mixture(tmp_path: Path) -> None:
    sources = {"web": "email", "code": "asyncio", "reference": "json"}
    recipe = load_recipe("mixture", profile="smoke", settings=["split.held_out_fraction=0.3", *TINY])
    for name, folder in sources.items():
        recipe.nodes[f"collect@{name}"].table["input"] = str(LIBRARY / folder)  # type: ignore[index]
    summaries = done(recipe, tmp_path / "out")
    assert summaries["mix"]["weight_web"] == 0.6
    assert {name for name in summaries if name.startswith("evaluate@")} == {f"evaluate@{name}" for name in sources}
    events = json.loads((tmp_path / "out" / "train" / "run.json").read_text())
    assert [stage["weights"]["web"] for stage in events["train"]["stages"]] == [0.8, 0.5, 0.2]


def test_distillation(tmp_path: Path) -> None:
    settings = [f"collect.input={LIBRARY / 'email'}", *TINY]
    settings += [f"{name}.{key}" for name in ("teacher", "student", "alone") for key in ("steps=6", "batch_size=4")]
    settings += [f"{name}.micro_batch_size=2" for name in ("teacher", "student", "alone")]
    settings = [setting for setting in settings if not setting.startswith("train.")]
    settings += ["teacher.model.hidden_size=64", "teacher.model.head_dim=8", "teacher.model.intermediate_size=64"]
    out = tmp_path / "out"
    summaries = done(load_recipe("distillation", profile="smoke", settings=settings), out)
    assert summaries["teacher"]["parameters"] > summaries["student"]["parameters"]  # type: ignore[operator]
    assert summaries["student"]["parameters"] == summaries["alone"]["parameters"]
    student, alone = (summaries[f"evaluate@{name}"]["bits_per_byte"] for name in ("student", "alone"))
    assert student != alone  # the teacher was listened to
    # Another rate of the teacher: it, and who learns from it, come anew; who learnt alone doesn't.
    other = load_recipe("distillation", profile="smoke", settings=[*settings, "teacher.adamw_learning_rate=0.01"])
    runs = {one.node.name for one in plan(other, out) if one.outlook.action != "skip"}
    assert runs == {"teacher", "student", "evaluate@teacher", "evaluate@student", "export"}


def sentence(words: random.Random) -> str:
    """Of its own words, such as rules keep."""
    a, b, c, d, e, f = (
        f"{words.choice('bdfgklmnprst')}{words.choice('aeiou')}{words.randrange(9999)}ren" for _ in range(6)
    )
    return f"The {a} of {b} was {c} to the {d} and it had {e} with {f}."


def test_web_and_pdf(tmp_path: Path) -> None:
    pytest.importorskip("fastwarc")
    pytest.importorskip("resiliparse")
    pytest.importorskip("pypdfium2")
    canvas = pytest.importorskip("reportlab.pdfgen.canvas")
    words = random.Random(0)

    def record(url: str) -> bytes:
        text = "".join(f"<p>{' '.join(sentence(words) for _ in range(4))}</p>" for _ in range(5))
        body = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<main>{text}</main>".encode()
        head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:{url}>\r\nWARC-Date: 2024-01-01T00:00:00Z\r\n"
        head += f"WARC-Target-URI: {url}\r\nContent-Type: application/http\r\nContent-Length: {len(body)}\r\n\r\n"
        return gzip.compress(head.encode() + body + b"\r\n\r\n")

    (tmp_path / "crawl.warc.gz").write_bytes(b"".join(record(f"https://example.org/{n}") for n in range(40)))
    (tmp_path / "manuals").mkdir()
    for number in range(6):
        page = canvas.Canvas(str(tmp_path / "manuals" / f"{number}.pdf"))
        for line in range(30):
            page.drawString(72, 760 - 20 * line, sentence(words))
        page.save()
    settings = [f"web.input={tmp_path / 'crawl.warc.gz'}", f"pdf.input={tmp_path / 'manuals'}", *TINY]
    settings += ["split.held_out_fraction=0.3"]
    summaries = done(load_recipe("web-and-pdf", profile="smoke", settings=settings), tmp_path / "out")
    assert summaries["web"]["documents_out"] == 40 and summaries["pdf"]["documents_out"] == 6
    assert summaries["normalize"]["documents_in"] == summaries["dedup"]["documents_out"] == 46


def test_recipes_of_ablations(tmp_path: Path) -> None:
    """Their changes are tested with ablations."""
    small = [setting for setting in TINY if "batch_size=4" not in setting or "micro" in setting]
    settings = [f"collect.input={LIBRARY / 'json'}", "split.held_out_fraction=0.3", *small, "train.batch_size=4"]
    code = done(load_recipe("ablation", profile="smoke", settings=settings), tmp_path / "code")
    assert code["evaluate"]["bits_per_byte"] and code["train"]["effective_rank"]
    words = random.Random(1)
    with (tmp_path / "pages.jsonl").open("w") as file:
        for number in range(60):
            lines = "\n\n".join(" ".join(sentence(words) for _ in range(4)) for _ in range(5))
            text = lines if number % 3 else "| ".join(str(words.random()) for _ in range(99))
            file.write(json.dumps({"id": str(number), "text": text}) + "\n")
    settings = [f"raw.input={tmp_path / 'pages.jsonl'}", "split.held_out_fraction=0.3", *small, "train.batch_size=4"]
    text = done(load_recipe("curation", profile="smoke", settings=settings), tmp_path / "text")
    assert text["curated"]["documents_out"] == 40 and text["raw"]["documents_out"] == 60
    held_out, train = (
        {name: ids(tmp_path / "text" / f"split@{name}" / f"{part}.parquet") for name in ("raw", "curated")}
        for part in ("held_out", "train")
    )
    assert held_out["curated"] < held_out["raw"] and not train["raw"] & held_out["curated"]


def ids(path: Path) -> set[str]:
    return set(pq.read_table(path, columns=["id"])["id"].to_pylist())


def test_assistant(tmp_path: Path) -> None:
    settings = [f"collect.input={LIBRARY / 'email'}", "train.steps=6", "model.hidden_size=32"]
    settings += ["model.intermediate_size=64", "model.head_dim=8"]
    for stage in ("traces", "talks"):
        for side, key, count in (("train", "input", 120), ("held-out", "held_out", 40)):
            thought = "<think>\nlet me see\n</think>\n" if stage == "traces" else ""
            path = tmp_path / f"{stage}-{side}.jsonl"
            talks = [
                [{"role": "user", "content": f"{n} + {n}?"}, {"role": "assistant", "content": f"{thought}{2 * n}"}]
                for n in range(count)
            ]
            path.write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks))
            settings.append(f"{stage}.{key}={path}")
    out = tmp_path / "out"
    summaries = done(load_recipe("assistant", profile="smoke", settings=settings), out)
    assert summaries["traces"]["train_learned_tokens"] and summaries["before"] != summaries["after"]
    runs = {name: json.loads((out / name / "run.json").read_text()) for name in ("train", "mid", "tuned")}
    assert runs["mid"]["init"] != runs["tuned"]["init"] and not runs["train"].get("init")
    assert runs["tuned"]["train"]["packing"] == "fit"
    assert (out / "export" / "chat_template.jinja").is_file()
    with pytest.raises(SmolfastError, match="talks needs a stage that gives held-out documents, such as split"):
        load_recipe("assistant", profile="smoke", settings=[*settings, "talks.held_out="])
    with pytest.raises(SmolfastError, match="tokenize has documents to train on of split; leave this out"):
        load_recipe("assistant", profile="smoke", settings=[*settings, "tokenize.input=a"])

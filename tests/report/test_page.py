"""The page of a whole run."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import smolfast.report
from smolfast.config import validate_config
from smolfast.report import write_report
from smolfast.report.training.provenance import toml


@pytest.fixture(scope="module")
def html(run_folder: Path) -> str:
    output = run_folder.parent / "report.html"
    summary = write_report(run_folder, output)
    assert summary == {"bytes": output.stat().st_size, "near_duplicate_examples": 3, "missing": []}
    return output.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html: str, fake: SimpleNamespace) -> Any:
    return fake.page(html)


def test_page_says_what_the_files_say(page: Any, fake: SimpleNamespace) -> None:
    parameters = sum(math.prod(shape) for shape in fake.shapes().values())
    for words in (
        "1.432 bits per byte",
        "173 documents, 998.1 kB",
        "Good. It needs 42% fewer bits than zlib -9",  # 1 − 1.4321 / 2.4567 = 0.4171
        "Good. It needs 33% fewer bits than xz -9e",
        "xz -9e 2.123",
        "unigram model of bytes 4.812",
        f"{parameters:,} parameters in {len(fake.shapes())} tensors",
        "546 (13.6%)",  # (4002 − 3456) / 4002
        "221 exact duplicates, 325 near-duplicates, 3,456 groups of duplicates",
        "(estimated 0.973)",
        "316 documents left out: longer than 200.0 kB (collect.max_document_bytes).",
        "3 documents left out: not UTF-8.",
        "by their Jaccard similarity to the document kept for each: 0.70-0.75: 125; 0.90-0.95: 200.",
        "site-packages/pip/_vendor/wrap.py",
        "5 words only in the removed text, 3 only in the one kept.",  # `# vendored`, and a name three times
        "training loss, 2 tokens ahead",
        "train 3:42",  # 221.5 s
        "generate 810.0 MB",
        "4 NoPE",
        "vocabulary 4,096",
        "2.13.0",
        "Example CPU @ 2.60GHz",
        "25.8 GB",
        "--set train.steps=120",
        "temperature 0.7, seed 0",
        "5,851",  # tokens a second: 120 × 4096 / (120 × 0.7)
    ):
        assert words in page.words, words


def test_page_is_one_file_that_loads_nothing(html: str, page: Any) -> None:
    for name, attributes in page.elements:
        assert name not in {"link", "img", "iframe", "object", "embed", "form", "base", "image", "use"}
        for key, value in attributes.items():
            assert not key.startswith("on")
            assert key not in {"src", "srcset", "style", "action"}
            if key == "href":
                assert value is not None and value[1:] in page.ids and value[0] == "#"
    assert len(page.all("script")) == len(page.all("style")) == 1
    assert "url(" not in html and "@import" not in html and "http" not in page.raw["script"] + page.raw["style"]


def test_policy_names_the_script_and_style_by_hash(page: Any) -> None:
    import base64
    import hashlib

    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and "default-src 'none'" in policy
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.raw[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_drawings_and_tables_are_accessible(page: Any) -> None:
    drawings = [a for _, a in page.elements if a.get("role") == "img"]
    assert len(drawings) == 9  # bits per byte, funnel, similarity, loss, rates, norm, time, memory, parameters
    for attributes in drawings:
        named = (attributes["aria-labelledby"] or "").split()
        assert len(named) == 2 and set(named) <= page.ids
    assert all(a.get("scope") in {"row", "col"} for a in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert page.all("html")[0]["lang"] == "en"
    assert next(name for name, _ in page.elements if re.fullmatch("h[1-6]", name)) == "h1"


def test_colours_have_contrast() -> None:
    css = (Path(smolfast.report.__file__).parent / "assets" / "page.css").read_text(encoding="utf-8")
    schemes = [
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in re.findall(r":root \{(.*?)\}", css, re.S)
    ]
    assert len(schemes) == 2 and schemes[0].keys() == schemes[1].keys()

    def luminance(colour: str) -> float:
        # Relative luminance and contrast ratio as WCAG 2.2 defines them.
        channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(a: str, b: str) -> float:
        light, dark = sorted((luminance(a), luminance(b)), reverse=True)
        return (light + 0.05) / (dark + 0.05)

    assert round(contrast("#000000", "#ffffff"), 2) == 21
    for scheme in schemes:
        for ground in ("page", "panel"):
            for ink in ("text", "muted", "s0", "s1"):
                assert contrast(scheme[ink], scheme[ground]) >= 4.5, (ink, ground)
        assert contrast(scheme["removed-text"], scheme["removed"]) >= 4.5
        assert contrast(scheme["added-text"], scheme["added"]) >= 4.5
        for mark in ("s0", "s1", "s2", "s3", "s4"):
            assert contrast(scheme[mark], scheme["page"]) >= 3, mark


def test_hostile_text_is_shown_and_does_nothing(html: str, page: Any, fake: SimpleNamespace) -> None:
    assert html.count("<script") == 1 and "<img" not in html and "<b>first" not in html
    shown = fake.hostile.replace("\x00", "⟨U+0000⟩").replace("\x1b", "⟨U+001B⟩").replace("\u202e", "⟨U+202E⟩")
    assert f"evil/{shown}-copy.txt" in page.words
    assert page.words.count(shown) >= 3  # two ids, the sample
    assert page.words.count("⟨U+202E⟩]]>--><!--") >= 5  # of the two texts the end, beside what differs
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", html)


def test_same_files_give_the_same_bytes(run_folder: Path, html: str, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / run_folder.name
    shutil.copytree(run_folder, copy)
    write_report(copy, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == html.encode()


def test_progress_counts_sections(run_folder: Path, tmp_path: Path) -> None:
    calls: list[tuple[float, float, str]] = []
    write_report(run_folder, tmp_path / "r.html", lambda done, total, note: calls.append((done, total, note)))
    assert [done for done, _, _ in calls] == list(range(10)) and {total for _, total, _ in calls} == {9}
    assert calls[4][2] == "near duplicates"


def test_importing_needs_neither_torch_nor_pydantic() -> None:
    code = "import sys, smolfast.report; print({'torch', 'triton', 'pydantic', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_configuration_reads_back() -> None:
    config = validate_config(
        {"seed": 3, "generate": {"prompt": 'a "b"\n\\ \x7f é \t'}, "train": {"mtp_weights": [1.0, 1e-7]}}
    )
    assert validate_config(tomllib.loads(toml(config.model_dump(mode="json")))) == config


def test_inputs_and_other_settings_are_in_the_command(own_run: Path, fake: SimpleNamespace) -> None:
    about = json.loads((own_run / "run.json").read_text())
    about["identity"] |= {"input": ["a b.jsonl"], "text_column": "body", "errors": "skip", "minutes": None}
    fake.write_json(own_run / "run.json", about | {"hardware": "a quiet machine"})
    write_report(own_run, own_run / "report.html")
    page = fake.page((own_run / "report.html").read_text(encoding="utf-8"))
    command = r"--config config.toml \ --text-column body \ --errors skip \ --input 'a b.jsonl'"
    assert command in page.words and "a quiet machine" in page.words


def test_time_of_a_resumed_stage_counts_all_its_sessions(own_run: Path, fake: SimpleNamespace) -> None:
    path = own_run / "stages" / "train.json"
    manifest = json.loads(path.read_text())
    fake.write_json(path, manifest | {"seconds": 10.0, "summary": manifest["summary"] | {"seconds": 400.0}})
    write_report(own_run, own_run / "report.html")
    words = fake.page((own_run / "report.html").read_text(encoding="utf-8")).words
    assert "train 6:40" in words and "7:30 in all" in words  # 400 s, and 50.25 s of the others
    assert "0 skipped" not in words

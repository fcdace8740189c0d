"""Fan-out, fan-in, references and overrides: what graph comes of a recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from smolfast.pipeline.recipes import Graph, load_recipe
from smolfast.pipeline.recipes.flow import Flow
from smolfast.recipes import recipe_names


def graph(folder: Path, text: str, **options: object) -> Graph:
    path = folder / "r.toml"
    path.write_text(text)
    return load_recipe(path, **options)  # type: ignore[arg-type]


def test_lists_meet_where_they_are_shared(tmp_path: Path) -> None:
    found = graph(
        tmp_path,
        """
        [each]
        language = ["de", "fr"]
        seed = [1, 2]
        [stages.collect]
        each = "language"
        input = "texts/${each.language}"
        [stages.split]
        each = ["language", "seed"]
        needs = "collect"
        seed = "${each.seed}"
        [stages.tokenizer]
        each = "seed"
        needs = "split"
        [stages.one]
        needs = ["collect@de"]
        command = ["cat", "${collect@fr.documents}"]
        """,
    )
    assert list(found.nodes)[:2] == ["collect@de", "collect@fr"]
    assert found.nodes["split@de@2"].needs == ("collect@de",)
    assert found.nodes["split@de@2"].table["seed"] == 2
    assert found.nodes["collect@fr"].table["input"] == "texts/fr"
    assert set(found.nodes["tokenizer@1"].needs) == {"split@de@1", "split@fr@1"}
    assert found.nodes["one"].needs == ("collect@de", "collect@fr")
    assert len(found.nodes) == 2 + 4 + 2 + 1


def test_a_value_keeps_its_type_alone_and_is_text_within(tmp_path: Path) -> None:
    found = graph(
        tmp_path,
        """
        [each]
        rate = [0.01, 1]
        [stages.x]
        each = "rate"
        python = "m:f"
        number = "${each.rate}"
        text = "at ${each.rate}"
        deep = { list = ["${each.rate}"] }
        """,
    )
    assert found.nodes["x@0.01"].table == {"python": "m:f", "number": 0.01, "text": "at 0.01", "deep": {"list": [0.01]}}
    assert found.nodes["x@1"].table["number"] == 1


def test_what_is_set_last_counts(tmp_path: Path) -> None:
    text = """
    preset = "135m"
    seed = 3
    [train]
    steps = 10
    [stages.collect]
    [stages.split]
    needs = "collect"
    [stages.tokenizer]
    needs = "split"
    [stages.tokenize]
    needs = ["split", "tokenizer"]
    [stages.train]
    needs = "tokenize"
    [stages.other]
    kind = "train"
    needs = "tokenize"
    steps = 20
    [profiles.smoke]
    train.steps = 5
    model.hidden_size = 64
    """

    def config(name: str, **options: object) -> tuple[int, int, int]:
        found = graph(tmp_path, text, **options)
        stage = Flow(found, tmp_path).stage(found.nodes[name])
        return stage.parameters["train"]["steps"], stage.parameters["model"]["hidden_size"], stage.parameters["seed"]

    assert config("train") == (10, 576, 3)
    assert config("other") == (20, 576, 3)
    assert config("train", profile="smoke") == (5, 64, 3)
    assert config("other", profile="smoke") == (20, 64, 3)
    assert config("train", profile="smoke", settings=["train.steps=7", "seed=4", "preset=compact"]) == (7, 64, 4)
    assert config("other", settings=["other.steps=8", "model.hidden_size=128"]) == (8, 128, 3)


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_are_whole(name: str) -> None:
    inputs = {"web-and-pdf": ["web.input=a", "pdf.input=b"], "curation": ["raw.input=a"]}.get(name, [])
    for profile in (None, "smoke"):
        assert load_recipe(name, profile=profile, settings=inputs).nodes

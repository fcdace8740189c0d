"""The studies of scaling on made-up losses: what they train, what they say of it, what is drawn."""

from __future__ import annotations

import importlib
import json
import math
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smolfast import scaling
from smolfast.errors import SmolfastError
from smolfast.files import write_json
from smolfast.model.network import SmolLM

STUDIES = Path(__file__).parents[2] / "benchmarks" / "studies" / "scaling"
LAW = scaling.Law(E=1.5, A=40.0, B=300.0, alpha=0.3, beta=0.4)


@pytest.fixture
def prediction(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(STUDIES))
    return importlib.import_module("prediction")


@pytest.fixture
def transfer(prediction: Any) -> Any:
    return importlib.import_module("transfer")


def record(prediction: Any, run: Any, out: Path, noise: float) -> None:
    loss = float(LAW.loss(run.params, run.tokens)) * math.exp(noise)
    write_json(out / f"{run.name}.json", {"name": run.name, "params": run.params, "tokens": run.tokens, "loss": loss,
                                          "flops": 6.0 * run.params * run.tokens})  # fmt: skip


def test_sizes_are_those_of_the_models(prediction: Any) -> None:
    for run in [*prediction.SMALL, prediction.HELD_OUT]:
        config = prediction.configured(run)
        layers = SmolLM(config.model, prediction.VOCABULARY).model.layers
        assert sum(weight.numel() for weight in layers.parameters() if weight.ndim > 1) == run.params
        tokens = config.train.steps * config.train.batch_size * prediction.WINDOW
        assert tokens == pytest.approx(run.tokens, rel=0.01)
    ratios = [run.tokens / run.params for run in prediction.SMALL]
    assert min(ratios) == pytest.approx(5) and max(ratios) == pytest.approx(40)
    assert prediction.HELD_OUT.params == pytest.approx(1e6, rel=0.01)


def test_a_law_predicts_the_held_out_run(
    prediction: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(0)
    for run in prediction.SMALL[1:]:
        record(prediction, run, tmp_path, draw.normal(0, 0.002))
    with pytest.raises(SmolfastError, match=r"1 small runs aren't finished \(w32-5x-s0"):
        prediction.predict(tmp_path)
    assert prediction.main(["rehearse", "--out", str(tmp_path), "--json", str(tmp_path / "rehearsal.json")]) == 0
    rehearsal = json.loads((tmp_path / "rehearsal.json").read_text())
    assert rehearsal["held_out"]["name"] == "w96-20x-s0" and rehearsal["inside"]
    most = max(run["flops"] for run in rehearsal["prediction"]["runs"])
    assert most <= rehearsal["held_out"]["flops"] / 3 and not (tmp_path / "prediction.json").exists()
    assert "w96-20x-s0, held out" in capsys.readouterr().out
    record(prediction, prediction.SMALL[0], tmp_path, 0.001)
    assert prediction.main(["predict", "--out", str(tmp_path)]) == 0
    written = (tmp_path / "prediction.json").read_bytes()
    record(prediction, prediction.HELD_OUT, tmp_path, 0.001)
    assert prediction.main(["compare", "--out", str(tmp_path), "--json", str(tmp_path / "both.json")]) == 0
    assert (tmp_path / "prediction.json").read_bytes() == written
    result = json.loads((tmp_path / "both.json").read_text())
    assert result["inside"] and "inside" in capsys.readouterr().out
    law, *others = result["errors"].values()
    assert law < 0.5 * min(others)
    picture = importlib.import_module("draw").prediction(result)
    assert picture.count('class="run"') == len(prediction.SMALL) and ET.fromstring(picture).tag.endswith("svg")


def test_the_best_rates_and_how_far_they_move(transfer: Any, tmp_path: Path) -> None:
    for trial in transfer.trials(range(2), 131_072, "muon"):
        # The standard one's best rate falls by the root of the width; that of the others stays.
        optimum = 0.5 - (math.log2(trial.width / 64) if trial.name.startswith("standard") else 0.0)
        write_json(tmp_path / f"{trial.name}.json", {"loss": 3.0 + 0.02 * (trial.power - optimum) ** 2})
    result = transfer.table(tmp_path, range(2), 131_072, "muon")
    assert result["kinds"]["standard"]["moves"]["width"] == pytest.approx(3)
    assert result["kinds"]["completep"]["moves"] == pytest.approx({"width": 0, "depth": 0}, abs=1e-6)
    picture = importlib.import_module("draw").transfer(json.loads(json.dumps(result)))
    assert picture.count("<polyline") == 3 * len(transfer.shapes()) and ET.fromstring(picture).tag.endswith("svg")


def test_the_page_shows_how_level_it_was(prediction: Any) -> None:
    """Each row of levels.json, and what its point is."""
    page = (STUDIES.parents[2] / "docs" / "scaling.md").read_text(encoding="utf-8")
    rows = json.loads((STUDIES / "levels.json").read_text())["rows"]
    levels = importlib.import_module("levels")
    assert len(rows) == 12 and all(levels.line(row) in page for row in rows)
    for row in rows:
        if row["outputs"] == "zero" and row["parametrization"] != "standard":
            spreads = dict(row["spread"])
            if (row["way"], row["optimizer"]) == ("depth", "adamw"):
                del spreads["attention"], spreads["stream"]
            assert max(spreads.values()) < 0.1


def test_the_page_says_what_the_rehearsal_gave() -> None:
    page = (STUDIES.parents[2] / "docs" / "scaling.md").read_text(encoding="utf-8")
    result = json.loads((STUDIES / "rehearsal.json").read_text())
    said, came = result["prediction"]["loss"], result["held_out"]
    for value in (said["value"], said["low"], said["high"], came["loss"], *result["errors"].values()):
        assert f"{value:.3f}" in page
    assert result["inside"] == (said["low"] <= came["loss"] <= said["high"])
    assert f"{len(result['prediction']['runs'])} runs foretold {came['params']:,} parameters" in page


def test_a_best_rate_at_an_end_is_none(transfer: Any) -> None:
    assert math.isnan(transfer.best_rate({0: 1.0, 1: 2.0, 2: 3.0}))
    assert transfer.best_rate({0: 2.0, 1: 1.0, 2: 2.0}) == pytest.approx(1.0)
    assert transfer.best_rate({0: 1.0, 1: 1.0, 2: 1.0, 3: 4.0}) != transfer.best_rate({0: 2.0, 1: 1.0, 2: 2.0})


def test_trials_that_are_the_same_are_made_once(transfer: Any) -> None:
    names = [trial.name for trial in transfer.trials([0], 131_072, "muon")]
    zero = list(transfer.trials([0], 131_072, "muon", "zero"))
    assert not {trial.name for trial in zero} & set(names) and transfer.configured(zero[0]).train.zero_init_outputs
    # At the base one each; at other widths standard and mup; at other depths standard and completep.
    assert len(names) == len(set(names)) == len(transfer.RATES) * (1 + 3 * 2 + 2 * 2)

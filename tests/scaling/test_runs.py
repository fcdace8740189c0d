"""Runs from folders of `smolfast train` and from CSV files, and the commands on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planted_laws import LAWS, equal_compute, noisy
from smolfast.commands.main import main
from smolfast.config import TrainConfig
from smolfast.errors import SmolfastError
from smolfast.model.flops import flops_per_token
from smolfast.model.network import SmolLM
from smolfast.scaling.files import read_fit
from smolfast.scaling.runs import read_runs
from smolfast.train.loop import train
from tiny_models import tiny


def write_csv(path: Path, header: str = "params,tokens,loss", seed: int = 0) -> Path:
    params, tokens = equal_compute(LAWS[1], np.geomspace(1e17, 1e19, 4), sizes=5)
    rows = zip(params, tokens, noisy(LAWS[1], params, tokens, seed), strict=True)
    path.write_text("\n".join([header, *(f"{n:.8g},{d:.8g},{loss:.8g}" for n, d, loss in rows)]) + "\n")
    return path


def test_run_folders(write_tokens: Any, tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens")
    config = TrainConfig(steps=4, sequence_length=16, batch_size=4, micro_batch_size=4, mtp_weights=(1.0, 0.2))
    summary = train(tokens, tmp_path / "runs" / "a", model=tiny(), config=config, device="cpu", threads=1)
    runs = read_runs([tmp_path / "runs"])
    again = read_runs([tmp_path / "runs" / "a"], embeddings=True)
    vocabulary = json.loads((tmp_path / "runs" / "a" / "model" / "config.json").read_text())["vocab_size"]
    network = SmolLM(tiny(), vocabulary)
    matrices = sum(p.numel() for p in network.model.layers.parameters() if p.ndim == 2)
    assert runs.params.tolist() == [matrices]
    assert again.params.tolist() == [matrices + vocabulary * tiny().hidden_size]
    assert runs.names == ["a"] and runs.tokens.tolist() == [4 * 4 * 16] == [summary["tokens"]]
    assert runs.losses.tolist() == [summary["held_out_loss"]]
    assert runs.flops[0] == pytest.approx(sum(flops_per_token(tiny(), vocabulary, 16).values()) * 256)
    record = json.loads((tmp_path / "runs" / "a" / "run.json").read_text())
    assert runs.unique.tolist() == [record["data"]["text"]["tokens"]]
    del record["summary"]
    (tmp_path / "runs" / "a" / "run.json").write_text(json.dumps(record))
    with pytest.raises(SmolfastError, match=r"has no held-out loss at its end.*--bad drop"):
        read_runs([tmp_path / "runs"])
    with pytest.raises(SmolfastError, match="there are no runs to fit"):
        read_runs([tmp_path / "runs"], unfinished="drop")
    with pytest.raises(SmolfastError, match=r"holds no run\.json"):
        read_runs([tmp_path / "tokens"])


def test_columns_by_other_names(tmp_path: Path) -> None:
    plain = read_runs([write_csv(tmp_path / "a.csv")])
    other = read_runs(
        [write_csv(tmp_path / "b.csv", "Model Size,D,Validation loss")], columns={"loss": "Validation loss"}
    )
    assert (plain.rows == other.rows) and plain.names[0] == "a.csv, line 2"
    path = tmp_path / "c.csv"
    path.write_text("N,Training FLOP,loss\n1e6,6e15,3.0\n")
    assert read_runs([path]).tokens.tolist() == [1e9]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b\n1,2\n", "has no column params nor loss nor tokens, but a, b; say which it is with --column params=NAME"),
        ("n,params,tokens,loss\n1,1,1,1\n", "n and params may both be params; say which with --column params=NAME"),
        ("n,d,loss\n1,many,2\n", r"line 2: tokens = 'many' is no number"),
        ("n,d,loss\n", "there are no runs"),
        ("n,d,loss\n\n\n", "there are no runs"),
    ],
)
def test_bad_files(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(SmolfastError, match=message):
        read_runs([path])


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(SmolfastError, match="can't read"):
        read_runs([tmp_path / "none.csv"])
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00n")
    with pytest.raises(SmolfastError, match="is no CSV file in UTF-8"):
        read_runs([tmp_path / "x.csv"])
    (tmp_path / "fit.json").write_text("{}")
    with pytest.raises(SmolfastError, match=r"is no fit; give the fit\.json of `smolfast scaling fit -o DIR`"):
        read_fit(tmp_path / "fit.json")
    (tmp_path / "fit.json").write_text('{"kind": "smolfast scaling fit"}')
    with pytest.raises(SmolfastError, match=r"fit\.json.*fit the runs again"):
        read_fit(tmp_path / "fit.json")


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs, held_out = write_csv(tmp_path / "runs.csv"), tmp_path / "held.csv"
    held_out.write_text(f"name,params,tokens,loss\nlarge,1e9,2e10,{float(LAWS[1].loss(1e9, 2e10))}\n")
    plan = tmp_path / "plan.csv"
    assert main(["scaling", "plan", "--budget", "1e18", "--to", "1e20", "--most", "8", "-o", str(plan)]) == 0
    assert "times that of a plain grid" in capsys.readouterr().out
    few = ["--bootstraps", "100"]
    command = ["scaling", "fit", str(runs), *few, "--held-out", str(held_out), "--planned", str(plan), "--json"]
    assert main([*command, "-o", str(tmp_path / "fit")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["alpha"]["low"] < said["alpha"]["value"] < said["alpha"]["high"]
    assert said["held_out"][0].startswith("large: predicted") and said["held_out"][0].endswith("inside")
    page = (tmp_path / "fit" / "report.html").read_text()
    for words in (
        "The law",
        "Equal compute",
        "The best size",
        "Held-out runs",
        "runs planned",
        "Leverage",
        "predicted",
    ):
        assert words in page
    fit = str(tmp_path / "fit" / "fit.json")
    assert main(["scaling", "predict", fit, "--params", "1e9", "--tokens", "2e10", "--json"]) == 0
    loss = json.loads(capsys.readouterr().out)["loss"]
    assert loss["low"] < float(LAWS[1].loss(1e9, 2e10)) < loss["high"]
    # The file gives the very same intervals as the runs.
    assert main(["scaling", "predict", str(runs), *few, "--params", "1e9", "--tokens", "2e10", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] == pytest.approx(loss)
    for asked in (["--flops", "1e21", "--vocab", "4096"], ["--flops", "1e21", "--over-training", "2"],
                  ["--params", "1e9", "--loss", "2.5"]):  # fmt: skip
        assert main(["scaling", "predict", fit, *asked]) == 0
    assert "exact params" in capsys.readouterr().out
    recipe = tmp_path / "plan.toml"
    assert main(["scaling", "plan", fit, "--budget", "1e18", "--to", "1e20", "-o", str(recipe)]) == 0
    assert "[stages.run-01]" in recipe.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "{runs}", "--params", "1e9"], "give --params and --tokens for a loss"),
        (["predict", "{runs}", "--over-training", "2"], "give --params and --tokens for a loss"),
        (["fit", "{runs}", "{fit}"], "a fit stands alone"),
        (["plan", "--budget", "1e18", "--to", "1e20", "-o", "x.txt"], "ends in .csv or .toml"),
        (["predict", "{runs}", "--params", "1e9", "--tokens", "1e10", "--level", "2"], "level = 2.0"),
    ],
)
def test_bad_words(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs, fit = write_csv(tmp_path / "runs.csv"), tmp_path / "fit.json"
    fit.write_text("{}")
    assert main(["scaling", *(word.format(runs=runs, fit=fit) for word in words)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_repeated_text_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from smolfast.scaling.repeated import effective

    law = LAWS[1]
    lines = ["params,tokens,unique,loss"]
    params, tokens = equal_compute(law, np.geomspace(1e17, 1e19, 4), sizes=5)
    lines += [f"{n},{d},{2 * d},{float(law.loss(n, d))}" for n, d in zip(params, tokens, strict=True)]
    for n in (2e7, 1e8):
        for epochs in (3.0, 10.0, 30.0):
            loss = float(law.loss(*effective(law, n, 1e8 * epochs, 1e8, 15.39, 5.31)))
            lines.append(f"{n},{1e8 * epochs},1e8,{loss}")
    (tmp_path / "runs.csv").write_text("\n".join(lines) + "\n")
    assert main(["scaling", "fit", str(tmp_path / "runs.csv"), "--bad", "keep", "--bootstraps", "100"]) == 0
    assert "6 runs repeat their text: R*_D = 15.39" in capsys.readouterr().out

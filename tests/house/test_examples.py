"""Every script of examples/ gives what its library's own path gives."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

# Other libraries' warnings aren't ours to raise as errors.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("beside_the_scripts")]


@pytest.fixture
def beside_the_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script finds what it shares with others in its own folder."""
    monkeypatch.syspath_prepend(EXAMPLES)


def run(name: str) -> dict[str, float]:
    """What the script's `main` returns: figures by name."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    figures: dict[str, float] = module.main()
    return figures


def test_every_example_is_run_here() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    assert all(f'run("{path.stem}")' in here for path in EXAMPLES.glob("[a-z]*.py"))


def test_transformers_attention_gives_the_logits_and_gradients_of_sdpa() -> None:
    pytest.importorskip("transformers")
    figures = run("transformers_attention")
    assert figures["largest logit"] > 1
    assert figures["largest difference of a logit"] < 5e-5
    assert figures["largest difference of a gradient"] < 5e-5


def check_training(figures: dict[str, float], weight: float) -> None:
    assert figures["last loss"] < 0.95 * figures["first loss"]
    assert figures["largest difference of a loss"] < 1e-5
    assert figures["largest difference of a weight"] < weight


def test_trainer_gives_its_own_losses_with_our_loss_and_attention() -> None:
    pytest.importorskip("accelerate", reason="transformers' Trainer needs it")
    check_training(run("hf_trainer"), 1e-4)


def test_sft_trainer_gives_its_own_losses_with_our_loss_and_attention() -> None:
    pytest.importorskip("trl")
    check_training(run("trl_sft"), 1e-4)


def test_a_lightning_module_gives_the_losses_of_torchs_own_parts() -> None:
    pytest.importorskip("lightning")
    figures = run("lightning_module")
    check_training(figures, 1e-4)
    assert figures["last loss with Muon"] < 0.95 * figures["first loss"]


def test_torchtitan_gives_the_losses_of_its_own_parts() -> None:
    pytest.importorskip("torchtitan")
    pytest.importorskip("spmd_types", reason="torchtitan needs it")
    figures = run("torchtitan_parts")
    check_training(figures, 1e-3)
    assert figures["last loss with Muon"] < 0.95 * figures["first loss"]


def test_nanotrons_attention_gives_torchs_with_ours_inside() -> None:
    if importlib.util.find_spec("nanotron") is None:
        pytest.skip("nanotron isn't installed")
    figures = run("nanotron_attention")
    assert figures["largest output"] > 1
    assert figures["largest difference of an output"] < 1e-5
    assert figures["largest difference of a gradient"] < 1e-5


def check_documents(figures: dict[str, float]) -> None:
    assert figures["rows"] == 64
    assert figures["rows that normalisation changed"] == 63
    assert figures["signatures that differ from one call"] == 0
    assert figures["estimated similarity of equal documents"] == 1
    assert 0.8 < figures["estimated similarity of one word more"] < 1


def test_ray_data_gives_the_rows_of_its_own_map() -> None:
    pytest.importorskip("ray.data")
    figures = run("ray_data")
    check_documents(figures)
    assert figures["texts that differ from Ray's map"] == 0


def test_datasets_gives_the_rows_of_a_plain_map() -> None:
    pytest.importorskip("datasets")
    figures = run("hf_datasets")
    check_documents(figures)
    assert figures["texts that differ from a plain map"] == 0


def test_polars_and_duckdb_give_what_their_own_functions_give() -> None:
    pytest.importorskip("polars")
    pytest.importorskip("duckdb")
    figures = run("polars_and_duckdb")
    assert figures["polars: rows that changed"] == figures["duckdb: rows that changed"] == 8
    assert figures["polars: documents left of different signature"] == figures["polars: distinct documents"] == 4
    assert figures["duckdb: distinct documents, read back"] == 4
    assert all(figure == 0 for name, figure in figures.items() if "differ from" in name or "differ inside" in name)

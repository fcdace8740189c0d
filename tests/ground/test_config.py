"""The configuration: every mistake is named with its remedy."""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path

import pytest

from smolfast import SmolfastError
from smolfast.config import Config, changed_settings, default_toml, load_config, validate_config


def test_printed_defaults_are_the_defaults() -> None:
    printed = default_toml()
    assert validate_config(tomllib.loads(printed)) == Config()
    settings = [line for line in printed.splitlines() if " = " in line]
    assert len(settings) > 30
    assert all("  # " in line and not line.endswith("None") for line in settings)


def test_file_then_overrides(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("seed = 3\n[train]\nsteps = 7\nsequence_length = 64\n")
    config = load_config(file, ["train.steps=9", "normalize.form=NFKC", "train.mtp_weights=[1, 0.5]"])
    assert (config.seed, config.train.steps, config.train.sequence_length) == (3, 9, 64)
    assert config.normalize.form == "NFKC"
    assert config.train.mtp_weights == (1.0, 0.5)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "train.stepz=1",
            r"unknown key 'train\.stepz'; did you mean 'train\.steps'\? `smolfast config` lists every key$",
        ),
        ("steps=1", r"unknown key 'steps'; did you mean 'train\.steps'\? `smolfast config` lists every key$"),
        ("train.xyzzy=1", r"unknown key 'train\.xyzzy'; `smolfast config` lists every key$"),
        ("trian.steps=1", r"unknown key 'trian'; did you mean 'train'\?"),
        ("normalize.form=NFX", r"normalize\.form = 'NFX': Input should be 'NFC', .*did you mean 'NF"),
        ("train.steps=0", r"train\.steps = 0: Input should be greater than or equal to 1"),
        ("train.steps=many", r"train\.steps = 'many': "),
        ("train.steps", "expected KEY=VALUE"),
        ("seed.x=1", r"seed = \{.x.: 1\}: Input should be a valid integer"),
        ("dedup.bands=100", r"bands × rows = 800 is more than num_perm = 112"),
        ("model.num_key_value_heads=3", "multiple of num_key_value_heads"),
        ("train.mtp_weights=[1.0]", "1 numbers for model.mtp_heads = 2"),
        ("train.micro_batch_size=5", "multiple of micro_batch_size"),
    ],
)
def test_mistakes_are_named(override: str, message: str) -> None:
    with pytest.raises(SmolfastError, match=message):
        load_config(None, [override])


def test_every_mistake_is_reported_at_once() -> None:
    with pytest.raises(SmolfastError, match=r"split\.held_out_fraction.*; .*train\.steps"):
        load_config(None, ["train.steps=0", "split.held_out_fraction=2"])


def test_missing_and_malformed_files(tmp_path: Path) -> None:
    with pytest.raises(SmolfastError, match=r"can't read the configuration .*none\.toml.*check --config"):
        load_config(tmp_path / "none.toml")
    bad = tmp_path / "bad.toml"
    bad.write_text("seed = = 3")
    with pytest.raises(SmolfastError, match=r"bad\.toml is not valid TOML"):
        load_config(bad)


def test_deduplicate_takes_every_setting_of_its_table() -> None:
    from smolfast.dedup import deduplicate

    parameters = inspect.signature(deduplicate).parameters
    table = Config().dedup.model_dump()
    assert {"threshold", "verify", "chains", "scheme"} <= table.keys() <= parameters.keys()
    for name, value in table.items():
        # 0 stands for no threshold, as TOML has no null.
        assert (value or None) == (parameters[name].default or None) or name in ("bands", "rows")


def test_changed_settings_make_the_configuration_again() -> None:
    assert changed_settings(Config()) == {}
    overrides = ["seed=3", "train.steps=9", "train.mtp_weights=[1, 0.5]", "train.mixture={a = 2.0}"]
    config = load_config(None, overrides)
    changed = changed_settings(config)
    assert set(changed) == {"seed", "train.steps", "train.mtp_weights", "train.mixture"}
    tree: dict[str, object] = {"seed": changed.pop("seed")}
    tree["train"] = {key.removeprefix("train."): value for key, value in changed.items()}
    assert validate_config(tree) == config

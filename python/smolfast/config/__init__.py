"""The whole configuration: defaults, limits and the comments that `smolfast config` prints.

Unknown keys and bad values are errors that name the key, what is allowed and the nearest match.
"""

from __future__ import annotations

from smolfast.config.model import ModelConfig
from smolfast.config.monitors import MonitorConfig, StageMonitorConfig
from smolfast.config.section import Section
from smolfast.config.settings import (
    AlignConfig,
    CollectConfig,
    Config,
    DistillConfig,
    DistillWeight,
    EvaluateConfig,
    GenerateConfig,
    NeedlesConfig,
    StageConfig,
    TokenizerConfig,
    TrainConfig,
    changed_settings,
    default_toml,
    load_config,
    parse_toml,
    parse_value,
    toml_value,
    validate_config,
)

__all__ = [
    "AlignConfig",
    "CollectConfig",
    "Config",
    "DistillConfig",
    "DistillWeight",
    "EvaluateConfig",
    "GenerateConfig",
    "ModelConfig",
    "MonitorConfig",
    "NeedlesConfig",
    "Section",
    "StageConfig",
    "StageMonitorConfig",
    "TokenizerConfig",
    "TrainConfig",
    "changed_settings",
    "default_toml",
    "load_config",
    "parse_toml",
    "parse_value",
    "toml_value",
    "validate_config",
]

"""The whole configuration as pydantic models: defaults, limits and the comments that `smolfast config` prints.

Unknown keys and bad values are errors that name the key, what is allowed and the nearest match.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from smolfast.errors import SmolfastError
from smolfast.io.sources import one_line
from smolfast.presets import find_preset, preset_names

# Bounds of a configuration file.
_MOST_BYTES = 256 << 10
_MOST_PARTS = 256

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Share = Annotated[float, Field(ge=0.0)]


class Section(BaseModel):
    """A table of the configuration file."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_fit(cls, value: Any) -> Any:
        """Whole numbers have to fit into 64 bits: everything that they are given to has them so."""
        if isinstance(value, int) and abs(value) >= 1 << 63:
            raise PydanticCustomError("too_large", "Input should be below 2⁶³")
        return value


class CollectConfig(Section):
    """Which documents go in."""

    max_bytes: int = Field(24_000_000, ge=1, description="stop collecting at this many UTF-8 bytes of text")
    min_document_bytes: int = Field(64, ge=0, description="leave out documents shorter than this")
    max_document_bytes: int = Field(200_000, ge=1, description="leave out documents longer than this (data, not prose)")


class NormalizeConfig(Section):
    """Unicode normalisation of every document."""

    form: Literal["NFC", "NFD", "NFKC", "NFKD"] = Field("NFC", description="Unicode normalisation form")


class DedupConfig(Section):
    """Exact and MinHash near-duplicate removal."""

    num_perm: int = Field(112, ge=1, le=1024, description="hashes per MinHash signature")
    ngram: int = Field(5, ge=1, le=64, description="words per shingle")
    bands: int = Field(14, ge=1, description="LSH bands; bands × rows hashes are used")
    rows: int = Field(8, ge=1, description="hashes per band; two documents meet when all rows of a band agree")
    threshold: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="Jaccard similarity of near-duplicates; 0 for the bands' own, (1/bands)^(1/rows)",
    )
    verify: Literal["signature", "exact", "none"] = Field(
        "signature", description="what has to reach it: the signatures' estimate, the similarity itself, or nothing"
    )
    chains: bool = Field(
        False, description="keep one document of a cluster, even where others are like it only through others between"
    )
    scheme: Literal["fast", "classic", "datasketch", "datatrove"] = Field(
        "fast", description="how documents are signed"
    )
    keep: Literal["first", "longest"] = Field("first", description="which document of a cluster stays first")

    @model_validator(mode="after")
    def _bands_fit(self) -> Self:
        if self.bands * self.rows > self.num_perm:
            raise ValueError(f"bands × rows = {self.bands * self.rows} is more than num_perm = {self.num_perm}")
        return self


class SplitConfig(Section):
    """Train and held-out documents, by document hash after deduplication."""

    held_out_fraction: float = Field(0.05, gt=0.0, lt=0.5, description="share of documents held out for evaluation")


class TokenizerConfig(Section):
    """Byte-level BPE."""

    vocab_size: int = Field(4096, ge=258, le=1_000_000, description="tokens, the special ones and 256 bytes included")
    chat: bool = Field(False, description="also the special tokens of conversations, <|im_start|> and <|im_end|>")


class ModelConfig(Section):
    """A SmolLM3-shaped decoder (names as in the Hugging Face configuration)."""

    hidden_size: int = Field(128, ge=8, description="width of the residual stream")
    intermediate_size: int = Field(416, ge=8, description="width of the SwiGLU layer")
    num_hidden_layers: int = Field(4, ge=1, le=4096, description="decoder layers")
    num_attention_heads: int = Field(4, ge=1, description="query heads")
    num_key_value_heads: int = Field(1, ge=1, description="key/value heads; each serves a group of query heads")
    head_dim: int = Field(32, ge=2, description="width of a head")
    no_rope_layer_interval: int = Field(4, ge=1, description="every n-th layer has no rotary embedding (NoPE)")
    rope_theta: float = Field(10_000.0, gt=0, description="base of the rotary frequencies")
    yarn_factor: float = Field(1.0, ge=1, description="YaRN: stretch of the context beyond yarn_context; 1 for none")
    yarn_context: int = Field(
        0, ge=0, description="YaRN: the context before the stretch; 0 for max_position_embeddings / yarn_factor"
    )
    max_position_embeddings: int = Field(64, ge=1, description="longest sequence the exported model promises")
    rms_norm_eps: float = Field(1e-6, gt=0, description="epsilon of RMSNorm")
    initializer_range: float = Field(0.02, gt=0, description="standard deviation of the initial weights")
    tie_word_embeddings: bool = Field(True, description="the output layer shares the embedding's weights")
    mtp_heads: int = Field(
        2, ge=1, le=8, description="prediction heads: 1 is next-token only, k predicts k tokens ahead"
    )
    mtp_kind: Literal["independent", "sequential", "shared"] = Field(
        "independent",
        description="further heads: layers beside the last (Meta), layers one after another that are given the token "
        "between (DeepSeek-V3), or the first head's own logits",
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError("num_attention_heads must be a multiple of num_key_value_heads")
        if self.head_dim % 2:
            raise ValueError("head_dim must be even, for the rotary embedding")
        return self


class StageConfig(Section):
    """A part of training with settings of its own; 0 or nothing takes what the whole run has."""

    fraction: float = Field(..., gt=0.0, le=1.0, description="share of the steps; those of all stages sum to 1")
    weights: dict[str, Share] = Field(default_factory=dict, description="share of each source of text, by name")
    sequence_length: int = Field(0, ge=0, description="tokens per packed sequence")
    rope_theta: float = Field(0.0, ge=0, description="base of the rotary frequencies from here on")
    learning_rate_scale: float = Field(1.0, gt=0, description="factor of both learning rates")
    reset_optimizer: bool = Field(False, description="forget momentum and moments when the stage begins")


class TrainConfig(Section):
    """The training loop."""

    steps: int = Field(440, ge=1, description="optimiser steps")
    sequence_length: int = Field(64, ge=8, description="tokens per packed sequence")
    batch_size: int = Field(64, ge=1, description="sequences per optimiser step")
    micro_batch_size: int = Field(
        16, ge=1, description="sequences per forward and backward; on a CPU they run side by side"
    )
    optimizer: Literal["muon", "adamw"] = Field("muon", description="muon: Muon for matrices, AdamW for the rest")
    muon_learning_rate: float = Field(0.05, gt=0, description="peak rate of the matrices")
    adamw_learning_rate: float = Field(0.03, gt=0, description="peak rate of embeddings, norms and the rest")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay of matrices and embeddings")
    warmup_fraction: Fraction = Field(0.03, description="share of the steps with a rising rate")
    decay_fraction: Fraction = Field(0.5, description="share of the steps with a falling rate (WSD)")
    schedule: Literal["wsd", "cosine"] = Field("wsd", description="wsd: warm-up, stable, decay; cosine: no plateau")
    decay_shape: Literal["linear", "1-sqrt"] = Field("linear", description="how the rate falls at the end of wsd")
    final_rate_fraction: Fraction = Field(0.0, description="share of the peak rate that cosine falls to")
    batch_ramp_fraction: Fraction = Field(0.0, description="share of the steps in which the batch grows; 0 for none")
    batch_ramp_start: int = Field(
        0, ge=0, description="sequences of the first batch, and of each rise, where the batch grows; 0 for batch_size"
    )
    gradient_clip: float = Field(1.0, gt=0, description="largest global gradient norm")
    clip: Literal["global", "zclip", "adagc"] = Field(
        "global", description="clip by gradient_clip alone, or by the norm's history (ZClip), or by each matrix's"
    )
    z_loss: float = Field(0.0, ge=0, description="weight of the squared log-partition, 1e-4 in PaLM; 0 for none")
    qk_clip: float = Field(
        0.0, ge=0, description="largest attention logit: heads above are scaled down after the step (QK-clip); 0: none"
    )
    on_spike: Literal["warn", "skip", "rollback"] = Field(
        "warn",
        description="a spike of loss or gradient: note it; leave the batch out; or go back to a checkpoint and pass it",
    )
    spike_sigma: float = Field(6.0, gt=0, description="standard deviations above the last steps that make a spike")
    spike_window: int = Field(128, ge=8, description="steps that a spike is compared with")
    rollback_skip: int = Field(8, ge=0, description="batches passed over after a rollback, beside those it undid")
    rollback_rate: float = Field(0.5, gt=0, le=1, description="factor of the rates from a rollback on")
    max_rollbacks: int = Field(12, ge=1, description="rollbacks, or skipped batches in a row, before the run gives up")
    monitor_every: int = Field(
        100, ge=0, description="steps between looks at features: rank, change, dead units, attention; 0 for none"
    )
    mixture: dict[str, Share] = Field(
        default_factory=dict, description="weight of each source of text by name; must sum to 1"
    )
    normalize_mixture: bool = Field(False, description="divide weights of sources by their sum")
    stages: tuple[StageConfig, ...] = Field((), description="parts of the run with weights and settings of their own")
    mtp_weights: tuple[float, ...] = Field((1.0, 0.2), description="weight of each prediction head in the loss")
    checkpoint_every: int = Field(50, ge=1, description="steps between checkpoints")
    keep_checkpoints: int = Field(2, ge=1, description="last checkpoints that stay")
    keep_checkpoint_every: int = Field(0, ge=0, description="checkpoints of a multiple of this stay too; 0 for none")
    evaluate_every: int = Field(50, ge=0, description="steps between quick held-out losses; 0 for none")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="bf16: products in 16 bits (autocast); weights, their gradients and the optimiser stay fp32"
    )
    compile: Literal["auto"] | bool = Field(
        "auto", description="torch.compile of the layers; auto: on an accelerator, where it pays"
    )
    tensorboard: bool = Field(False, description="also write the metrics for TensorBoard")
    trackio: bool = Field(False, description="also log the metrics to trackio, on this machine")

    @model_validator(mode="after")
    def _batches_divide(self) -> Self:
        if self.batch_size % self.micro_batch_size:
            raise ValueError("batch_size must be a multiple of micro_batch_size")
        if self.warmup_fraction + self.decay_fraction > 1:
            raise ValueError("warmup_fraction + decay_fraction must not pass 1")
        if self.batch_ramp_start % self.micro_batch_size or self.batch_ramp_start > self.batch_size:
            raise ValueError("batch_ramp_start must be a multiple of micro_batch_size and at most batch_size")
        if self.compile is True and self.qk_clip:
            raise ValueError("compile hides the attention logits that qk_clip looks at; set one of them to nothing")
        if self.stages and abs(sum(stage.fraction for stage in self.stages) - 1) > 1e-6:
            raise ValueError(f"the fractions of stages sum to {sum(s.fraction for s in self.stages):.6g}; make it 1")
        return self


class DistillConfig(Section):
    """Learning from a teacher; used where training is given a teacher or its cache."""

    ce_weight: float = Field(0.5, ge=0, description="weight of the cross-entropy with the text itself")
    kl_weight: float = Field(0.5, ge=0, description="weight of τ² · the divergence from the teacher")
    temperature: float = Field(1.0, gt=0, description="τ, of both distributions; a cache must have been made with it")
    divergence: Literal["forward", "reverse", "js"] = Field(
        "forward", description="KL(teacher ‖ student), KL(student ‖ teacher) or Jensen–Shannon; a cache serves forward"
    )
    hidden_weight: float = Field(
        0.0, ge=0, description="weight of matching the teacher's last states, through a projection if widths differ"
    )
    attention_weight: float = Field(0.0, ge=0, description="weight of matching the teacher's last attention map")


class EvaluateConfig(Section):
    """Held-out bits per byte."""

    max_bytes: int = Field(1_000_000, ge=1, description="held-out UTF-8 bytes to evaluate on, whole documents")


class GenerateConfig(Section):
    """The sample at the end."""

    prompt: str = Field("def main(", description="where the sample starts")
    max_new_tokens: int = Field(160, ge=1, description="length of the sample")
    temperature: float = Field(0.7, ge=0, description="0 takes the likeliest token each time")


class Config(Section):
    """Everything that decides what a run makes. Threads, folders and time limits are not part of it."""

    seed: int = Field(0, ge=0, description="seed of everything random")
    collect: CollectConfig = CollectConfig()
    normalize: NormalizeConfig = NormalizeConfig()
    dedup: DedupConfig = DedupConfig()
    split: SplitConfig = SplitConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    distill: DistillConfig = DistillConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    generate: GenerateConfig = GenerateConfig()

    @model_validator(mode="after")
    def _heads_agree(self) -> Self:
        if len(self.train.mtp_weights) != self.model.mtp_heads:
            raise ValueError(
                f"train.mtp_weights has {len(self.train.mtp_weights)} numbers "
                f"for model.mtp_heads = {self.model.mtp_heads}"
            )
        longest = max([self.train.sequence_length, *(stage.sequence_length for stage in self.train.stages)])
        if longest > self.model.max_position_embeddings:
            raise ValueError("train.sequence_length must not pass model.max_position_embeddings")
        return self


def load_config(path: str | Path | None = None, overrides: Iterable[str] = ()) -> Config:
    """Read a TOML file, or a preset by its name, over the defaults, then apply `a.b=value` overrides.

    Values of overrides are in TOML syntax, or bare strings.

    Raises:
        SmolfastError: a missing or malformed file, an unknown key or a bad value.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        if not Path(path).exists():
            path = find_preset(path) or path
        try:
            with Path(path).open("rb") as file:
                tree = _parse_toml(file.read(_MOST_BYTES + 1).decode("utf-8"))
        except OSError as error:
            raise SmolfastError(
                f"can't read the configuration {path}: {error.strerror}; check --config, or give "
                f"a preset: {', '.join(preset_names())}"
            ) from error
        except (ValueError, RecursionError) as error:
            raise SmolfastError(f"{path} is not valid TOML: {one_line(error)}; correct it") from error
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            raise SmolfastError(f"--set {override}: expected KEY=VALUE, for example --set train.steps=100")
        _assign(tree, key.strip(), _parse_value(value.strip()), override)
    return validate_config(tree)


def validate_config(tree: Mapping[str, Any]) -> Config:
    """Check a tree of settings; every problem is one line of the error."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        problems = error.errors()
        more = [f"and {len(problems) - 20} more"] if len(problems) > 20 else []
        raise SmolfastError("; ".join([*(_explain(dict(problem)) for problem in problems[:20]), *more])) from error


def changed_settings(config: Config) -> dict[str, Any]:
    """Settings that differ from the defaults, by the name that `--set` takes: `{"train.steps": 100}`."""
    changed: dict[str, Any] = {}
    default = Config().model_dump(mode="json")
    for name, value in config.model_dump(mode="json").items():
        if not isinstance(value, dict):
            changed |= {name: value} if value != default[name] else {}
            continue
        changed |= {f"{name}.{key}": item for key, item in value.items() if item != default[name][key]}
    return changed


def default_toml() -> str:
    """The default configuration as TOML, a comment on every key."""
    lines = ["# The configuration of smolfast quickstart and smolfast train, with its defaults.", ""]
    default = Config()
    for name, field in Config.model_fields.items():
        value = getattr(default, name)
        if isinstance(value, Section):
            lines += ["", f"[{name}]  # {(type(value).__doc__ or '').strip().splitlines()[0]}"]
            for key, inner in type(value).model_fields.items():
                lines.append(f"{key} = {_toml(getattr(value, key))}  # {inner.description}")
        else:
            lines.append(f"{name} = {_toml(value)}  # {field.description}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Section):
        return _toml(value.model_dump())
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:_}"
    return repr(value)


def _parse_toml(text: str) -> dict[str, Any]:
    """Raises ValueError, or RecursionError for brackets thousands deep."""
    if len(text) > _MOST_BYTES:
        raise ValueError(f"longer than {_MOST_BYTES} bytes")
    # tomllib takes time and memory by the square of a key's parts: 40 GB for 100,000.
    if any(part.count(".") > _MOST_PARTS for line in text.splitlines() for part in line.split("=")):
        raise ValueError(f"a key of more than {_MOST_PARTS} parts")
    return tomllib.loads(text)


def _parse_value(text: str) -> Any:
    try:
        return _parse_toml(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _assign(tree: dict[str, Any], key: str, value: Any, override: str) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise SmolfastError(f"--set {override}: {parent} is a value, not a table")
    tree[last] = value


def _fields_at(location: tuple[Any, ...]) -> dict[str, Any]:
    model: Any = Config
    for part in location:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, Section)):
            return {}
        model = field.annotation
    return dict(model.model_fields)


def _similar_keys(location: tuple[Any, ...]) -> list[str]:
    """Keys of the same table with a name like it, at most three; else those of other tables with the very name."""
    *table, name = location
    near = difflib.get_close_matches(str(name), _fields_at(tuple(table)), n=3)
    if near:
        return [".".join(map(str, (*table, key))) for key in near]
    return [f"{section}.{name}" for section in Config.model_fields if name in _fields_at((section,))][:3]


def _shortened(value: Any) -> str:
    """A value as it may stand in a line: what a file holds can be of any size and depth."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= 200 else text[:199] + "…"


def _explain(problem: dict[str, Any]) -> str:
    location = tuple(problem["loc"])
    key = ".".join(str(part) for part in location)
    if problem["type"] == "extra_forbidden":
        near = _similar_keys(location)
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        return f"unknown key '{key}'; {hint}`smolfast config` lists every key"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "value_error":  # settings that are good one by one and don't fit together
        return f"[{key}] {message}" if key else message
    where = f"{key} = {_shortened(problem['input'])}: "
    hint = ""
    if problem["type"] == "literal_error":
        allowed = str(problem.get("ctx", {}).get("expected", ""))
        near = difflib.get_close_matches(
            str(problem["input"]), [a.strip(" '") for a in allowed.split(",")], n=1, cutoff=0.4
        )
        hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"{where}{message}{hint}"

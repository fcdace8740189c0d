"""The whole configuration as pydantic models: defaults, limits and the comments that `smolfast config` prints.

Unknown keys and bad values are errors that name the key, what is allowed and the nearest match.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import Field, ValidationError, model_validator

from smolfast.config.model import ModelConfig
from smolfast.config.monitors import MonitorConfig
from smolfast.config.section import Fraction, PromptLength, Section, Share
from smolfast.errors import SmolfastError
from smolfast.io.sources import one_line
from smolfast.monitors.rule import ENDS, FACTORS, contradiction
from smolfast.presets import FURTHER, find_preset, preset_names

# Bounds of a configuration file.
_MOST_BYTES = 256 << 10
_MOST_PARTS = 256


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
    max_token_length: int = Field(64, ge=4, description="bytes of the longest token; a longer ruler becomes several")
    chat: bool = Field(False, description="also the special tokens of conversations, <|im_start|> and <|im_end|>")


class StageConfig(Section):
    """A part of training with settings of its own; 0 or nothing takes what the whole run has."""

    fraction: float = Field(..., gt=0.0, le=1.0, description="share of the steps; those of all stages sum to 1")
    weights: dict[str, Share] = Field(default_factory=dict, description="share of each source of text, by name")
    sequence_length: int = Field(0, ge=0, description="tokens per packed sequence")
    rope_theta: float = Field(0.0, ge=0, description="base of the rotary frequencies from here on")
    yarn_factor: float = Field(0.0, ge=0, description="YaRN's stretch beyond model.yarn_context from here on")
    long_documents: Fraction = Field(
        0.0, description="share of windows drawn from documents of a window's length and more; the rest from all"
    )
    learning_rate_scale: float = Field(1.0, gt=0, description="factor of both learning rates")
    reset_optimizer: bool = Field(False, description="forget momentum and moments when the stage begins")


class TrainConfig(Section):
    """The training loop."""

    steps: int = Field(440, ge=1, description="optimiser steps")
    sequence_length: int = Field(64, ge=8, description="tokens per packed sequence")
    packing: Literal["stream", "fit"] = Field(
        "stream", description="stream: documents end to end, cut where a window ends; fit: whole ones, by length"
    )
    batch_size: int = Field(64, ge=1, description="sequences per optimiser step")
    micro_batch_size: int = Field(
        16, ge=1, description="sequences per forward and backward; on a CPU they run side by side"
    )
    optimizer: Literal["muon", "adamw"] = Field("muon", description="muon: Muon for matrices, AdamW for the rest")
    muon_learning_rate: float = Field(0.05, gt=0, description="peak rate of the matrices")
    adamw_learning_rate: float = Field(0.03, gt=0, description="peak rate of embeddings, norms and the rest")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay of matrices and embeddings")
    parametrization: Literal["standard", "mup", "completep"] = Field(
        "standard",
        description="what changes with the model's shape: nothing; rates and initial weights by width (mup); by depth "
        "too (completep)",
    )
    base_hidden_size: int = Field(128, ge=1, description="width at which the rates were found good, for mup, completep")
    base_layers: int = Field(4, ge=1, description="layers at which the rates were found good, for completep")
    zero_init_outputs: bool = Field(
        False, description="o_proj, down_proj and an untied output layer begin at zero: fresh layers add nothing"
    )
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
    monitors: tuple[MonitorConfig, ...] = Field((), description="rules on metrics, and what is done where they hold")
    checkpoint_every: int = Field(50, ge=1, description="steps between checkpoints")
    keep_checkpoints: int = Field(2, ge=1, description="last checkpoints that stay")
    keep_checkpoint_every: int = Field(0, ge=0, description="checkpoints of a multiple of this stay too; 0 for none")
    evaluate_every: int = Field(50, ge=0, description="steps between quick held-out losses; 0 for none")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="bf16: products in 16 bits (autocast); weights, their gradients and the optimiser stay fp32"
    )
    recompute: Literal["none", "selective", "full"] = Field(
        "none",
        description="what the backward pass computes again instead of keeping it: nothing; feed-forward parts; layers",
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

    @model_validator(mode="after")
    def _monitors_fit(self) -> Self:
        if problem := contradiction([monitor.rule() for monitor in self.monitors]):
            raise ValueError(problem)
        for index, monitor in enumerate(self.monitors):
            for family, setting in (("held_out", "evaluate_every"), ("features", "monitor_every")):
                if monitor.metric.startswith(family) and not getattr(self, setting):
                    raise ValueError(f"monitor {index} looks at {monitor.metric}, and {setting} = 0 leaves it out")
            if monitor.reaction == "tighten clip" and self.clip == "adagc":
                raise ValueError(f"monitor {index} tightens gradient_clip, which clip = 'adagc' doesn't use")
        return self

    def deciding(self) -> TrainConfig:
        """Without the monitors that only tell, and without what is a matter of room: a run makes the same."""
        deciding = tuple(monitor for monitor in self.monitors if monitor.reaction in (*ENDS, *FACTORS))
        return self.model_copy(update={"monitors": deciding, "recompute": "none"})


DistillWeight = Literal[
    "ce_weight", "kl_weight", "hidden_weight", "attention_weight", "layer_weight", "layer_attention_weight"
]


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
    layers: dict[int, int] = Field(
        default_factory=dict, description="which of the student's layers match which of the teacher's: {2 = 4, 4 = 8}"
    )
    layer_weight: float = Field(0.0, ge=0, description="weight of matching the outputs of these layers")
    layer_attention_weight: float = Field(0.0, ge=0, description="weight of matching these layers' attention maps")
    schedules: dict[DistillWeight, tuple[tuple[Fraction, Share], ...]] = Field(
        default_factory=dict,
        description="factors of weights by share of the steps, straight between: {layer_weight = [[0, 1], [0.5, 0]]}",
    )

    @model_validator(mode="after")
    def _layers_fit(self) -> Self:
        if (self.layer_weight or self.layer_attention_weight) and not self.layers:
            raise ValueError("layer_weight and layer_attention_weight need layers, such as layers={2 = 4}")
        if any(number < 1 for pair in self.layers.items() for number in pair):
            raise ValueError(f"layers = {self.layers}: layers are counted from 1")
        for name, points in self.schedules.items():
            shares = [share for share, _ in points]
            if not points or shares != sorted(set(shares)):
                raise ValueError(f"schedules.{name} needs points [share, factor] with rising shares")
        return self


class AlignConfig(Section):
    """Learning from pairs of answers; used where training is given preferences."""

    loss: Literal["sigmoid", "sigmoid_norm", "apo_zero", "apo_zero_norm", "apo_down", "apo_down_norm"] = Field(
        "sigmoid", description="sigmoid: DPO; apo_zero, apo_down: APO; _norm: log-ratios by token of the answer"
    )
    beta: float = Field(0.1, gt=0, description="how strongly the reference holds the model; 2 to 10 for _norm")
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="chance that a pair is the wrong way round (conservative DPO); for sigmoid"
    )
    ld_alpha: Fraction = Field(
        1.0, description="weight of the tokens by which an answer is longer than the other of its pair (LD-DPO)"
    )
    held_out_fraction: float = Field(0.05, ge=0.0, lt=0.5, description="share of pairs held out, by hash of the prompt")
    too_long: Literal["fail", "cut", "skip"] = Field(
        "fail", description="a pair beyond train.sequence_length: stop; cut its prompt's beginning; or leave it out"
    )
    errors: Literal["fail", "skip"] = Field("fail", description="a pair that teaches nothing or has another form")

    @model_validator(mode="after")
    def _smoothing_fits(self) -> Self:
        if self.label_smoothing and not self.loss.startswith("sigmoid"):
            raise ValueError(f"label_smoothing belongs to sigmoid, not to loss = '{self.loss}'; set it to 0")
        return self


class EvaluateConfig(Section):
    """Held-out bits per byte."""

    max_bytes: int = Field(1_000_000, ge=1, description="held-out UTF-8 bytes to evaluate on, whole documents")
    context: int = Field(0, ge=0, description="tokens of a window; 0 for the model's context")


class NeedlesConfig(Section):
    """Tasks whose answer stands somewhere in a long prompt."""

    tasks: tuple[Literal["needle", "needles", "tracking", "counting"], ...] = Field(
        ("needle", "needles", "tracking", "counting"),
        min_length=1,
        description="one needle; one of four; a value handed on; the word that comes most often",
    )
    lengths: tuple[PromptLength, ...] = Field(
        (), description="tokens of a prompt with its answer; none for a quarter, half and all of the model's context"
    )
    depths: tuple[Fraction, ...] = Field(
        (0.0, 0.25, 0.5, 0.75, 1.0), min_length=1, description="where the needle lies, as a share of the prompt"
    )
    samples: int = Field(10, ge=1, description="prompts of each task, length and depth")

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        for name in ("tasks", "lengths", "depths"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} has a value twice")
        return self


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
    align: AlignConfig = AlignConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    needles: NeedlesConfig = NeedlesConfig()
    generate: GenerateConfig = GenerateConfig()

    @model_validator(mode="after")
    def _heads_agree(self) -> Self:
        if len(self.train.mtp_weights) != self.model.mtp_heads:
            raise ValueError(
                f"train.mtp_weights has {len(self.train.mtp_weights)} numbers "
                f"for model.mtp_heads = {self.model.mtp_heads}"
            )
        if self.model.qk_norm and self.train.qk_clip:
            raise ValueError("model.qk_norm undoes what train.qk_clip does to weights; set one of them to nothing")
        for index, stage in enumerate(self.train.stages):
            if 0 < stage.yarn_factor < 1:
                raise ValueError(f"train.stages.{index}.yarn_factor = {stage.yarn_factor} shrinks; give 1 or more")
            if stage.yarn_factor > 1 and not self.model.yarn_context:
                raise ValueError(
                    f"train.stages.{index}.yarn_factor stretches model.yarn_context, which is 0; set it to the context "
                    "that the model was trained with"
                )
        longest = max([self.train.sequence_length, *(stage.sequence_length for stage in self.train.stages)])
        if longest > self.model.max_position_embeddings:
            raise ValueError("train.sequence_length must not pass model.max_position_embeddings")
        return self


class _Apart(Config):
    @model_validator(mode="after")
    def _heads_agree(self) -> Self:
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
                tree = parse_toml(file.read(_MOST_BYTES + 1).decode("utf-8"))
        except OSError as error:
            raise SmolfastError(
                f"can't read the configuration {path}: {error.strerror}; check --config, or give "
                f"a preset: {', '.join([*preset_names(), *FURTHER])}"
            ) from error
        except (ValueError, RecursionError) as error:
            raise SmolfastError(f"{path} is not valid TOML: {one_line(error)}; correct it") from error
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            raise SmolfastError(f"--set {override}: expected KEY=VALUE, for example --set train.steps=100")
        _assign(tree, key.strip(), parse_value(value.strip()), override)
    return validate_config(tree)


def validate_config(tree: Mapping[str, Any], *, together: bool = True) -> Config:
    """Check a tree of settings; every problem is one line of the error.

    Args:
        together: whether the tables have to fit each other, too.
    """
    try:
        return (Config if together else _Apart).model_validate(tree)
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
                lines.append(f"{key} = {toml_value(getattr(value, key))}  # {inner.description}")
        else:
            lines.append(f"{name} = {toml_value(value)}  # {field.description}")
    return "\n".join(lines) + "\n"


def toml_value(value: Any) -> str:
    """A value in TOML's syntax, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml_value(str(key))} = {toml_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Section):
        return toml_value(value.model_dump())
    if isinstance(value, tuple | list):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:_}"
    return repr(value)


def parse_toml(text: str, *, most: int = _MOST_BYTES) -> dict[str, Any]:
    """Raises ValueError, or RecursionError for brackets thousands deep."""
    if len(text) > most:
        raise ValueError(f"longer than {most} bytes")
    # tomllib takes time and memory by the square of a key's parts: 40 GB for 100,000.
    if any(part.count(".") > _MOST_PARTS for line in text.splitlines() for part in line.split("=")):
        raise ValueError(f"a key of more than {_MOST_PARTS} parts")
    return tomllib.loads(text)


def parse_value(text: str) -> Any:
    """A value in TOML syntax, or the text itself."""
    try:
        return parse_toml(f"value = {text}")["value"]
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
        if isinstance(part, int):  # of a list, all of whose items are of one kind
            continue
        field = model.model_fields.get(part)
        kind = None if field is None else next(iter(get_args(field.annotation)), field.annotation)
        if not (isinstance(kind, type) and issubclass(kind, Section)):
            return {}
        model = kind
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

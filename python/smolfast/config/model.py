"""The model's table of the configuration."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from smolfast.config.section import Section


class ModelConfig(Section):
    """A SmolLM3-shaped decoder (names as in the Hugging Face configuration)."""

    hidden_size: int = Field(128, ge=8, description="width of the residual stream")
    intermediate_size: int = Field(416, ge=8, description="units of a layer's feed-forward part")
    activation: Literal["swiglu", "relu2", "gelu"] = Field(
        "swiglu", description="of the feed-forward part: gated by SiLU; or ReLU² or GELU, with two matrices for three"
    )
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
    norm: Literal["rmsnorm", "layernorm"] = Field(
        "rmsnorm", description="layernorm also takes the mean away; neither has a bias"
    )
    qk_norm: bool = Field(False, description="also a norm of each head's queries and keys, before they rotate")
    rms_norm_eps: float = Field(1e-6, gt=0, description="epsilon of the norms")
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

    def beyond_transformers(self) -> str | None:
        """Why transformers' SmolLM3 can't hold this model; None if it can.

        ReLU² it can: relu(x) · x, a gate that has the same weights as what it gates.
        """
        reasons = {
            'model.activation = "gelu"': self.activation == "gelu" and "its feed-forward part is gated",
            'model.norm = "layernorm"': self.norm == "layernorm" and "its norms are RMSNorms",
            "model.qk_norm = true": self.qk_norm and "its queries and keys have no norm",
        }
        found = [f"{setting} ({why})" for setting, why in reasons.items() if why]
        return f"transformers' SmolLM3 has no place for {', '.join(found)}" if found else None

"""What every table of the configuration is: strict, frozen, with numbers that fit."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Share = Annotated[float, Field(ge=0.0)]
PromptLength = Annotated[int, Field(ge=16, le=1 << 24)]


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

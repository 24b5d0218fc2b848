"""Base of the frozen, validated policies. Each policy stands in the module that uses it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError


class Tier(StrEnum):
    """Who needs a setting. Everyday: every deployment. Tuning: a deployment with its own load,
    machines or rules. Expert: rarely anyone, because the defaults were measured or depend on one
    another."""

    EVERYDAY = "everyday"
    TUNING = "tuning"
    EXPERT = "expert"


class Policy(BaseModel):
    """One section of the settings. Immutable; an unknown key is an error.

    ``tier`` applies to the settings of the section. ``Annotated[type, Tier.…]`` gives a single
    setting another tier.
    """

    tier: ClassVar[Tier]

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false for a number, because pydantic takes them for 1 and 0."""
        if isinstance(value, bool) and info.field_name is not None:
            annotation = cls.model_fields[info.field_name].annotation
            types = {annotation, *get_args(annotation)}
            if types & {int, float} and bool not in types:
                raise PydanticCustomError("number_type", "Input should be a number")
        return value

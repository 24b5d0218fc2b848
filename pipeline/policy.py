"""Base of the frozen, validated policies that stand beside their users."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError


class Tier(StrEnum):
    """Who needs a setting: every deployment the everyday ones, and one with a load, machines or
    rules of its own the tuning ones. Defaults of expert ones were measured, or follow from one
    another."""

    EVERYDAY = "everyday"
    TUNING = "tuning"
    EXPERT = "expert"


class Policy(BaseModel):
    """One section of the settings: immutable, and an unknown key is an error.

    Each section says the ``tier`` of its settings; ``Annotated[type, Tier.…]`` says another one of
    a single setting.
    """

    tier: ClassVar[Tier]

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where a number is wanted: pydantic takes them for 1 and 0."""
        if isinstance(value, bool) and info.field_name is not None:
            annotation = cls.model_fields[info.field_name].annotation
            types = {annotation, *get_args(annotation)}
            if types & {int, float} and bool not in types:
                raise PydanticCustomError("number_type", "Input should be a number")
        return value

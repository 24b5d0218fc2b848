"""A label set as it is written: its keys, and what is wrong with them.

``values`` says what each key may hold by itself. What keys mean together, and what is meant where
one is left out, says ``parsing``. A value is None where it is left out, or wrong and complained of
already.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic_core import ErrorDetails

from pipeline.complaints import KeyPath, Problem, alike, described, instead, quoted, said
from pipeline.labels.learnt.head import ACTIVATIONS, MAX_LAYERS
from pipeline.labels.values import (
    WRONG,
    ActedShare,
    Categories,
    DecisionName,
    Digest,
    Finite,
    Flag,
    Identifier,
    Knots,
    LabelName,
    Probability,
    Prompt,
    Range,
    Scale,
    SeveralFrames,
    Sha256,
    Slope,
    Template,
    Text,
    Texts,
    WeightsFile,
    checked,
    together,
)
from pipeline.records import JsonValue

_WRONG_LABEL = dict.fromkeys(("name", "prompts", "contrast"), WRONG)
_EMPTY = object()
"""Stands for a null, which no key takes."""


class _Written(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="wrap")
    @classmethod
    def _key(cls, value: Any, read: ValidatorFunctionWrapHandler) -> Any:
        if value is WRONG:
            return None
        return read(_EMPTY if value is None else value)

    def has(self, key: str) -> bool:
        """Whether a key is written, rightly or wrongly."""
        return key in self.model_fields_set


class WrittenExpectation(_Written):
    """What ``expect`` holds."""

    precision: Probability | None = None
    recall: Probability | None = None


class WrittenPlatt(_Written):
    """What ``platt`` holds."""

    slope: Slope | None
    intercept: Finite | None


class WrittenCalibration(_Written):
    """What ``calibration`` holds."""

    platt: WrittenPlatt | None = None
    isotonic: Knots | None = None
    sample: Digest | None


class WrittenLabel(_Written):
    """One entry of ``labels``."""

    name: LabelName | None
    phrases: Texts[Prompt] | None = None
    prompts: Texts[Prompt] | None = None
    contrast: Texts[Prompt] | None = None
    neutral: Flag | None = None
    category: Categories | None = None
    act_threshold: Probability | None = None
    act_action: Text | None = None
    review_threshold: Probability | None = None
    review_action: Text | None = None
    expect: WrittenExpectation | None = None
    calibration: WrittenCalibration | None = None


class WrittenPin(_Written):
    """What ``model`` holds."""

    name: Text | None
    revision: Text | None


class WrittenReviewIf(_Written):
    """What ``review_if`` holds."""

    cropped_share: ActedShare | None = None
    frames: SeveralFrames | None = None


class WrittenLayer(_Written):
    """One entry of ``layers``."""

    tensors: Text
    activation: Literal["none", "relu", "tanh", "sigmoid"] = "none"


_NO_LAYERS = (
    "is no list of layers; write [{tensors: NAME, activation: ACTIVATION}, …] with "
    f"{', '.join(ACTIVATIONS)} as activations"
)


def _layers(layers: Sequence[WrittenLayer]) -> str | None:
    if len(layers) <= MAX_LAYERS:
        return None
    return f"has {len(layers)} layers, more than {MAX_LAYERS}; use a smaller head"


class WrittenHead(_Written):
    """What ``head`` holds."""

    weights: WeightsFile | None
    sha256: Sha256 | None
    layers: (
        Annotated[
            tuple[WrittenLayer, ...], Field(min_length=1), together(_NO_LAYERS), checked(_layers)
        ]
        | None
    ) = None
    scale: Scale | None = None
    range: Range | None = None


class WrittenSet(_Written):
    """A label set's file."""

    name: Identifier | None
    decision: DecisionName | None
    actions: Texts[Identifier] | None
    default_action: Text | None
    unclassified_action: Text | None = None
    act_action: Text | None = None
    review_action: Text | None = None
    review_if: WrittenReviewIf | None = None
    shadow: Flag | None = None
    head: WrittenHead | None = None
    templates: Texts[Template] | None = None
    contrast: Texts[Prompt] | None = None
    model: WrittenPin | None = None
    expect: WrittenExpectation | None = None
    labels: Annotated[tuple[WrittenLabel, ...], Field(min_length=1)] | None


SET_KEYS = tuple(WrittenSet.model_fields)
LABEL_KEYS = tuple(WrittenLabel.model_fields)
MODEL_KEYS = tuple(WrittenPin.model_fields)
REVIEW_IF_KEYS = tuple(WrittenReviewIf.model_fields)
EXPECT_KEYS = tuple(WrittenExpectation.model_fields)
CALIBRATION_KEYS = tuple(WrittenCalibration.model_fields)
PLATT_KEYS = tuple(WrittenPlatt.model_fields)
HEAD_KEYS = tuple(WrittenHead.model_fields)

_WANTED = {
    "string_type": "a text, in quotes",
    "tuple_type": "a list with at least one entry",
    "too_short": "a list with at least one entry",
    "float_type": "a number from 0 to 1",
    "int_type": "a whole number",
    "bool_type": "true or false",
}


def read_written(document: JsonValue) -> tuple[WrittenSet | None, list[Problem]]:
    """The document with None for what is wrong in it, and all that is; None if it is no mapping."""
    problems: list[Problem] = []
    sound: Any = copy.deepcopy(document)
    while True:
        try:
            return WrittenSet.model_validate(sound), problems
        except ValidationError as error:
            # A list of wrong entries is told to be too short, too.
            errors = [
                each
                for each in error.errors(include_url=False)
                if each["type"] != "too_short" or each["input"] == []
            ]
        # Unknown keys first: they say why another one is missing.
        errors.sort(key=lambda each: each["type"] != "extra_forbidden")
        problems += map(_problem, errors)
        if not isinstance(document, dict):
            return None, problems
        for each in errors:
            _mark(sound, each)


def _mark(place: Any, error: ErrorDetails) -> None:
    """Take an unknown key out; mark all else that is wrong, so that it is passed over."""
    *around, key = error["loc"]
    for part in around:
        place = place[part]
    if error["type"] == "extra_forbidden":
        del place[key]
    else:
        place[key] = _WRONG_LABEL.copy() if around == ["labels"] else WRONG


def _problem(error: ErrorDetails) -> Problem:
    path, value = error["loc"], error["input"]
    match error["type"]:
        case "missing":
            return Problem(path[:-1], f"{path[-1]} is missing; write it")
        case "extra_forbidden":
            known = _keys(path[:-1])
            return Problem(path, f"unknown key; {instead(alike(str(path[-1]), known), known)}")
        case "twice":
            return Problem(path, f"{quoted(value)} stands here twice; remove one")
        case "value_error":
            return Problem(path, said(error["msg"]))
        case wrong:
            wanted = _WANTED.get(wrong) or f"a mapping with {', '.join(_keys(path))}"
            found = described(None if value is _EMPTY else value)
            return Problem(path, f"is {found}; write {wanted}")


def _keys(path: KeyPath) -> tuple[str, ...]:
    """Keys of the mapping at a path."""
    if not path:
        return SET_KEYS
    by_key = {
        "expect": EXPECT_KEYS,
        "calibration": CALIBRATION_KEYS,
        "platt": PLATT_KEYS,
        "head": HEAD_KEYS,
        "model": MODEL_KEYS,
        "review_if": REVIEW_IF_KEYS,
    }
    return by_key.get(str(path[-1]), LABEL_KEYS)

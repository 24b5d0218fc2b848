"""A label set as it is written: its keys, and what each of them may hold by itself.

What keys mean together, and what is meant where one is left out, says ``parsing``. A value is None
where it is left out, or wrong and complained of already.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from pipeline.complaints import KeyPath, Problem, alike, described, instead, quoted, said
from pipeline.labels.categories import CATEGORIES
from pipeline.labels.label_set import Decision
from pipeline.records import JsonValue

MAX_TEXT_CHARACTERS = 500
MAX_LABEL_NAME_CHARACTERS = 100
MAX_KNOTS = 1_000

_WORDS = {"yes": True, "on": True, "no": False, "off": False}
_WRONG = object()
"""Stands for a value that was complained of, so that all others can be looked at."""
_WRONG_LABEL = dict.fromkeys(("name", "prompts", "contrast"), _WRONG)
_EMPTY = object()
"""Stands for a null, which no key takes."""


def too_long(text: str, most: int = MAX_TEXT_CHARACTERS) -> str | None:
    """What is wrong with the length of a text, if anything."""
    if len(text) <= most:
        return None
    return f"{quoted(text)} has {len(text)} characters, more than {most}; write a shorter one"


def _check(wrong: Callable[[Any], str | None]) -> AfterValidator:
    """Refuses values of which ``wrong`` says something."""

    def check(value: Any) -> Any:
        if (what := wrong(value)) is not None:
            raise ValueError(what)
        return value

    return AfterValidator(check)


def _matching(pattern: str, says: str) -> AfterValidator:
    """Refuses texts that are not wholly of the pattern."""
    return _check(lambda text: None if re.fullmatch(pattern, text) else f"{quoted(text)} {says}")


def _probability(value: float) -> str | None:
    if 0 <= value <= 1:  # false for a NaN, too
        return None
    return f"{value:g} is no probability; write a number from 0 to 1"


def _positive_share(value: float) -> str | None:
    if 0 < value <= 1:  # false for a NaN, too
        return None
    return f"{value:g} would raise every image or none; write a share above 0, up to 1"


def _several_frames(value: int) -> str | None:
    if value >= 2:
        return None
    return f"{value} would raise every image; write 2 or more"


def _finite(value: float) -> str | None:
    return None if math.isfinite(value) else f"{value:g} is not finite; write a number"


def _rising(value: float) -> str | None:
    if 0 < value < math.inf:  # false for a NaN, too
        return None
    return f"{value:g} would let the probability fall as the score rises; write one above 0"


def _whole(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """Values of a list are wrong together."""
    try:
        return read(value)
    except ValidationError:
        what = "is no list of knots; write [[score, probability], …] with numbers from 0 to 1"
        raise ValueError(what) from None


def _knots(knots: Sequence[tuple[float, float]]) -> str | None:
    """Scores rise, and probabilities do not fall."""
    if not 2 <= len(knots) <= MAX_KNOTS:
        return f"has {len(knots)} knots; write 2 to {MAX_KNOTS}"
    for (score, value), (next_score, next_value) in pairwise(knots):
        if not (score < next_score and value <= next_value):
            return (
                f"[{next_score:g}, {next_value:g}] does not rise above [{score:g}, {value:g}]; "
                "write knots of rising scores whose probabilities do not fall"
            )
    return None


def _word(value: Any) -> Any:
    """YAML 1.1's words for booleans, which are texts elsewhere."""
    return _WORDS.get(value.lower(), value) if isinstance(value, str) else value


def _several(values: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """Texts without those that were complained of, none of them twice."""
    if not isinstance(values, list) or values == []:
        return read(values)
    kept = {index: value for index, value in enumerate(values) if value is not _WRONG}
    texts: tuple[str, ...] = read(list(kept.values())) if kept else ()
    first: dict[str, int] = {}
    twice = [
        InitErrorDetails(type=PydanticCustomError("twice", "twice"), loc=(index,), input=text)
        for index, text in zip(kept, texts, strict=True)
        if first.setdefault(text, index) != index
    ]
    if twice:
        raise ValidationError.from_exception_data("texts", twice)
    return texts


Text = Annotated[
    str,
    AfterValidator(lambda text: " ".join(text.split())),  # as CLIP's tokenizer does
    _check(lambda text: too_long(text) if text else "is an empty text; write one"),
    _matching(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]*", "has a control character; remove it"),
]
LabelName = Annotated[Text, _check(lambda text: too_long(text, MAX_LABEL_NAME_CHARACTERS))]
# What routes, queries and dashboards can hold without quoting.
_NAMING = "is no name; write 1 to 64 letters, digits, dots, dashes or underscores"
Identifier = Annotated[Text, _matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", _NAMING)]
_FILLING = "is no template; write {} once, where the phrase goes, and no other braces"
Template = Annotated[Text, _matching(r"[^{}]*\{\}[^{}]*", _FILLING)]
_BRACES = "has braces; only the label set's templates are filled"
Prompt = Annotated[Text, _matching(r"[^{}]*", _BRACES)]
_DECIDING = f"is unknown; write {' or '.join(Decision)}"
ActedShare = Annotated[float, Strict(), _check(_positive_share)]
SeveralFrames = Annotated[int, Strict(), _check(_several_frames)]
DecisionName = Annotated[Text, _matching("|".join(Decision), _DECIDING)]
Probability = Annotated[float, Strict(), _check(_probability)]
Knots = Annotated[
    tuple[tuple[Probability, Probability], ...], WrapValidator(_whole), _check(_knots)
]
_DIGEST = "is no digest; write sha256: and 64 hexadecimal digits"
Flag = Annotated[bool, Strict(), BeforeValidator(_word)]

_Value = TypeVar("_Value")
Texts = Annotated[tuple[_Value, ...], Field(min_length=1), WrapValidator(_several)]


def _category(text: str) -> str | None:
    if text in CATEGORIES:
        return None
    return f"{quoted(text)} is unknown; {instead(alike(text, CATEGORIES), CATEGORIES)}"


Category = Annotated[Text, _check(_category)]
_ONE_CATEGORY: TypeAdapter[str] = TypeAdapter(Category)


def _one_or_several(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """One text stands for a list of one. What is wrong with it stands at the key itself."""
    if isinstance(value, str):
        return (_ONE_CATEGORY.validate_python(value),)
    return read(value)


Categories = Annotated[Texts[Category], WrapValidator(_one_or_several)]


class _Written(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="wrap")
    @classmethod
    def _key(cls, value: Any, read: ValidatorFunctionWrapHandler) -> Any:
        if value is _WRONG:
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

    slope: Annotated[float, Strict(), _check(_rising)] | None
    intercept: Annotated[float, Strict(), _check(_finite)] | None


class WrittenCalibration(_Written):
    """What ``calibration`` holds."""

    platt: WrittenPlatt | None = None
    isotonic: Knots | None = None
    sample: Annotated[Text, _matching("sha256:[0-9a-f]{64}", _DIGEST)] | None


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
        place[key] = _WRONG_LABEL.copy() if around == ["labels"] else _WRONG


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
        "model": MODEL_KEYS,
        "review_if": REVIEW_IF_KEYS,
    }
    return by_key.get(str(path[-1]), LABEL_KEYS)

"""What the values of a label set's keys may be, each by itself."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    Strict,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from pipeline.complaints import alike, instead, quoted
from pipeline.labels.categories import CATEGORIES
from pipeline.labels.label_set import Decision

MAX_TEXT_CHARACTERS = 500
MAX_LABEL_NAME_CHARACTERS = 100
MAX_KNOTS = 1_000
MAX_SCALE = 1e4

_WORDS = {"yes": True, "on": True, "no": False, "off": False}
WRONG = object()
"""Stands for a value that was complained of, so that all others can be looked at."""


def too_long(text: str, most: int = MAX_TEXT_CHARACTERS) -> str | None:
    """What is wrong with the length of a text, if anything."""
    if len(text) <= most:
        return None
    return f"{quoted(text)} has {len(text)} characters, more than {most}; write a shorter one"


def checked(wrong: Callable[[Any], str | None]) -> AfterValidator:
    """Refuses values of which ``wrong`` says something."""

    def check(value: Any) -> Any:
        if (what := wrong(value)) is not None:
            raise ValueError(what)
        return value

    return AfterValidator(check)


def matching(pattern: str, says: str) -> AfterValidator:
    """Refuses texts that are not wholly of the pattern."""
    return checked(lambda text: None if re.fullmatch(pattern, text) else f"{quoted(text)} {says}")


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


def together(says: str) -> WrapValidator:
    """Values of a list are wrong together."""

    def check(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
        try:
            return read(value)
        except ValidationError:
            raise ValueError(says) from None

    return WrapValidator(check)


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


def _scale(value: float) -> str | None:
    if 0 < value <= MAX_SCALE:  # false for a NaN, too
        return None
    return f"{value:g} is no scale; write a number above 0, up to {MAX_SCALE:g}"


def _range(bounds: tuple[float, float]) -> str | None:
    low, high = bounds
    if -math.inf < low < high < math.inf:  # false for a NaN, too
        return None
    return f"[{low:g}, {high:g}] is no range; write the lowest and the highest output"


def _word(value: Any) -> Any:
    """YAML 1.1's words for booleans, which are texts elsewhere."""
    return _WORDS.get(value.lower(), value) if isinstance(value, str) else value


def _several(values: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """Texts without those that were complained of, none of them twice."""
    if not isinstance(values, list) or values == []:
        return read(values)
    kept = {index: value for index, value in enumerate(values) if value is not WRONG}
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
    checked(lambda text: too_long(text) if text else "is an empty text; write one"),
    matching(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]*", "has a control character; remove it"),
]
LabelName = Annotated[Text, checked(lambda text: too_long(text, MAX_LABEL_NAME_CHARACTERS))]
# What routes, queries and dashboards can hold without quoting.
_NAMING = "is no name; write 1 to 64 letters, digits, dots, dashes or underscores"
Identifier = Annotated[Text, matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", _NAMING)]
_FILLING = "is no template; write {} once, where the phrase goes, and no other braces"
Template = Annotated[Text, matching(r"[^{}]*\{\}[^{}]*", _FILLING)]
_BRACES = "has braces; only the label set's templates are filled"
Prompt = Annotated[Text, matching(r"[^{}]*", _BRACES)]
_DECIDING = f"is unknown; write {' or '.join(Decision)}"
ActedShare = Annotated[float, Strict(), checked(_positive_share)]
SeveralFrames = Annotated[int, Strict(), checked(_several_frames)]
DecisionName = Annotated[Text, matching("|".join(Decision), _DECIDING)]
Probability = Annotated[float, Strict(), checked(_probability)]
_NO_KNOTS = "is no list of knots; write [[score, probability], …] with numbers from 0 to 1"
Knots = Annotated[tuple[tuple[Probability, Probability], ...], together(_NO_KNOTS), checked(_knots)]
_NO_RANGE = "is no range; write [lowest, highest] with two numbers"
Number = Annotated[float, Strict()]
Range = Annotated[tuple[Number, Number], together(_NO_RANGE), checked(_range)]
_NO_FILE = "is no name of a file beside the label set; write one like head.safetensors"
_NO_SHA256 = "is no SHA-256; write its 64 hexadecimal digits, in quotes"
_DIGEST = "is no digest; write sha256: and 64 hexadecimal digits"
Flag = Annotated[bool, Strict(), BeforeValidator(_word)]

_Value = TypeVar("_Value")
Texts = Annotated[tuple[_Value, ...], Field(min_length=1), WrapValidator(_several)]


def _category(text: str) -> str | None:
    if text in CATEGORIES:
        return None
    return f"{quoted(text)} is unknown; {instead(alike(text, CATEGORIES), CATEGORIES)}"


Category = Annotated[Text, checked(_category)]
_ONE_CATEGORY: TypeAdapter[str] = TypeAdapter(Category)


def _one_or_several(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """One text stands for a list of one. What is wrong with it stands at the key itself."""
    if isinstance(value, str):
        return (_ONE_CATEGORY.validate_python(value),)
    return read(value)


Categories = Annotated[Texts[Category], WrapValidator(_one_or_several)]
Slope = Annotated[float, Strict(), checked(_rising)]
Finite = Annotated[float, Strict(), checked(_finite)]
Digest = Annotated[Text, matching("sha256:[0-9a-f]{64}", _DIGEST)]
Scale = Annotated[float, Strict(), checked(_scale)]
WeightsFile = Annotated[Text, matching(r"[A-Za-z0-9][\w.-]*\.safetensors", _NO_FILE)]
Sha256 = Annotated[Text, matching("[0-9a-f]{64}", _NO_SHA256)]

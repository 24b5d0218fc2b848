"""JSON without ambiguities: a document that two readers could read differently is refused."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from typing import NoReturn

from pipeline.errors import Reject
from pipeline.records import JsonValue

Load = Callable[[bytes | str], JsonValue]
"""Reads a JSON document within the limits of the settings. Raises what ``load`` raises."""

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_SHOWN_CHARACTERS = 40


def load(document: bytes | str, max_depth: int) -> JsonValue:
    """Parse one JSON value in strict UTF-8.

    A leading byte order mark is ignored, as RFC 8259 section 8.1 allows. Refused are repeated names
    and lone surrogates, as RFC 7493 (I-JSON) asks, and NaN, Infinity and numbers beyond a double.

    ``max_depth`` limits how deep lists and objects are nested. A bare string has depth 0.

    Raises:
        Reject: ``reference.not_json``; ``reference.too_large`` beyond ``max_depth``.
    """
    try:
        text = document.decode("utf-8-sig") if isinstance(document, bytes) else document
    except UnicodeDecodeError as error:
        raise _not_json(f"the value is not UTF-8 (byte {error.start})") from None
    try:
        value: JsonValue = _DECODER.decode(text)
    except RecursionError:
        raise _too_deep(max_depth) from None
    except json.JSONDecodeError as error:
        raise _not_json(f"the value is not JSON: {error.msg} (character {error.pos})") from None
    except ValueError:  # Python refuses integers of more than 4,300 digits
        raise _not_json("an integer has too many digits") from None
    # The depth is at most the number of brackets, which C counts fast. So few documents are walked.
    if text.count("{") + text.count("[") > max_depth and _deeper_than(value, max_depth):
        raise _too_deep(max_depth)
    if _SURROGATE_ESCAPE.search(text):
        _refuse_lone_surrogates(value)
    return value


def dump(value: JsonValue) -> bytes:
    """Write what ``load`` returned as compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    value = dict(pairs)
    if len(value) != len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise _not_json(f"the name {name[:_SHOWN_CHARACTERS]!r} appears twice in one object")
    return value


def _number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _not_json("a number is beyond the range of a double")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise _not_json(f"{name} is not a JSON value")


def _refuse_lone_surrogates(value: JsonValue) -> None:
    try:
        dump(value)
    except UnicodeEncodeError:
        raise _not_json("a string holds a lone surrogate") from None


def _deeper_than(value: JsonValue, max_depth: int) -> bool:
    level = [value]
    for _ in range(max_depth):
        below: list[JsonValue] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return False
        level = below
    return any(isinstance(item, dict | list) for item in level)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_number, parse_constant=_refuse_constant
)
"""Made once: ``json.loads`` with hooks makes a decoder for each document."""


def _not_json(what: str) -> Reject:
    return Reject("reference.not_json", f"{what}; send one JSON value in UTF-8")


def _too_deep(max_depth: int) -> Reject:
    return Reject(
        "reference.too_large",
        f"lists and objects are nested too deep (limit references.max_depth = {max_depth}); "
        "send flatter records, or raise the limit",
    )

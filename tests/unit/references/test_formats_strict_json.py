"""JSON that two readers could take differently is refused."""

from __future__ import annotations

import pytest

from pipeline.errors import Reject
from pipeline.formats.strict_json import load

MAX_DEPTH = 32


def refusal(document: bytes, max_depth: int = MAX_DEPTH) -> Reject:
    with pytest.raises(Reject) as caught:
        load(document, max_depth)
    return caught.value


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"{} {}", "Extra data"),
        (b'{"a":1,}', "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b'"\t"', "control character"),
        (b'"\xff"', "not UTF-8 (byte 1)"),
        ('{"a":1}'.encode("utf-16"), "not UTF-8"),
        (b'"\xed\xa0\x80"', "not UTF-8"),  # a surrogate, encoded as some UTF-8 writers do
        (rb'"\ud800"', "lone surrogate"),
        (rb'{"\udfff":1}', "lone surrogate"),
        (rb'[{"a":["\uDE00\uD83D"]}]', "lone surrogate"),
        (b"NaN", "NaN is not a JSON value"),
        (b"[-Infinity]", "-Infinity is not a JSON value"),
        (b"[1e999]", "beyond the range of a double"),
        (b"1" * 5000, "too many digits"),
        (b'{"a":1,"b":2,"a":1}', "the name 'a' appears twice"),
        (rb'{"k":1,"\u006b":2}', "the name 'k' appears twice"),
    ],
)
def test_a_document_with_no_or_several_meanings_is_not_json(
    document: bytes, complaint: str
) -> None:
    reject = refusal(document)
    assert reject.code == "reference.not_json"
    assert complaint in reject.message
    assert reject.message.encode()  # a dead letter must be able to carry it


def test_a_byte_order_mark_is_ignored() -> None:
    assert load(b'\xef\xbb\xbf{"a": 1}', MAX_DEPTH) == {"a": 1}


def test_a_surrogate_pair_is_one_character() -> None:
    assert load(rb'"\ud83d\ude00"', MAX_DEPTH) == "😀"


def test_integers_keep_every_digit() -> None:
    assert load(b"12345678901234567890123", MAX_DEPTH) == 12345678901234567890123


@pytest.mark.parametrize(
    ("document", "depth"),
    [(b'"text"', 0), (b"[]", 1), (b'[{"a":[1]},[],[]]', 3), (b'{"a":{"b":{"c":{}}}}', 4)],
)
def test_depth_counts_lists_and_objects_within_one_another(document: bytes, depth: int) -> None:
    load(document, depth)
    if depth:
        assert refusal(document, depth - 1).code == "reference.too_large"


def test_brackets_within_strings_are_no_depth() -> None:
    assert load(b'"' + b"[" * 1000 + b'"', 1) == "[" * 1000


@pytest.mark.parametrize("opener", [b"[", b'{"a":'])
def test_absurd_depth_is_too_large_and_no_crash(opener: bytes) -> None:
    reject = refusal(opener * 100_000)
    assert reject.code == "reference.too_large"
    assert "references.max_depth = 32" in reject.message

"""S3's notifications in Amazon SNS's envelope.

The sources of the examples stand in tests/data/formats/README.md.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.records import Partition, Position, Record, Skipped
from pipeline.references import ReferencesPolicy, SkipReason, parse
from pipeline.routes import Router
from tests.rigs.root import ROOT

EXAMPLES = ROOT / "tests" / "data" / "formats"


def read(document: Any) -> list[Any]:
    record = Record(Position(Partition("events", 0), 7), 0, None, json.dumps(document).encode())
    entries = parse(record, ReferencesPolicy(), Router([], ["moderation"]))
    return [entry.content for entry in entries]


def notification(message: Any) -> Any:
    envelope = json.loads((EXAMPLES / "sns-notification.json").read_text())
    return envelope | {"Message": message}


@pytest.mark.parametrize(
    ("name", "key"),
    [("aws-s3-put.json", "HappyFace.jpg"), ("eventbridge-object-created.json", "example-key")],
)
def test_the_message_is_read_as_any_document(name: str, key: str) -> None:
    [ref] = read(notification((EXAMPLES / name).read_text()))
    assert ref.key == key


def test_a_test_event_in_the_envelope_is_skipped() -> None:
    message = (EXAMPLES / "aws-s3-test-event.json").read_text()
    assert read(notification(message)) == [Skipped(SkipReason.TEST_EVENT)]


def test_the_confirmation_of_a_subscription_is_skipped() -> None:
    document = json.loads((EXAMPLES / "sns-subscription-confirmation.json").read_text())
    assert read(document) == [Skipped(SkipReason.OTHER_EVENT)]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("Hello world!", "reference.not_json"),  # the documentation's own
        ('{"bucket":"abc","bucket":"abc","key":"k"}', "reference.not_json"),
        # Far beyond what Python recurses to, which torch's compiler raises to 2,000.
        ("[" * 10_000, "reference.too_large"),
        ({"bucket": "photos", "key": "k"}, "reference.invalid"),
        (None, "reference.invalid"),
        ('{"hello":"world"}', "reference.unknown_format"),
    ],
)
def test_a_message_of_another_kind_is_refused(message: Any, code: str) -> None:
    [letter] = read(notification(message))
    assert letter.code == code


def test_an_envelope_is_opened_once() -> None:
    [letter] = read(notification(json.dumps(notification("{}"))))
    assert letter.code == "reference.unknown_format"

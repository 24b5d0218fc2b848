"""What the live view tells of a published outcome, and what a key may see of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pipeline.records import ImageRef, Record
from tests.rigs.serve.console import limited
from tests.rigs.serve.stream import WRITTEN_S, classified, dead, photo, result
from workers.serve.caller import ANYBODY, Caller
from workers.serve.live.fanout import Filter
from workers.serve.live.outcome import MOST_EVENT_BYTES, Outcome, outcome_of

REF = photo("cats/1.jpg", "photos", "acme", "shapes", "secret")
TWO_SETS = (result("shapes", "review", "circle"), result("secret", "block", "logo"))


def told(record: Record) -> Outcome:
    outcome = outcome_of(record)
    assert outcome is not None
    return outcome


def test_a_classification_is_told_with_the_object_that_was_read() -> None:
    outcome = told(classified(REF, *TWO_SETS))
    page = outcome.to_json()
    assert page["kind"] == "classification"
    assert page["at"] == WRITTEN_S
    assert page["subject"] == page["uri"] == "s3://photos/cats/1.jpg"
    assert page["decisions"] == [
        {"label_set": "shapes", "decision": "review", "matched": ["circle"]},
        {"label_set": "secret", "decision": "block", "matched": ["logo"]},
    ]
    assert page["image"] == {
        "bucket": "photos",
        "key": "cats/1.jpg",
        "version_id": "read-version",
        "etag": "read-etag",
    }
    event: Any = page["event"]
    assert event["type"] == "clipstream.classification.v1"
    assert event["data"]["image"]["width"] == 640
    json.dumps(page)


def test_a_label_set_that_is_tried_out_decides_nothing_in_the_live_view() -> None:
    shapes, secret = TWO_SETS
    outcome = told(classified(REF, shapes, replace(secret, shadow=True)))
    page: Any = outcome.to_json()
    assert [each["label_set"] for each in page["decisions"]] == ["shapes"]
    told_of = [each["label_set"] for each in page["event"]["data"]["results"]]
    assert told_of == ["shapes", "secret"]


def test_a_dead_letter_is_told_with_its_code() -> None:
    page: Any = told(dead(REF, "decode.corrupt")).to_json()
    assert (page["kind"], page["code"], page["decisions"]) == ("dead_letter", "decode.corrupt", [])
    assert page["image"]["key"] == "cats/1.jpg"
    assert page["event"]["headers"]["dlq.attempts"] == "3"


def test_the_raw_bytes_of_a_record_that_could_not_be_read_are_not_shown() -> None:
    outcome = told(dead(None, "reference.not_json"))
    assert outcome.image is None
    assert outcome.event["data"] == {}
    assert "secret" not in json.dumps(outcome.to_json())


def test_the_data_of_a_huge_event_are_not_shown() -> None:
    record = dead(REF)
    huge = json.dumps({"key": "k" * MOST_EVENT_BYTES}).encode()
    outcome = told(replace(record, value=huge))
    assert (outcome.code, outcome.event["data"]) == ("fetch.not_found", {})


@pytest.mark.parametrize("value", [b"", b"[]", b"\xff", b'{"a": NaN}', None])
def test_an_event_that_makes_no_sense_is_told_as_far_as_it_does(value: bytes | None) -> None:
    outcome = told(replace(classified(REF), value=value))
    assert (outcome.uri, outcome.image, outcome.decisions) == (None, None, ())
    json.dumps(outcome.to_json())


def test_records_of_other_kinds_are_no_outcomes() -> None:
    assert outcome_of(replace(dead(REF), headers=())) is None
    assert outcome_of(replace(dead(REF), headers=(("ce_type", b"clipstream.replay.v1"),))) is None


def test_outcomes_of_images_by_url_are_told_without_the_query() -> None:
    ref = ImageRef("img.example", "a/b.jpg", ("shapes",), scheme="https", query="signature=hidden")
    for record in (classified(ref), dead(ref)):
        outcome = told(record)
        assert str(outcome.event["type"]).endswith(".v2")
        assert outcome.uri == "https://img.example/a/b.jpg"
        assert outcome.image is None
        assert "hidden" not in json.dumps(outcome.to_json())
        assert outcome.seen_by(limited(objects=("https://img.example/a/*",))) is outcome
        assert outcome.seen_by(limited(objects=("img.example/c/*",))) is None


@pytest.mark.parametrize(
    ("caller", "visible"),
    [
        (ANYBODY, True),
        (limited(objects=("photos/cats/*",)), True),
        (limited(objects=("photos/dogs/*",)), False),
        (limited(objects=()), False),
        (limited(tenants=("acme",)), True),
        (limited(tenants=("other",)), False),
        (limited(label_sets=("shapes",)), True),
        (limited(label_sets=("other",)), False),
        (limited(label_sets=("shapes",), tenants=("other",)), False),
    ],
)
def test_a_key_sees_only_its_objects_tenants_and_label_sets(caller: Caller, visible: bool) -> None:
    for record in (classified(REF, *TWO_SETS), dead(REF)):
        assert (told(record).seen_by(caller) is not None) is visible


def test_the_key_of_a_tenant_is_told_of_no_image_that_it_may_not_see() -> None:
    outcome = told(classified(REF))
    by_tenant = outcome.seen_by(limited(tenants=("acme",)))
    by_pattern = outcome.seen_by(limited(tenants=("acme",), objects=("photos/*",)))
    assert by_tenant is not None
    assert by_pattern is not None
    assert by_tenant.image is None
    assert by_pattern.image is not None


def test_an_outcome_without_a_tenant_is_not_for_the_key_of_a_tenant() -> None:
    assert told(classified(photo("1.jpg"))).seen_by(limited(tenants=("acme",))) is None


def test_a_key_sees_nothing_of_other_label_sets() -> None:
    seen = told(classified(REF, *TWO_SETS)).seen_by(limited(label_sets=("shapes",)))
    assert seen is not None
    assert "secret" not in json.dumps(seen.to_json())
    assert [each["label_set"] for each in seen.decisions] == ["shapes"]
    letter = told(dead(REF)).seen_by(limited(label_sets=("shapes",)))
    assert letter is not None
    assert "secret" not in json.dumps(letter.to_json())


@pytest.mark.parametrize(
    "limits", [{"objects": ("*",)}, {"tenants": ("*",)}, {"label_sets": ("*",)}]
)
def test_a_record_that_could_not_be_read_is_for_unlimited_keys_alone(limits: Any) -> None:
    letter = told(dead(None, "reference.not_json"))
    assert letter.seen_by(ANYBODY) is letter
    assert letter.seen_by(limited(**limits)) is None


@pytest.mark.parametrize(
    ("wanted", "admitted"),
    [
        (Filter(), True),
        (Filter(decision="block"), True),
        (Filter(decision="allow"), False),
        (Filter(label_set="shapes", decision="block"), False),
        (Filter(label_set="secret", decision="block"), True),
        (Filter(label="circle"), True),
        (Filter(label="square"), False),
        (Filter(label_set="other"), False),
        (Filter(text="CATS/"), True),
        (Filter(text="dogs"), False),
        (Filter(text="cats", label="square"), False),
    ],
)
def test_filters_admit_what_meets_all_of_them(wanted: Filter, admitted: bool) -> None:
    assert wanted.admits(told(classified(REF, *TWO_SETS))) is admitted


def test_dead_letters_are_found_by_label_set_and_by_the_text_of_their_message() -> None:
    letter = told(dead(REF, "decode.corrupt"))
    assert Filter(text="CORRUPT").admits(letter)
    assert Filter(label_set="shapes").admits(letter)
    assert not Filter(decision="review").admits(letter)

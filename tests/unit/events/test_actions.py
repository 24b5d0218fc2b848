"""Which outcomes have an action, what an action says, and which of several results it names."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator, FormatChecker, ValidationError

from deploy.dev.reference import pages
from pipeline.events import EventBuilder, EventContext, EventsPolicy, event_id
from pipeline.events.actions import leading
from pipeline.events.headers import HEADERS
from pipeline.events.schemas import ACTION_SCHEMA, REVIEW_SCHEMA, schemas
from pipeline.events.types import EventType
from pipeline.labels.parsing import parse_label_set
from pipeline.records import (
    Classification,
    DeadLetter,
    ImageFacts,
    ImageRef,
    JsonValue,
    LabelScore,
    LabelSetResult,
    Looked,
    ModelIdentity,
    Origin,
    Outcome,
    OutputRecord,
    OutputTopic,
    Partition,
    Position,
    Record,
    Skipped,
)

ORIGIN = Origin(Position(Partition("images", 3), 1234), 2, 1_767_225_600_123, b"a key")
CONTEXT = EventContext("cluster", "group", {"images": "a topic id"}, "1.2.3")
REF = ImageRef("photos", "cat.jpg", ("shapes",), "asked", "asked-etag", "upload-1", "gallery")
HARMLESS = LabelSetResult("shapes", "sha256:1", (LabelScore("square", 0.2, 0.1),), (), "keep")
CALLING = LabelSetResult(
    "shapes",
    "sha256:1",
    (LabelScore("square", 0.1 + 0.2, 0.1), LabelScore("circle", 0.7, 0.2)),
    ("square", "circle"),
    "block",
    severe_label="square",
    severity=2,
    is_default=False,
)


def classified(*results: LabelSetResult, ref: ImageRef = REF) -> Classification:
    looked = Looked(
        np.array([0.6, 0.8], np.float32),
        ModelIdentity("model", "1", 2, 100.0, "fp32", "torch-cpu"),
        ImageFacts("JPEG", 6, 4, 1, 0.25),
        "ab" * 32,
        9,
        "strict",
        "transformers",
    )
    return Classification(ref, looked, results, "read-etag", "read")


def build(outcome: Outcome, *, actions: bool = True) -> tuple[OutputRecord, ...]:
    return EventBuilder(CONTEXT, EventsPolicy(), actions=actions).records(ORIGIN, outcome)


def action_of(outcome: Outcome) -> tuple[dict[str, str], Any]:
    """The headers and the value of the outcome's only action, checked against their schemas."""
    (record,) = [each for each in build(outcome) if each.topic is OutputTopic.ACTIONS]
    assert record.key == ORIGIN.key
    headers = {name: value.decode() for name, value in record.headers}
    assert set(headers) <= {header.name for header in HEADERS[EventType.ACTION]}
    value = json.loads(record.value)
    valid("action-headers.v1", headers)
    valid(ACTION_SCHEMA, value)
    return headers, value


def valid(schema: str, document: object) -> None:
    Draft202012Validator(schemas()[schema], format_checker=FormatChecker()).validate(document)


def test_a_decision_that_is_no_default_has_an_action_beside_its_events() -> None:
    outcome = classified(CALLING)
    classification, embedding, action = build(outcome)
    assert build(outcome, actions=False) == (classification, embedding)
    headers, value = action_of(outcome)
    assert headers == {
        "ce_specversion": "1.0",
        "ce_type": "clipstream.action.v1",
        "ce_source": "/clipstream/cluster/group/images",
        "ce_id": event_id(CONTEXT, ORIGIN, EventType.ACTION),
        "ce_time": "2026-01-01T00:00:00.123Z",
        "ce_subject": "upload-1",
        "content-type": "application/json",
        "ce_dataschema": "urn:clipstream:schema:action:v1",
        "decision": "block",
        "decision.label-set": "shapes",
        "decision.label": "square",
        "tenant": "gallery",
    }
    assert value == {
        "action": "block",
        "outcome": {
            "type": "clipstream.classification.v1",
            "id": dict(classification.headers)["ce_id"].decode(),
        },
        "image": {
            "uri": "s3://photos/cat.jpg",
            "version_id": "read",
            "etag": "read-etag",
            "id": "upload-1",
            "tenant": "gallery",
        },
        "decisions": [
            {
                "label_set": "shapes",
                "version": "sha256:1",
                "decision": "block",
                "label": "square",
                "score": 0.1 + 0.2,
            }
        ],
        "position": {"topic": "images", "partition": 3, "offset": 1234, "index": 2},
        "record_timestamp": "2026-01-01T00:00:00.123Z",
        "clipstream_version": "1.2.3",
    }
    assert len(action.value) < 700


def test_a_default_decision_and_a_skip_have_no_action() -> None:
    default_though_matched = replace(HARMLESS, matched=("square",), severe_label="square")
    assert len(build(classified(HARMLESS, default_though_matched))) == 2
    assert build(Skipped("deleted")) == ()


def test_a_dead_letter_has_the_action_of_an_image_that_nobody_looked_at() -> None:
    outcome = DeadLetter("decode.corrupt", "bad\nfile", 2, REF, unclassified_action="block")
    letter, action = build(outcome)
    assert build(outcome, actions=False) == (letter,)
    assert action.topic is OutputTopic.ACTIONS
    headers, value = action_of(outcome)
    assert (headers["decision"], headers["dlq.code"]) == ("block", "decode.corrupt")
    assert "decision.label-set" not in headers
    assert value["action"] == "block"
    assert value["outcome"] == {
        "type": "clipstream.dead-letter.v1",
        "id": dict(letter.headers)["ce_id"].decode(),
    }
    assert value["decisions"] == []
    assert value["failure"] == {
        "code": "decode.corrupt",
        "message": dict(letter.headers)["dlq.message"].decode(),
        "attempts": 2,
    }
    assert (value["image"]["version_id"], value["image"]["etag"]) == ("asked", "asked-etag")


def test_a_record_that_cannot_be_read_has_an_action_without_an_image() -> None:
    headers, value = action_of(DeadLetter("reference.not_json", "no JSON", 1))
    assert headers["decision"] == value["action"] == "review"
    assert "ce_subject" not in headers
    assert "image" not in value


def test_an_action_about_a_web_server_never_has_the_query() -> None:
    ref = replace(REF, scheme="https", bucket="example.com", query="signature=secret", id=None)
    for outcome in (classified(CALLING, ref=ref), DeadLetter("fetch.not_found", "no", 1, ref)):
        *_, action = build(outcome)
        assert b"secret" not in action.value
        headers, value = action_of(outcome)
        assert headers["ce_subject"] == value["image"]["uri"] == "https://example.com/cat.jpg"
        assert value["outcome"]["type"].endswith(".v2")


@pytest.mark.parametrize("ref", [REF, None])
def test_a_dead_letter_without_its_payload_keeps_its_action(ref: ImageRef | None) -> None:
    origin = replace(ORIGIN, key=b"k" * 300_000)
    record = Record(origin.position, 0, origin.key, b"v") if ref is None else None
    letter = DeadLetter("decode.corrupt", "m" * 300_000, 2, ref)
    builder = EventBuilder(CONTEXT, EventsPolicy(), actions=True)
    _, action = builder.records(origin, letter, record)
    shrunk, kept = builder.shrink(origin, letter, record)
    assert kept == replace(action, key=None)
    assert shrunk.size_bytes + kept.size_bytes < 8 * 1024
    assert builder.shrink(ORIGIN, letter)[1] == builder.records(ORIGIN, letter)[1]


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([("a", 0, True), ("b", 1, False)], "b"),
        ([("a", 3, True), ("b", 1, False)], "b"),
        ([("a", 1, False), ("b", 2, False)], "b"),
        ([("a", 1, False), ("b", 1, False)], "a"),
        ([("a", 0, True), ("b", 1, True)], "b"),
    ],
)
def test_of_several_label_sets_the_one_that_counts_most_is_in_the_headers(
    results: list[tuple[str, int, bool]], expected: str
) -> None:
    made = [
        replace(CALLING, label_set=name, decision=name, severity=severity, is_default=is_default)
        for name, severity, is_default in results
    ]
    leader = leading(made)
    assert leader is not None
    assert leader.label_set == expected
    headers = dict(build(classified(*made))[0].headers)
    assert headers["decision.label-set"] == headers["decision"] == expected.encode()


def test_nobody_is_to_act_on_a_shadow_set() -> None:
    shadow = replace(CALLING, label_set="tried", shadow=True)
    headers, value = action_of(classified(shadow, CALLING))
    assert headers["decision.label-set"] == "shapes"
    assert [each["label_set"] for each in value["decisions"]] == ["shapes"]
    (classification, _) = build(classified(shadow))
    assert not any(name.startswith("decision") for name, _ in classification.headers)


def test_an_action_lists_all_decisions_that_are_no_default() -> None:
    mild = replace(CALLING, label_set="mild", decision="tag", severity=1)
    also = replace(mild, label_set="also")
    _, value = action_of(classified(HARMLESS, mild, also, CALLING))
    assert [each["label_set"] for each in value["decisions"]] == ["shapes", "mild", "also"]
    assert value["action"] == "block"


def test_a_decision_without_a_label_says_so_and_what_raised_it() -> None:
    conditions = ("cropped_share", "frames")
    raised = replace(CALLING, matched=(), severe_label=None, raised=conditions)
    headers, value = action_of(classified(raised))
    assert "decision.label" not in headers
    assert (value["decisions"][0]["label"], value["decisions"][0]["score"]) == (None, None)
    assert value["decisions"][0]["raised"] == list(conditions)
    assert "raised" not in action_of(classified(CALLING))[1]["decisions"][0]


def test_the_most_severe_label_is_the_one_that_called_for_the_decision() -> None:
    label_set = parse_label_set(
        {
            "name": "ranks",
            "decision": "independent",
            "actions": ["block", "review", "allow"],
            "default_action": "allow",
            "unclassified_action": "review",
            "contrast": ["a picture"],
            "labels": [
                _label("mild", review_threshold=0.5, review_action="review"),
                _label("bad", act_threshold=0.6, act_action="block"),
                _label("worse", act_threshold=0.6, act_action="block"),
            ],
        }
    )
    assert label_set.judge([0.9, 0.6, 0.7])[2] == "worse"
    assert label_set.judge([0.9, 0.7, 0.7])[2] == "bad"
    assert label_set.judge([0.9, 0.1, 0.1])[2] == "mild"
    assert label_set.judge([0.1, 0.1, 0.1])[2] is None


def _label(name: str, **thresholds: JsonValue) -> JsonValue:
    return {"name": name, "prompts": [f"a {name}"], **thresholds}


REVIEW = {
    "action_id": "03bfbc32-c7b1-5fbd-a6f9-10057b5c3f0a",
    "verdict": "agree",
    "reason": "",
    "reviewer": "r-7f3a",
    "reviewed_at": "2026-01-01T08:15:00Z",
}


@pytest.mark.parametrize("verdict", ["agree", "overrule", "appeal"])
def test_a_review_is_valid(verdict: str) -> None:
    valid(REVIEW_SCHEMA, REVIEW | {"verdict": verdict, "decision": "keep", "a tool's own": 1})


@pytest.mark.parametrize(
    "wrong",
    [
        {"verdict": "maybe"},
        {"reviewer": ""},
        {"action_id": ""},
        {"decision": ""},
        {"reviewed_at": "yesterday"},
        {"reason": None},
    ],
)
def test_a_review_that_says_too_little_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        valid(REVIEW_SCHEMA, REVIEW | wrong)


def test_the_review_on_the_reference_page_is_valid() -> None:
    page = pages.pages()["docs/reference/events.md"]()
    (example,) = [each for each in page.split("```") if f"ce_type: {EventType.REVIEW}\n" in each]
    head, _, body = example.removeprefix("text\n").partition("\n\n")
    headers = dict(line.split(": ", 1) for line in head.splitlines())
    del headers["key"]
    valid("review-headers.v1", headers)
    valid(REVIEW_SCHEMA, json.loads(body))

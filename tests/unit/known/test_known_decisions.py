"""What a known picture does to decisions, actions and explanations."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.errors import Reject
from pipeline.events import EventBuilder, EventContext, EventsPolicy
from pipeline.events.published import ClassificationEvent
from pipeline.flow import Flow
from pipeline.labels.explaining import explain
from pipeline.labels.label_set import LabelSet
from pipeline.labels.parsing import parse_label_set
from pipeline.labels.scoring import CompiledLabelSets, compile_label_sets
from pipeline.metrics import IMAGE_METRICS, KNOWN_MATCHES
from pipeline.records import (
    Classification,
    DeadLetter,
    ImageRef,
    JsonValue,
    Looked,
    Origin,
    OutputTopic,
    Partition,
    Position,
)
from pipeline.records.known import KnownKind, KnownMatch, PdqHash
from tests.rigs.failing_stages import Stages, look_of

ENCODER = MemoryEncoder(dimension=3, crop=2)
BODY = hashlib.sha256(b"bytes").hexdigest()
ORIGIN = Origin(Position(Partition("refs", 0), 7), 0, 1_700_000_000_000, b"key")
EVENTS = EventBuilder(
    EventContext("cluster", "group", {"refs": "6f3bb9a4-6a0c-4d1e-9a5e-0c4d6a9e7a11"}, "0.1.0"),
    EventsPolicy(),
    actions=True,
)


def known(action: str, name: str = "leaked") -> KnownMatch:
    return KnownMatch(name, "sha256:1", KnownKind.SHA256, action, 1)


def label_set(name: str, actions: list[JsonValue], **keys: Any) -> LabelSet:
    return parse_label_set(
        {
            "name": name,
            "decision": "exclusive",
            "actions": actions,
            "default_action": actions[-1],
            "labels": [{"name": "a", "prompts": ["a"]}, {"name": "b", "prompts": ["b"]}],
            **keys,
        }
    )


MODERATION = label_set("moderation", ["block", "review", "allow"])
TOPICS = label_set("topics", ["tag", "ignore"], unclassified_action="ignore")


class Lists:
    """Has the test's image, at the stage that a test names."""

    def __init__(self, *matches: KnownMatch, stage: str = "file") -> None:
        self._matches = matches
        self._stage = stage

    def _at(self, stage: str) -> tuple[KnownMatch, ...]:
        return self._matches if stage == self._stage else ()

    def by_file(self, sha256: str) -> tuple[KnownMatch, ...]:
        assert sha256 == BODY
        return self._at("file")

    def by_picture(self, pdq: PdqHash | None) -> tuple[KnownMatch, ...]:
        return self._at("picture")

    def by_embedding(self, looked: Looked) -> tuple[KnownMatch, ...]:
        return self._at("embedding")


def compiled(*label_sets: LabelSet) -> CompiledLabelSets:
    return compile_label_sets(label_sets, ENCODER.encode_texts, ENCODER.model)


def outcome_of(
    lists: Lists,
    *label_sets: LabelSet,
    stages: Stages | None = None,
    meter: MemoryMeter | None = None,
) -> Classification | DeadLetter:
    stages = stages or Stages()
    meter = meter or MemoryMeter(IMAGE_METRICS)
    ref = ImageRef("bucket", "key", tuple(each.name for each in label_sets))
    flow = Flow(stages, look_of(stages, meter), SystemClock(), meter, lambda: lists)
    return asyncio.run(flow.classify(ref, compiled(*label_sets)))


def classified(lists: Lists, *label_sets: LabelSet) -> Classification:
    outcome = outcome_of(lists, *label_sets)
    assert isinstance(outcome, Classification)
    return outcome


@pytest.mark.parametrize("stage", ["file", "picture", "embedding"])
def test_a_match_at_any_stage_raises_the_decision_and_says_so(stage: str) -> None:
    outcome = classified(Lists(known("block"), stage=stage), MODERATION)
    (result,) = outcome.results
    assert (result.decision, result.raised, result.labels_decision) == (
        "block",
        ("known",),
        "allow",
    )
    assert (result.severity, result.is_default) == (2, False)
    assert outcome.matches == (known("block"),)
    assert outcome.known_action is None


def test_a_match_never_weakens_a_decision() -> None:
    severe = label_set("severe", ["block", "review", "allow"], default_action="block")
    (result,) = classified(Lists(known("review")), severe).results
    assert (result.decision, result.raised, result.labels_decision) == ("block", (), None)


def test_the_most_severe_of_several_lists_counts() -> None:
    lists = Lists(known("review"), known("block", "worse"))
    (result,) = classified(lists, MODERATION).results
    assert result.decision == "block"


def test_a_match_comes_after_what_review_if_raised() -> None:
    cropped = label_set("seen", ["block", "review", "allow"], review_if={"cropped_share": 0.2})
    (result,) = classified(Lists(known("block")), cropped).results
    assert (result.decision, result.raised) == ("block", ("cropped_share", "known"))
    assert result.labels_decision == "allow"


def test_a_label_set_without_the_action_keeps_its_decision_and_the_action_is_not_lost() -> None:
    outcome = classified(Lists(known("block")), TOPICS)
    assert (outcome.results[0].decision, outcome.known_action) == ("ignore", "block")
    records = {record.topic: record for record in EVENTS.records(ORIGIN, outcome)}
    assert dict(records[OutputTopic.CLASSIFICATIONS].headers)["decision"] == b"block"
    action = json.loads(records[OutputTopic.ACTIONS].value)
    assert (action["action"], action["decisions"]) == ("block", [])
    assert [match["list"] for match in action["matches"]] == ["leaked"]


def test_one_label_set_with_the_action_is_enough() -> None:
    outcome = classified(Lists(known("block")), TOPICS, MODERATION)
    assert [result.decision for result in outcome.results] == ["ignore", "block"]
    assert outcome.known_action is None
    records = {record.topic: record for record in EVENTS.records(ORIGIN, outcome)}
    headers = dict(records[OutputTopic.CLASSIFICATIONS].headers)
    assert (headers["decision"], headers["decision.label-set"]) == (b"block", b"moderation")
    assert json.loads(records[OutputTopic.ACTIONS].value)["action"] == "block"


@pytest.mark.parametrize(
    ("code", "stage"), [("decode.corrupt", "decode"), ("encode.non_finite", "encode")]
)
def test_a_known_file_that_cannot_be_classified_is_acted_on(code: str, stage: str) -> None:
    meter = MemoryMeter(IMAGE_METRICS)
    stages = Stages(stage, Reject(code, "broken"))
    letter = outcome_of(Lists(known("block")), MODERATION, stages=stages, meter=meter)
    assert isinstance(letter, DeadLetter)
    assert (letter.code, letter.matches) == (code, (known("block"),))
    assert letter.unclassified_action == "block"
    assert meter.value(KNOWN_MATCHES, known_list="leaked") == 1
    dead, action = EVENTS.records(ORIGIN, letter)
    assert [match["list"] for match in json.loads(dead.value)["matches"]] == ["leaked"]
    assert json.loads(action.value)["action"] == "block"
    assert [match["list"] for match in json.loads(action.value)["matches"]] == ["leaked"]


def test_an_unknown_file_that_cannot_be_classified_is_as_before() -> None:
    stages = Stages("decode", Reject("decode.corrupt", "broken"))
    letter = outcome_of(Lists(), MODERATION, stages=stages)
    assert isinstance(letter, DeadLetter)
    assert (letter.unclassified_action, letter.matches) == ("review", ())
    dead, action = EVENTS.records(ORIGIN, letter)
    assert "matches" not in json.loads(dead.value)
    assert "matches" not in json.loads(action.value)


def test_a_dead_letter_takes_an_action_that_no_label_set_has() -> None:
    stages = Stages("decode", Reject("decode.corrupt", "broken"))
    letter = outcome_of(Lists(known("block")), TOPICS, stages=stages)
    assert isinstance(letter, DeadLetter)
    assert letter.unclassified_action == "block"


def test_a_match_is_counted_by_its_list_and_an_image_without_one_is_not() -> None:
    meter = MemoryMeter(IMAGE_METRICS)
    outcome_of(Lists(), MODERATION, meter=meter)
    assert meter.labels(KNOWN_MATCHES) == []
    outcome_of(Lists(known("block")), MODERATION, meter=meter)
    assert meter.value(KNOWN_MATCHES, known_list="leaked") == 1


def test_a_decision_that_a_list_raised_is_explained() -> None:
    match = replace(known("block"), kind=KnownKind.PDQ, distance=3)
    outcome = classified(Lists(match), MODERATION)
    value = json.loads(EVENTS.records(ORIGIN, outcome)[0].value)
    assert value["matches"] == [
        {
            "list": "leaked",
            "version": "sha256:1",
            "kind": "pdq",
            "action": "block",
            "entry": 1,
            "distance": 3,
        }
    ]
    event = ClassificationEvent.of(value, {})
    assert event.matches == (match,)
    looked = event.looked(outcome.looked.embedding)
    (rules,) = compiled(MODERATION)
    found = explain(rules, ENCODER.encode_texts, looked, event.results[0], known=event.matches)
    assert found.differences == ()
    assert found.rule.endswith("a list of known pictures raises it to 'block'")
    hidden = explain(rules, ENCODER.encode_texts, looked, event.results[0])
    assert any("review_if or a list raised" in each for each in hidden.differences)

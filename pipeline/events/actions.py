"""Makes the actions: small events for queues, of outcomes that somebody must act on.

Of several results, ``leading`` chooses the one that counts most. A decision that is not its label
set's default goes first, then the one with the most less severe actions in its own set, then the
one named first. So a set for which an image is harmless never hides a set for which it is not, and
the choice agrees with that of the unclassified action (``CompiledLabelSets``).
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.events.envelope import (
    EventContext,
    TextHeaders,
    attributes,
    bounded_text,
    event_id,
    optional,
    text,
    timestamp,
)
from pipeline.events.families import family_of
from pipeline.events.parts import (
    MAX_MESSAGE_BYTES,
    as_json,
    json_content,
    matches_value,
    position_value,
)
from pipeline.events.schemas import ACTION_SCHEMA
from pipeline.events.types import EventType
from pipeline.events.values.actions import ActedImageValue, ActionValue, DecisionValue
from pipeline.records import (
    Classification,
    DeadLetter,
    ImageRef,
    LabelSetResult,
    Origin,
    OutputRecord,
    OutputTopic,
)


def leading(results: Sequence[LabelSetResult]) -> LabelSetResult | None:
    """The result that counts most, or None without results that count."""
    return max(_counting(results), key=_weight, default=None)


def decision_headers(result: LabelSetResult | None, known_action: str | None = None) -> TextHeaders:
    """What a queue can route by without reading the value. None without a result. A
    ``known_action`` comes before any result's decision."""
    if known_action is not None:
        return (("decision", text(known_action)),)
    if result is None:
        return ()
    return (
        ("decision", text(result.decision)),
        ("decision.label-set", text(result.label_set)),
        *optional("decision.label", result.severe_label),
    )


class ActionBuilder:
    """Builds the actions. Pure, like ``EventBuilder``, which it serves."""

    def __init__(self, context: EventContext) -> None:
        self._context = context

    def of_classification(
        self, origin: Origin, outcome: Classification, outcome_id: str
    ) -> tuple[OutputRecord, ...]:
        """The action of a classified image, or none if every decision is its set's default and no
        list's action is missing in them. ``outcome_id`` is the classification's."""
        acting = sorted(
            (result for result in _counting(outcome.results) if not result.is_default),
            key=_weight,
            reverse=True,  # keeps the order of equals
        )
        known = outcome.known_action
        action = known if known is not None else acting[0].decision if acting else None
        if action is None:
            return ()
        ref = outcome.ref
        value = self._value(origin, action, family_of(ref).classification, outcome_id, acting)
        value["image"] = _image(ref, outcome.version_id, outcome.etag)
        if outcome.matches:
            value["matches"] = matches_value(outcome.matches)
        why = decision_headers(acting[0] if acting else None, known)
        return (self._record(origin, ref, why, value),)

    def of_letter(self, origin: Origin, letter: DeadLetter, outcome_id: str) -> OutputRecord:
        """The action of an image that could not be classified. ``outcome_id`` is the letter's."""
        ref, action = letter.ref, letter.unclassified_action
        value = self._value(origin, action, family_of(ref).dead_letter, outcome_id)
        if ref is not None:
            value["image"] = _image(ref, ref.version_id, ref.etag)
        if letter.matches:
            value["matches"] = matches_value(letter.matches)
        value["failure"] = {
            "code": letter.code,
            "message": bounded_text(letter.message, MAX_MESSAGE_BYTES).decode(),
            "attempts": letter.attempts,
        }
        headers = (("decision", text(action)), ("dlq.code", text(letter.code)))
        return self._record(origin, ref, headers, value)

    def _value(
        self,
        origin: Origin,
        action: str,
        outcome_type: EventType,
        outcome_id: str,
        acting: Sequence[LabelSetResult] = (),
    ) -> ActionValue:
        return {
            "action": action,
            "outcome": {"type": outcome_type, "id": outcome_id},
            "decisions": [_decision(result) for result in acting],
            "position": position_value(origin),
            "record_timestamp": timestamp(origin.timestamp_ms),
            "clipstream_version": self._context.version,
        }

    def _record(
        self, origin: Origin, ref: ImageRef | None, why: TextHeaders, value: ActionValue
    ) -> OutputRecord:
        kind = EventType.ACTION
        own_id = event_id(self._context, origin, kind)
        headers = (
            *attributes(self._context, origin, kind, own_id, None if ref is None else ref.subject),
            *json_content(ACTION_SCHEMA),
            *why,
            *optional("tenant", None if ref is None else ref.tenant),
        )
        return OutputRecord(OutputTopic.ACTIONS, origin.key, as_json(value), headers)


def _counting(results: Sequence[LabelSetResult]) -> list[LabelSetResult]:
    """Those of label sets that are in force: nobody acts on a shadow set."""
    return [result for result in results if not result.shadow]


def _weight(result: LabelSetResult) -> tuple[bool, int]:
    return not result.is_default, result.severity


def _decision(result: LabelSetResult) -> DecisionValue:
    scores = {each.label: each.score for each in result.scores}
    label = result.severe_label
    value: DecisionValue = {
        "label_set": result.label_set,
        "version": result.version,
        "decision": result.decision,
        "label": label,
        "score": None if label is None else scores[label],
    }
    if result.raised:
        value["raised"] = list(result.raised)
    return value


def _image(ref: ImageRef, version_id: str | None, etag: str | None) -> ActedImageValue:
    return {
        "uri": ref.uri,
        "version_id": version_id,
        "etag": etag,
        "id": ref.id,
        "tenant": ref.tenant,
    }

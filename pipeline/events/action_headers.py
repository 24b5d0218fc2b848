"""The headers of actions, reviews and removals."""

from __future__ import annotations

from dataclasses import replace

from pipeline.events.header import (
    DATA_SCHEMA,
    ID,
    JSON_CONTENT,
    REPLAYED,
    SOURCE,
    SPECVERSION,
    SUBJECT,
    TIME,
    TRACEPARENT,
    TYPE,
    Header,
)
from pipeline.events.types import EventType

ACTION_HEADERS: dict[EventType, tuple[Header, ...]] = {
    EventType.ACTION: (
        SPECVERSION,
        TYPE,
        SOURCE,
        ID,
        TIME,
        replace(SUBJECT, required=False, meaning=f"{SUBJECT.meaning} Absent without a reference."),
        TRACEPARENT,
        *REPLAYED,
        JSON_CONTENT,
        DATA_SCHEMA,
        Header("decision", "The action to take: `action` of the value."),
        Header(
            "decision.label-set",
            "Label set that decided. Absent if the image could not be classified, and if a list's "
            "action that no label set has is the decision.",
            required=False,
        ),
        Header(
            "decision.label",
            "Matched label, as in the header of the classification. Absent if no label matched, "
            "and with `decision.label-set`.",
            required=False,
        ),
        Header(
            "dlq.code",
            "For an image that could not be classified only: the code of its dead letter.",
            required=False,
        ),
        Header("tenant", "Tenant that the route decided.", required=False),
    ),
    EventType.REVIEW: (
        SPECVERSION,
        TYPE,
        Header("ce_source", "Whose tool wrote the review, as a URI of the tool's own choice."),
        Header(
            "ce_id",
            "Id of the review. The tool repeats it if it sends the same review again.",
            pattern="^.+$",
        ),
        Header("ce_time", "When the verdict was given, RFC 3339 in UTC.", required=False),
        Header("ce_subject", "`ce_subject` of the action.", required=False),
        JSON_CONTENT,
        DATA_SCHEMA,
        Header(
            "review.verdict",
            "`verdict` of the value.",
            pattern="^(agree|overrule|appeal)$",
        ),
    ),
    EventType.REMOVAL: (
        SPECVERSION,
        TYPE,
        SOURCE,
        ID,
        TIME,
        Header("ce_subject", "URI of the object."),
        TRACEPARENT,
        *REPLAYED,
        JSON_CONTENT,
        DATA_SCHEMA,
        Header("object.uri", "URI of the object."),
        Header(
            "object.version-id",
            "Version that was deleted. Absent if the whole object was.",
            required=False,
        ),
        Header("tenant", "Tenant that the object's route decides.", required=False),
    ),
}

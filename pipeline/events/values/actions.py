"""The values of actions, of reviewers' verdicts about them, and of removals, as in ``values``."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # pydantic refuses typing's below Python 3.12

from pipeline.events.values.outcomes import (
    Count,
    MatchValue,
    PositionValue,
    Share,
    Timestamp,
    described,
)


@described
class ActedOutcomeValue(TypedDict):
    """The event that the action follows from."""

    type: str
    """`ce_type` of the event: a classification or a dead letter, of version 1 or 2."""
    id: str
    """`ce_id` of the event."""


@described
class ActedImageValue(TypedDict):
    """The image that the action is about."""

    uri: str
    """`s3://bucket/key`, or `https://host/path` without the query."""
    version_id: str | None
    """Version that was read, or the one that the reference asked for if none was read. null in a
    bucket without versions."""
    etag: str | None
    """ETag of that object, without quotes, or null."""
    id: str | None
    """The sender's own id of the image, or null."""
    tenant: str | None
    """Tenant that the route decided, or null."""


@described
class DecisionValue(TypedDict):
    """The decision of one label set."""

    label_set: str
    """Name of the label set."""
    version: str
    """Version of the label set: `sha256:...` over its content."""
    decision: str
    """The decision. It is not the set's default action."""
    label: str | None
    """Matched label that calls for the most severe action; of several, the one with the highest
    score. If the set's `review_if` or a list in `matches` raised the decision, the label calls for
    less, and null says that no label matched."""
    score: Share | None
    """That label's score, unrounded. null if `label` is."""
    raised: NotRequired[list[str]]
    """Conditions of the set's `review_if` that raised the decision, as in the classification.
    Absent if the labels alone made the decision. New conditions may appear."""


@described
class FailureValue(TypedDict):
    """Why the image was not classified."""

    code: str
    """`dlq.code` of the dead letter."""
    message: str
    """`dlq.message` of the dead letter, for people."""
    attempts: Count
    """Number of attempts."""


@described
class ActionValue(TypedDict):
    """What is to be done about one image: the value of a `clipstream.action.v1` event."""

    action: str
    """The action: the first of `decisions`, or the unclassified action of a dead letter. If a list
    in `matches` has an action that none of the image's label sets has, this is it. Clipstream never
    performs it."""
    outcome: ActedOutcomeValue
    """The event with everything that is known, published in the same transaction."""
    image: NotRequired[ActedImageValue]
    """The image. Absent if the record could not be read as a reference."""
    decisions: list[DecisionValue]
    """The decisions that are not the default of their label set, those that count more first.
    Empty if the image was not classified, or if only a list calls for the action."""
    matches: NotRequired[list[MatchValue]]
    """Lists of known pictures that have the image. Absent if none has."""
    failure: NotRequired[FailureValue]
    """Why the image was not classified. Absent if it was."""
    position: PositionValue
    """Where the reference came from."""
    record_timestamp: Timestamp | None
    """Timestamp of the input record, RFC 3339 in UTC with milliseconds. null if it has none."""
    clipstream_version: str
    """Version of Clipstream that wrote the event."""


Said = Annotated[str, Field(min_length=1)]


@described
class ReviewValue(TypedDict):
    """What a person says about an action: the value of a `clipstream.review.v1` event.

    Tools of reviewers write it. Clipstream defines it, and neither writes nor reads it.
    """

    action_id: Said
    """`ce_id` of the action."""
    verdict: Literal["agree", "overrule", "appeal"]
    """`agree`: the action was right. `overrule`: it was wrong, and `decision` takes its place.
    `appeal`: whom the action concerns asks for another look."""
    decision: NotRequired[Said]
    """With `overrule`: the action that the reviewer takes instead, usually one of the label
    set's."""
    reason: str
    """Why, in the reviewer's words or in those of a list. May be empty."""
    reviewer: Said
    """Pseudonym of who says it. No name and no address: reviews are kept for long."""
    reviewed_at: Timestamp
    """When, RFC 3339 in UTC."""


@described
class RemovalValue(TypedDict):
    """An object that its store has deleted: the value of a `clipstream.removal.v1` event."""

    uri: str
    """`s3://bucket/key`. The key is as it was stored, without escapes."""
    bucket: str
    """Bucket of the object."""
    key: str
    """Key of the object, as it was stored."""
    version_id: str | None
    """Version that was deleted; other versions may remain. `null` as a text is S3's null version. A
    JSON null: the whole object, or what a reader without a version sees of it."""
    event: str
    """The store's name of the event: `ObjectRemoved:DeleteMarkerCreated`, ..."""
    notification_id: str | None
    """The sender's id of the notification: the id of the request or of the event. null without
    one."""
    removed_at: Timestamp | None
    """When the object was deleted, as the store says, RFC 3339 in UTC. null if it does not say."""
    tenant: str | None
    """Tenant that the object's route decides, or null."""
    position: PositionValue
    """Where the notification came from."""
    record_timestamp: Timestamp | None
    """Timestamp of the input record, RFC 3339 in UTC with milliseconds. null if it has none."""
    clipstream_version: str
    """Version of Clipstream that wrote the event."""

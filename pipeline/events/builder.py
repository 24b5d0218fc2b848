"""Makes the records to publish from an outcome.

Everything in a record comes from the outcome and the context. Nothing comes from a clock or a
random source, so an outcome that is published again is the same event, byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from pipeline.content import content_id
from pipeline.events.actions import ActionBuilder, decision_headers, leading
from pipeline.events.envelope import (
    EventContext,
    TextHeaders,
    attributes,
    event_id,
    optional,
    text,
    timestamp,
)
from pipeline.events.families import classification_value, dead_reference_value, family_of
from pipeline.events.headers import ORIGINAL_PREFIX
from pipeline.events.parts import (
    as_bytes,
    as_json,
    failure_headers,
    json_content,
    omitted_headers,
    position_value,
    vector_headers,
)
from pipeline.events.schemas import REMOVAL_SCHEMA
from pipeline.events.types import EventType, Payload
from pipeline.events.values.actions import RemovalValue
from pipeline.policy import Policy, Tier
from pipeline.records import (
    Classification,
    DeadLetter,
    EmbeddingDtype,
    Origin,
    Outcome,
    OutputRecord,
    OutputTopic,
    Record,
    Removal,
    Skipped,
)

MAX_SHRUNK_FIELD_BYTES = 2048
"""A dead letter without payload drops a longer key, subject or trace context. An S3 URI, the
longest usual name of an image, has at most 1,093 bytes."""

_SENDERS_HEADERS = frozenset({"ce_subject", "traceparent"})  # the sender decides their length


class EventsPolicy(Policy):
    """What is published."""

    tier = Tier.TUNING

    embeddings: Annotated[bool, Tier.EVERYDAY] = Field(
        True, description="Publish each image's embedding in addition to its classification."
    )
    embedding_dtype: EmbeddingDtype = Field(
        "float32",
        description="Element type of published embeddings. float16 halves their size. Scores are "
        "computed from the rounded values, so readers can derive them again with either type.",
    )
    removals: bool = Field(
        False,
        description="Publish notifications that an object was deleted, on the topic of embeddings, "
        "so that an index can drop the object's vectors. false: such notifications are skipped.",
    )


class EventBuilder:
    """Builds the records that make an outcome visible. Pure, thread-safe, never blocks."""

    def __init__(
        self, context: EventContext, policy: EventsPolicy, *, actions: bool = False
    ) -> None:
        """``actions``: whether there is a topic of actions."""
        self._context = context
        self._policy = policy
        self._actions = ActionBuilder(context) if actions else None

    def records(
        self, origin: Origin, outcome: Outcome, record: Record | None = None
    ) -> tuple[OutputRecord, ...]:
        """Make the records of an outcome. They belong into one commit. A skip has none, unless it
        has a removal.

        A dead letter without a reference carries ``record``. ``record`` is None if the broker could
        not return it.

        Raises:
            ValueError: a number is not finite: a defect of the caller.
            KeyError: the input topic is not in the context: a defect of the caller.
        """
        match outcome:
            case Classification():
                own_id = event_id(self._context, origin, family_of(outcome.ref).classification)
                content = content_id(
                    outcome.looked, outcome.ref.uri, outcome.etag, outcome.version_id
                )
                records = [self._classification(origin, outcome, own_id, content)]
                if self._policy.embeddings:
                    records.append(self._embedding(origin, outcome, own_id, content))
                if self._actions is not None:
                    records += self._actions.of_classification(origin, outcome, own_id)
                return tuple(records)
            case DeadLetter():
                letter = self._dead_letter(origin, outcome, record)
                if self._actions is None:
                    return (letter,)
                own_id = event_id(self._context, origin, family_of(outcome.ref).dead_letter)
                return (letter, self._actions.of_letter(origin, outcome, own_id))
            case Skipped(removal=Removal() as removal):
                return (self._removal(origin, removal),)
            case Skipped():
                return ()

    def shrink(
        self, origin: Origin, letter: DeadLetter, record: Record | None = None
    ) -> tuple[OutputRecord, ...]:
        """Make the records of a dead letter without its payload, for one of which a record does not
        fit its topic.

        The position, the sizes and the hash remain. The size of the result is bounded, whatever the
        input was.
        """
        full, *actions = self.records(origin, letter, record)
        key = full.key if full.key is None or len(full.key) <= MAX_SHRUNK_FIELD_BYTES else None
        headers = tuple(
            (name, value)
            for name, value in self._dead_letter_headers(origin, letter)
            if name not in _SENDERS_HEADERS or len(value) <= MAX_SHRUNK_FIELD_BYTES
        )
        has_payload = letter.ref is not None or record is not None
        omitted = omitted_headers(full) if has_payload else _payload(origin, letter, None).headers
        shrunk = OutputRecord(OutputTopic.DEAD_LETTERS, key, b"", headers + omitted)
        return (shrunk, *(replace(action, key=key) for action in actions))

    def _classification(
        self, origin: Origin, outcome: Classification, own_id: str, content: str
    ) -> OutputRecord:
        subject, family = outcome.ref.subject, family_of(outcome.ref)
        headers = (
            *attributes(self._context, origin, family.classification, own_id, subject),
            *family.classification_content,
            *decision_headers(leading(outcome.results), outcome.known_action),
        )
        value = classification_value(
            origin,
            outcome,
            self._context.version,
            content,
            embeddings=self._policy.embeddings,
        )
        return OutputRecord(OutputTopic.CLASSIFICATIONS, origin.key, as_json(value), headers)

    def _embedding(
        self, origin: Origin, outcome: Classification, classification_id: str, content: str
    ) -> OutputRecord:
        ref = outcome.ref
        kind = family_of(ref).embedding
        own_id = event_id(self._context, origin, kind)
        headers = (
            *attributes(self._context, origin, kind, own_id, ref.subject),
            *vector_headers(outcome, classification_id, self._context.version, content),
        )
        value = as_bytes(outcome.looked.embedding)
        return OutputRecord(OutputTopic.EMBEDDINGS, origin.key, value, headers)

    def _removal(self, origin: Origin, removal: Removal) -> OutputRecord:
        """On the topic of embeddings: only there has a reader a key's vectors and removals in
        order."""
        kind = EventType.REMOVAL
        value: RemovalValue = {
            "uri": removal.uri,
            "bucket": removal.bucket,
            "key": removal.key,
            "version_id": removal.version_id,
            "event": removal.event,
            "notification_id": removal.notification_id,
            "removed_at": removal.removed_at,
            "tenant": removal.tenant,
            "position": position_value(origin),
            "record_timestamp": timestamp(origin.timestamp_ms),
            "clipstream_version": self._context.version,
        }
        own_id = event_id(self._context, origin, kind)
        headers = (
            *attributes(self._context, origin, kind, own_id, removal.uri),
            *json_content(REMOVAL_SCHEMA),
            ("object.uri", text(removal.uri)),
            *optional("object.version-id", removal.version_id),
            *optional("tenant", removal.tenant),
        )
        return OutputRecord(OutputTopic.EMBEDDINGS, origin.key, as_json(value), headers)

    def _dead_letter(
        self, origin: Origin, letter: DeadLetter, record: Record | None
    ) -> OutputRecord:
        payload = _payload(origin, letter, record)
        headers = self._dead_letter_headers(origin, letter) + payload.headers
        return OutputRecord(OutputTopic.DEAD_LETTERS, payload.key, payload.value, headers)

    def _dead_letter_headers(self, origin: Origin, letter: DeadLetter) -> TextHeaders:
        """The headers that a dead letter has whatever its payload is."""
        subject = None if letter.ref is None else letter.ref.subject
        partition = origin.position.partition
        kind = family_of(letter.ref).dead_letter
        own_id = event_id(self._context, origin, kind)
        return (
            *attributes(self._context, origin, kind, own_id, subject),
            *failure_headers(letter),
            ("dlq.topic", text(partition.topic)),
            ("dlq.partition", b"%d" % partition.number),
            ("dlq.offset", b"%d" % origin.position.offset),
            ("dlq.index", b"%d" % origin.index),
            *optional("dlq.timestamp", timestamp(origin.timestamp_ms)),
            ("dlq.unclassified-action", text(letter.unclassified_action)),
            ("dlq.version", text(self._context.version)),
        )


@dataclass(frozen=True, slots=True)
class _PayloadOf:
    key: bytes | None
    value: bytes
    headers: TextHeaders


def _payload(origin: Origin, letter: DeadLetter, record: Record | None) -> _PayloadOf:
    ref = letter.ref
    if ref is not None:
        headers: TextHeaders = (
            *family_of(ref).dead_letter_content,
            ("dlq.payload", text(Payload.REFERENCE)),
        )
        return _PayloadOf(origin.key, as_json(dead_reference_value(ref, letter.matches)), headers)
    if record is not None:
        headers = (
            ("content-type", b"application/octet-stream"),
            ("dlq.payload", text(Payload.RECORD)),
            *_original_headers(record),
        )
        return _PayloadOf(record.key, record.value or b"", headers)
    # The broker could not return the record: not even its size is known.
    return _PayloadOf(origin.key, b"", (("dlq.payload", text(Payload.OMITTED)),))


def _original_headers(record: Record) -> TextHeaders:
    """The record's own headers in their order, and a list of those that were null.

    The client cannot write a null header value. Without the list, a reader could not tell a null
    from an empty value.
    """
    nulls = [place for place, (_, value) in enumerate(record.headers) if value is None]
    return (
        *((("dlq.null-value", b"true"),) if record.value is None else ()),
        *((("dlq.null-headers", as_json(nulls)),) if nulls else ()),
        *((ORIGINAL_PREFIX + name, value or b"") for name, value in record.headers),
    )

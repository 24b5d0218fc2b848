"""Makes the records to publish for a row of a backfill.

Values are those of the stream, with ``job`` in place of ``position``. Everything in a record comes
from the row and its outcome, so a row that is published again repeats its events.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.events.builder import EventsPolicy
from pipeline.events.envelope import TextHeaders, named_id, own_attributes, text
from pipeline.events.families import dead_reference_value, reference_value
from pipeline.events.parts import (
    as_bytes,
    as_json,
    failure_headers,
    image_value,
    json_content,
    model_value,
    object_value,
    omitted_headers,
    result_value,
    vector_headers,
    views_value,
)
from pipeline.events.schemas import BACKFILL_CLASSIFICATION_SCHEMA, BACKFILL_DEAD_LETTER_SCHEMA
from pipeline.events.types import EventType, Payload
from pipeline.events.values.outcomes import BackfillClassificationValue
from pipeline.records import Classification, DeadLetter, ImageRef, OutputRecord, OutputTopic


@dataclass(frozen=True, slots=True)
class BackfilledRow:
    """The identity of a row in a job. ``content_id`` is that of its embedding, for a row that was
    classified."""

    job: str
    shard: int
    row: int
    content_id: str = ""

    def __str__(self) -> str:
        return f"row {self.row} of shard {self.shard}"

    def event_id(self, event_type: EventType) -> str:
        """The UUIDv5 of one event of this row."""
        return named_id(self.job, self.shard, self.row, event_type)


class BackfillEvents:
    """Builds the events of rows. Pure, thread-safe, never blocks."""

    def __init__(self, policy: EventsPolicy, version: str) -> None:
        """``version`` is the version of Clipstream."""
        self._policy = policy
        self._version = version

    def records(
        self, row: BackfilledRow, outcome: Classification | DeadLetter
    ) -> tuple[OutputRecord, ...]:
        """The events of a row. They belong into one transaction. The embedding is left out where it
        is empty: the job wrote none."""
        if isinstance(outcome, DeadLetter):
            return (self._dead_letter(row, outcome),)
        own_id = row.event_id(EventType.BACKFILL_CLASSIFICATION)
        classification = self._classification(row, outcome, own_id)
        if not self._policy.embeddings or not outcome.looked.embedding.size:
            return (classification,)
        return (classification, self._embedding(row, outcome, own_id))

    def shrink(self, row: BackfilledRow, letter: DeadLetter) -> OutputRecord:
        """The dead letter without its payload, for one that does not fit its topic."""
        full = self._dead_letter(row, letter)
        headers = self._dead_letter_headers(row, letter) + omitted_headers(full)
        return OutputRecord(OutputTopic.DEAD_LETTERS, full.key, b"", headers)

    def _classification(
        self, row: BackfilledRow, outcome: Classification, own_id: str
    ) -> OutputRecord:
        looked = outcome.looked
        value: BackfillClassificationValue = {
            "reference": reference_value(outcome.ref),
            "object": object_value(looked, outcome.etag, outcome.version_id),
            "image": image_value(looked.image),
            "model": model_value(looked.model),
            "results": [result_value(result) for result in outcome.results],
            "decode_mode": looked.decode_mode,
            "decode_crop": looked.decode_crop,
            "job": {"id": row.job, "shard": row.shard, "row": row.row},
            "record_timestamp": None,
            "clipstream_version": self._version,
            "content_id": row.content_id,
        }
        if looked.views is not None:
            embeddings = self._policy.embeddings and looked.views.embeddings.size > 0
            value["views"] = views_value(looked.views, embeddings=embeddings)
        headers = (
            *_attributes(row, EventType.BACKFILL_CLASSIFICATION, own_id, outcome.ref),
            *json_content(BACKFILL_CLASSIFICATION_SCHEMA),
        )
        return OutputRecord(OutputTopic.CLASSIFICATIONS, _key(outcome.ref), as_json(value), headers)

    def _embedding(
        self, row: BackfilledRow, outcome: Classification, classification_id: str
    ) -> OutputRecord:
        kind = EventType.BACKFILL_EMBEDDING
        headers = (
            *_attributes(row, kind, row.event_id(kind), outcome.ref),
            *vector_headers(outcome, classification_id, self._version, row.content_id),
        )
        value = as_bytes(outcome.looked.embedding)
        return OutputRecord(OutputTopic.EMBEDDINGS, _key(outcome.ref), value, headers)

    def _dead_letter(self, row: BackfilledRow, letter: DeadLetter) -> OutputRecord:
        ref = _ref(letter)
        headers = (
            *self._dead_letter_headers(row, letter),
            *json_content(BACKFILL_DEAD_LETTER_SCHEMA),
            ("dlq.payload", text(Payload.REFERENCE)),
        )
        value = as_json(dead_reference_value(ref))
        return OutputRecord(OutputTopic.DEAD_LETTERS, _key(ref), value, headers)

    def _dead_letter_headers(self, row: BackfilledRow, letter: DeadLetter) -> TextHeaders:
        kind = EventType.BACKFILL_DEAD_LETTER
        return (
            *_attributes(row, kind, row.event_id(kind), _ref(letter)),
            *failure_headers(letter),
            ("dlq.job", text(row.job)),
            ("dlq.shard", b"%d" % row.shard),
            ("dlq.row", b"%d" % row.row),
            ("dlq.unclassified-action", text(letter.unclassified_action)),
            ("dlq.version", text(self._version)),
        )


def _ref(letter: DeadLetter) -> ImageRef:
    if letter.ref is None:
        raise ValueError("backfill: each row has a reference")
    return letter.ref


def _key(ref: ImageRef) -> bytes:
    """The subject: events of one object keep their order."""
    return text(ref.subject)


def _attributes(row: BackfilledRow, kind: EventType, own_id: str, ref: ImageRef) -> TextHeaders:
    return own_attributes(kind, text(f"/clipstream/backfill/{row.job}"), own_id, ref.subject)

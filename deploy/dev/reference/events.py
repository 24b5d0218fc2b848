"""The reference page of the published events: every header, every field, and an example of each,
built by the code that builds the real ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from deploy.dev.reference import event_examples as examples
from deploy.dev.reference import label_set
from deploy.dev.reference.event_parts import example_of, fields_of, headers_of
from deploy.dev.reference.markdown import NOTICE
from pipeline.content import content_id
from pipeline.events import EventBuilder, EventsPolicy
from pipeline.events.backfill import BackfilledRow, BackfillEvents
from pipeline.events.headers import ORIGINAL_PREFIX
from pipeline.events.schemas import (
    ACTION_SCHEMA,
    BACKFILL_CLASSIFICATION_SCHEMA,
    BACKFILL_DEAD_LETTER_SCHEMA,
    CLASSIFICATION_SCHEMA,
    CLASSIFICATION_SCHEMA_V2,
    DEAD_LETTER_SCHEMA,
    DEAD_LETTER_SCHEMA_V2,
    REMOVAL_SCHEMA,
    REVIEW_SCHEMA,
    SERVED_ERROR_SCHEMA,
    SERVED_IMAGE_SCHEMA,
    schemas,
)
from pipeline.events.served import ServedEvents
from pipeline.events.types import EventType
from pipeline.events.values.label_sets import LABEL_SET_SCHEMA
from pipeline.records import (
    Skipped,
)

_INTRODUCTION = """\
Every event is a CloudEvent in Kafka's binary mode. The attributes are headers, the data is the
value. The key of an event of the stream is the key of the input record.
[events.md](../events.md) says how to read events. [docs/schemas](../schemas) has JSON Schemas of
values and headers.

Headers contain control characters, and other characters that CloudEvents forbids, as `\\uXXXX`. The
value contains the exact string.
"""

_ORIGINAL_HEADERS = f"""\
A record that could not be parsed also keeps its own headers, in their order and byte for byte. The
name of each has the prefix `{ORIGINAL_PREFIX}`.
"""

_VERSION_2 = """\
Outcomes of `https://` references have types of version 2. Their headers have the names and meanings
of version 1. Their values name the image by its `uri`, without the query. Only the value of a dead
letter has the query, because a replay needs it.
"""

_REPLAY = """\
`clipstream replay` publishes this event when it has sent the reference of a dead letter once more.
The event is on the dead-letter topic, after the dead letter and with the same key. The value is
empty.
"""

_ACTION = """\
The stream publishes this event where `kafka.output_topics.actions` names a topic: one for each
image with a decision that is not its label set's default, and one for each dead letter. The key is
that of the input record.
"""

_REVIEW = """\
Tools of reviewers write this event. Clipstream defines it, and neither writes nor reads it. Give it
the key of the action.
"""

_REMOVAL = """\
The stream publishes this event where `events.removals` is on: one for each notification that an
object was deleted. It is on the topic of embeddings, with the key of the input record, so a reader
of that topic has the vectors of a key and their removal in order.
"""

_SERVED = """\
`clipstream serve` publishes these events where `serve.publish` is `kafka`. The key is the id of the
request. Bodies of requests and texts for the model are in no event.
"""

_BACKFILL = """\
`clipstream backfill publish` publishes these events, to the topics of `backfill.topics`. The key is
the subject. Values are those of the stream, with `job` in place of `position`.
"""

_LABEL_SET = """\
Workers publish each version of a label set before they use it, to the compacted topic
`kafka.output_topics.label_sets`. The key is the version. `clipstream labels show` reads it back.
"""


def render() -> str:
    """The page as Markdown."""
    builder = EventBuilder(examples.CONTEXT, EventsPolicy())
    classification, embedding = builder.records(examples.origin(41), examples.classified())
    (dead_reference,) = builder.records(examples.origin(42), examples.unfetched())
    unparsed = (examples.origin(43), examples.unparsed(), examples.unreadable())
    (dead_record,) = builder.records(*unparsed)
    (shrunk,) = builder.shrink(*unparsed)
    classification_2, embedding_2 = builder.records(
        examples.origin(44), examples.classified(examples.on_the_web())
    )
    (dead_url,) = builder.records(examples.origin(45), examples.unfetched(examples.on_the_web()))
    values = schemas()
    return "\n".join(
        (
            f"# Events\n\n{NOTICE}\n\n{_INTRODUCTION}",
            "## Classification\n",
            headers_of(EventType.CLASSIFICATION),
            "Value, JSON in UTF-8:\n",
            fields_of(values[CLASSIFICATION_SCHEMA]),
            example_of("Example", classification),
            "## Embedding\n",
            headers_of(EventType.EMBEDDING),
            "Value: the elements, little-endian, nothing else.\n",
            example_of("Example", embedding),
            "## Dead letter\n",
            headers_of(EventType.DEAD_LETTER),
            _ORIGINAL_HEADERS,
            "Value if `dlq.payload` is `reference`, JSON in UTF-8:\n",
            fields_of(values[DEAD_LETTER_SCHEMA]),
            example_of("Example of a reference", dead_reference),
            example_of("Example of a record that could not be parsed", dead_record),
            example_of("The same, had it not fitted the topic", shrunk),
            f"## Version 2: images on web servers\n\n{_VERSION_2}",
            f"Type `{EventType.CLASSIFICATION_V2}`, value, JSON in UTF-8:\n",
            fields_of(values[CLASSIFICATION_SCHEMA_V2]),
            example_of("Example", classification_2),
            f"Type `{EventType.EMBEDDING_V2}`, with a value as of version 1.\n",
            example_of("Example", embedding_2),
            f"Type `{EventType.DEAD_LETTER_V2}`, value of a `reference`, JSON in UTF-8:\n",
            fields_of(values[DEAD_LETTER_SCHEMA_V2]),
            example_of("Example of a reference", dead_url),
            "## Replay\n",
            _REPLAY,
            headers_of(EventType.REPLAY),
            *_actions(values),
            *_served(values),
            *_backfill(values),
            *_label_set(values),
        )
    )


def _actions(values: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The part about actions, removals and reviews."""
    builder = EventBuilder(examples.CONTEXT, EventsPolicy(), actions=True)
    classified = examples.classified()
    calling = replace(
        classified.results[0], decision="review", severe_label="cat", severity=1, is_default=False
    )
    *_, action = builder.records(examples.origin(41), replace(classified, results=(calling,)))
    _, of_letter = builder.records(examples.origin(42), examples.unfetched())
    yield "## Action\n"
    yield _ACTION
    yield headers_of(EventType.ACTION)
    yield "Value, JSON in UTF-8:\n"
    yield fields_of(values[ACTION_SCHEMA])
    yield example_of("Example", action)
    yield example_of("Example of a dead letter's action", of_letter)
    (removal,) = builder.records(examples.origin(46), Skipped("deleted", examples.removal()))
    yield "## Removal\n"
    yield _REMOVAL
    yield headers_of(EventType.REMOVAL)
    yield "Value, JSON in UTF-8:\n"
    yield fields_of(values[REMOVAL_SCHEMA])
    yield example_of("Example", removal)
    yield "## Review\n"
    yield _REVIEW
    yield headers_of(EventType.REVIEW)
    yield "Value, JSON in UTF-8:\n"
    yield fields_of(values[REVIEW_SCHEMA])
    yield example_of("Example", examples.review(dict(action.headers)["ce_id"].decode()))


def _served(values: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The part about images that came over HTTP."""
    events = ServedEvents(EventsPolicy(), "0.1.0")
    sent, outcome = examples.sent(), examples.classified()
    image, embedding = events.looked_at(sent, outcome.looked, outcome.results)
    yield "## Served image\n"
    yield _SERVED
    yield headers_of(EventType.SERVED_IMAGE)
    yield "Value, JSON in UTF-8:\n"
    yield fields_of(values[SERVED_IMAGE_SCHEMA])
    yield example_of("Example", image)
    yield "## Served embedding\n"
    yield headers_of(EventType.SERVED_EMBEDDING)
    yield "Value: the elements, little-endian, nothing else.\n"
    yield example_of("Example", embedding)
    yield "## Served error\n"
    yield headers_of(EventType.SERVED_ERROR)
    yield "Value, JSON in UTF-8:\n"
    yield fields_of(values[SERVED_ERROR_SCHEMA])
    yield example_of("Example", events.failed(sent, "decode.truncated"))


def _backfill(values: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The part about rows of a backfill."""
    events, outcome = BackfillEvents(EventsPolicy(), "0.1.0"), examples.classified()
    content = content_id(outcome.looked, outcome.ref.uri, outcome.etag, outcome.version_id)
    row = BackfilledRow("6b1f7c9e-2f0a-4d0c-9a54-0d6b8f1f6f0a", 12, 3071, content)
    classification, embedding = events.records(row, outcome)
    (letter,) = events.records(row, examples.unfetched())
    yield "## Backfill classification\n"
    yield _BACKFILL
    yield headers_of(EventType.BACKFILL_CLASSIFICATION)
    yield "Value, JSON in UTF-8:\n"
    yield fields_of(values[BACKFILL_CLASSIFICATION_SCHEMA])
    yield example_of("Example", classification)
    yield "## Backfill embedding\n"
    yield headers_of(EventType.BACKFILL_EMBEDDING)
    yield "Value: the elements, little-endian, nothing else.\n"
    yield example_of("Example", embedding)
    yield "## Backfill dead letter\n"
    yield headers_of(EventType.BACKFILL_DEAD_LETTER)
    yield "Value if `dlq.payload` is `reference`, JSON in UTF-8:\n"
    yield fields_of(values[BACKFILL_DEAD_LETTER_SCHEMA])
    yield example_of("Example", letter)


def _label_set(values: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The part about recorded label sets."""
    yield "## Label set\n"
    yield _LABEL_SET
    yield headers_of(EventType.LABEL_SET)
    yield "Value, JSON in UTF-8:\n"
    yield fields_of(values[LABEL_SET_SCHEMA])
    yield example_of("Example", label_set.example(examples.classified().looked.model))

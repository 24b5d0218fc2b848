"""The CloudEvents attributes of every event, in the Kafka binding's binary mode.

Source: CloudEvents 1.0, "Kafka Protocol Binding", section 3.2. Header names and values are UTF-8
text. The Kafka binding percent-encodes nothing, unlike the HTTP binding.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from urllib.parse import quote
from uuid import UUID

from pipeline.events.types import EventType
from pipeline.records import REPLAY_COUNT, REPLAY_OF, Origin, Replay

EVENT_NAMESPACE = UUID("57c26f7f-479e-49ab-8e88-7ca7f3d2f51f")
"""Namespace of event ids. If it changed, every redelivered event would look new to its readers."""

_VERSION_AND_VARIANT = 0xF000_C000_0000_0000_0000
_VERSION_5 = 0x5000_8000_0000_0000_0000  # and the variant of RFC 9562, sections 4.1 and 4.2

TextHeaders = tuple[tuple[str, bytes], ...]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_TIMESTAMP_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z, the last that RFC 3339 writes

# Characters that CloudEvents forbids in a string (control characters, surrogates, noncharacters),
# and characters that break a line or turn the direction of text in a reader's terminal.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
    + "]"
)
_encode = json.JSONEncoder(separators=(",", ":")).encode
_ELLIPSIS = "…".encode()


@dataclass(frozen=True, slots=True)
class EventContext:
    """What all events of one worker share.

    ``topic_ids`` has the UUID of each input topic. ``version`` is the version of Clipstream.
    """

    cluster_id: str
    group: str
    topic_ids: Mapping[str, str]
    version: str


def event_id(context: EventContext, origin: Origin, event_type: EventType) -> str:
    """Make the UUIDv5 of one outcome of one reference. Every delivery of the outcome has this id.

    The hashed name is a JSON array, so that no two tuples share an encoding. It has the topic's
    UUID and not its name, because a topic that is created again counts its offsets from 0 again.
    """
    partition, offset = origin.position.partition, origin.position.offset
    name = (
        f"{_name_begins(context.cluster_id, context.group, context.topic_ids[partition.topic])}"
        f"{partition.number},{offset},{origin.index},{_encode(event_type)}]"
    )
    return _uuid5(EVENT_NAMESPACE.bytes + name.encode())


def named_id(*name: str | int | None) -> str:
    """The UUIDv5 of an event that comes from no record. The hashed name is a JSON array."""
    return _uuid5(EVENT_NAMESPACE.bytes + _encode(name).encode())


@lru_cache(maxsize=64)
def _name_begins(*strings: str) -> str:
    return _encode(strings).removesuffix("]") + ","


def _uuid5(named: bytes) -> str:
    """``str(uuid.uuid5(…))`` of a namespace's bytes and a name, at a third of the cost."""
    number = int.from_bytes(hashlib.sha1(named, usedforsecurity=False).digest()[:16])
    number = number & ~_VERSION_AND_VARIANT | _VERSION_5
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def attributes(
    context: EventContext, origin: Origin, event_type: EventType, own_id: str, subject: str | None
) -> TextHeaders:
    """Make the headers that all types have.

    ``content-type`` and ``ce_dataschema`` are not among them, because they describe the value.
    ``own_id`` is the ``event_id`` of this origin and type.
    """
    topic = origin.position.partition.topic
    return (
        ("ce_specversion", b"1.0"),
        ("ce_type", text(event_type)),
        ("ce_source", event_source(context.cluster_id, context.group, topic)),
        ("ce_id", text(own_id)),
        *optional("ce_time", timestamp(origin.timestamp_ms)),
        *optional("ce_subject", subject),
        *optional("traceparent", origin.traceparent),
        *replay_headers(origin.replay),
    )


def own_attributes(
    event_type: EventType, source: bytes, own_id: str, subject: str | None
) -> TextHeaders:
    """The headers that all types of events have that come from no record."""
    return (
        ("ce_specversion", b"1.0"),
        ("ce_type", text(event_type)),
        ("ce_source", source),
        ("ce_id", text(own_id)),
        *optional("ce_subject", subject),
    )


def replay_headers(replay: Replay | None) -> TextHeaders:
    """Headers of records and events that repeat a dead letter. None without a replay."""
    if replay is None:
        return ()
    return ((REPLAY_OF, text(replay.of)), (REPLAY_COUNT, b"%d" % replay.count))


@lru_cache(maxsize=64)
def event_source(cluster_id: str, group: str, topic: str) -> bytes:
    """Value of ``ce_source``: where an event comes from."""
    parts = (cluster_id, group, topic)
    return text("/clipstream/" + "/".join(quote(part, safe="") for part in parts))


def text(value: str) -> bytes:
    """Write a header's value, with ``\\uXXXX`` for each character that CloudEvents forbids.

    Headers are for routing and for people. The exact strings are in the event's value.
    """
    if value.isascii() and value.isprintable():  # nearly all, and far cheaper
        return value.encode()
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", value).encode()


def bounded_text(value: str, max_bytes: int) -> bytes:
    """As ``text``, cut to ``max_bytes`` between two characters. An ellipsis marks the cut."""
    encoded = text(value)
    if len(encoded) <= max_bytes:
        return encoded
    return encoded[: max_bytes - len(_ELLIPSIS)].decode(errors="ignore").encode() + _ELLIPSIS


def optional(name: str, value: str | None) -> TextHeaders:
    """The header, or none without a value."""
    return () if value is None else ((name, text(value)),)


@lru_cache(maxsize=1024)  # the events of an outcome ask for the same one three times
def timestamp(timestamp_ms: int) -> str | None:
    """Write a timestamp as RFC 3339 in UTC with milliseconds.

    None for a record without a timestamp (-1), and for a timestamp outside the years 1970 to 9999,
    which a producer is free to send.
    """
    if not 0 <= timestamp_ms <= _LAST_TIMESTAMP_MS:
        return None
    moment = _EPOCH + timedelta(milliseconds=timestamp_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

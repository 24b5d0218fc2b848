"""The CloudEvents attributes of every event, in the Kafka binding's binary mode.

Source: CloudEvents 1.0, "Kafka Protocol Binding", section 3.2. Header names and values are UTF-8
text; unlike the HTTP binding, this one percent-encodes nothing.
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

from pipeline.events.headers import EventType
from pipeline.records import REPLAY_COUNT, REPLAY_OF, Origin, Replay

EVENT_NAMESPACE = UUID("57c26f7f-479e-49ab-8e88-7ca7f3d2f51f")
"""Namespace of event ids. Changing it makes every redelivered event a new one to its readers."""

_VERSION_AND_VARIANT = 0xF000_C000_0000_0000_0000
_VERSION_5 = 0x5000_8000_0000_0000_0000  # and the variant of RFC 9562, sections 4.1 and 4.2

TextHeaders = tuple[tuple[str, bytes], ...]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_TIMESTAMP_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z, the last that RFC 3339 writes

# What CloudEvents forbids in a string (control characters, surrogates, noncharacters), and what
# breaks a line or turns the direction of text in the terminal of whoever reads a header.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
    + "]"
)
_encode = json.JSONEncoder(separators=(",", ":")).encode
_ELLIPSIS = "…".encode()


@dataclass(frozen=True, slots=True)
class EventContext:
    """What the events of one worker have in common.

    ``topic_ids`` has the UUID of each input topic; ``version`` is Clipstream's.
    """

    cluster_id: str
    group: str
    topic_ids: Mapping[str, str]
    version: str


def event_id(context: EventContext, origin: Origin, event_type: EventType) -> str:
    """UUIDv5 that names one outcome of one reference, at every delivery of it.

    The name hashed is a JSON array, so that no two tuples share an encoding. The topic's UUID
    stands in for its name: a re-created topic counts its offsets from 0 again.
    """
    partition, offset = origin.position.partition, origin.position.offset
    name = (
        f"{_name_begins(context.cluster_id, context.group, context.topic_ids[partition.topic])}"
        f"{partition.number},{offset},{origin.index},{_encode(event_type)}]"
    )
    return _uuid5(EVENT_NAMESPACE.bytes + name.encode())


@lru_cache(maxsize=64)
def _name_begins(*strings: str) -> str:
    return _encode(strings).removesuffix("]") + ","


def _uuid5(named: bytes) -> str:
    """``str(uuid.uuid5(…))`` of a namespace's bytes and a name, at a third of its cost."""
    number = int.from_bytes(hashlib.sha1(named, usedforsecurity=False).digest()[:16])
    number = number & ~_VERSION_AND_VARIANT | _VERSION_5
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def attributes(
    context: EventContext, origin: Origin, event_type: EventType, own_id: str, subject: str | None
) -> TextHeaders:
    """The headers that all types have; ``content-type`` and ``ce_dataschema`` are the value's.

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


def replay_headers(replay: Replay | None) -> TextHeaders:
    """That something repeats a dead letter, on records and on events."""
    if replay is None:
        return ()
    return ((REPLAY_OF, text(replay.of)), (REPLAY_COUNT, b"%d" % replay.count))


@lru_cache(maxsize=64)
def event_source(cluster_id: str, group: str, topic: str) -> bytes:
    """Where an event comes from: attribute ``ce_source``."""
    parts = (cluster_id, group, topic)
    return text("/clipstream/" + "/".join(quote(part, safe="") for part in parts))


def text(value: str) -> bytes:
    """A header's value. Characters that CloudEvents forbids are written as ``\\uXXXX``: headers are
    for routing and for people, the exact strings stand in the event's value."""
    if value.isascii() and value.isprintable():  # nearly all, and far cheaper
        return value.encode()
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", value).encode()


def bounded_text(value: str, max_bytes: int) -> bytes:
    """As ``text``, cut to ``max_bytes`` between two characters, with an ellipsis where it was."""
    encoded = text(value)
    if len(encoded) <= max_bytes:
        return encoded
    return encoded[: max_bytes - len(_ELLIPSIS)].decode(errors="ignore").encode() + _ELLIPSIS


def optional(name: str, value: str | None) -> TextHeaders:
    """The header, or none where there is nothing to say."""
    return () if value is None else ((name, text(value)),)


@lru_cache(maxsize=1024)  # an outcome's events ask for the same one three times
def timestamp(timestamp_ms: int) -> str | None:
    """RFC 3339 in UTC with milliseconds; None for a record without a timestamp (-1) or with one
    that no calendar has, which a producer is free to send."""
    if not 0 <= timestamp_ms <= _LAST_TIMESTAMP_MS:
        return None
    moment = _EPOCH + timedelta(milliseconds=timestamp_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

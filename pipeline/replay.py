"""Sends dead letters back to their input topic: which letters, in what form, and how often.

A replayed letter is one input record with one reference, or the unreadable record byte for byte. So
nothing that was classified is classified again. The record asks for the label sets and the tenant
that the sender asked for, not for those that a route decided, because routes may have changed. It
names the letter, and counts how often its reference has been replayed. A marker that is published
in the same transaction says that the letter was replayed, so no letter is replayed twice.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from uuid import UUID, uuid5

from pipeline.events.envelope import EVENT_NAMESPACE, event_source, optional, replay_headers, text
from pipeline.events.headers import ORIGINAL_PREFIX
from pipeline.events.types import DEAD_LETTERS, EventType, Payload
from pipeline.formats import strict_json
from pipeline.records import REPLAY_COUNT, REPLAY_OF, Headers, Record, Replay

MAX_REPLAYS = 3
"""A reference that was replayed this often is left, unless a person asks for more."""


class Left(StrEnum):
    """Why a selected letter is not replayed."""

    REPLAYED = "replayed before"
    TOO_OFTEN = "replayed as often as allowed"
    TOO_LARGE = "larger than kafka.max_input_bytes"
    OMITTED = "its payload did not fit, or could not be read"
    ELSEWHERE = "of another group, cluster or topic"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are selected: those that every given part admits.

    ``codes`` may end in ``.*`` for a stage. ``since_ms`` and ``until_ms`` (exclusive) refer to the
    time of the dead letter. ``key`` is a glob pattern for the record's key or the subject.
    """

    codes: tuple[str, ...] = ()
    since_ms: int | None = None
    until_ms: int | None = None
    key: str | None = None

    @property
    def everything(self) -> bool:
        return self == Selection()

    def wants(self, letter: Letter) -> bool:
        if self.codes and not any(fnmatchcase(letter.code, code) for code in self.codes):
            return False
        if self.since_ms is not None and letter.timestamp_ms < self.since_ms:
            return False
        if self.until_ms is not None and letter.timestamp_ms >= self.until_ms:
            return False
        names = (letter.subject, (letter.key or b"").decode(errors="replace"))
        return self.key is None or any(fnmatchcase(name, self.key) for name in names)


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter as it stands on its topic. ``replays`` counts earlier replays of its
    reference."""

    id: str
    code: str
    source: str
    subject: str
    topic: str
    partition: int
    payload: str
    replays: int
    timestamp_ms: int
    key: bytes | None
    value: bytes
    headers: Headers
    at_partition: int
    """Partition of the dead-letter topic."""
    at_offset: int
    """Offset on the dead-letter topic."""
    as_routed: bool = False
    """For a letter that does not say what its sender asked for: replay it as if the sender had
    asked for nothing, and not with what a route decided."""

    @property
    def next_replay(self) -> Replay:
        return Replay(self.id, self.replays + 1)

    @classmethod
    def of(cls, record: Record, *, as_routed: bool = False) -> Letter | None:
        """None if the record is not a dead letter, or has a version that is not known here."""
        named = _named(record.headers)
        if named.get("ce_type") not in DEAD_LETTERS:
            return None
        try:
            return cls(
                id=str(UUID(named["ce_id"])),
                code=named["dlq.code"],
                source=named["ce_source"],
                subject=named.get("ce_subject", ""),
                topic=named["dlq.topic"],
                partition=int(named["dlq.partition"]),
                payload=named["dlq.payload"],
                replays=int(named.get(REPLAY_COUNT, "0")),
                timestamp_ms=record.timestamp_ms,
                key=record.key,
                value=record.value or b"",
                headers=record.headers,
                at_partition=record.position.partition.number,
                at_offset=record.position.offset,
                as_routed=as_routed,
            )
        except (KeyError, ValueError):
            return None  # not ours, despite its type


@dataclass(frozen=True, slots=True)
class Search:
    """What one pass over the dead-letter topic looks for.

    ``limit`` is the most letters that are replayed. ``upto`` has an offset for each partition of
    the dead-letter topic: letters from there on are no part of the search, nor those of a partition
    that is missing. ``allowed`` says whether whoever asks may see a letter's record; other letters
    are passed over in silence. ``as_routed`` is as in ``Letter``.
    """

    selection: Selection
    limit: int | None = None
    max_replays: int = MAX_REPLAYS
    as_routed: bool = False
    upto: Mapping[int, int] | None = None
    allowed: Callable[[Record], bool] = lambda record: True

    def wants(self, letter: Letter, record: Record) -> bool:
        if self.upto is not None and letter.at_offset >= self.upto.get(letter.at_partition, 0):
            return False
        return self.selection.wants(letter) and self.allowed(record)


@dataclass(frozen=True, slots=True)
class Due:
    """A letter to replay. ``topic`` is its input topic; ``partition`` and ``offset`` are its place
    on the dead-letter topic."""

    code: str
    topic: str
    timestamp_ms: int
    partition: int
    offset: int


@dataclass
class Found:
    """What one pass over the dead-letter topic has found. ``due`` has the letters to replay by
    their ids, ``left`` counts the others of the selection."""

    due: dict[str, Due] = field(default_factory=dict)
    left: Counter[Left] = field(default_factory=Counter)
    _replayed: set[str] = field(default_factory=set)

    def take(
        self, record: Record, search: Search, hinders: Callable[[Letter], Left | None]
    ) -> None:
        """Look at the next record. Within a partition, records come in the order of their offsets.
        ``hinders`` says why a letter cannot be replayed, apart from an earlier replay."""
        if (replayed := is_marker(record)) is not None:
            # A marker stands after its letter, in the same partition.
            self._replayed.add(replayed)
            if self.due.pop(replayed, None) is not None:
                self.left[Left.REPLAYED] += 1
            return
        letter = Letter.of(record, as_routed=search.as_routed)
        # With at-least-once delivery a letter may be on the topic twice. The first one counts.
        if letter is None or letter.id in self._replayed or letter.id in self.due:
            return
        if not search.wants(letter, record):
            return
        if (why := hinders(letter)) is not None:
            self.left[why] += 1
            return
        self.due[letter.id] = Due(
            letter.code, letter.topic, letter.timestamp_ms, letter.at_partition, letter.at_offset
        )

    def keep(self, limit: int | None) -> None:
        """Drop the letters beyond ``limit``. Of each partition the first ones stay, so that offsets
        alone say which letters were kept; of all partitions the oldest ones."""
        if limit is None or len(self.due) <= limit:
            return
        rows: dict[int, list[tuple[int, str]]] = {}
        for letter_id, due in self.due.items():
            rows.setdefault(due.partition, []).append((due.timestamp_ms, letter_id))
        oldest_first = heapq.merge(*rows.values(), key=lambda row: row[0])
        kept = {letter_id for (_, letter_id), _ in zip(oldest_first, range(limit), strict=False)}
        self.due = {letter_id: due for letter_id, due in self.due.items() if letter_id in kept}

    @property
    def upto(self) -> dict[int, int]:
        """For ``Search.upto``: the offsets that a later pass needs to find these letters and no
        others."""
        ends: dict[int, int] = {}
        for due in self.due.values():
            ends[due.partition] = max(ends.get(due.partition, 0), due.offset + 1)
        return ends


@dataclass(frozen=True, slots=True)
class InputRecord:
    """A record to publish to an input topic. It goes to the partition that it came from."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers


def is_marker(record: Record) -> str | None:
    """Id of the letter that the record marks as replayed; None for any other record."""
    named = _named(record.headers)
    return named.get(REPLAY_OF) if named.get("ce_type") == EventType.REPLAY else None


def obstacle(
    letter: Letter, cluster_id: str, group: str, topics: Mapping[str, int], max_replays: int
) -> Left | None:
    """Why the letter cannot be replayed here, apart from an earlier replay and its size. ``topics``
    maps each input topic to its number of partitions."""
    ours = letter.source == event_source(cluster_id, group, letter.topic).decode()
    if not ours or letter.partition >= topics.get(letter.topic, 0):
        return Left.ELSEWHERE
    if letter.payload not in (Payload.REFERENCE, Payload.RECORD):
        return Left.OMITTED
    return Left.TOO_OFTEN if letter.replays >= max_replays else None


def input_record(letter: Letter) -> InputRecord:
    """The record that repeats the letter's reference, and nothing else."""
    value: bytes | None = letter.value
    if letter.payload == Payload.RECORD:
        headers = _original(letter)
        value = None if _named(letter.headers).get("dlq.null-value") == "true" else value
    else:
        headers = tuple(pair for pair in letter.headers if pair[0] == "traceparent")
        value = _as_asked(letter)
    headers += replay_headers(letter.next_replay)
    return InputRecord(letter.topic, letter.partition, letter.key, value, headers)


def marker_headers(letter: Letter) -> Headers:
    """Headers of the event that marks the letter as replayed. The event's value is empty."""
    return (
        ("ce_specversion", b"1.0"),
        ("ce_type", text(EventType.REPLAY)),
        ("ce_source", text(letter.source)),
        ("ce_id", text(str(uuid5(EVENT_NAMESPACE, json.dumps([letter.id, EventType.REPLAY]))))),
        *optional("ce_subject", letter.subject or None),
        *replay_headers(letter.next_replay),
    )


def _as_asked(letter: Letter) -> bytes:
    """The letter's reference, with what its sender asked for instead of what a route decided. A
    letter that does not say what was asked for is not changed, unless ``as_routed``."""
    try:
        reference = json.loads(letter.value)
        asked = reference.pop("asked", {} if letter.as_routed else None)
        if asked is None:
            return letter.value
        for name in ("label_sets", "tenant"):
            reference.pop(name, None)
            if asked.get(name):
                reference[name] = asked[name]
    except (ValueError, AttributeError, TypeError):
        return letter.value  # not ours, despite its headers
    return strict_json.dump(reference)


def _original(letter: Letter) -> Headers:
    """The record's own headers, without those of an earlier replay. Null values stay empty, because
    the client cannot write null."""
    return tuple(
        (name.removeprefix(ORIGINAL_PREFIX), value)
        for name, value in letter.headers
        if name.startswith(ORIGINAL_PREFIX)
        and name.removeprefix(ORIGINAL_PREFIX) not in (REPLAY_OF, REPLAY_COUNT)
    )


def _named(headers: Headers) -> dict[str, str]:
    """Headers as text, without those of the original record."""
    return {
        name: (value or b"").decode(errors="replace")
        for name, value in headers
        if not name.startswith(ORIGINAL_PREFIX)
    }

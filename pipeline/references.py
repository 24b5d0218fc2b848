"""Turns a record's bytes into image references, skips and dead letters."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

from pydantic import Field

from pipeline.errors import Reject
from pipeline.formats import cloudevents, format_of, open_envelopes, strict_json
from pipeline.formats.reference import Deletion, Entries, Format, Reference, SkipReason
from pipeline.policy import Policy, Tier
from pipeline.records import (
    REPLAY_COUNT,
    REPLAY_OF,
    Asked,
    DeadLetter,
    Entry,
    Headers,
    ImageRef,
    Origin,
    Record,
    Replay,
    Skipped,
)
from pipeline.routes import Route, Router

__all__ = ["ReferencesPolicy", "SkipReason", "parse"]

MAX_REPEATED_BYTES = 16 * 1024
"""Largest key and headers of a record with several references, because every outcome repeats
them."""

_HEADERS_READ = frozenset(
    {
        *cloudevents.HEADERS,
        *("traceparent", "tracestate", "ce_traceparent", "ce_tracestate"),
        *(REPLAY_OF, REPLAY_COUNT),
    }
)
# W3C Trace Context, version 00. Later versions begin with the same shape.
_TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
# As much of it as W3C Trace Context asks everybody to keep. OpenTelemetry reads the entries.
_TRACESTATE = re.compile(rb"[\t\x20-\x7e]{1,512}")

_EVENT_ID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_COUNT = re.compile(rb"[1-9][0-9]{0,5}")


class ReferencesPolicy(Policy):
    """Limits of a record that holds references. A record beyond a limit is dead-lettered as a
    whole."""

    tier = Tier.EXPERT

    max_record_bytes: int = Field(
        1024 * 1024, description="Largest value of an input record, in bytes.", gt=0
    )
    max_depth: int = Field(
        32,
        description="Deepest nesting of lists and objects in a record. S3 notifications need 6.",
        ge=8,
        le=128,
    )
    max_references_per_record: int = Field(
        1000,
        description="Most references or events in one record. All of them share one transaction.",
        gt=0,
    )


def parse(record: Record, policy: ReferencesPolicy, router: Router) -> tuple[Entry, ...]:
    """Read a record: at least one entry, in order.

    The place in the tuple is the entry's index. An unreadable record becomes one dead letter with
    the record as it came. A bad entry becomes a dead letter too, without harm to its neighbours. If
    there are several entries, the record in that dead letter has only the bad entry, in the same
    format, so that a replay repeats no other entry. An entry that the routes refuse becomes a dead
    letter of that reference. A deletion is a skip; with ``router.removals`` the skip has the
    removal, and a deletion that names no object is a dead letter.

    Pure. Raises nothing for any record.
    """
    headers = _headers(record.headers)
    traceparent, tracestate = _trace(headers)
    origin = Origin(
        record.position,
        0,
        record.timestamp_ms,
        record.key,
        traceparent,
        _replay(headers),
        tracestate,
    )
    if record.value is None:
        return (Entry(origin, Skipped(SkipReason.TOMBSTONE)),)
    try:
        cloudevents.check_headers(headers)
        form, entries = _open(record, record.value, policy)
    except Reject as reject:
        return (Entry(origin, _dead_letter(reject), record),)
    if not entries.items:
        return (Entry(origin, Skipped(SkipReason.EMPTY)),)
    routes = router.open_to(record.position.partition.topic, record.headers)
    return tuple(
        _entry(form, entries, _at(origin, index), record, router, routes)
        for index in range(len(entries.items))
    )


def _at(origin: Origin, index: int) -> Origin:
    return replace(origin, index=index) if index else origin


def _open(record: Record, value: bytes, policy: ReferencesPolicy) -> tuple[Format, Entries]:
    if len(value) > policy.max_record_bytes:
        raise Reject(
            "reference.too_large",
            f"the value is {len(value):,} bytes (limit references.max_record_bytes = "
            f"{policy.max_record_bytes:,}); send smaller records, or raise the limit",
        )
    load = partial(strict_json.load, max_depth=policy.max_depth)
    document = open_envelopes(load(value), load)
    form = format_of(document)
    entries = form.entries(document)
    count, repeated = len(entries.items), _repeated_bytes(record)
    if count > policy.max_references_per_record:
        raise Reject(
            "reference.too_many",
            f"the record holds {count:,} entries (limit references.max_references_per_record = "
            f"{policy.max_references_per_record:,}); split it, or raise the limit",
        )
    if count > 1 and repeated > MAX_REPEATED_BYTES:
        raise Reject(
            "reference.too_large",
            f"key and headers are {repeated:,} bytes in a record of several references (limit "
            f"{MAX_REPEATED_BYTES:,}); send one reference in each record, or a smaller key and "
            "headers",
        )
    return form, entries


def _entry(
    form: Format,
    entries: Entries,
    origin: Origin,
    record: Record,
    router: Router,
    routes: tuple[Route, ...],
) -> Entry:
    index = origin.index
    try:
        reference = form.read(entries.items[index], entries.where(index))
        if isinstance(reference, Deletion):
            return Entry(origin, _deleted(reference, router, routes))
    except Reject as reject:
        if len(entries.items) > 1:
            record = replace(record, value=strict_json.dump(entries.alone(index)))
        return Entry(origin, _dead_letter(reject), record)
    if isinstance(reference, SkipReason):
        return Entry(origin, Skipped(reference))
    return Entry(origin, _routed(reference, router, routes))


def _deleted(deletion: Deletion, router: Router, routes: tuple[Route, ...]) -> Skipped:
    if not router.removals:
        return Skipped(SkipReason.DELETED)
    return Skipped(SkipReason.DELETED, router.removal_of(routes, deletion.read()))


def _routed(
    reference: Reference, router: Router, routes: tuple[Route, ...]
) -> ImageRef | Skipped | DeadLetter:
    try:
        decision = router.decide(routes, reference)
    except Reject as reject:
        # The dead letter names what the sender asked for, so that a replay asks for the same. No
        # label set would have looked at the image, so the action is the default, review.
        return _dead_letter(reject, _image_ref(reference, reference.label_sets, reference.tenant))
    if isinstance(decision, SkipReason):
        return Skipped(decision)
    return _image_ref(reference, decision.label_sets, decision.tenant)


def _image_ref(reference: Reference, label_sets: tuple[str, ...], tenant: str | None) -> ImageRef:
    return ImageRef(
        bucket=reference.bucket,
        key=reference.key,
        label_sets=label_sets,
        version_id=reference.version_id,
        etag=reference.etag,
        id=reference.id,
        tenant=tenant,
        metadata=reference.metadata,
        asked=Asked(reference.label_sets, reference.tenant),
        scheme=reference.scheme,
        query=reference.query,
    )


def _dead_letter(reject: Reject, ref: ImageRef | None = None) -> DeadLetter:
    return DeadLetter(reject.code, reject.message, attempts=1, ref=ref)


def _headers(headers: Headers) -> dict[str, bytes]:
    """Headers that are read, by lower-case name. Of repeated headers the last counts, as in Kafka's
    ``lastHeader``. A null counts as absent. One pass, however many headers a sender piles up."""
    return {
        lower: value
        for name, value in headers
        if value is not None and (lower := name.lower()) in _HEADERS_READ
    }


def _trace(headers: dict[str, bytes]) -> tuple[str | None, str | None]:
    """The sender's trace and its state. A malformed one is dropped, as W3C Trace Context asks, and
    with a trace its state."""
    prefix = "" if "traceparent" in headers else "ce_"
    parent = headers.get(f"{prefix}traceparent")
    if parent is None or not _TRACEPARENT.fullmatch(parent):
        return None, None
    state = headers.get(f"{prefix}tracestate", b"")
    return parent.decode(), state.decode() if _TRACESTATE.fullmatch(state) else None


def _replay(headers: dict[str, bytes]) -> Replay | None:
    """The record's replay headers of `clipstream replay`. Anything malformed counts as no
    replay."""
    of, count = headers.get(REPLAY_OF, b""), headers.get(REPLAY_COUNT, b"")
    if not (_EVENT_ID.fullmatch(of) and _COUNT.fullmatch(count)):
        return None
    return Replay(of.decode(), int(count))


def _repeated_bytes(record: Record) -> int:
    return len(record.key or b"") + sum(
        len(name) + len(value or b"") for name, value in record.headers
    )

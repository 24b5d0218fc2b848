"""S3 event notifications: the structure that AWS defined and other stores imitate.

Source: Amazon S3 User Guide, "Event message structure" (notification-content-structure). What a
store does its own way is a ``Dialect``, chosen by each entry's ``eventSource``; one file a dialect.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import unquote_plus

from pipeline.formats.fields import Fields, invalid, kind, unknown_event, unknown_format
from pipeline.formats.reference import (
    Entries,
    Format,
    Reference,
    SkipReason,
    check_bucket,
    check_etag,
    check_key,
    check_version_id,
)
from pipeline.records import JsonValue

MAJOR_VERSION = "2"
"""AWS asks readers to compare the major version of ``eventVersion`` for equality."""

_CREATED = "ObjectCreated:"
"""Of these all bring bytes, known by name or not, but for a dialect's ``unchanged`` ones."""

# All names (without ``s3:``) that AWS, MinIO and Ceph give to events without new bytes. The lists
# are closed: an event that is not on them is never skipped.
_DELETED = frozenset(
    """
    ObjectRemoved:Delete ObjectRemoved:DeleteMarkerCreated
    LifecycleExpiration:Delete LifecycleExpiration:DeleteMarkerCreated
    ObjectRemoved:NoOP ObjectRemoved:DeleteAllVersions LifecycleDelMarkerExpiration:Delete
    ObjectLifecycle:Expiration:Current ObjectLifecycle:Expiration:NonCurrent
    ObjectLifecycle:Expiration:Noncurrent ObjectLifecycle:Expiration:DeleteMarker
    ObjectLifecycle:Expiration:AbortMultipartUpload ObjectLifecycle:Expiration:AbortMPU
    ObjectSynced:Delete ObjectSynced:DeletionMarkerCreated
    Replication:Delete Replication:DeletionMarkerCreated
    """.split()  # noqa: SIM905 - names are read in words
)
_OTHER = frozenset(
    """
    ObjectTagging:Put ObjectTagging:Delete ObjectAcl:Put
    ObjectAnnotation:Put ObjectAnnotation:Delete
    ObjectRestore:Post ObjectRestore:Completed ObjectRestore:Delete
    ReducedRedundancyLostObject LifecycleTransition IntelligentTiering
    Replication:OperationFailedReplication Replication:OperationNotTracked
    Replication:OperationMissedThreshold Replication:OperationReplicatedAfterThreshold
    Replication:OperationCompletedReplication
    ObjectAccessed:Get ObjectAccessed:Head ObjectAccessed:Attributes
    ObjectAccessed:GetRetention ObjectAccessed:GetLegalHold
    ObjectTransition:Failed ObjectTransition:Complete
    ObjectManyVersions ObjectLargeVersions PrefixManyFolders
    Scanner:ManyVersions Scanner:LargeVersions Scanner:BigPrefix
    BucketCreated:* BucketRemoved:*
    ObjectLifecycle:Transition:Current ObjectLifecycle:Transition:NonCurrent
    ObjectLifecycle:Transition:Noncurrent
    """.split()  # noqa: SIM905 - names are read in words
)
_NULL_VERSION = "null"
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TEST_EVENT = "s3:TestEvent"

EventReader = Callable[[Fields], Reference | SkipReason]
"""Reads one entry; raises ``Reject`` where it cannot."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one store writes its notifications.

    ``decode_key`` takes the key as it was sent, and its place. ``created`` are names beside
    ``ObjectCreated:…`` (all without ``s3:``) after which an object is new to readers; after the
    ``unchanged`` ones, a closed list, its bytes are the same as before. ``no_versions`` are version
    ids that identify nothing. ``omits_zero_size`` tells an absent size from an unknown one.
    """

    event_source: str
    decode_key: Callable[[str, str], str]
    created: frozenset[str] = frozenset()
    unchanged: frozenset[str] = frozenset()
    no_versions: frozenset[str] = frozenset()
    omits_zero_size: bool = False


def form_decoded(key: str, where: str) -> str:
    """Undo ``application/x-www-form-urlencoded`` exactly once: ``+`` is a space.

    A key that this encoding cannot have produced is refused rather than guessed at: decoded or
    not, it might name another object.
    """
    if _BROKEN_ESCAPE.search(key):
        raise invalid(where, "is not form-encoded; send keys as S3 notifications do")
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError:
        raise invalid(where, "is not UTF-8 once form-decoded; mend the key's encoding") from None


def as_sent(key: str, where: str) -> str:
    """The other way to write keys: as they are stored."""
    return key


def optional_version_id(
    fields: Fields, name: str, no_versions: frozenset[str] = frozenset()
) -> str | None:
    """A version id that pins an object's content.

    The null version (of buckets whose versioning is off or suspended) does not: it is overwritten
    in place. Such an object is pinned by its ETag. Ceph sends an empty string where there is none.
    """
    value = fields.optional_text(name)
    if not value or value == _NULL_VERSION or value in no_versions:
        return None
    return check_version_id(value, fields.place(name))


def is_folder(key: str, size: JsonValue) -> bool:
    """Whether an object only makes a folder appear in consoles. Only one of no bytes does: a key's
    trailing slash alone would be a way around classification. Ceph sends sizes as strings."""
    return key.endswith("/") and size in (0, "0") and not isinstance(size, bool)


def notification_format(
    dialects: Sequence[Dialect], others: Mapping[str, EventReader] | None = None
) -> Format:
    """``others`` read what comes in ``Records`` too and is no S3 notification, by its
    ``eventSource``."""
    readers: dict[str, EventReader] = {
        **{dialect.event_source: partial(_read_event, dialect) for dialect in dialects},
        **(others or {}),
    }
    return Format("S3 event notification", _recognises, _entries, partial(_read, readers))


def _recognises(document: JsonValue) -> bool:
    return isinstance(document, dict) and (
        "Records" in document or _is_test(document) or _is_record(document)
    )


def _is_test(document: JsonValue) -> bool:
    return isinstance(document, dict) and document.get("Event") == _TEST_EVENT


def _is_record(document: Mapping[str, JsonValue]) -> bool:
    """An entry without its ``Records``: the data that CloudEvents' adapter for S3 describes, or a
    record of CloudTrail."""
    return "eventSource" in document and ("s3" in document or "requestParameters" in document)


def _entries(document: JsonValue) -> Entries:
    if not isinstance(document, dict) or "Records" not in document:
        return Entries([document])
    records = document["Records"]
    if not isinstance(records, list):
        raise invalid("Records", f"is {kind(records)}; send a list")
    return Entries(records, "Records")


def _read(
    readers: Mapping[str, EventReader], entry: JsonValue, where: str
) -> Reference | SkipReason:
    if _is_test(entry):
        return SkipReason.TEST_EVENT
    event = Fields.of(entry, where)
    source = event.text("eventSource")
    reader = readers.get(source)
    if reader is None:
        raise unknown_format(
            event.place("eventSource"), f"{source[:40]!r} is none of {', '.join(readers)}"
        )
    return reader(event)


def _read_event(dialect: Dialect, event: Fields) -> Reference | SkipReason:
    version = event.text("eventVersion")
    if version.partition(".")[0] != MAJOR_VERSION:
        raise unknown_format(
            event.place("eventVersion"), f"{version[:40]!r} is not of version {MAJOR_VERSION}.x"
        )
    return _skip_reason(event, dialect) or _reference(event.object("s3"), dialect)


def _skip_reason(event: Fields, dialect: Dialect) -> SkipReason | None:
    # AWS and Ceph leave the prefix out of messages, MinIO does not.
    name = event.text("eventName").removeprefix("s3:")
    if name in dialect.created or (name.startswith(_CREATED) and name not in dialect.unchanged):
        return None
    if name in _DELETED:
        return SkipReason.DELETED
    if name in _OTHER or name in dialect.unchanged:
        return SkipReason.OTHER_EVENT
    raise unknown_event(event.place("eventName"), name)


def _reference(s3: Fields, dialect: Dialect) -> Reference | SkipReason:
    bucket, item = s3.object("bucket"), s3.object("object")
    name = check_bucket(bucket.text("name"), bucket.place("name"))
    where = item.place("key")
    key = check_key(dialect.decode_key(item.text("key"), where), where)
    size = item.get("size")
    if is_folder(key, 0 if size is None and dialect.omits_zero_size else size):
        return SkipReason.FOLDER
    return Reference(
        name,
        key,
        version_id=optional_version_id(item, "versionId", dialect.no_versions),
        etag=check_etag(item.optional_text("eTag") or None, item.place("eTag")),
    )

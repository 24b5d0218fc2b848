"""S3 event notifications: the structure that AWS defined and other stores imitate.

Source: Amazon S3 User Guide, "Event message structure" (notification-content-structure). A
``Dialect`` says how one store differs; each dialect has its own file. The ``eventSource`` of an
entry chooses its dialect.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import unquote_plus

from pipeline.formats.fields import Fields, invalid, kind, unknown_event, unknown_format
from pipeline.formats.reference import (
    Deletion,
    Entries,
    Format,
    Read,
    Reference,
    SkipReason,
    check_bucket,
    check_etag,
    check_key,
    check_version_id,
    moment,
)
from pipeline.records import JsonValue, Removal

MAJOR_VERSION = "2"
"""AWS asks readers to compare the major version of ``eventVersion`` for equality."""

_CREATED = "ObjectCreated:"
"""Every event with this prefix brings bytes, even one of an unknown name. The exceptions are a
dialect's ``unchanged`` names."""

# All names (without ``s3:``) of AWS, MinIO and Ceph for events without new bytes. The lists are
# closed: an event that is not on them is never skipped.
_DELETED = frozenset(
    """
    ObjectRemoved:Delete LifecycleExpiration:Delete ObjectSynced:Delete Replication:Delete
    ObjectLifecycle:Expiration:NonCurrent ObjectLifecycle:Expiration:Noncurrent
    """.split()  # noqa: SIM905 - names are read in words
)
"""The version that they name was deleted; without a version, the object."""
_HIDDEN = frozenset(
    """
    ObjectRemoved:DeleteMarkerCreated LifecycleExpiration:DeleteMarkerCreated
    ObjectSynced:DeletionMarkerCreated Replication:DeletionMarkerCreated
    ObjectRemoved:DeleteAllVersions ObjectLifecycle:Expiration:Current
    """.split()  # noqa: SIM905 - names are read in words
)
"""Whoever names no version finds the object no more. A version that they name is often the
marker's, so it says nothing of the object's."""
_NOTHING_DELETED = frozenset(
    """
    ObjectRemoved:NoOP LifecycleDelMarkerExpiration:Delete ObjectLifecycle:Expiration:DeleteMarker
    ObjectLifecycle:Expiration:AbortMultipartUpload ObjectLifecycle:Expiration:AbortMPU
    """.split()  # noqa: SIM905 - names are read in words
)
"""Deletions of what no reference can name: nothing, a marker, an unfinished upload."""
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

EventReader = Callable[[Fields], Read]
"""Reads one entry. Raises ``Reject`` if it cannot."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one store writes its notifications.

    - ``decode_key`` takes the key as it was sent, and the key's place in the record.
    - ``created`` are further event names that bring a new object, besides ``ObjectCreated:…``.
    - ``unchanged`` are ``ObjectCreated:…`` names that leave the bytes as they were: a closed list.
    - ``no_versions`` are version ids that identify no version.
    - ``omits_zero_size``: the store leaves out the size of an empty object.

    All event names are without ``s3:``.
    """

    event_source: str
    decode_key: Callable[[str, str], str]
    created: frozenset[str] = frozenset()
    unchanged: frozenset[str] = frozenset()
    no_versions: frozenset[str] = frozenset()
    omits_zero_size: bool = False


def form_decoded(key: str, where: str) -> str:
    """Undo ``application/x-www-form-urlencoded`` exactly once. ``+`` becomes a space.

    A key that this encoding cannot have produced is refused, because a guess might name another
    object.
    """
    if _BROKEN_ESCAPE.search(key):
        raise invalid(where, "is not form-encoded; send keys as S3 notifications do")
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError:
        raise invalid(where, "is not UTF-8 once form-decoded; mend the key's encoding") from None


def as_sent(key: str, where: str) -> str:
    """Return the key unchanged, for stores that send keys as they are stored."""
    return key


def optional_version_id(
    fields: Fields, name: str, no_versions: frozenset[str] = frozenset()
) -> str | None:
    """Return the version id if it pins an object's content, else None.

    The null version pins nothing: buckets whose versioning is off or suspended overwrite it in
    place. The ETag pins such an object. Ceph sends an empty string if there is no version.
    """
    value = fields.optional_text(name)
    if not value or value == _NULL_VERSION or value in no_versions:
        return None
    return check_version_id(value, fields.place(name))


def removed_version(
    fields: Fields, name: str, no_versions: frozenset[str] = frozenset()
) -> str | None:
    """Return the id of the version that was deleted, or None if the message names none. ``null`` is
    returned as it is: in a bucket that has other versions, they remain."""
    value = fields.optional_text(name)
    if not value or value in no_versions:
        return None
    return check_version_id(value, fields.place(name))


def is_folder(key: str, size: JsonValue) -> bool:
    """Whether an object only makes a folder appear in consoles.

    Such an object has 0 bytes. If the key's trailing slash were enough, it would be a way around
    classification. Ceph sends sizes as strings.
    """
    return key.endswith("/") and size in (0, "0") and not isinstance(size, bool)


def notification_format(
    dialects: Sequence[Dialect], others: Mapping[str, EventReader] | None = None
) -> Format:
    """Make the format that reads ``Records``, with one reader for each ``eventSource``.

    ``others`` are readers of entries in ``Records`` that are not S3 notifications.
    """
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
    """Whether this is one entry without its ``Records``: the data that the CloudEvents adapter for
    S3 describes, or a record of CloudTrail."""
    return "eventSource" in document and ("s3" in document or "requestParameters" in document)


def _entries(document: JsonValue) -> Entries:
    if not isinstance(document, dict) or "Records" not in document:
        return Entries([document])
    records = document["Records"]
    if not isinstance(records, list):
        raise invalid("Records", f"is {kind(records)}; send a list")
    return Entries(records, "Records")


def _read(readers: Mapping[str, EventReader], entry: JsonValue, where: str) -> Read:
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


def _read_event(dialect: Dialect, event: Fields) -> Read:
    version = event.text("eventVersion")
    if version.partition(".")[0] != MAJOR_VERSION:
        raise unknown_format(
            event.place("eventVersion"), f"{version[:40]!r} is not of version {MAJOR_VERSION}.x"
        )
    # MinIO writes the prefix in its messages, AWS and Ceph do not.
    name = event.text("eventName").removeprefix("s3:")
    if name in dialect.created or (name.startswith(_CREATED) and name not in dialect.unchanged):
        return _reference(event.object("s3"), dialect)
    if name in _DELETED or name in _HIDDEN:
        return Deletion(partial(_removal, event, name, dialect))
    if name in _NOTHING_DELETED:
        return SkipReason.DELETED
    if name in _OTHER or name in dialect.unchanged:
        return SkipReason.OTHER_EVENT
    raise unknown_event(event.place("eventName"), name)


def _removal(event: Fields, name: str, dialect: Dialect) -> Removal:
    s3 = event.object("s3")
    bucket, item = s3.object("bucket"), s3.object("object")
    where = item.place("key")
    return Removal(
        check_bucket(bucket.text("name"), bucket.place("name")),
        check_key(dialect.decode_key(item.text("key"), where), where),
        name,
        removed_version(item, "versionId", dialect.no_versions) if name in _DELETED else None,
        notification_id=event.optional_object("responseElements").any_text("x-amz-request-id"),
        removed_at=moment(event.any_text("eventTime")),
    )


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

"""Events of Amazon S3 from EventBridge: S3's own, and CloudTrail's records of requests to S3.

Source: Amazon S3 User Guide, "EventBridge event message structure" (ev-events). Keys arrive as they
are stored, unlike in S3's own notifications. The documentation mentions no encoding, and keys such
as ``%2B++ %20.mp3`` have been seen to arrive unchanged
(aws-solutions-library-samples/guidance-for-medialake-on-aws#21).
"""

from __future__ import annotations

from functools import partial

from pipeline.formats import cloudtrail
from pipeline.formats.fields import Fields, unknown_event, unknown_format
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
    moment,
)
from pipeline.formats.s3_notification import is_folder, optional_version_id, removed_version
from pipeline.records import JsonValue, Removal

EVENT_SOURCE = "aws.s3"
MAJOR_VERSION = "1"
"""Of ``detail.event-version``. Older events lack it. ``version`` does not describe S3's schema."""

_CREATED = "Object Created"
_DELETED = "Object Deleted"
_HIDDEN = "Delete Marker Created"
"""The ``deletion-type`` whose version is the delete marker's."""
_SKIPPED = frozenset(
    {
        *("Object Restore Initiated", "Object Restore Completed", "Object Restore Expired"),
        *("Object Tags Added", "Object Tags Deleted", "Object ACL Updated"),
        *("Object Storage Class Changed", "Object Access Tier Changed"),
    }
)
"""Events without new bytes. The list is closed: an event that is not on it is never skipped."""
_CLOUDTRAIL = ("AWS API Call via CloudTrail", "AWS Service Event via CloudTrail")


def _recognises(document: JsonValue) -> bool:
    return isinstance(document, dict) and "detail-type" in document and "detail" in document


def _entries(document: JsonValue) -> Entries:
    return Entries([document])


def _read(entry: JsonValue, where: str) -> Read:
    event = Fields.of(entry, where)
    source = event.text("source")
    if source != EVENT_SOURCE:
        raise unknown_format(event.place("source"), f"{source[:40]!r} is not {EVENT_SOURCE!r}")
    detail_type = event.text("detail-type")
    if detail_type in _SKIPPED:
        return SkipReason.OTHER_EVENT
    if detail_type == _DELETED:
        return Deletion(partial(_removal, event))
    if detail_type not in (_CREATED, *_CLOUDTRAIL):
        raise unknown_event(event.place("detail-type"), detail_type)
    detail = event.object("detail")
    if detail_type in _CLOUDTRAIL:
        return cloudtrail.read_record(detail)
    _check_version(detail)
    return _reference(detail)


def _check_version(detail: Fields) -> None:
    version = detail.optional_text("event-version")
    if version is not None and version.partition(".")[0] != MAJOR_VERSION:
        raise unknown_format(
            detail.place("event-version"), f"{version[:40]!r} is not of version {MAJOR_VERSION}.x"
        )


def _removal(event: Fields) -> Removal:
    detail = event.object("detail")
    _check_version(detail)
    bucket, item = detail.object("bucket"), detail.object("object")
    deletion = detail.optional_text("deletion-type")
    return Removal(
        check_bucket(bucket.text("name"), bucket.place("name")),
        check_key(item.text("key"), item.place("key")),
        _DELETED if deletion is None else f"{_DELETED}: {deletion}",
        None if deletion == _HIDDEN else removed_version(item, "version-id"),
        notification_id=event.any_text("id"),
        removed_at=moment(event.any_text("time")),
    )


def _reference(detail: Fields) -> Reference | SkipReason:
    bucket, item = detail.object("bucket"), detail.object("object")
    key = check_key(item.text("key"), item.place("key"))
    if is_folder(key, item.get("size")):
        return SkipReason.FOLDER
    return Reference(
        check_bucket(bucket.text("name"), bucket.place("name")),
        key,
        version_id=optional_version_id(item, "version-id"),
        etag=check_etag(item.optional_text("etag") or None, item.place("etag")),
    )


EVENTBRIDGE = Format("EventBridge S3 event", _recognises, _entries, _read)

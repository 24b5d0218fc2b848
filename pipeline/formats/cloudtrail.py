"""CloudTrail's records of requests to Amazon S3, from EventBridge or in ``Records``.

Source: AWS CloudTrail User Guide, "CloudTrail record contents", and Amazon S3 User Guide, "Amazon
S3 CloudTrail events" (cloudtrail-logging-s3-info), which lists the event names. Keys are read as
they are stored: neither page mentions an encoding.
"""

from __future__ import annotations

from functools import partial

from pipeline.formats.fields import Fields, unknown_event, unknown_format
from pipeline.formats.reference import (
    Deletion,
    Read,
    Reference,
    SkipReason,
    check_bucket,
    check_key,
    moment,
)
from pipeline.formats.s3_notification import is_folder, optional_version_id, removed_version
from pipeline.records import Removal

EVENT_SOURCE = "s3.amazonaws.com"
MAJOR_VERSION = "1"

_CREATED = frozenset({"PutObject", "PostObject", "CopyObject", "CompleteMultipartUpload"})
_DELETED = "DeleteObject"
_DELETED_SEVERAL = "DeleteObjects"
"""Names no object."""
# Requests that do not change an object's bytes. A part of an upload is not an object yet.
_OTHER = frozenset(
    """
    AbortMultipartUpload CreateMultipartUpload UploadPart UploadPartCopy ListParts
    GetObject GetObjectAcl GetObjectAnnotation GetObjectAttributes GetObjectLegalHold
    GetObjectLockLegalHold GetObjectLockRetention GetObjectRetention GetObjectTagging
    GetObjectTorrent HeadObject OptionsObject SelectObjectContent WriteGetObjectResponse
    PutObjectAcl PutObjectAnnotation PutObjectLegalHold PutObjectLockLegalHold
    PutObjectLockRetention PutObjectRetention PutObjectTagging DeleteObjectAnnotation
    DeleteObjectTagging RestoreObject UpdateObjectEncryption
    HeadBucket ListBuckets ListMultipartUploads ListObjectAnnotations ListObjectVersions
    ListObjects ListObjectsV2
    CreateBucket DeleteBucket DeleteBucketAnalyticsConfiguration DeleteBucketCors
    DeleteBucketEncryption DeleteBucketIntelligentTieringConfiguration
    DeleteBucketInventoryConfiguration DeleteBucketLifecycle DeleteBucketMetricsConfiguration
    DeleteBucketOwnershipControls DeleteBucketPolicy DeleteBucketPublicAccessBlock
    DeleteBucketReplication DeleteBucketTagging DeleteBucketWebsite DeletePublicAccessBlock
    DeleteAccountPublicAccessBlock GetAccountPublicAccessBlock PutAccountPublicAccessBlock
    GetAccelerateConfiguration GetBucketAccelerateConfiguration GetBucketAcl
    GetBucketAnalyticsConfiguration GetBucketCors GetBucketEncryption
    GetBucketIntelligentTieringConfiguration GetBucketInventoryConfiguration GetBucketLifecycle
    GetBucketLifecycleConfiguration GetBucketLocation GetBucketLogging
    GetBucketMetricsConfiguration GetBucketNotification GetBucketNotificationConfiguration
    GetBucketObjectLockConfiguration GetBucketOwnershipControls GetBucketPolicy
    GetBucketPolicyStatus GetBucketPublicAccessBlock GetBucketReplication GetBucketRequestPayment
    GetBucketTagging GetBucketVersioning GetBucketWebsite GetObjectLockConfiguration
    GetPublicAccessBlock
    PutAccelerateConfiguration PutBucketAccelerateConfiguration PutBucketAcl
    PutBucketAnalyticsConfiguration PutBucketCors PutBucketEncryption
    PutBucketIntelligentTieringConfiguration PutBucketInventoryConfiguration PutBucketLifecycle
    PutBucketLifecycleConfiguration PutBucketLogging PutBucketMetricsConfiguration
    PutBucketNotification PutBucketNotificationConfiguration PutBucketObjectLockConfiguration
    PutBucketOwnershipControls PutBucketPolicy PutBucketPublicAccessBlock PutBucketReplication
    PutBucketRequestPayment PutBucketTagging PutBucketVersioning PutBucketWebsite
    PutObjectLockConfiguration PutPublicAccessBlock
    """.split()  # noqa: SIM905 - names are read in words
)


def read_record(record: Fields) -> Read:
    """Read one record: the object that has new bytes or was deleted, or why there is none.

    Raises:
        Reject: ``reference.unknown_format`` for another service or version, or an unlisted event.
    """
    source, version = record.text("eventSource"), record.text("eventVersion")
    if source != EVENT_SOURCE:
        raise unknown_format(
            record.place("eventSource"), f"{source[:40]!r} is not {EVENT_SOURCE!r}"
        )
    if version.partition(".")[0] != MAJOR_VERSION:
        raise unknown_format(
            record.place("eventVersion"), f"{version[:40]!r} is not of version {MAJOR_VERSION}.x"
        )
    name = record.text("eventName")
    if record.optional_text("errorCode"):  # a request that S3 refused
        return SkipReason.OTHER_EVENT
    if name == _DELETED:
        return Deletion(partial(_removal, record, name))
    if name == _DELETED_SEVERAL:
        return SkipReason.DELETED
    if name in _OTHER:
        return SkipReason.OTHER_EVENT
    if name not in _CREATED:
        raise unknown_event(record.place("eventName"), name)
    return _reference(record, name)


def _reference(record: Fields, name: str) -> Reference | SkipReason:
    request = record.object("requestParameters")
    key = check_key(request.text("key"), request.place("key"))
    answer = record.optional_object("responseElements")
    received = record.optional_object("additionalEventData").get("bytesTransferredIn")
    if name == "PutObject" and is_folder(key, received):  # no other request's body is the object
        return SkipReason.FOLDER
    return Reference(
        check_bucket(request.text("bucketName"), request.place("bucketName")),
        key,
        version_id=optional_version_id(answer, "x-amz-version-id"),
    )


def _removal(record: Fields, name: str) -> Removal:
    request = record.object("requestParameters")
    return Removal(
        check_bucket(request.text("bucketName"), request.place("bucketName")),
        check_key(request.text("key"), request.place("key")),
        name,
        # Not the answer's version: without one in the request, that is a delete marker's.
        removed_version(request, "versionId"),
        notification_id=record.any_text("eventID"),
        removed_at=moment(record.any_text("eventTime")),
    )

"""CloudTrail's records of requests to Amazon S3.

No page of AWS publishes a record of an upload. Its fields are those of "CloudTrail record contents"
and of the records of reads and of S3 Tables that "Amazon S3 CloudTrail log file entries" shows.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.records import ImageRef, Partition, Position, Record, Skipped
from pipeline.references import ReferencesPolicy, SkipReason, parse
from pipeline.routes import Router


def upload(**fields: Any) -> dict[str, Any]:
    return {
        "eventVersion": "1.09",
        "eventTime": "2026-01-01T00:00:00Z",
        "eventSource": "s3.amazonaws.com",
        "eventName": "PutObject",
        "awsRegion": "us-west-2",
        "requestParameters": {
            "bucketName": "photos",
            "Host": "photos.s3.us-west-2.amazonaws.com",
            "key": "a b+%20.jpg",
        },
        "responseElements": {
            "x-amz-server-side-encryption": "AES256",
            "x-amz-version-id": "13zAFMdccAjt3MWd6ehxgCCCDRdkAKDw",
        },
        "additionalEventData": {"bytesTransferredIn": 28441, "bytesTransferredOut": 0},
        "readOnly": False,
        "eventType": "AwsApiCall",
        "managementEvent": False,
        "eventCategory": "Data",
    } | fields


def by_eventbridge(record: Any) -> Any:
    return {
        "version": "0",
        "id": "1",
        "detail-type": "AWS API Call via CloudTrail",
        "source": "aws.s3",
        "detail": record,
    }


def read(document: Any) -> Any:
    record = Record(Position(Partition("events", 0), 7), 0, None, json.dumps(document).encode())
    [entry] = parse(record, ReferencesPolicy(), Router([], ["moderation"]))
    return entry.content


@pytest.mark.parametrize(
    "wrap", [by_eventbridge, lambda record: {"Records": [record]}, lambda record: record]
)
def test_an_upload_is_an_image_however_its_record_arrives(wrap: Any) -> None:
    ref = read(wrap(upload()))
    assert isinstance(ref, ImageRef), ref
    assert (ref.bucket, ref.key) == ("photos", "a b+%20.jpg")  # the key is not encoded
    assert (ref.version_id, ref.etag) == ("13zAFMdccAjt3MWd6ehxgCCCDRdkAKDw", None)


@pytest.mark.parametrize(
    "name", ["PutObject", "PostObject", "CopyObject", "CompleteMultipartUpload"]
)
def test_every_request_that_brings_bytes_is_an_image(name: str) -> None:
    assert isinstance(read(by_eventbridge(upload(eventName=name))), ImageRef)


@pytest.mark.parametrize("elements", [None, {}, {"x-amz-version-id": "null"}])
def test_an_upload_without_a_version_is_the_current_object(elements: Any) -> None:
    assert read(by_eventbridge(upload(responseElements=elements))).version_id is None
    bare = upload()
    del bare["responseElements"], bare["additionalEventData"]
    assert read(by_eventbridge(bare)).version_id is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("DeleteObject", SkipReason.DELETED),
        ("DeleteObjects", SkipReason.DELETED),
        ("GetObject", SkipReason.OTHER_EVENT),
        ("HeadObject", SkipReason.OTHER_EVENT),
        ("CreateMultipartUpload", SkipReason.OTHER_EVENT),
        ("UploadPart", SkipReason.OTHER_EVENT),
        ("UploadPartCopy", SkipReason.OTHER_EVENT),
        ("PutObjectAcl", SkipReason.OTHER_EVENT),
        ("PutObjectTagging", SkipReason.OTHER_EVENT),
        ("RestoreObject", SkipReason.OTHER_EVENT),
        ("PutBucketPolicy", SkipReason.OTHER_EVENT),
        ("ListBuckets", SkipReason.OTHER_EVENT),
    ],
)
def test_requests_that_bring_no_bytes_are_counted_skips(name: str, reason: SkipReason) -> None:
    record = upload(eventName=name, requestParameters={"bucketName": "photos"})
    assert read(by_eventbridge(record)) == Skipped(reason)


def test_a_request_that_failed_is_skipped_and_one_without_an_error_is_not() -> None:
    refused = upload(errorCode="AccessDenied", errorMessage="Access Denied")
    assert read(by_eventbridge(refused)) == Skipped(SkipReason.OTHER_EVENT)
    assert isinstance(read(by_eventbridge(upload(errorCode=""))), ImageRef)


@pytest.mark.parametrize("name", ["RenameObject", "AppendObject", "putobject", "Put", ""])
def test_an_event_that_nobody_has_listed_is_never_skipped(name: str) -> None:
    letter = read(by_eventbridge(upload(eventName=name)))
    assert letter.code == "reference.unknown_format"
    assert letter.message.startswith(f"detail.eventName: {name!r} is not the name of a known event")


def folder(name: str, received: Any) -> Any:
    return by_eventbridge(
        upload(
            eventName=name,
            requestParameters={"bucketName": "photos", "key": "holiday/"},
            additionalEventData={"bytesTransferredIn": received},
        )
    )


def test_a_folder_of_no_bytes_is_skipped_and_one_with_bytes_is_not() -> None:
    assert read(folder("PutObject", 0)) == Skipped(SkipReason.FOLDER)
    for name, received in (("PutObject", 5), ("PutObject", None), ("CopyObject", 0)):
        assert read(folder(name, received)).key == "holiday/"


@pytest.mark.parametrize(
    ("change", "code", "place"),
    [
        ({"eventSource": "ec2.amazonaws.com"}, "reference.unknown_format", "detail.eventSource"),
        ({"eventVersion": "2.0"}, "reference.unknown_format", "detail.eventVersion"),
        ({"eventVersion": None}, "reference.invalid", "detail.eventVersion"),
        ({"eventName": 5}, "reference.invalid", "detail.eventName"),
        ({"requestParameters": None}, "reference.invalid", "detail.requestParameters"),
        (
            {"requestParameters": {"bucketName": "photos"}},
            "reference.invalid",
            "detail.requestParameters.key",
        ),
        (
            {"requestParameters": {"bucketName": "photos-s3alias", "key": "k"}},
            "reference.invalid",
            "detail.requestParameters.bucketName",
        ),
        ({"responseElements": "x"}, "reference.invalid", "detail.responseElements"),
    ],
)
def test_a_wrong_field_is_refused_by_its_place(
    change: dict[str, Any], code: str, place: str
) -> None:
    letter = read(by_eventbridge(upload(**change)))
    assert letter.code == code
    assert letter.message.startswith(f"{place}: ")

"""Notifications that an object was deleted, in every format that tells of one."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import pytest

from pipeline.formats.reference import moment
from pipeline.records import DeadLetter, Partition, Position, Record, Removal, Skipped
from pipeline.references import ReferencesPolicy, SkipReason, parse
from pipeline.routes import RoutePolicy, Router
from tests.rigs.root import ROOT

EXAMPLES = ROOT / "tests" / "data" / "formats"
AWS, MINIO, CEPH = "aws-s3-put.json", "minio-kafka-put.json", "ceph-put.json"


def read(document: Any, routes: Sequence[RoutePolicy] = (), *, removals: bool = True) -> list[Any]:
    value = None if document is None else json.dumps(document).encode()
    record = Record(Position(Partition("events", 0), 7), 0, b"k", value)
    router = Router(routes, ["moderation"], removals=removals)
    return [entry.content for entry in parse(record, ReferencesPolicy(), router)]


def removal_of(document: Any) -> Removal:
    [skipped] = read(document)
    assert isinstance(skipped, Skipped), skipped
    assert skipped.reason == SkipReason.DELETED
    assert skipped.removal is not None
    return skipped.removal


def example(name: str) -> Any:
    return json.loads((EXAMPLES / name).read_text())


def notified(store: str, event: str, **item: Any) -> Any:
    document = example(store)
    document["Records"][0] |= {"eventName": event}
    document["Records"][0]["s3"]["object"] |= item
    del document["Records"][0]["s3"]["object"]["size"]
    return document


def deleted_of_eventbridge(**item: Any) -> Any:
    document = example("eventbridge-object-deleted.json")
    document["detail"]["bucket"]["name"] = "photos"
    document["detail"]["object"] |= item
    return document


def deleted_of_cloudtrail(**request: Any) -> Any:
    return {
        "eventVersion": "1.11",
        "eventSource": "s3.amazonaws.com",
        "eventName": "DeleteObject",
        "eventTime": "2026-01-01T07:59:58Z",
        "eventID": "b0b7a9a4-1111-2222-3333-444455556666",
        "requestParameters": {"bucketName": "photos", "key": "a b+%20.jpg"} | request,
        "responseElements": {"x-amz-version-id": "of-the-marker", "x-amz-delete-marker": "true"},
    }


@pytest.mark.parametrize(
    ("store", "prefix", "sent", "key"),
    [
        (AWS, "", "red+flower%2B.jpg", "red flower+.jpg"),
        (MINIO, "s3:", "a%2Fred+flower.jpg", "a/red flower.jpg"),
        (CEPH, "", "red+flower.jpg", "red+flower.jpg"),
    ],
)
def test_a_deletion_names_the_object_as_its_upload_did(
    store: str, prefix: str, sent: str, key: str
) -> None:
    document = notified(store, f"{prefix}ObjectRemoved:Delete", key=sent, versionId="v1")
    document["Records"][0] |= {
        "eventTime": "2026-01-01T07:59:58.1234567Z",
        "responseElements": {"x-amz-request-id": "request-1"},
    }
    bucket = document["Records"][0]["s3"]["bucket"]["name"]
    assert removal_of(document) == Removal(
        bucket,
        key,
        "ObjectRemoved:Delete",
        version_id="v1",
        notification_id="request-1",
        removed_at="2026-01-01T07:59:58.123Z",
    )


@pytest.mark.parametrize(
    ("store", "event"),
    [
        (AWS, "ObjectRemoved:Delete"),
        (AWS, "LifecycleExpiration:Delete"),
        (CEPH, "ObjectLifecycle:Expiration:NonCurrent"),
        (CEPH, "ObjectLifecycle:Expiration:Noncurrent"),
        (CEPH, "ObjectSynced:Delete"),
        (CEPH, "Replication:Delete"),
    ],
)
@pytest.mark.parametrize(("sent", "version"), [("v1", "v1"), ("null", "null"), ("", None)])
def test_a_deleted_version_is_named(store: str, event: str, sent: str, version: str) -> None:
    assert removal_of(notified(store, event, versionId=sent)).version_id == version


@pytest.mark.parametrize(
    ("store", "event"),
    [
        (AWS, "ObjectRemoved:DeleteMarkerCreated"),
        (AWS, "LifecycleExpiration:DeleteMarkerCreated"),
        (MINIO, "s3:ObjectRemoved:DeleteMarkerCreated"),
        (MINIO, "s3:ObjectRemoved:DeleteAllVersions"),
        (CEPH, "ObjectLifecycle:Expiration:Current"),
        (CEPH, "ObjectSynced:DeletionMarkerCreated"),
        (CEPH, "Replication:DeletionMarkerCreated"),
    ],
)
def test_a_delete_marker_removes_the_object_and_not_the_markers_version(
    store: str, event: str
) -> None:
    assert removal_of(notified(store, event, versionId="of-the-marker")).version_id is None


def test_a_version_that_minio_wrote_for_every_object_is_none() -> None:
    assert removal_of(notified(MINIO, "s3:ObjectRemoved:Delete", versionId="1")).version_id is None


@pytest.mark.parametrize(
    "event",
    [
        "ObjectRemoved:NoOP",
        "LifecycleDelMarkerExpiration:Delete",
        "ObjectLifecycle:Expiration:DeleteMarker",
        "ObjectLifecycle:Expiration:AbortMultipartUpload",
        "ObjectLifecycle:Expiration:AbortMPU",
    ],
)
def test_where_nothing_was_deleted_there_is_no_removal(event: str) -> None:
    assert read(notified(MINIO, event)) == [Skipped(SkipReason.DELETED)]


def test_eventbridge_tells_a_marker_from_a_version() -> None:
    document = deleted_of_eventbridge(key="a+b%20.jpg")
    assert removal_of(document) == Removal(
        "photos",
        "a+b%20.jpg",
        "Object Deleted: Delete Marker Created",
        notification_id="2ee9cc15-d022-99ea-1fb8-1b1bac4850f9",
        removed_at="2021-11-12T00:00:00.000Z",
    )
    document["detail"]["deletion-type"] = "Permanently Deleted"
    assert removal_of(document).version_id == "1QW9g1Z99LUNbvaaYVpW9xDlOLU.qxgF"
    del document["detail"]["deletion-type"], document["detail"]["object"]["version-id"]
    bare = removal_of(document)
    assert (bare.event, bare.version_id) == ("Object Deleted", None)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda record: {"Records": [record]},
        lambda record: record,
        lambda record: {
            "version": "0",
            "detail-type": "AWS API Call via CloudTrail",
            "source": "aws.s3",
            "detail": record,
        },
    ],
)
def test_cloudtrail_names_the_version_of_the_request_and_not_of_the_answer(wrap: Any) -> None:
    assert removal_of(wrap(deleted_of_cloudtrail())) == Removal(
        "photos",
        "a b+%20.jpg",
        "DeleteObject",
        notification_id="b0b7a9a4-1111-2222-3333-444455556666",
        removed_at="2026-01-01T07:59:58.000Z",
    )
    assert removal_of(wrap(deleted_of_cloudtrail(versionId="v1"))).version_id == "v1"


def test_a_request_that_deleted_several_objects_names_none() -> None:
    several = deleted_of_cloudtrail() | {"eventName": "DeleteObjects"}
    assert read(several) == [Skipped(SkipReason.DELETED)]


def test_a_deletion_that_s3_refused_is_none() -> None:
    refused = deleted_of_cloudtrail() | {"errorCode": "AccessDenied"}
    assert read(refused) == [Skipped(SkipReason.OTHER_EVENT)]


def test_envelopes_are_opened() -> None:
    inner = notified(AWS, "ObjectRemoved:Delete")
    bare = removal_of(inner)
    cloud_event = {"specversion": "1.0", "id": "1", "source": "s", "type": "t"}
    encoded = base64.b64encode(json.dumps(inner).encode()).decode()
    assert removal_of(cloud_event | {"data": inner}) == bare
    assert removal_of(cloud_event | {"data_base64": encoded}) == bare
    sns = example("sns-notification.json") | {"Message": json.dumps(inner)}
    assert removal_of(sns) == bare


@pytest.mark.parametrize(
    "document",
    [
        notified(AWS, "ObjectRemoved:Delete", key="100%.jpg"),
        notified(AWS, "ObjectRemoved:Delete", key=None),
        notified(AWS, "ObjectRemoved:Delete", versionId="not a version"),
        deleted_of_eventbridge(key=""),
        deleted_of_cloudtrail(key=7),
    ],
)
def test_a_deletion_that_names_no_object_is_a_dead_letter_only_where_removals_are_on(
    document: Any,
) -> None:
    [letter] = read(document)
    assert isinstance(letter, DeadLetter)
    assert letter.code == "reference.invalid"
    assert read(document, removals=False) == [Skipped(SkipReason.DELETED)]


def test_removals_are_off_by_default() -> None:
    for document in (
        notified(AWS, "ObjectRemoved:Delete"),
        deleted_of_eventbridge(),
        deleted_of_cloudtrail(),
    ):
        assert read(document, removals=False) == [Skipped(SkipReason.DELETED)]
    assert not Router([], ["moderation"]).removals


def test_a_route_decides_the_tenant_and_whether_anybody_knows_the_object() -> None:
    routes = [
        RoutePolicy(bucket="photos", key="thumbnails/*", skip=True),
        RoutePolicy(bucket="photos", label_sets=("moderation",), tenant="gallery"),
    ]
    [known] = read(deleted_of_cloudtrail(), routes)
    assert known.removal.tenant == "gallery"
    for unknown in ({"key": "thumbnails/cat.jpg"}, {"bucketName": "elsewhere"}):
        assert read(deleted_of_cloudtrail(**unknown), routes) == [Skipped(SkipReason.DELETED)]


@pytest.mark.parametrize(
    ("sent", "written"),
    [
        ("2026-01-01T07:59:58Z", "2026-01-01T07:59:58.000Z"),
        ("2026-01-01T09:59:58.5+02:00", "2026-01-01T07:59:58.500Z"),
        ("2026-01-01T07:59:58.123456789Z", "2026-01-01T07:59:58.123Z"),
        ("2026-01-01T07:59:58", None),
        ("0001-01-01T00:00:00+23:00", None),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_a_time_is_written_in_utc_or_left_out(sent: str | None, written: str | None) -> None:
    assert moment(sent) == written


@pytest.mark.parametrize("odd", [7, None, ["x"], "no time"])
def test_an_odd_time_or_id_harms_no_removal(odd: Any) -> None:
    document = notified(AWS, "ObjectRemoved:Delete")
    document["Records"][0] |= {"eventTime": odd, "responseElements": {"x-amz-request-id": odd}}
    removal = removal_of(document)
    assert removal.removed_at is None
    assert removal.notification_id == (odd if isinstance(odd, str) else None)

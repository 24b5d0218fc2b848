"""The demo's Kafka records: references to its objects in every format that Clipstream reads, and a
few records without a reference."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any
from urllib.parse import quote_plus

from pipeline.records import Headers

TIME = "2026-01-01T00:00:00.000Z"
"""Events carry a time; the demo's are the same in every run."""


_SKIP = b"skip-"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object, as a producer of references knows it."""

    bucket: str
    key: str
    etag: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class DemoMessage:
    """One Kafka record. ``entries`` is the number of outcomes that it must have, including skips.
    ``via`` names its format."""

    via: str
    value: bytes | None
    key: bytes
    headers: Headers = ()
    entries: int = 1

    @property
    def is_skipped(self) -> bool:
        """Whether the record holds nothing to classify. Such a record is counted and leaves no
        outcome."""
        return self.key.startswith(_SKIP)


def _json(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()


def _native(each: StoredObject) -> DemoMessage:
    reference = {"bucket": each.bucket, "key": each.key, "etag": each.etag, "id": each.key}
    return DemoMessage("native", _json(reference), each.key.encode())


def _uri(each: StoredObject) -> DemoMessage:
    reference = {"uri": f"s3://{each.bucket}/{each.key}", "metadata": {"sent_by": "the demo"}}
    return DemoMessage("native, by URI", _json(reference), each.key.encode())


def _cloudevent_attributes(each: StoredObject) -> dict[str, str]:
    return {
        "specversion": "1.0",
        "type": "demo.image.uploaded",
        "source": "/demo",
        "id": each.etag,
        "time": TIME,
    }


def _cloudevent_binary(each: StoredObject) -> DemoMessage:
    attributes = _cloudevent_attributes(each).items()
    headers = [(f"ce_{name}", value.encode()) for name, value in attributes]
    headers.append(("content-type", b"application/json"))
    value = _json({"bucket": each.bucket, "key": each.key})
    return DemoMessage("CloudEvents, binary", value, each.key.encode(), tuple(headers))


def _cloudevent_structured(each: StoredObject) -> DemoMessage:
    event = _cloudevent_attributes(each) | {
        "datacontenttype": "application/json",
        "data": {"bucket": each.bucket, "key": each.key},
    }
    headers = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
    return DemoMessage("CloudEvents, structured", _json(event), each.key.encode(), headers)


def _notification(
    each: StoredObject, source: str, name: str, key: str, size: object
) -> dict[str, Any]:
    return {
        "eventVersion": "2.1",
        "eventSource": source,
        "eventTime": TIME,
        "eventName": name,
        "s3": {
            "s3SchemaVersion": "1.0",
            "bucket": {"name": each.bucket},
            "object": {"key": key, "size": size, "eTag": each.etag},
        },
    }


def _aws(each: StoredObject) -> DemoMessage:
    record = _notification(
        each, "aws:s3", "ObjectCreated:Put", quote_plus(each.key, safe="/"), each.size_bytes
    )
    return DemoMessage("AWS S3 notification", _json({"Records": [record]}), each.key.encode())


def _sns(each: StoredObject) -> DemoMessage:
    inner = _aws(each).value or b""
    envelope = {
        "Type": "Notification",
        "MessageId": each.etag,
        "TopicArn": "arn:aws:sns:us-east-1:123456789012:uploads",
        "Message": inner.decode(),
        "Timestamp": TIME,
    }
    return DemoMessage("AWS S3 notification in SNS", _json(envelope), each.key.encode())


def _minio(each: StoredObject) -> DemoMessage:
    name = "s3:ObjectCreated:Put"
    record = _notification(each, "minio:s3", name, quote_plus(each.key), each.size_bytes)
    event = {"EventName": name, "Key": f"{each.bucket}/{each.key}", "Records": [record]}
    return DemoMessage("MinIO notification", _json(event), each.key.encode())


def _ceph(each: StoredObject) -> DemoMessage:
    record = _notification(each, "ceph:s3", "ObjectCreated:Put", each.key, str(each.size_bytes))
    return DemoMessage("Ceph notification", _json({"Records": [record]}), each.key.encode())


def _eventbridge(each: StoredObject) -> DemoMessage:
    event = {
        "version": "0",
        "id": each.etag,
        "detail-type": "Object Created",
        "source": "aws.s3",
        "time": TIME,
        "detail": {
            "version": "0",
            "bucket": {"name": each.bucket},
            "object": {"key": each.key, "size": each.size_bytes, "etag": each.etag},
        },
    }
    return DemoMessage("EventBridge event", _json(event), each.key.encode())


def _cloudtrail(each: StoredObject) -> DemoMessage:
    event = {
        "version": "0",
        "id": each.etag,
        "detail-type": "AWS API Call via CloudTrail",
        "source": "aws.s3",
        "time": TIME,
        "detail": {
            "eventVersion": "1.09",
            "eventSource": "s3.amazonaws.com",
            "eventName": "PutObject",
            "requestParameters": {"bucketName": each.bucket, "key": each.key},
            "responseElements": {"x-amz-server-side-encryption": "AES256"},
        },
    }
    return DemoMessage("CloudTrail record", _json(event), each.key.encode())


ONE_OBJECT: Sequence[Callable[[StoredObject], DemoMessage]] = (
    _native,
    _uri,
    _cloudevent_binary,
    _cloudevent_structured,
    _aws,
    _sns,
    _minio,
    _ceph,
    _eventbridge,
    _cloudtrail,
)

LIST_EVERY = 10
LIST_LENGTH = 5


def messages(objects: Sequence[StoredObject]) -> Iterator[DemoMessage]:
    """One reference to each object, with the formats taking turns, and now and then a list of
    several."""
    rest, formats = iter(objects), cycle(ONE_OBJECT)
    turn = 0
    while first := next(rest, None):
        turn += 1
        if turn % LIST_EVERY:
            yield next(formats)(first)
            continue
        several = [first, *(each for _, each in zip(range(LIST_LENGTH - 1), rest, strict=False))]
        references = [{"bucket": each.bucket, "key": each.key} for each in several]
        yield DemoMessage(
            "native, a list", _json(references), first.key.encode(), entries=len(several)
        )


def oddities(bucket: str) -> Iterator[DemoMessage]:
    """Records that cannot be classified: three skips and five dead letters."""
    gone = StoredObject(bucket, "shapes/deleted.png", "0" * 32, 1)
    deletion = _notification(gone, "aws:s3", "ObjectRemoved:Delete", gone.key, 0)
    yield DemoMessage("tombstone", None, _SKIP + b"1")
    yield DemoMessage("AWS S3 notification", _json({"Records": [deletion]}), _SKIP + b"2")
    test_event = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": bucket, "Time": TIME}
    yield DemoMessage("AWS S3 notification", _json(test_event), _SKIP + b"3")
    yield DemoMessage("no format", b"\x89PNG not a message", b"bad-1")
    yield DemoMessage("no format", b'{"picture": 7}', b"bad-2")
    yield DemoMessage("native", _json({"bucket": bucket, "key": "never/uploaded.jpg"}), b"bad-3")
    yield DemoMessage(
        "native", _json({"bucket": bucket, "key": "a.jpg", "label_set": "secret"}), b"bad-4"
    )
    yield DemoMessage("native", _json({"bucket": "other-bucket", "key": "a.jpg"}), b"bad-5")

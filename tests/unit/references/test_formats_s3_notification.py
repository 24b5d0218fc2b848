"""S3's event notifications as AWS, MinIO and Ceph publish them.

The sources of the examples stand in tests/data/formats/README.md.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.records import DeadLetter, Entry, ImageRef, Partition, Position, Record, Skipped
from pipeline.references import ReferencesPolicy, SkipReason, parse
from pipeline.routes import Router
from tests.rigs.root import ROOT

EXAMPLES = ROOT / "tests" / "data" / "formats"
AWS, MINIO, CEPH = "aws-s3-put.json", "minio-kafka-put.json", "ceph-put.json"
ALL = [AWS, MINIO, CEPH]


def example(name: str) -> Any:
    return json.loads((EXAMPLES / name).read_text())


def entries_of(document: Any) -> tuple[Entry, ...]:
    value = document if isinstance(document, bytes) else json.dumps(document).encode()
    record = Record(Position(Partition("events", 0), 7), 0, None, value)
    return parse(record, ReferencesPolicy(), Router([], ["moderation"]))


def read(document: Any) -> list[Any]:
    return [entry.content for entry in entries_of(document)]


def changed(name: str, event: dict[str, Any] | None = None, **item: Any) -> Any:
    """An example with fields of its event, or of the event's object, replaced."""
    document = example(name)
    document["Records"][0] |= event or {}
    document["Records"][0]["s3"]["object"] |= item
    return document


def read_one(document: Any) -> ImageRef:
    [outcome] = read(document)
    assert isinstance(outcome, ImageRef), outcome
    return outcome


def refuse_one(document: Any) -> DeadLetter:
    [outcome] = read(document)
    assert isinstance(outcome, DeadLetter), outcome
    return outcome


def test_the_example_of_aws() -> None:
    [ref] = read((EXAMPLES / AWS).read_bytes())
    assert (ref.bucket, ref.key) == ("mybucket", "HappyFace.jpg")
    assert ref.version_id == "096fKKXTRTtl3on89fVO.nfljtsv6qko"
    assert ref.etag == "d41d8cd98f00b204e9800998ecf8427e"
    assert (ref.id, ref.tenant, dict(ref.metadata)) == (None, None, {})


def test_the_example_of_minio() -> None:
    [ref] = read((EXAMPLES / MINIO).read_bytes())
    assert (ref.bucket, ref.key) == ("images", "myphoto.jpg")
    assert ref.etag == "430f89010c77aa34fc8760696da62d08-1"
    # "1" was sent for every object before MinIO had versions: the ETag pins the object.
    assert ref.version_id is None


def test_the_example_of_ceph() -> None:
    [ref] = read((EXAMPLES / CEPH).read_bytes())
    assert (ref.bucket, ref.key) == ("mybucket1", "myimage1.jpg")
    assert ref.etag == "37b51d194a7513e45b56f6524f2d51f2"
    assert ref.version_id is None


def test_the_test_event_of_aws_is_skipped() -> None:
    assert read((EXAMPLES / "aws-s3-test-event.json").read_bytes()) == [
        Skipped(SkipReason.TEST_EVENT)
    ]


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        ("red+flower.jpg", "red flower.jpg"),  # the documentation's own
        ("a%2Bb.jpg", "a+b.jpg"),
        ("2026%2F01/%C3%A9t%C3%A9.jpg", "2026/01/été.jpg"),
        ("100%25.jpg", "100%.jpg"),
        ("a%2520b.jpg", "a%20b.jpg"),  # once: a key that itself looks encoded
        ("a%0Ab.jpg", "a\nb.jpg"),
    ],
)
@pytest.mark.parametrize("name", [AWS, MINIO])
def test_aws_and_minio_keys_are_form_decoded_exactly_once(name: str, sent: str, key: str) -> None:
    assert read_one(changed(name, key=sent)).key == key


def test_minio_keys_encode_their_slashes() -> None:
    # minio/minio#7665: the object 5cdfb588cea4de1db3034a87/colors.xml
    assert read_one(changed(MINIO, key="5cdfb588cea4de1db3034a87%2Fcolors.xml")).key == (
        "5cdfb588cea4de1db3034a87/colors.xml"
    )


@pytest.mark.parametrize("key", ["red+flower.jpg", "a%2Fb.jpg", "100%.jpg", "a b.jpg"])
def test_ceph_keys_are_taken_as_sent(key: str) -> None:
    assert read_one(changed(CEPH, key=key)).key == key


@pytest.mark.parametrize("key", ["100%.jpg", "%zz", "a%2", "%ff", "%ED%A0%80"])
def test_a_key_that_was_not_form_encoded_is_refused_and_not_guessed_at(key: str) -> None:
    letter = refuse_one(changed(AWS, key=key))
    assert letter.code == "reference.invalid"
    assert letter.message.startswith("Records[0].s3.object.key: ")


@pytest.mark.parametrize(
    "event_name",
    [
        "ObjectCreated:Put",
        "ObjectCreated:Post",
        "ObjectCreated:Copy",
        "ObjectCreated:CompleteMultipartUpload",
    ],
)
@pytest.mark.parametrize("prefix", ["", "s3:"])
@pytest.mark.parametrize("name", ALL)
def test_created_objects_are_classified(name: str, prefix: str, event_name: str) -> None:
    read_one(changed(name, {"eventName": prefix + event_name}))


@pytest.mark.parametrize("event_name", ["ObjectSynced:Create", "Replication:Create"])
def test_ceph_objects_that_arrive_by_replication_are_classified(event_name: str) -> None:
    read_one(changed(CEPH, {"eventName": event_name}))


@pytest.mark.parametrize(
    ("name", "event_name", "reason"),
    [
        (AWS, "ObjectRemoved:Delete", SkipReason.DELETED),
        (AWS, "ObjectRemoved:DeleteMarkerCreated", SkipReason.DELETED),
        (AWS, "LifecycleExpiration:Delete", SkipReason.DELETED),
        (AWS, "ObjectTagging:Put", SkipReason.OTHER_EVENT),
        (AWS, "ObjectAcl:Put", SkipReason.OTHER_EVENT),
        (AWS, "ObjectRestore:Completed", SkipReason.OTHER_EVENT),
        (AWS, "ReducedRedundancyLostObject", SkipReason.OTHER_EVENT),
        (MINIO, "s3:ObjectRemoved:NoOP", SkipReason.DELETED),
        (MINIO, "s3:LifecycleDelMarkerExpiration:Delete", SkipReason.DELETED),
        (MINIO, "s3:ObjectAccessed:Get", SkipReason.OTHER_EVENT),
        (MINIO, "s3:ObjectCreated:PutTagging", SkipReason.OTHER_EVENT),
        (MINIO, "s3:ObjectCreated:DeleteTagging", SkipReason.OTHER_EVENT),
        (MINIO, "s3:ObjectCreated:PutRetention", SkipReason.OTHER_EVENT),
        (MINIO, "s3:ObjectCreated:PutLegalHold", SkipReason.OTHER_EVENT),
        (CEPH, "ObjectLifecycle:Expiration:Current", SkipReason.DELETED),
        (CEPH, "ObjectSynced:Delete", SkipReason.DELETED),
        (CEPH, "ObjectLifecycle:Transition:Current", SkipReason.OTHER_EVENT),
    ],
)
def test_other_events_are_counted_skips(name: str, event_name: str, reason: SkipReason) -> None:
    assert read(changed(name, {"eventName": event_name})) == [Skipped(reason)]


@pytest.mark.parametrize(
    "event_name",
    [
        "ObjectCreated",
        "ObjectRemoved:Archived",
        "ObjectRemoved:",
        "ObjectRenamed:Put",
        "Object",
        "",
    ],
)
@pytest.mark.parametrize("name", ALL)
def test_an_event_that_nobody_has_listed_is_never_skipped(name: str, event_name: str) -> None:
    letter = refuse_one(changed(name, {"eventName": event_name}))
    assert letter.code == "reference.unknown_format"
    assert letter.message.startswith(
        f"Records[0].eventName: {event_name!r} is not the name of a known event"
    )


@pytest.mark.parametrize("name", ALL)
def test_an_unknown_way_of_creation_is_an_image(name: str) -> None:
    read_one(changed(name, {"eventName": "ObjectCreated:Append"}))


@pytest.mark.parametrize("name", [AWS, CEPH])
def test_names_that_only_minio_gives_to_unchanged_bytes_are_images_elsewhere(name: str) -> None:
    read_one(changed(name, {"eventName": "ObjectCreated:PutTagging"}))


def test_a_deletion_is_skipped_whatever_its_object_lacks() -> None:
    document = changed(AWS, {"eventName": "ObjectRemoved:Delete"})
    del document["Records"][0]["s3"]["object"]["eTag"]
    del document["Records"][0]["s3"]["object"]["size"]
    assert read(document) == [Skipped(SkipReason.DELETED)]


@pytest.mark.parametrize("version_id", [None, "", "null"])
@pytest.mark.parametrize("name", ALL)
def test_an_object_without_a_version_is_pinned_by_its_etag(
    name: str, version_id: str | None
) -> None:
    ref = read_one(changed(name, versionId=version_id, eTag="abc"))
    assert (ref.version_id, ref.etag) == (None, "abc")


def test_real_versions_of_minio_are_read() -> None:
    version_id = "8f6f5b2e-7a35-4ad4-9b93-0b7a8a2a8a68"
    assert read_one(changed(MINIO, versionId=version_id)).version_id == version_id


def test_an_empty_etag_is_none() -> None:
    assert read_one(changed(CEPH, eTag="")).etag is None


@pytest.mark.parametrize(
    ("name", "size"), [(AWS, 0), (CEPH, "0"), (CEPH, 0), (MINIO, None), (MINIO, 0)]
)
def test_a_folder_of_no_bytes_is_skipped(name: str, size: Any) -> None:
    assert read(changed(name, key="holiday/", size=size)) == [Skipped(SkipReason.FOLDER)]


@pytest.mark.parametrize(("name", "size"), [(AWS, 1024), (AWS, None), (CEPH, "1"), (MINIO, 6474)])
def test_a_trailing_slash_alone_is_no_way_around_classification(name: str, size: Any) -> None:
    assert read_one(changed(name, key="holiday/", size=size)).key == "holiday/"


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.6", "2.99"])
def test_every_minor_version_is_read(version: str) -> None:
    read_one(changed(AWS, {"eventVersion": version, "newField": {"x": 1}}))


@pytest.mark.parametrize(
    "event",
    [
        {"eventVersion": "3.0"},
        {"eventVersion": "1.0"},
        {"eventVersion": "20.1"},
        {"eventSource": "aws:sqs"},
        {"eventSource": "gcs"},
    ],
)
def test_another_major_version_or_source_is_an_unknown_format(event: dict[str, str]) -> None:
    letter = refuse_one(changed(AWS, event))
    assert letter.code == "reference.unknown_format"
    assert letter.message.startswith(f"Records[0].{next(iter(event))}: ")


@pytest.mark.parametrize(
    ("event", "place"),
    [
        ({"eventVersion": 2.1}, "Records[0].eventVersion"),
        ({"eventName": None}, "Records[0].eventName"),
        ({"s3": []}, "Records[0].s3"),
        ({"s3": {"bucket": {"name": "mybucket"}}}, "Records[0].s3.object"),
        ({"s3": {"bucket": {"name": 1}, "object": {"key": "k"}}}, "Records[0].s3.bucket.name"),
        (
            {"s3": {"bucket": {"name": "MY"}, "object": {"key": "k"}}},
            "Records[0].s3.bucket.name",
        ),
        (
            {"s3": {"bucket": {"name": "mybucket"}, "object": {"key": ""}}},
            "Records[0].s3.object.key",
        ),
        (
            {"s3": {"bucket": {"name": "mybucket"}, "object": {"key": "k", "eTag": 5}}},
            "Records[0].s3.object.eTag",
        ),
        (
            {"s3": {"bucket": {"name": "mybucket"}, "object": {"key": "k", "versionId": "a b"}}},
            "Records[0].s3.object.versionId",
        ),
    ],
)
def test_a_wrong_field_is_refused_by_its_place(event: dict[str, Any], place: str) -> None:
    document = example(AWS)
    document["Records"][0] |= event
    letter = refuse_one(document)
    assert letter.code == "reference.invalid"
    assert letter.message.startswith(f"{place}: ")


def test_each_entry_has_its_own_outcome() -> None:
    records = [example(name)["Records"][0] for name in ALL]
    gone = changed(AWS, {"eventName": "ObjectRemoved:Delete"})["Records"][0]
    entries = entries_of({"Records": [records[0], gone, records[1], 17, records[2]]})
    assert [type(entry.content) for entry in entries] == [
        *(ImageRef, Skipped, ImageRef, DeadLetter, ImageRef)
    ]
    refused = entries[3].content
    assert isinstance(refused, DeadLetter)
    assert refused.message == "Records[3]: is a number; send an object"
    assert [entry.origin.index for entry in entries] == [0, 1, 2, 3, 4]


def test_no_entries_is_an_empty_record() -> None:
    assert read({"Records": []}) == [Skipped(SkipReason.EMPTY)]


@pytest.mark.parametrize("records", [None, {}, "x"])
def test_records_that_are_no_list_refuse_the_whole(records: Any) -> None:
    letter = refuse_one({"Records": records})
    assert letter.code == "reference.invalid"
    assert letter.message.startswith("Records: ")

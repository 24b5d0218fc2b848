"""`clipstream enqueue`: what it publishes, and what it refuses before it publishes anything."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from rich.console import Console

from pipeline.adapters.https.policy import HttpsPolicy
from pipeline.adapters.kafka.policy import KafkaPolicy
from pipeline.adapters.s3.policy import NamedS3Policy, S3Policy
from pipeline.errors import Halt
from pipeline.ports import ListedObject
from workers.commands import enqueue
from workers.settings.loading import Settings

SETTINGS = Settings(
    s3=S3Policy(allowed_buckets=("photos",)), kafka=KafkaPolicy(input_topics=("first", "second"))
)


class Producer:
    """Keeps what is sent; nothing counts as published before the flush."""

    sent: list[tuple[str, bytes | None, Any]]
    flushed: bool
    made = 0

    def __init__(self, kafka: KafkaPolicy, topic: str) -> None:
        self.topic = topic
        type(self).made += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def send(self, key: bytes | None, value: bytes) -> None:
        type(self).sent.append((self.topic, key, json.loads(value)))

    def flush(self) -> None:
        type(self).flushed = True


class Store:
    """Lists what a test puts into it."""

    objects: tuple[ListedObject, ...] = ()
    listed: int
    closed: bool

    def __init__(self, policy: S3Policy) -> None: ...

    def list_objects(self, bucket: str, prefix: str) -> Iterator[ListedObject]:
        for each in type(self).objects:
            if each.bucket == bucket and each.key.startswith(prefix):
                type(self).listed += 1
                yield each

    def close(self) -> None:
        type(self).closed = True


@pytest.fixture(autouse=True)
def _no_services(monkeypatch: pytest.MonkeyPatch) -> None:
    Producer.sent, Producer.flushed, Producer.made = [], False, 0
    Store.objects, Store.listed, Store.closed = (), 0, False
    monkeypatch.setattr(enqueue, "ReferenceProducer", Producer)
    monkeypatch.setattr(enqueue, "S3Admin", Store)


def run(
    source: str | Path,
    *,
    topic: str | None = None,
    label_set: str | None = None,
    limit: int | None = None,
    settings: Settings = SETTINGS,
) -> str:
    """What a run prints."""
    printed = io.StringIO()
    count = enqueue.run_enqueue(
        settings,
        Console(file=printed),
        source=str(source),
        topic=topic,
        label_set=label_set,
        limit=limit,
    )
    assert count == len(Producer.sent)
    assert Producer.flushed
    return printed.getvalue()


def listed(*keys: str, size: int = 5, etag: str | None = None) -> tuple[ListedObject, ...]:
    return tuple(ListedObject("photos", key, etag, size) for key in keys)


def values() -> list[Any]:
    return [value for _, _, value in Producer.sent]


# -- an S3 prefix -----------------------------------------------------------------------------


def test_every_object_of_a_prefix_is_a_reference_keyed_by_its_uri() -> None:
    Store.objects = listed("2026/a b.jpg", "2026/ü?.jpg", "2025/old.jpg", etag="e1")
    printed = run("s3://photos/2026/")
    assert Producer.sent == [
        (
            "first",
            f"s3://photos/{key}".encode(),
            {"bucket": "photos", "key": key, "etag": "e1"},
        )
        for key in ("2026/a b.jpg", "2026/ü?.jpg")
    ]
    assert "2 references published to first" in printed
    assert Store.closed


def test_an_object_whose_etag_is_not_listed_has_none() -> None:
    Store.objects = listed("a")
    run("s3://photos")
    assert values() == [{"bucket": "photos", "key": "a"}]


def test_folder_markers_are_left_out_and_files_with_such_names_are_not() -> None:
    Store.objects = (*listed("folder/", size=0), *listed("file/", size=3))
    run("s3://photos/")
    assert [value["key"] for value in values()] == ["file/"]


def test_a_bucket_that_workers_would_refuse_is_refused_here() -> None:
    with pytest.raises(Halt, match=r"other is not in s3\.allowed_buckets") as caught:
        run("s3://other/")
    assert caught.value.code == "enqueue.invalid"
    assert Producer.made == 0


def test_a_bucket_is_listed_in_its_own_store(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    class Opened(Store):
        def __init__(self, policy: S3Policy) -> None:
            opened.append(policy.section)

    monkeypatch.setattr(enqueue, "S3Admin", Opened)
    Store.objects = listed("a")
    eu = NamedS3Policy(name="eu", allowed_buckets=("eu-*",))
    settings = SETTINGS.model_copy(update={"stores": (eu,)})
    run("s3://eu-1/", settings=settings)
    run("s3://photos/", settings=settings)
    assert opened == ["stores[eu]", "s3"]
    says = r"other is in none of stores\[eu\]\.allowed_buckets, s3\.allowed_buckets"
    with pytest.raises(Halt, match=says):
        run("s3://other/", settings=settings)


@pytest.mark.parametrize("source", ["s3://", "s3:///prefix"])
def test_a_source_without_a_bucket_is_refused_before_the_broker_is_asked(source: str) -> None:
    with pytest.raises(Halt, match=r"names no bucket; write s3://BUCKET/PREFIX"):
        run(source)
    assert Producer.made == 0


def test_no_more_is_listed_than_is_published() -> None:
    Store.objects = listed(*"abcdef")
    run("s3://photos/", limit=2)
    assert [value["key"] for value in values()] == ["a", "b"]
    assert Store.listed == 2


# -- a list -----------------------------------------------------------------------------------


def test_a_list_may_hold_uris_and_references(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text(
        "\ufeff# a comment\n"
        "s3://photos/a b#?%20.jpg \n"
        "\n"
        '{"bucket": "photos", "key": "ü", "metadata": {"n": 1}}\r\n'
        '{"uri": "s3://photos/c", "id": "x"}',
        encoding="utf-8",
    )
    run(file)
    assert Producer.sent == [
        ("first", b"s3://photos/a b#?%20.jpg ", {"uri": "s3://photos/a b#?%20.jpg "}),
        (
            "first",
            "s3://photos/ü".encode(),
            {"bucket": "photos", "key": "ü", "metadata": {"n": 1}},
        ),
        ("first", b"s3://photos/c", {"uri": "s3://photos/c", "id": "x"}),
    ]


def test_urls_of_allowed_hosts_are_published_and_the_key_has_no_query(tmp_path: Path) -> None:
    web = SETTINGS.model_copy(update={"https": HttpsPolicy(allowed_hosts=("*.example.com",))})
    file = tmp_path / "list.txt"
    file.write_text(
        "https://A.example.com/x.jpg?signature=1\n"
        '{"uri": "https://a.example.com/y", "query": "signature=1"}\n'
    )
    run(file, settings=web)
    assert Producer.sent == [
        (
            "first",
            b"https://a.example.com/x.jpg",
            {"uri": "https://A.example.com/x.jpg?signature=1"},
        ),
        (
            "first",
            b"https://a.example.com/y",
            {"uri": "https://a.example.com/y", "query": "signature=1"},
        ),
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("photos/a.jpg", "not JSON"),
        ("http://a.example.com/x", "not JSON"),
        ("https://localhost/x", "not a host's name"),
        ("https://a.example.com/x", "host a.example.com is not in https.allowed_hosts"),
        ("s3://photos", "is 0 UTF-8 bytes long"),
        ("s3://Not_A_Bucket/a", "not a bucket's name"),
        ('["s3://photos/a"]', "neither an s3:// or https:// URI nor a JSON object"),
        ('{"key": "a"}', "bucket: is missing"),
        ('{"uri": 5}', "uri: is"),
        ('{"bucket": "photos", "key": "\\ud800"}', "lone surrogate"),
        ("s3://other/a", "bucket other is not in s3.allowed_buckets"),
        ('{"bucket": "other", "key": "a"}', "bucket other is not in s3.allowed_buckets"),
        ('{"uri": "s3://photos/a", "uri": "s3://photos/b"}', "appears twice"),
    ],
)
def test_a_line_that_workers_would_refuse_is_named_and_nothing_is_published(
    line: str, says: str, tmp_path: Path
) -> None:
    file = tmp_path / "list.txt"
    file.write_text(f"s3://photos/good\n{line}\n")
    with pytest.raises(Halt) as caught:
        run(file)
    assert caught.value.message.startswith(f"enqueue: {file}:2: ")
    assert says in caught.value.message
    assert caught.value.code == "enqueue.invalid"
    assert Producer.made == 0


@pytest.mark.parametrize("listing", [True, False])
def test_a_label_set_is_asked_for_in_every_reference(listing: bool, tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text("s3://photos/a\ns3://photos/b\n")
    Store.objects = listed("a", "b")
    run("s3://photos/" if listing else file, label_set="pets")
    assert [value["label_set"] for value in values()] == ["pets", "pets"]


def test_a_reference_that_asks_for_label_sets_itself_is_not_overruled(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text('{"uri": "s3://photos/a", "label_sets": ["other"]}\n')
    with pytest.raises(Halt, match="label_sets: comes together with label_set"):
        run(file, label_set="pets")


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_list_that_cannot_be_read_is_named(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Halt, match=r"list\.txt cannot be read") as caught:
        run(file)
    assert caught.value.code == "enqueue.unreadable"
    assert Producer.made == 0


def test_a_folder_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(Halt, match=r"cannot be read \(Is a directory\); name a file, or s3://"):
        run(tmp_path)
    assert Producer.made == 0


# -- the topic --------------------------------------------------------------------------------


def test_another_input_topic_can_be_named() -> None:
    Store.objects = listed("a")
    run("s3://photos/", topic="second")
    assert [topic for topic, _, _ in Producer.sent] == ["second"]


def test_a_topic_that_no_worker_reads_is_refused() -> None:
    with pytest.raises(
        Halt, match=r"third is not an input topic \(kafka\.input_topics: first, second"
    ):
        run("s3://photos/", topic="third")

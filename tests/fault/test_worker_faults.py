"""Faults of a whole stream worker that lie in its process, and what consumers may see of them."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from pipeline.adapters.clip.text_tower import TextTower
from pipeline.adapters.clip.vision.tower import VisionTower
from pipeline.adapters.kafka.clients import connect
from pipeline.adapters.kafka.policy import common_options
from pipeline.adapters.kafka.stream import KafkaStream
from pipeline.errors import WorkerLost
from pipeline.records import OutputTopic
from tests.fault.s3_rig import DEMO, PARTITIONS, Store, store_behind_a_proxy, working_on
from tests.rigs.services.kafka_deployment import Deployment
from tests.rigs.waiting import eventually
from workers.embedded.s3 import S3Server

pytestmark = pytest.mark.component

BEFORE, AFTER = 6, 12
ALONE = {"batch": {"max_size": 1}}
"""In another batch the last bits of an embedding may differ."""


@pytest.fixture(scope="module")
def store(s3_server: S3Server) -> Iterator[Store]:
    with store_behind_a_proxy(s3_server) as store:
        yield store


@pytest.fixture
def deployment(kafka_bootstrap: str) -> Iterator[Deployment]:
    with Deployment(kafka_bootstrap, PARTITIONS) as deployment:
        yield deployment


def test_a_lost_device_ends_the_worker_and_the_next_one_does_its_work(
    deployment: Deployment, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = store.bucket.fill(BEFORE + AFTER)
    with working_on(deployment, store, tmp_path) as running:
        running.send(keys[:BEFORE])
        running.until_done()
        with monkeypatch.context() as lost:
            lost.setattr(VisionTower, "forward", fail_as_a_lost_device_does)
            running.send(keys[BEFORE:])
            eventually(lambda: running.ended)
        assert isinstance(running.error, WorkerLost)
        assert running.error.code == "encode.device_lost"
        assert running.committed() == BEFORE
        assert running.dead_letters() == {}
    with working_on(deployment, store, tmp_path) as anew:
        anew.sent = len(keys)
        anew.until_done()
        assert anew.classified() == sorted(keys)


def fail_as_a_lost_device_does(*_: object, **__: object) -> None:
    raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")


def test_a_device_that_hangs_shows_in_the_age_of_its_batch(
    deployment: Deployment, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it hangs on images or on the prompts of a label set that has changed."""
    labels = tmp_path / "labels.yaml"
    text = (DEMO / "labels.yaml").read_text()
    labels.write_text(text)
    # A prompt that no cache knows.
    changed = text.replace("a picture of {}", "one picture of {}")
    reloaded = {"label_sets": {"paths": [labels], "reload_interval_s": 0.1}}
    (key,) = store.bucket.fill(1)
    with working_on(deployment, store, tmp_path, reloaded) as running:

        def hangs() -> bool:
            return running.worker.health().encode_age_s > 1.0

        for owner, name, begin in (
            (VisionTower, "forward", lambda: running.send([key])),
            (TextTower, "forward", lambda: labels.write_text(changed)),
        ):
            assert not hangs()
            go_on = threading.Event()
            with monkeypatch.context() as hung:
                hung.setattr(owner, name, hang_until(go_on, getattr(owner, name)))
                begin()
                try:
                    eventually(hangs)
                finally:
                    go_on.set()
                eventually(lambda: running.worker.health().encode_age_s == 0.0)
        running.until_done()
        assert running.classified() == [key]


def hang_until(go_on: threading.Event, call: Callable[..., Any]) -> Callable[..., Any]:
    def hang(*arguments: Any, **options: Any) -> Any:
        go_on.wait()
        return call(*arguments, **options)

    return hang


def test_a_read_uncommitted_consumer_tells_repeats_by_their_event_id(
    deployment: Deployment, store: Store, tmp_path: Path
) -> None:
    keys = ["never/uploaded", *store.bucket.fill(AFTER)]
    # A classification and an embedding of each image, and one dead letter.
    due = 2 * AFTER + 1
    with working_on(deployment, store, tmp_path, ALONE) as first:
        fail_every_commit(first.worker._stream)
        first.send(keys)
        eventually(lambda: any(uncommitted(deployment)))
        first.end(grace_s=0)
    of_the_first = {event_id for event_id, _ in uncommitted(deployment)}
    with working_on(deployment, store, tmp_path, ALONE) as second:
        second.sent = len(keys)
        second.until_done()
    records = defaultdict(set)
    times: Counter[bytes] = Counter()
    for event_id, record in uncommitted(deployment):
        times[event_id] += 1
        records[event_id].add(record)
    actions = deployment.topic(OutputTopic.ACTIONS)
    assert len([each for each in records.values() if next(iter(each))[0] != actions]) == due
    assert min(times[event_id] for event_id in of_the_first) > 1, "the second repeats the first's"
    for repeats in records.values():
        assert len({exact(each) for each in repeats}) == 1, "repeats differ"
        numbers = [inexact(each) for each in repeats]
        np.testing.assert_allclose(
            numbers, np.broadcast_to(numbers[0], np.shape(numbers)), atol=1e-3
        )


Seen = tuple[str, int, bytes, bytes, tuple[tuple[str, bytes], ...]]
"""Topic, partition, key, value and headers of a record."""


def exact(record: Seen) -> tuple[object, ...]:
    """What is the same in every repeat (docs/events.md): not the last bits of computed numbers,
    which depend on the batch that an image was in, nor how often a fetch was tried."""
    topic, partition, key, value, headers = record
    kept = [each for each in headers if each[0] not in ("dlq.attempts", "dlq.message")]
    where = (topic, partition, key, *kept)
    if "embedding.dtype" in dict(headers):
        return (*where, len(value))
    document = json.loads(value)
    for result in document.get("results", ()):
        for score in result["scores"]:
            del score["score"], score["similarity"]
    return (*where, json.dumps(document))


def inexact(record: Seen) -> list[float]:
    """The computed numbers."""
    *_, value, headers = record
    if "embedding.dtype" in dict(headers):
        return [float(number) for number in np.frombuffer(value, "<f4")]
    results = json.loads(value).get("results", ())
    scores = (score for result in results for score in result["scores"])
    return [number for each in scores for number in (each["score"], each["similarity"])]


def fail_every_commit(stream: Any) -> None:
    """The records are in the topics by then; what was opened is aborted."""
    assert isinstance(stream, KafkaStream)
    sink = stream._sink

    def fail(producer: Any, records: Any, offsets: object, group: object) -> None:
        producer.begin_transaction()
        sink._send(producer, records)
        raise KafkaError("the commit failed")

    stream._sink._transaction = fail  # type: ignore[method-assign]


def uncommitted(deployment: Deployment) -> Iterator[tuple[bytes, Seen]]:
    """The event id of each record of the outputs, and all that a consumer sees of the record but
    its place and time."""
    options = common_options(deployment.kafka, "read-uncommitted") | {
        "isolation_level": "read_uncommitted",
        "enable_auto_commit": False,
    }
    consumer = connect(KafkaConsumer, options)
    with contextlib.closing(consumer):
        topics = [deployment.topic(role) for role in OutputTopic]
        partitions = [TopicPartition(topic, n) for topic in topics for n in range(PARTITIONS)]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        while any(consumer.position(each) < ends[each] for each in partitions):
            for records in consumer.poll(timeout_ms=100).values():
                for record in records:
                    headers = tuple(record.headers)
                    seen = (record.topic, record.partition, record.key, record.value, headers)
                    yield dict(headers)["ce_id"], seen

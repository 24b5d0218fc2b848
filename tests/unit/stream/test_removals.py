"""Removals of a whole worker: once, in the order of their records, and counted as skips."""

from __future__ import annotations

import json

from pipeline.adapters.memory.stream import MemoryBroker
from pipeline.records import OutputTopic, Partition
from tests.rigs.waiting import eventually
from tests.rigs.workers.stream_worker import (
    TOPIC,
    committed,
    new_broker,
    rules_of,
    running,
    send,
    visible,
)

REMOVING = rules_of("v1", "things", removals=True)


def delete(broker: MemoryBroker, *keys: str, record_key: bytes = b"k") -> None:
    """One record that tells of deletions."""
    records = [
        {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "eventName": "ObjectRemoved:Delete",
            "s3": {"bucket": {"name": "bucket"}, "object": {"key": key}},
        }
        for key in keys
    ]
    value = json.dumps({"Records": records}).encode()
    broker.produce(Partition(TOPIC, 0), value, key=record_key, timestamp_ms=1_700_000_000_000)


def seen_by_an_index(broker: MemoryBroker) -> list[tuple[str, str]]:
    """What becomes of which object, in the order of the topic of embeddings."""
    headers = [dict(each.headers) for each in visible(broker, OutputTopic.EMBEDDINGS)]
    return [(each["ce_type"].decode(), each["object.uri"].decode()) for each in headers]


def test_an_index_sees_vectors_and_removals_of_a_key_in_order() -> None:
    broker = new_broker(1)
    with running(broker, rules=REMOVING) as worker:
        send(broker, "slow")
        delete(broker, "slow", "other")
        send(broker, "slow")
        delete(broker, "slow")
        eventually(lambda: worker.flow.running == {"slow"})
        assert seen_by_an_index(broker) == []
        worker.open_gate()
        eventually(lambda: committed(broker) == 4)
        eventually(lambda: worker.sample("clipstream_skipped_total", reason="deleted") == 3)
    vector, removal = "clipstream.embedding.v1", "clipstream.removal.v1"
    assert seen_by_an_index(broker) == [
        (vector, "s3://bucket/slow"),
        (removal, "s3://bucket/slow"),
        (removal, "s3://bucket/other"),
        (vector, "s3://bucket/slow"),
        (removal, "s3://bucket/slow"),
    ]
    ids = [dict(each.headers)["ce_id"] for each in visible(broker, OutputTopic.EMBEDDINGS)]
    assert len(set(ids)) == len(ids)


def test_without_the_setting_a_deletion_is_a_counted_skip_and_no_more() -> None:
    broker = new_broker(1)
    with running(broker) as worker:
        delete(broker, "gone")
        eventually(lambda: committed(broker) == 1)
        eventually(lambda: worker.sample("clipstream_skipped_total", reason="deleted") == 1)
    assert broker.published == []


def test_a_removal_that_does_not_fit_becomes_a_dead_letter_and_its_neighbours_go_again() -> None:
    broker = MemoryBroker(max_message_bytes=3_000)
    broker.create_topic(TOPIC, 1)
    with running(broker, rules=REMOVING, actions=True):
        delete(broker, "before")
        delete(broker, "large", record_key=b"k" * 2_900)
        delete(broker, "after")
        eventually(lambda: committed(broker) == 3)
    uris = [uri for _, uri in seen_by_an_index(broker)]
    assert uris == ["s3://bucket/before", "s3://bucket/after"]
    (letter,) = visible(broker, OutputTopic.DEAD_LETTERS)
    headers = dict(letter.headers)
    assert headers["dlq.code"] == b"publish.too_large"
    assert headers["dlq.offset"] == b"1"
    (action,) = visible(broker, OutputTopic.ACTIONS)
    assert json.loads(action.value)["outcome"]["id"].encode() == headers["ce_id"]

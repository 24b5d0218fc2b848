"""Outcomes too large for the producer or for their topic, on a real Kafka."""

from __future__ import annotations

import pytest

from pipeline.adapters.kafka.doctor import sound_topics
from pipeline.adapters.kafka.policy import MAX_FETCH_BYTES, DeliveryPolicy
from pipeline.adapters.kafka.sink import record_bytes_at_most
from pipeline.errors import OutcomeTooLarge
from pipeline.ports import Commit
from pipeline.records import OutputRecord, OutputTopic
from pipeline.records.progress import Progress
from tests.rigs.services.kafka_deployment import MODES, Deployment, Mode, Polling, outcome

pytestmark = pytest.mark.component

TOPIC_LIMIT_BYTES = 100_000
SMALL_TOPIC = {OutputTopic.CLASSIFICATIONS: {"max.message.bytes": str(TOPIC_LIMIT_BYTES)}}


def commit_expecting_too_large(polling: Polling, commit: Commit) -> int:
    with pytest.raises(OutcomeTooLarge) as raised:
        polling.stream.commit(commit)
    return raised.value.index


@pytest.mark.parametrize("mode", MODES)
def test_what_the_producer_cannot_send_is_named_before_anything_is_sent(
    kafka_bootstrap: str, mode: Mode
) -> None:
    with Deployment(kafka_bootstrap, delivery=DeliveryPolicy(mode=mode)) as deployment:
        polling = deployment.ready()
        large = outcome(b"l" * deployment.kafka.max_request_bytes)
        neighbours = (outcome(b"first"), outcome(b"last"))
        commit = Commit(
            {deployment.partition(0): Progress(2)}, (neighbours[0], large, neighbours[1])
        )
        assert commit_expecting_too_large(polling, commit) == 1
        polling.stream.commit(Commit({deployment.partition(0): Progress(2)}, neighbours))
        assert deployment.values() == [b"first", b"last"]


@pytest.mark.parametrize("mode", MODES)
def test_what_the_broker_refuses_is_named_and_its_neighbours_are_sent_again(
    kafka_bootstrap: str, mode: Mode
) -> None:
    """The client fails every record not yet sent with the same error: one of them is to blame."""
    with Deployment(
        kafka_bootstrap, 3, configs=SMALL_TOPIC, delivery=DeliveryPolicy(mode=mode)
    ) as deployment:
        polling = deployment.ready()
        records = [outcome(b"%03d" % n + b"x" * 60_000, b"%d" % n) for n in range(20)]
        records[11] = outcome(b"y" * (TOPIC_LIMIT_BYTES + 1), b"11")
        progress = {deployment.partition(0): Progress(20)}
        assert commit_expecting_too_large(polling, Commit(progress, tuple(records))) == 11
        assert polling.recover()[deployment.partition(0)] == Progress(0)
        if mode == "exactly_once":
            assert deployment.values() == []
        neighbours = records[:11] + records[12:]
        polling.stream.commit(Commit(progress, tuple(neighbours)))
        assert {*deployment.values()} == {record.value for record in neighbours}
        assert deployment.committed(0) == 20


def test_records_that_fit_alone_are_published_though_their_batch_does_not(
    kafka_bootstrap: str,
) -> None:
    """The client splits the batch; its own flush fails then."""
    with Deployment(kafka_bootstrap, 1, configs=SMALL_TOPIC) as deployment:
        polling = deployment.ready()
        values = [b"%03d" % n + b"x" * 40_000 for n in range(24)]
        commit = Commit(
            {deployment.partition(0): Progress(24)}, tuple(outcome(value) for value in values)
        )
        polling.stream.commit(commit)
        assert deployment.values() == values


@pytest.mark.parametrize("headers", [0, 40])
def test_the_largest_dead_letter_that_may_be_sent_fits_a_sound_topic(
    kafka_bootstrap: str, headers: int
) -> None:
    role = OutputTopic.DEAD_LETTERS
    with Deployment(kafka_bootstrap, 1) as deployment:
        sound = sound_topics(deployment.kafka)[deployment.topic(role)]
    with Deployment(kafka_bootstrap, 1, configs={role: sound}) as deployment:
        polling = deployment.ready()
        few = tuple((f"h{n}", b"v" * 100) for n in range(headers))
        room = deployment.kafka.max_request_bytes
        room -= record_bytes_at_most(OutputRecord(role, b"key", b"", few))
        largest = OutputRecord(role, b"key", b"x" * room, few)
        polling.stream.commit(Commit({deployment.partition(0): Progress(1)}, (largest,)))
        assert deployment.values(role) == [largest.value]
        larger = OutputRecord(role, b"key", b"x" * (room + 1), few)
        commit = Commit({deployment.partition(0): Progress(2)}, (larger,))
        assert commit_expecting_too_large(polling, commit) == 0


def test_an_input_record_larger_than_a_fetch_comes_whole(kafka_bootstrap: str) -> None:
    with Deployment(kafka_bootstrap) as deployment:
        largest = b"x" * (deployment.kafka.max_input_bytes - 1024)
        assert len(largest) > MAX_FETCH_BYTES
        deployment.produce([b"before", largest, b"after"], max_request_size=2 * len(largest))
        polling = deployment.ready()
        polling.until(lambda: len(polling.records) == 3)
        assert polling.values == [b"before", largest, b"after"]

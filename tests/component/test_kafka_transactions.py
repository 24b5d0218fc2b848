"""Outcomes and offsets of a commit on a real Kafka: both or neither, whatever fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kafka.cluster import ClusterMetadata
from kafka.errors import KafkaError
from kafka.future import Future
from kafka.partitioner.default import murmur2
from kafka.structs import ConsumerGroupMetadata

from pipeline.adapters.kafka.policy import DeliveryPolicy
from pipeline.adapters.kafka.stream import KafkaStream
from pipeline.errors import CommitDoubtful
from pipeline.ports import Commit, Revoked
from pipeline.records import OutputTopic
from pipeline.records.progress import Progress
from tests.rigs.services.kafka_deployment import (
    IMPATIENT,
    MODES,
    Deployment,
    Mode,
    outcome,
    producer_of,
    retrying,
    settle,
)
from tests.rigs.waiting import eventually

pytestmark = pytest.mark.component

SLACK_S = 5.0
"""What a busy machine may add to a time limit."""
ALL_TOPICS = tuple(OutputTopic)
WITHOUT_TRANSACTIONS = DeliveryPolicy(mode="at_least_once")


@pytest.fixture
def deployment(kafka_bootstrap: str) -> Iterator[Deployment]:
    with Deployment(kafka_bootstrap) as opened:
        yield opened


def fail_before(stream: KafkaStream, step: str) -> None:
    """The next ``step`` of the producer's transaction fails before it is sent."""

    def fail(*_: object) -> None:
        raise KafkaError(f"{step} failed")

    setattr(producer_of(stream), step, fail)


def look_before(stream: KafkaStream, step: str, look: Callable[[], None]) -> None:
    real = getattr(producer_of(stream), step)

    def looking(*arguments: object) -> None:
        look()
        real(*arguments)

    setattr(producer_of(stream), step, looking)


def test_outcomes_and_offsets_are_seen_with_the_commit_and_not_before(
    deployment: Deployment,
) -> None:
    deployment.produce([b"0", b"1", b"2"])
    polling = deployment.ready()
    polling.until(lambda: len(polling.records) == 3)
    outcomes = tuple(outcome(b"of-" + role.encode(), b"k", role) for role in ALL_TOPICS)
    looks = []

    def look() -> None:
        looks.append(
            [
                *(deployment.visible(role, settled=False) for role in ALL_TOPICS),
                *(len(deployment.visible(role, uncommitted=True)) for role in ALL_TOPICS),
                deployment.committed(0, settled=False),
            ]
        )

    look_before(polling.stream, "commit_transaction", look)
    polling.stream.commit(Commit({deployment.partition(0): Progress(3)}, outcomes))
    topics = len(ALL_TOPICS)
    assert looks == [[*[[]] * topics, *[1] * topics, 0]]
    for role in ALL_TOPICS:
        assert deployment.values(role) == [b"of-" + role.encode()]
    assert deployment.committed(0) == 3


@pytest.mark.parametrize("step", ["send_offsets_to_transaction", "commit_transaction"])
def test_a_doubtful_transaction_is_never_seen(deployment: Deployment, step: str) -> None:
    polling = deployment.ready()
    fail_before(polling.stream, step)
    with pytest.raises(CommitDoubtful):
        polling.stream.commit(
            Commit({deployment.partition(0): Progress(7)}, (outcome(b"doubtful"),))
        )
    assert not polling.stream.can_commit
    with pytest.raises(CommitDoubtful):
        polling.stream.commit(
            Commit({deployment.partition(0): Progress(7)}, (outcome(b"too early"),))
        )
    assert polling.recover() == {
        deployment.partition(0): Progress(0),
        deployment.partition(1): Progress(0),
    }
    polling.stream.commit(Commit({deployment.partition(1): Progress(5)}, (outcome(b"sure"),)))
    assert deployment.values() == [b"sure"]
    assert (deployment.committed(0), deployment.committed(1)) == (0, 5)


def test_a_commit_whose_answer_is_lost_is_found_done(deployment: Deployment) -> None:
    polling = deployment.ready()
    producer = producer_of(polling.stream)
    commit_transaction = producer.commit_transaction

    def commit_without_answer() -> None:
        commit_transaction()
        raise KafkaError("the answer is lost")

    producer.commit_transaction = commit_without_answer
    with pytest.raises(CommitDoubtful):
        polling.stream.commit(Commit({deployment.partition(0): Progress(7)}, (outcome(b"done"),)))
    assert polling.recover()[deployment.partition(0)] == Progress(7)
    assert deployment.values() == [b"done"]


def test_offsets_of_an_aborted_transaction_never_join_the_next(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    polling = deployment.ready()
    group = polling.stream._group
    stale = ConsumerGroupMetadata(
        group.group_id, group.generation_id + 7, group.member_id, group.group_instance_id
    )
    monkeypatch.setattr(polling.stream, "_group", stale)
    with pytest.raises(CommitDoubtful):
        polling.stream.commit(
            Commit({deployment.partition(0): Progress(100)}, (outcome(b"stale"),))
        )
    monkeypatch.undo()
    polling.recover()
    polling.stream.commit(Commit({deployment.partition(1): Progress(5)}, (outcome(b"next"),)))
    assert (deployment.committed(0), deployment.committed(1)) == (0, 5)
    assert deployment.values() == [b"next"]


@pytest.mark.parametrize("mode", MODES)
def test_a_record_that_expires_fails_the_commit(kafka_bootstrap: str, mode: Mode) -> None:
    """kafka-python commits a transaction without the batch that expired."""
    with Deployment(
        kafka_bootstrap,
        delivery=DeliveryPolicy(mode=mode, request_timeout_s=0.5, delivery_timeout_s=1.0),
    ) as deployment:
        polling = deployment.ready()
        # Everything but records arrives.
        network = producer_of(polling.stream)._sender._client
        send = network.send

        def lose_records(node: object, request: object, **options: object) -> Any:
            if type(request).__name__.startswith("Produce"):
                return Future()
            return send(node, request, **options)

        network.send = lose_records
        with pytest.raises(CommitDoubtful):
            polling.stream.commit(
                Commit({deployment.partition(0): Progress(1)}, (outcome(b"lost"),))
            )
        assert polling.recover()[deployment.partition(0)] == Progress(0)
        assert deployment.values() == []


def test_a_member_that_was_put_out_of_the_group_cannot_commit_and_comes_back(
    deployment: Deployment,
) -> None:
    polling = deployment.ready()
    deployment.admin.remove_members([deployment.member().group_instance_id])
    with pytest.raises(CommitDoubtful):
        polling.stream.commit(Commit({deployment.partition(0): Progress(9)}, (outcome(b"zombie"),)))
    polling.changes.clear()
    polling.recover()
    polling.until(lambda: len(polling.owned) == 2)
    assert {c.partition for c in polling.changes if isinstance(c, Revoked)} == polling.owned
    assert polling.starts[deployment.partition(0)] == 0
    polling.stream.commit(Commit({deployment.partition(0): Progress(9)}, (outcome(b"member"),)))
    assert deployment.values() == [b"member"]
    assert deployment.committed(0) == 9


def test_offsets_alone_bring_the_lag_to_zero_behind_control_records(
    deployment: Deployment,
) -> None:
    for value in (b"0", b"1"):
        deployment.produce([value], transactional=True)
    polling = deployment.ready()
    first = deployment.partition(0)
    polling.until(lambda: polling.stream.positions()[first] == 4)
    assert polling.values == [b"0", b"1"]
    assert [record.position.offset for record in polling.records] == [0, 2]
    assert polling.stream.ends()[first] == 4
    polling.stream.commit(Commit({first: Progress(4)}, ()))
    assert deployment.committed(0) == 4
    assert deployment.values() == []


def test_order_of_a_key_is_kept_over_resends(deployment: Deployment) -> None:
    """Every other transaction fails after its records were sent, and is sent again."""
    polling = deployment.ready()
    keys = (b"a", b"b", b"c")
    batches = [[outcome(b"%d" % n, keys[n % 3]) for n in range(m, m + 9)] for m in (0, 9, 18, 27)]
    for number, batch in enumerate(batches):
        commit = Commit({deployment.partition(0): Progress(number + 1)}, tuple(batch))
        if number % 2:
            fail_before(polling.stream, "commit_transaction")
            with pytest.raises(CommitDoubtful):
                polling.stream.commit(commit)
            assert polling.recover()[deployment.partition(0)] == Progress(number)
        polling.stream.commit(commit)
    for index, key in enumerate(keys):
        of_key = [value for *_, seen, value in deployment.visible() if seen == key]
        assert of_key == [b"%d" % n for n in range(index, 36, 3)]


def test_without_transactions_offsets_follow_acknowledged_outcomes(kafka_bootstrap: str) -> None:
    with Deployment(kafka_bootstrap, delivery=WITHOUT_TRANSACTIONS) as deployment:
        polling = deployment.ready()
        looks = []
        consumer = polling.stream._consumer
        commit = consumer.commit

        def looking(*arguments: Any, **options: Any) -> None:
            looks.append((deployment.values(), deployment.committed(0)))
            commit(*arguments, **options)

        consumer.commit = looking
        polling.stream.commit(Commit({deployment.partition(0): Progress(3)}, (outcome(b"first"),)))
        assert looks == [([b"first"], 0)]
        assert deployment.committed(0) == 3


def test_without_transactions_a_failed_offset_is_doubtful_and_read_back(
    kafka_bootstrap: str,
) -> None:
    with Deployment(kafka_bootstrap, delivery=WITHOUT_TRANSACTIONS) as deployment:
        polling = deployment.ready()
        deployment.admin.remove_members([deployment.member().group_instance_id])
        with pytest.raises(CommitDoubtful):
            polling.stream.commit(
                Commit({deployment.partition(0): Progress(3)}, (outcome(b"again"),))
            )
        assert not polling.stream.can_commit
        assert polling.recover()[deployment.partition(0)] == Progress(0)
        assert deployment.values() == [b"again"]


def test_a_sequence_that_is_out_of_order_costs_the_transaction_and_its_producer(
    deployment: Deployment,
) -> None:
    """What the broker sees when it has lost a batch of the producer's."""
    deployment.produce([b"0", b"1"])
    polling = deployment.ready()
    first = deployment.partition(0)
    polling.until(lambda: len(polling.records) == 2)
    polling.stream.commit(Commit({first: Progress(1)}, (outcome(b"before"),)))
    producer = producer_of(polling.stream)
    numbers = producer._transaction_manager._sequence_numbers
    for tp in list(numbers):
        numbers[tp] += 5
    commit = Commit({first: Progress(2)}, (outcome(b"after"),))
    with pytest.raises(CommitDoubtful):
        polling.stream.commit(commit)
    assert deployment.values() == [b"before"]
    settle(polling, commit)
    assert producer_of(polling.stream) is not producer
    assert deployment.values() == [b"before", b"after"]
    assert deployment.committed(0) == 2


@pytest.mark.parametrize("mode", MODES)
def test_a_key_has_the_partition_that_every_client_gives_it(
    kafka_bootstrap: str, mode: Mode
) -> None:
    with Deployment(kafka_bootstrap, 5, delivery=DeliveryPolicy(mode=mode)) as deployment:
        polling = deployment.ready()
        keys = [b"%d" % number * (number % 7 + 1) for number in range(40)]
        outcomes = (*(outcome(b"keyed", key) for key in keys), outcome(b"keyless", None))
        polling.stream.commit(Commit({deployment.partition(0): Progress(1)}, outcomes))
        seen = {key: partition for partition, _, key, _ in deployment.visible()}
    assert len(seen) == len({*keys}) + 1
    assert {key: murmur2(key) % 2**31 % 5 for key in keys} == {key: seen[key] for key in keys}


def test_a_leader_that_is_no_broker_costs_commits_their_time_and_no_more(
    kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kafka-python's producer gets stuck on such metadata, and stays so when the leader is back
    (B5)."""
    learn = ClusterMetadata.update_metadata

    def learn_wrong(cluster: ClusterMetadata, metadata: Any) -> None:
        for topic in metadata.topics:
            for partition in topic.partitions:
                partition.leader_id = 99
        learn(cluster, metadata)

    with Deployment(kafka_bootstrap, delivery=IMPATIENT) as deployment:
        sink = deployment.sink()
        record = (outcome(b"v"),)
        with monkeypatch.context() as wrong:
            wrong.setattr(ClusterMetadata, "update_metadata", learn_wrong)
            for _ in range(2):
                retrying(sink.build)
                producer: Any = sink._producer
                began = time.monotonic()
                with pytest.raises(CommitDoubtful):
                    sink.publish(record, {}, "group")
                assert time.monotonic() - began < sink._limit_s + SLACK_S
                assert not sink.ready
                eventually(lambda: not producer._sender.is_alive())  # noqa: B023
        retrying(sink.build)
        sink.publish(record, {}, "group")
        assert deployment.values() == [b"v"]

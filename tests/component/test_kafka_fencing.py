"""Who may commit as a member, and producers that are thrown away, on a real Kafka."""

from __future__ import annotations

import gc
import logging
import socket
from collections.abc import Iterator
from typing import Any

import kafka.producer.kafka
import pytest
from kafka.errors import KafkaTimeoutError

from pipeline.adapters.kafka.clients import Producer, connect, discard
from pipeline.adapters.kafka.policy import producer_options
from pipeline.adapters.kafka.sink import FENCE_WINDOW_S, KafkaSink
from pipeline.adapters.memory.clock import HandClock
from pipeline.errors import CommitDoubtful, Halt
from tests.rigs.services.kafka_deployment import Deployment, held, no_more_than, outcome
from tests.rigs.waiting import eventually

pytestmark = pytest.mark.component

RECORDS = (outcome(b"v"),)
REBUILDS = 20


@pytest.fixture
def deployment(kafka_bootstrap: str) -> Iterator[Deployment]:
    with Deployment(kafka_bootstrap, start=None) as opened:
        yield opened


def publish(sink: KafkaSink) -> None:
    """A transaction of one record, without offsets."""
    sink.publish(RECORDS, {}, "group")


def fence(sink: KafkaSink, rival: KafkaSink) -> None:
    """Another process starts with the same transactional id, and this one commits."""
    rival.build()
    publish(sink)


def test_a_member_is_fenced_once_and_stops_at_the_second_time(deployment: Deployment) -> None:
    ours, theirs = deployment.sink(), deployment.sink()
    ours.build()
    with pytest.raises(CommitDoubtful) as first:
        fence(ours, theirs)
    assert first.value.code == "kafka.fenced"
    assert not ours.ready
    ours.build()
    publish(ours)
    with pytest.raises(Halt) as second:
        fence(ours, theirs)
    assert second.value.code == "kafka.fenced"
    assert deployment.member().transactional_id in second.value.message
    assert deployment.values() == [b"v"]


def test_fences_far_apart_do_not_stop_a_member(deployment: Deployment) -> None:
    clock = HandClock()
    ours, theirs = deployment.sink(clock.monotonic), deployment.sink()
    for _ in range(2):
        ours.build()
        with pytest.raises(CommitDoubtful):
            fence(ours, theirs)
        clock.now += FENCE_WINDOW_S


def test_a_transaction_that_the_broker_ended_is_no_sign_of_another_process(
    deployment: Deployment,
) -> None:
    """The broker fences the producer of a transaction that took too long, too."""
    clock = HandClock()
    ours, theirs = deployment.sink(clock.monotonic), deployment.sink()
    for _ in range(3):
        ours.build()
        theirs.build()
        producer = ours._producer
        assert producer is not None
        begin = producer.begin_transaction

        def begin_long_ago(begin: Any = begin) -> None:
            begin()
            clock.now += deployment.delivery.transaction_timeout_s

        producer.begin_transaction = begin_long_ago
        with pytest.raises(CommitDoubtful):
            publish(ours)


def test_a_start_that_was_given_up_is_no_sign_of_another_process(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker may take its request late, and fence the producer that was started since."""
    ours, theirs = deployment.sink(), deployment.sink()

    def no_answer(_: Producer) -> None:
        raise KafkaTimeoutError("no answer")

    for _ in range(3):
        with monkeypatch.context() as patched:
            patched.setattr(Producer, "init_transactions", no_answer)
            with pytest.raises(CommitDoubtful):
                ours.build()
        ours.build()
        with pytest.raises(CommitDoubtful):
            fence(ours, theirs)


def test_a_start_that_was_given_up_explains_one_fence_and_no_more(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = deployment.sink(), deployment.sink()

    def no_answer(_: Producer) -> None:
        raise KafkaTimeoutError("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(Producer, "init_transactions", no_answer)
        with pytest.raises(CommitDoubtful):
            ours.build()
    for expected in (CommitDoubtful, CommitDoubtful, Halt):
        ours.build()
        with pytest.raises(expected) as caught:
            fence(ours, theirs)
        assert caught.value.code == "kafka.fenced"


def test_a_broker_that_was_not_reached_has_no_start_to_take_late(deployment: Deployment) -> None:
    ours, theirs = deployment.sink(), deployment.sink()
    reachable = dict(ours._options)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        ours._options |= {"bootstrap_servers": [address], "bootstrap_timeout_ms": 50}
        for _ in range(3):
            with pytest.raises(CommitDoubtful):
                ours.build()
    ours._options = reachable
    for expected in (CommitDoubtful, Halt):
        ours.build()
        with pytest.raises(expected):
            fence(ours, theirs)


def test_discarded_producers_leave_the_library_its_logger(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Plain producers of other tests may have muted it already.
    monkeypatch.setattr(kafka.producer.kafka, "log", logging.getLogger("kafka.producer.kafka"))
    options = producer_options(deployment.kafka, deployment.delivery, deployment.member())
    closed, forgotten = connect(Producer, options), connect(Producer, options)
    discard(closed)
    del closed, forgotten
    gc.collect()
    assert kafka.producer.kafka.log is logging.getLogger("kafka.producer.kafka")


def test_producers_that_are_replaced_leave_no_threads_and_no_sockets(
    deployment: Deployment,
) -> None:
    sink = deployment.sink()
    sink.build()
    publish(sink)
    before = held()
    for _ in range(REBUILDS):
        sink.build()
    publish(sink)
    gc.collect()
    eventually(lambda: no_more_than(before))


def test_a_producer_that_finds_no_broker_leaves_no_threads_and_no_sockets(
    deployment: Deployment,
) -> None:
    sink = deployment.sink()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        sink._options |= {"bootstrap_servers": [address], "bootstrap_timeout_ms": 50}
        before = held()
        for _ in range(3):
            with pytest.raises(CommitDoubtful):
                sink.build()
        gc.collect()
        eventually(lambda: no_more_than(before))

"""A broker that hangs, dies or is not there: every call ends, nothing is lost or doubled.

What would hang for ever runs into the time limit of the test.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.adapters import kafka_config
from pipeline.adapters.kafka import KafkaStream
from pipeline.adapters.kafka_admin import KafkaAdmin
from pipeline.adapters.kafka_config import DeliveryPolicy, KafkaPolicy, Member
from pipeline.errors import Retry
from pipeline.ports import Commit, CommitDoubtful
from pipeline.records import Partition
from tests.kafka_deployment import (
    Deployment,
    Polling,
    held,
    no_more_than,
    outcome,
    retrying,
    wait_until,
)
from workers.demo.kafka import EmbeddedKafka

pytestmark = pytest.mark.component

IMPATIENT = DeliveryPolicy(
    request_timeout_s=0.5,
    delivery_timeout_s=1.0,
    transaction_timeout_s=1.5,
    session_timeout_s=20.0,
)


@contextlib.contextmanager
def hanging(broker: EmbeddedKafka) -> Iterator[None]:
    """The broker keeps its connections and answers nothing."""
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(broker.pid, signal.SIGCONT)


def collected(before: tuple[int, int]) -> bool:
    gc.collect()
    return no_more_than(before)


def settle(polling: Polling, commit: Commit) -> None:
    """What the worker does with a doubtful commit: ask what became of it, send it again if
    nothing did."""
    offsets: dict[Partition, int | None] = {}

    def recover() -> None:
        offsets.update(polling.stream.recover())

    retrying(recover)
    if any(offsets[partition] != upto for partition, upto in commit.offsets.items()):
        # The broker may have put the member out of the group meanwhile.
        polling.changes.clear()
        wait_until(lambda: commits(polling, commit))


def commits(polling: Polling, commit: Commit) -> bool:
    polling.once()
    try:
        if not polling.stream.can_commit:
            polling.stream.recover()
        polling.stream.commit(commit)
    except CommitDoubtful:
        return False
    return True


@pytest.mark.parametrize("step", ["begin_transaction", "commit_transaction"])
def test_a_commit_to_a_broker_that_hangs_is_doubtful_and_has_one_fate_in_the_end(
    kafka: EmbeddedKafka, kafka_bootstrap: str, step: str
) -> None:
    with Deployment(kafka_bootstrap, delivery=IMPATIENT) as deployment:
        polling = deployment.ready()
        first = deployment.partition(0)
        polling.stream.commit(Commit({first: 1}, (outcome(b"before"),)))
        before = held()
        doubtful = Commit({first: 2}, (outcome(b"doubtful"),))
        producer = polling.stream._sink._producer
        assert producer is not None
        real = getattr(producer, step)
        with contextlib.ExitStack() as outage:

            def hang() -> None:
                outage.enter_context(hanging(kafka))
                real()

            setattr(producer, step, hang)
            with pytest.raises(CommitDoubtful):
                polling.stream.commit(doubtful)
            with pytest.raises(CommitDoubtful):
                polling.stream.recover()
            polling.once()
            assert polling.stream.positions().keys() == polling.owned
        settle(polling, doubtful)
        polling.stream.recover()
        assert {*deployment.values()} == {b"before", b"doubtful"}
        assert len(deployment.values()) == 2
        assert deployment.committed(0) == 2
        wait_until(lambda: no_more_than(before))


def test_a_stream_closes_while_its_broker_hangs(kafka: EmbeddedKafka, kafka_bootstrap: str) -> None:
    with Deployment(kafka_bootstrap, delivery=IMPATIENT) as deployment:
        polling = deployment.ready()
        with hanging(kafka):
            polling.stream.close(0.2)


# The client leaves sockets that were refused to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_a_worker_goes_on_when_its_broker_is_back(tmp_path: Path) -> None:
    properties = {
        # A broker that was killed may come back soon.
        "broker.session.timeout.ms": "1000",
        "broker.heartbeat.interval.ms": "300",
    }
    before = held()
    with EmbeddedKafka(tmp_path, properties=properties) as broker:
        outlive(broker)
    wait_until(lambda: collected(before))


def outlive(broker: EmbeddedKafka) -> None:
    with Deployment(broker.bootstrap, delivery=IMPATIENT) as deployment:
        polling = deployment.ready()
        first = deployment.partition(0)
        polling.stream.commit(Commit({first: 1}, (outcome(b"before"),)))
        broker.kill()
        doubtful = Commit({first: 2}, (outcome(b"doubtful"),))
        with pytest.raises(CommitDoubtful):
            polling.stream.commit(doubtful)
        before = held()
        for _ in range(2):
            with pytest.raises(CommitDoubtful):
                polling.stream.recover()
            with contextlib.suppress(Retry):
                polling.once()
        wait_until(lambda: collected(before))
        broker.start()
        settle(polling, doubtful)
        deployment.produce([b"after"])
        polling.until(lambda: bool(polling.records))
        assert polling.values == [b"after"]
        assert {*deployment.values()} == {b"before", b"doubtful"}
        assert len(deployment.values()) == 2
        assert deployment.committed(0) == 2


def test_clients_that_find_no_broker_say_so_and_leave_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka_config, "BOOTSTRAP_TIMEOUT_S", 0.05)
    member = Member("test", "group", "host", 0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        kafka = KafkaPolicy(bootstrap_servers=(address,))
        before = held()
        with pytest.raises(Retry) as stream:
            KafkaStream(kafka, IMPATIENT, member, "cluster", {})
        with pytest.raises(Retry) as admin:
            KafkaAdmin(kafka)
        wait_until(lambda: collected(before))
    assert stream.value.code == admin.value.code == "kafka.unavailable"

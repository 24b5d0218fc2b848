"""A broker that hangs, dies or is not there: every call ends, nothing is lost or doubled.

What would hang for ever runs into the time limit of the test.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator

import pytest

from pipeline.adapters.kafka import policy as kafka_config
from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.policy import KafkaPolicy, Member
from pipeline.adapters.kafka.stream import KafkaStream
from pipeline.errors import CommitDoubtful, Retry
from pipeline.ports import Commit
from pipeline.records.progress import Progress
from tests.rigs.services.kafka_deployment import (
    HEARTBEAT_MS,
    IMPATIENT,
    Deployment,
    collected,
    held,
    no_more_than,
    outcome,
    retrying,
    settle,
)
from tests.rigs.waiting import eventually
from workers.embedded.kafka import EmbeddedKafka

pytestmark = pytest.mark.component


@contextlib.contextmanager
def hanging(broker: EmbeddedKafka) -> Iterator[None]:
    """The broker keeps its connections and answers nothing."""
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(broker.pid, signal.SIGCONT)


@pytest.mark.parametrize("step", ["begin_transaction", "commit_transaction"])
def test_a_commit_to_a_broker_that_hangs_is_doubtful_and_has_one_fate_in_the_end(
    kafka: EmbeddedKafka, kafka_bootstrap: str, step: str
) -> None:
    with Deployment(kafka_bootstrap, delivery=IMPATIENT) as deployment:
        polling = deployment.ready()
        first = deployment.partition(0)
        polling.stream.commit(Commit({first: Progress(1)}, (outcome(b"before"),)))
        assert polling.stream.confirmed
        before = held()
        doubtful = Commit({first: Progress(2)}, (outcome(b"doubtful"),))
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
            # A broker that is frozen for 9 s loses its own controller's confidence, and with it all
            # partitions.
            polling.stream._confirmed_within_s = 3 * HEARTBEAT_MS / 1000
            eventually(lambda: not polling.stream.confirmed)
        settle(polling, doubtful)
        retrying(polling.recover)
        polling.until(lambda: polling.stream.confirmed)
        assert {*deployment.values()} == {b"before", b"doubtful"}
        assert len(deployment.values()) == 2
        assert deployment.committed(0) == 2
        eventually(lambda: no_more_than(before))


def test_a_stream_closes_while_its_broker_hangs(kafka: EmbeddedKafka, kafka_bootstrap: str) -> None:
    with Deployment(kafka_bootstrap, delivery=IMPATIENT) as deployment:
        polling = deployment.ready()
        with hanging(kafka):
            polling.stream.close(0.2)


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
            KafkaStream(kafka, IMPATIENT, member, {})
        with pytest.raises(Retry) as admin:
            KafkaAdmin(kafka)
        eventually(lambda: collected(before))
    assert stream.value.code == admin.value.code == "kafka.unavailable"

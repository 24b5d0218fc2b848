"""Publishing events of requests: what shares a round trip, and what a failure costs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import kafka.errors as kafka_errors
import pytest

from pipeline.adapters.kafka.policy import DeliveryPolicy, KafkaPolicy
from pipeline.adapters.kafka.served import publisher as publisher_module
from pipeline.adapters.kafka.served.publisher import EventPublisher
from pipeline.errors import Halt, Retry, WorkerLost
from pipeline.records import EventRecord

TOPIC = "clipstream.served"


def event(value: bytes = b"v") -> EventRecord:
    return EventRecord(b"request", value, (("ce_id", b"1"),))


class Acknowledgement:
    """What ``send`` returns. ``get`` waits for the broker, or raises what it says."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def get(self, timeout: float) -> None:
        self._broker.answers.wait()
        if self._broker.refuses is not None:
            raise self._broker.refuses


class Broker:
    """Makes producers that send to it. Answers at once unless ``answers`` is cleared."""

    def __init__(self) -> None:
        self.refuses: BaseException | None = None
        self.unreachable: kafka_errors.KafkaError | None = None
        self.answers = threading.Event()
        self.answers.set()
        self.sent: list[tuple[str, bytes]] = []
        self.reached = threading.Event()
        """Set when a record has been sent."""
        self.producers: list[Producer] = []

    def make(self, options: dict[str, Any]) -> Producer:
        if self.unreachable is not None:
            raise self.unreachable
        self.producers.append(Producer(self, options))
        return self.producers[-1]


class Producer:
    def __init__(self, broker: Broker, options: dict[str, Any]) -> None:
        self.options = options
        self.closed = False
        self._broker = broker
        self._sender = self

    def partitions_for(self, topic: str) -> set[int]:
        return {0}

    def send(self, topic: str, value: bytes, key: bytes, headers: object) -> Acknowledgement:
        self._broker.sent.append((topic, value))
        self._broker.reached.set()
        return Acknowledgement(self._broker)

    def force_close(self) -> None: ...

    def join(self, timeout: float) -> None: ...

    def close(self, timeout: float) -> None:
        self.closed = True


@contextmanager
def publishing(broker: Broker) -> Iterator[EventPublisher]:
    publisher = EventPublisher(KafkaPolicy(), DeliveryPolicy(), TOPIC, broker.make)
    with closing(publisher):
        yield publisher


def test_records_are_published_once_the_broker_has_them() -> None:
    broker = Broker()
    with publishing(broker) as publisher:
        asyncio.run(publisher.publish([event(b"1"), event(b"2")]))
    assert broker.sent == [(TOPIC, b"1"), (TOPIC, b"2")]
    assert all(producer.closed for producer in broker.producers)


def test_nothing_is_published_before_the_broker_has_it() -> None:
    broker = Broker()

    async def ask(publisher: EventPublisher) -> None:
        broker.answers.clear()
        publish = asyncio.ensure_future(publisher.publish([event()]))
        await asyncio.to_thread(broker.reached.wait)
        assert not publish.done()
        broker.answers.set()
        await publish

    with publishing(broker) as publisher:
        asyncio.run(ask(publisher))


def test_requests_that_come_meanwhile_share_the_next_round_trip() -> None:
    broker = Broker()

    async def ask(publisher: EventPublisher) -> None:
        broker.answers.clear()
        first = asyncio.ensure_future(publisher.publish([event(b"first")]))
        await asyncio.to_thread(broker.reached.wait)
        others = [asyncio.ensure_future(publisher.publish([event(b"%d" % n)])) for n in range(5)]
        await asyncio.sleep(0)
        assert [value for _, value in broker.sent] == [b"first"]
        broker.answers.set()
        await asyncio.gather(first, *others)

    with publishing(broker) as publisher:
        asyncio.run(ask(publisher))
    assert [value for _, value in broker.sent[1:]] == [b"0", b"1", b"2", b"3", b"4"]


def test_the_producer_is_idempotent_and_waits_for_all_replicas() -> None:
    broker = Broker()
    with publishing(broker) as publisher:
        asyncio.run(publisher.publish([event()]))
    options = broker.producers[0].options
    assert options["enable_idempotence"] is True
    assert options["acks"] == "all"
    assert options["allow_auto_create_topics"] is False
    assert "transactional_id" not in options


async def until_published(publisher: EventPublisher, record: EventRecord) -> None:
    """Publish it as soon as there is a producer again."""
    while True:
        try:
            await publisher.publish([record])
        except Retry:
            await asyncio.sleep(publisher_module.REBUILD_S)
        else:
            return


def test_records_are_refused_at_once_until_there_is_another_producer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publisher_module, "REBUILD_S", 0.01)
    broker = Broker()

    async def ask(publisher: EventPublisher) -> None:
        await publisher.publish([event()])
        broker.refuses = kafka_errors.NotEnoughReplicasError()
        broker.unreachable = kafka_errors.KafkaConnectionError()
        for record in (event(), event(b"at once")):
            with pytest.raises(Retry) as refused:
                await publisher.publish([record])
            assert refused.value.code == "kafka.unavailable"

    with publishing(broker) as publisher:
        asyncio.run(ask(publisher))
        assert broker.producers[0].closed
        broker.refuses = broker.unreachable = None
        asyncio.run(until_published(publisher, event(b"later")))
    assert (TOPIC, b"at once") not in broker.sent
    assert broker.sent[-1] == (TOPIC, b"later")


def test_a_broker_that_will_never_take_them_halts() -> None:
    broker = Broker()
    broker.refuses = kafka_errors.TopicAuthorizationFailedError()
    with publishing(broker) as publisher, pytest.raises(Halt) as halted:
        asyncio.run(publisher.publish([event()]))
    assert halted.value.code == "kafka.not_authorized"


def test_a_topic_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(self: Producer, topic: str) -> set[int]:
        raise kafka_errors.KafkaTimeoutError

    monkeypatch.setattr(Producer, "partitions_for", unknown)
    with publishing(Broker()) as publisher, pytest.raises(Retry, match=f"topic {TOPIC} is not"):
        asyncio.run(publisher.publish([event()]))


def test_a_record_that_would_never_fit_harms_no_other() -> None:
    broker = Broker()
    with publishing(broker) as publisher:
        with pytest.raises(Retry, match="exceeds kafka"):
            asyncio.run(publisher.publish([event(bytes(2_000_000))]))
        asyncio.run(publisher.publish([event()]))
    assert len(broker.sent) == 1


def test_a_caller_that_goes_away_harms_no_other() -> None:
    broker = Broker()

    async def ask(publisher: EventPublisher) -> None:
        broker.answers.clear()
        gone, stays = (asyncio.ensure_future(publisher.publish([event()])) for _ in range(2))
        await asyncio.to_thread(broker.reached.wait)
        gone.cancel()
        broker.answers.set()
        await stays

    with publishing(broker) as publisher:
        asyncio.run(ask(publisher))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_defect_of_the_thread_ends_the_replica_and_leaves_nobody_waiting() -> None:
    broker = Broker()
    broker.refuses = ZeroDivisionError()
    with publishing(broker) as publisher:
        for _ in range(2):
            with pytest.raises(WorkerLost, match="ZeroDivisionError"):
                asyncio.run(publisher.publish([event()]))


def test_a_closed_publisher_refuses() -> None:
    with publishing(Broker()) as publisher:
        pass
    with pytest.raises(Retry, match="closed"):
        asyncio.run(publisher.publish([event()]))

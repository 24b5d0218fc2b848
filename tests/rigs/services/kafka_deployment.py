"""One deployment on a real Kafka, with topics and a group of its own, as tests drive it."""

from __future__ import annotations

import contextlib
import copy
import gc
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, TypeVar

from kafka import KafkaConsumer, TopicPartition

from pipeline.adapters.kafka.admin import KafkaAdmin, Start
from pipeline.adapters.kafka.clients import Producer, connect, discard
from pipeline.adapters.kafka.policy import (
    DeliveryPolicy,
    KafkaPolicy,
    Member,
    TopicNames,
    common_options,
)
from pipeline.adapters.kafka.security.policy import KafkaSecurity
from pipeline.adapters.kafka.sink import KafkaSink
from pipeline.adapters.kafka.stream import KafkaStream
from pipeline.errors import CommitDoubtful, Halt, Retry, Unconfirmed
from pipeline.ports import Assigned, Commit, Polled, Revoked, Stream, Unreadable
from pipeline.records import OutputRecord, OutputTopic, Partition, Record
from pipeline.records.progress import Progress
from tests.rigs.waiting import eventually

T = TypeVar("T")

DEADLINE_S = 60.0
POLL_S = 0.03
HEARTBEAT_MS = 300
"""A tenth of the usual, for tests not to wait."""

IMPATIENT = DeliveryPolicy(
    request_timeout_s=0.5,
    delivery_timeout_s=1.0,
    transaction_timeout_s=1.5,
    session_timeout_s=20.0,
)
"""Gives a broker up in a second, for tests of one that does not answer."""

Mode = Literal["exactly_once", "at_least_once"]
MODES: tuple[Mode, ...] = ("exactly_once", "at_least_once")

Seen = tuple[int, int, bytes | None, bytes | None]
"""Partition, offset, key and value of a visible record."""


def outcome(
    value: bytes, key: bytes | None = b"k", topic: OutputTopic = OutputTopic.CLASSIFICATIONS
) -> OutputRecord:
    return OutputRecord(topic, key, value, (("ce_id", b"1"),))


class Deployment:
    """Topics, a group with first offsets, and everything that was opened for it.

    The topics are the input and all outputs, each with ``partitions`` partitions; ``configs``
    are settings of the outputs by role. ``brokers`` hold every partition, the first as its leader;
    by default the cluster chooses one.
    """

    def __init__(
        self,
        bootstrap: str,
        partitions: int = 2,
        *,
        start: Start | None = "earliest",
        configs: Mapping[OutputTopic, Mapping[str, str]] | None = None,
        security: KafkaSecurity | None = None,
        delivery: DeliveryPolicy | None = None,
        brokers: Sequence[int] = (),
    ) -> None:
        name = f"d{uuid.uuid4().hex[:10]}"
        self.input = f"{name}.references"
        self.kafka = KafkaPolicy(
            bootstrap_servers=(bootstrap,),
            group=name,
            input_topics=(self.input,),
            output_topics=TopicNames(
                **{role.value: f"{name}.{role.value}" for role in OutputTopic}
            ),
            security=security or KafkaSecurity(),
        )
        self.delivery = delivery or DeliveryPolicy()
        # A client that nobody closes keeps connecting, and its sockets are warnings in later tests.
        with contextlib.ExitStack() as opened:
            self.admin = opened.enter_context(KafkaAdmin(self.kafka))
            outputs = {
                self.topic(role): dict((configs or {}).get(role, {})) for role in OutputTopic
            }
            if brokers:
                self._place({self.input: {}, **outputs}, dict.fromkeys(range(partitions), brokers))
            else:
                self.admin.create_topics({self.input: {}, **outputs}, partitions, 1)
            self.facts = retrying(self.admin.facts)
            if start is not None:
                self.initialise(start)
            self.closing = opened.pop_all()

    def __enter__(self) -> Deployment:
        return self

    def __exit__(self, *raised: object) -> None:
        self.closing.close()

    def topic(self, role: OutputTopic) -> str:
        return self.kafka.output_topics.name(role)

    def partition(self, number: int) -> Partition:
        return Partition(self.input, number)

    def through(self, port: int) -> Deployment:
        """The same, as it is seen through a proxy on this port of loopback."""
        seen = copy.copy(self)
        servers = (f"127.0.0.1:{port}",)
        seen.kafka = self.kafka.model_copy(update={"bootstrap_servers": servers})
        return seen

    # -- opening ----------------------------------------------------------------------------

    def initialise(self, start: Start) -> None:
        """First offsets; a broker that has just started needs a moment for its coordinators."""
        retrying(lambda: self.admin.initialise_group(self.facts, start))

    def member(self, slot: int = 0) -> Member:
        return Member("test", self.kafka.group, "host", slot)

    def stream(self, slot: int = 0) -> KafkaStream:
        """A stream of that slot, closed with the deployment."""
        facts = self.facts
        stream = KafkaStream(self.kafka, self.delivery, self.member(slot), facts.topic_ids)
        self.closing.callback(stream.close, 1.0)
        # A member hears of a rebalance by its heartbeat.
        heartbeat = stream._consumer._coordinator.heartbeat
        heartbeat.config["heartbeat_interval_ms"] = HEARTBEAT_MS
        return stream

    def ready(self, slot: int = 0, partitions: int | None = None) -> Polling:
        """A stream that owns partitions (default: all) and can commit."""
        polling = Polling(self.stream(slot))
        wanted = self.partitions if partitions is None else partitions
        polling.until(lambda: len(polling.owned) == wanted)
        retrying(polling.stream.recover)
        return polling

    def sink(self, monotonic: Callable[[], float] = time.monotonic, slot: int = 0) -> KafkaSink:
        sink = KafkaSink(self.kafka, self.delivery, self.member(slot), monotonic)
        self.closing.callback(sink.discard)
        return sink

    @property
    def partitions(self) -> int:
        return len(self.admin.topics([self.input])[self.input]["partitions"])

    # -- what others do ---------------------------------------------------------------------

    def produce(
        self,
        values: Sequence[bytes | None],
        partition: int = 0,
        *,
        headers: Mapping[int, list[tuple[str, bytes]]] | None = None,
        transactional: bool = False,
        **options: Any,
    ) -> None:
        """Send records in one batch; ``headers`` by their index."""
        settings = common_options(self.kafka, "test-upstream") | {"linger_ms": 50}
        if transactional:
            settings |= {"transactional_id": f"{self.kafka.group}-upstream"}
        producer = connect(Producer, settings | options)
        try:
            if transactional:
                producer.init_transactions()
                producer.begin_transaction()
            sent = [
                producer.send(
                    self.input,
                    value,
                    key=b"key",
                    partition=partition,
                    headers=(headers or {}).get(index),
                )
                for index, value in enumerate(values)
            ]
            for future in sent:
                future.get(DEADLINE_S)
            if transactional:
                producer.commit_transaction()
        finally:
            discard(producer)

    def visible(
        self,
        role: OutputTopic = OutputTopic.CLASSIFICATIONS,
        *,
        uncommitted: bool = False,
        settled: bool = True,
    ) -> list[Seen]:
        """What consumers see of an output topic, in the order of partition and offset.

        ``settled`` waits for transactions to end: their last word is written to the topic a moment
        after the commit has returned.
        """
        name = self.topic(role)
        with self._reader(uncommitted=uncommitted) as consumer, self._reader(True) as every:
            tps = [TopicPartition(name, number) for number in consumer.partitions_for_topic(name)]
            consumer.assign(tps)
            consumer.seek_to_beginning(*tps)
            if settled:
                eventually(lambda: consumer.end_offsets(tps) == every.end_offsets(tps))
            ends = consumer.end_offsets(tps)
            seen: list[Seen] = []
            deadline = time.monotonic() + DEADLINE_S
            while any(consumer.position(tp) < ends[tp] for tp in tps):
                assert time.monotonic() < deadline, f"{name}: not read to its end"
                for tp, records in consumer.poll(timeout_ms=50).items():
                    seen += [(tp.partition, r.offset, r.key, r.value) for r in records]
        return sorted(seen, key=lambda each: each[:2])

    def values(self, role: OutputTopic = OutputTopic.CLASSIFICATIONS) -> list[bytes | None]:
        return [value for *_, value in self.visible(role)]

    def committed(self, number: int = 0, *, settled: bool = True) -> int | None:
        """The group's committed offset, as an outsider sees it; ``settled`` as in ``visible``."""
        tp = TopicPartition(self.input, number)
        offset: int | None
        if settled:
            with self._reader(group_id=self.kafka.group) as consumer:
                offset = consumer.committed(tp, timeout_ms=DEADLINE_S * 1000)
                return offset
        found = self.admin.client.list_group_offsets({self.kafka.group: [tp]})
        offset = found[self.kafka.group][tp].offset
        return offset

    def _place(
        self, topics: Mapping[str, Mapping[str, str]], assignments: Mapping[int, Sequence[int]]
    ) -> None:
        wanted = {
            name: {"assignments": assignments, "configs": dict(configs)}
            for name, configs in topics.items()
        }
        self.admin.client.create_topics(wanted, wait_for_metadata=True)

    def _reader(self, uncommitted: bool = False, **options: Any) -> closing[Any]:
        level = "read_uncommitted" if uncommitted else "read_committed"
        settings = common_options(self.kafka, "test-reader") | {
            "isolation_level": level,
            "enable_auto_commit": False,
            "fetch_max_wait_ms": 10,
        }
        return closing(connect(KafkaConsumer, settings | options))


class Polling:
    """Polls a stream and keeps what came."""

    def __init__(self, stream: KafkaStream) -> None:
        self.stream = stream
        self.changes: list[Assigned | Revoked] = []
        self.records: list[Record] = []
        self.unreadable: list[Unreadable] = []

    @property
    def owned(self) -> set[Partition]:
        owned: set[Partition] = set()
        for change in self.changes:
            (owned.add if isinstance(change, Assigned) else owned.discard)(change.partition)
        return owned

    @property
    def starts(self) -> dict[Partition, int]:
        """The offset of each partition's last assignment."""
        return {c.partition: c.progress.offset for c in self.changes if isinstance(c, Assigned)}

    @property
    def values(self) -> list[bytes | None]:
        return [record.value for record in self.records]

    def once(self, max_records: int = 1000) -> Polled:
        polled = self.stream.poll(max_records, POLL_S)
        self.changes += polled.changes
        self.records += polled.records
        self.unreadable += polled.unreadable
        return polled

    def recover(self) -> Mapping[Partition, Progress | None]:
        """The stream's, once the group has confirmed the member."""
        return recovered(self.stream, self.once)

    def until(self, done: Callable[[], bool], also: Sequence[Polling] = ()) -> None:
        """Poll until ``done``; ``also`` are polled in turn, as members of one group must be."""
        deadline = time.monotonic() + DEADLINE_S
        while not done():
            assert time.monotonic() < deadline, f"{self.changes=} {self.records=}"
            for each in (self, *also):
                each.once()

    def finished(self) -> Commit:
        """A commit of all that was polled, one outcome for each record."""
        positions = self.stream.positions()
        progress = {partition: Progress(positions[partition]) for partition in self.owned}
        return Commit(progress, tuple(outcome(r.value or b"", r.key) for r in self.records))


def producer_of(stream: KafkaStream) -> Any:
    return stream._sink._producer


def recovered(stream: Stream, poll: Callable[[], object]) -> Mapping[Partition, Progress | None]:
    """The committed progress, once the stream can commit again; any other failure is raised. A
    member is confirmed only while it polls."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            return stream.recover()
        except Unconfirmed:
            assert time.monotonic() < deadline
            poll()


def retrying(call: Callable[[], T]) -> T:
    """Call until the broker is ready for it. Of several, the one that answers may not have heard of
    new topics."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            return call()
        except (Retry, Halt) as failure:
            if isinstance(failure, Halt) and failure.code != "kafka.topic_missing":
                raise
            assert time.monotonic() < deadline
            time.sleep(0.05)


def held() -> tuple[int, int]:
    """Threads and open files of this process."""
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


def no_more_than(before: tuple[int, int]) -> bool:
    return all(now <= then for now, then in zip(held(), before, strict=True))


def collected(before: tuple[int, int]) -> bool:
    gc.collect()
    return no_more_than(before)


def settle(polling: Polling, commit: Commit) -> None:
    """What the worker does with a doubtful commit: ask what became of it, send it again if
    nothing did."""
    found = retrying(polling.recover)
    if any(found[partition] != wanted for partition, wanted in commit.progress.items()):
        # The broker may have put the member out of the group meanwhile.
        polling.changes.clear()
        eventually(lambda: commits(polling, commit))


def commits(polling: Polling, commit: Commit) -> bool:
    polling.once()
    try:
        if not polling.stream.can_commit:
            polling.stream.recover()
        polling.stream.commit(commit)
    except CommitDoubtful:
        return False
    return True

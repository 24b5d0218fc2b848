"""The stream over kafka-python: one consumer, one producer, one thread that owns both."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import kafka.errors as kafka_errors
from kafka import ConsumerRebalanceListener, TopicPartition

from pipeline.adapters.kafka.clients import Consumer, connect
from pipeline.adapters.kafka.ends import LogEnds
from pipeline.adapters.kafka.failures import committing, consuming
from pipeline.adapters.kafka.offsets import GroupOffsets
from pipeline.adapters.kafka.policy import DeliveryPolicy, KafkaPolicy, Member, consumer_options
from pipeline.adapters.kafka.reading import MAX_FETCHES, TolerantReading, UnreadableBatch, record_of
from pipeline.adapters.kafka.sink import KafkaSink
from pipeline.errors import CommitDoubtful, Halt, Unconfirmed
from pipeline.ports import (
    Assigned,
    Commit,
    Polled,
    Revoked,
    Unreadable,
)
from pipeline.records import Partition, Position
from pipeline.records.progress import Progress

log = logging.getLogger(__name__)


class _Changes(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes changes of assignment for the poll that caused them.

    kafka-python calls this on its I/O thread, where nothing may block or raise.
    """

    def __init__(self) -> None:
        self.events: deque[tuple[bool, TopicPartition]] = deque()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self.events.extend((True, tp) for tp in sorted(assigned))

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self.events.extend((False, tp) for tp in sorted(revoked))

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        self.on_partitions_revoked(lost)


class KafkaStream:
    """Implements ``pipeline.ports.Stream``. Works only in the process that created it, not in a
    fork.

    The group's first offsets must exist: ``KafkaAdmin.initialise_group`` writes them before the
    first worker of a deployment starts.
    """

    def __init__(
        self,
        kafka: KafkaPolicy,
        delivery: DeliveryPolicy,
        member: Member,
        topic_ids: Mapping[str, str],
    ) -> None:
        """Connect the consumer; it joins the group at the first poll.

        Raises:
            Retry: no broker answers.
            Halt: authentication failed.
        """
        self._process_id = os.getpid()
        self._kafka = kafka
        self._delivery = delivery
        self._changes = _Changes()
        self._unannounced: list[TopicPartition] = []
        self._announced: list[Assigned | Revoked] = []
        options = consumer_options(kafka, delivery, member)
        try:
            self._consumer = connect(Consumer, options)
        except kafka_errors.KafkaError as error:
            raise consuming(error, kafka.group) from error
        self._reading = TolerantReading(self._consumer)
        self._offsets = GroupOffsets(self._consumer, kafka.group, topic_ids)
        self._ends = LogEnds(self._consumer)
        self._consumer.subscribe(topics=list(kafka.input_topics), listener=self._changes)
        self._sink = KafkaSink(kafka, delivery, member)
        # Two heartbeats may get lost.
        self._confirmed_within_s = 3 * options["heartbeat_interval_ms"] / 1000
        self._group = self._consumer.group_metadata()

    # -- consuming --------------------------------------------------------------------------

    def poll(self, max_records: int, timeout_s: float) -> Polled:
        self._refuse_fork()
        polled: Mapping[TopicPartition, Sequence[Any]] = {}
        try:
            polled = self._fetch(max_records, timeout_s)
            self._offsets.check_topics()
            self._follow_changes(polled)
            # Read here, where the caller learns of the changes: a commit made before the caller
            # follows them must name the earlier generation.
            self._group = self._consumer.group_metadata()
            self._ends.ask_when_due()
        except kafka_errors.KafkaError as error:
            # A failed poll returns nothing, and the next one returns the same records again.
            # Otherwise the records would look like a gap in the log, and their offsets would be
            # committed.
            for tp in polled.keys() & self._consumer.assignment():
                self._consumer.seek(tp, polled[tp][0].offset)
            raise consuming(error, self._kafka.group) from error
        unreadable = self._give_up()
        changes, self._announced = tuple(self._announced), []
        records = tuple(record_of(raw) for batch in polled.values() for raw in batch)
        return Polled(changes, records, unreadable)

    def pause(self, partitions: Iterable[Partition]) -> None:
        self._consumer.pause(*self._owned(partitions))

    def resume(self, partitions: Iterable[Partition]) -> None:
        self._consumer.resume(*self._owned(partitions))

    def seek(self, partition: Partition, offset: int) -> None:
        for tp in self._owned((partition,)):
            self._consumer.seek(tp, offset)

    def positions(self) -> Mapping[Partition, int]:
        positions = {}
        for tp in self._held():
            position = self._position(tp)
            if position is not None:
                positions[Partition(tp.topic, tp.partition)] = position
        return positions

    def ends(self) -> Mapping[Partition, int]:
        ends = self._ends.of(self._held())
        return {Partition(tp.topic, tp.partition): end for tp, end in ends.items()}

    @property
    def confirmed(self) -> bool:
        return self._consumer.heard_since(time.monotonic() - self._confirmed_within_s)

    # -- committing -------------------------------------------------------------------------

    @property
    def can_commit(self) -> bool:
        return self._sink.ready

    def commit(self, commit: Commit) -> None:
        self._refuse_fork()
        held = {Partition(tp.topic, tp.partition) for tp in self._held()}
        if strangers := commit.progress.keys() - held:
            self._sink.discard()
            raise CommitDoubtful("kafka.not_owner", f"kafka: {min(strangers)} is not owned")
        offsets = self._offsets.annotated(commit.progress)
        self._sink.publish(commit.records, offsets, self._group)
        if self._delivery.mode == "at_least_once" and offsets:
            try:
                self._consumer.commit(
                    offsets, timeout_ms=round(self._delivery.delivery_timeout_s * 1000)
                )
            except kafka_errors.KafkaError as error:
                self._sink.discard()
                raise committing(
                    error, self._kafka.group, "kafka.commit_failed", "committing offsets"
                ) from error

    def recover(self) -> Mapping[Partition, Progress | None]:
        self._refuse_fork()
        failed_at = self._sink.failed_at
        if (
            self._delivery.mode == "exactly_once"
            and failed_at is not None
            and not self._consumer.member_since(failed_at)
        ):
            # A frozen process may have been replaced meanwhile. Its new producer would fence the
            # replacement's, so the group must confirm this member first.
            raise Unconfirmed(
                "kafka.unconfirmed",
                "kafka: the last commit failed; waiting for the group to confirm this member",
            )
        self._sink.build()
        try:
            return self._offsets.committed()
        except kafka_errors.KafkaError as error:
            self._sink.discard()
            raise committing(
                error, self._kafka.group, "kafka.offsets_unknown", "reading offsets"
            ) from error

    def close(self, timeout_s: float) -> None:
        if self._forked():
            return  # connections and membership belong to the parent
        self._sink.discard()
        self._consumer.close(autocommit=False, timeout_ms=round(timeout_s * 1000))

    # -- inside -----------------------------------------------------------------------------

    def _forked(self) -> bool:
        return os.getpid() != self._process_id

    def _refuse_fork(self) -> None:
        # A fork shares the parent's connections and transactional id, but has none of the clients'
        # threads. Its writes would break into the parent's requests.
        if self._forked():
            raise Halt(
                "kafka.forked",
                "kafka: this process was forked after the clients had connected; create the "
                "stream in the process that uses it",
            )

    def _fetch(self, max_records: int, timeout_s: float) -> Mapping[TopicPartition, Sequence[Any]]:
        try:
            polled: Mapping[TopicPartition, Sequence[Any]] = self._consumer.poll(
                timeout_ms=round(timeout_s * 1000), max_records=max_records
            )
        except UnreadableBatch:
            return {}  # Noted by the reader: see _give_up.
        except kafka_errors.NoOffsetForPartitionError:
            self._offsets.start_uncommitted()
            return {}
        return polled

    def _follow_changes(self, polled: Mapping[TopicPartition, Sequence[Any]]) -> None:
        """Note the changes of assignment since the last poll, in order.

        An assignment is announced once its start is known, which may take further polls. The start
        is the first record's offset if this poll returned one, else the position.
        """
        while self._changes.events:
            assigned, tp = self._changes.events.popleft()
            self._reading.forget(tp)
            self._ends.forget(tp)
            if assigned:
                self._unannounced.append(tp)
            elif tp in self._unannounced:
                self._unannounced.remove(tp)
            else:
                self._announced.append(Revoked(Partition(tp.topic, tp.partition)))
        starts = {}
        for tp in self._unannounced:
            start = polled[tp][0].offset if polled.get(tp) else self._position(tp)
            if start is not None:
                starts[tp] = start
        for tp, progress in self._offsets.check(starts).items():
            self._unannounced.remove(tp)
            self._announced.append(Assigned(Partition(tp.topic, tp.partition), progress))

    def _give_up(self) -> tuple[Unreadable, ...]:
        """Step over offsets that repeatedly could not be read."""
        lost = []
        for failure in self._reading.given_up():
            tp, error = failure.tp, failure.error
            if isinstance(error, kafka_errors.UnsupportedCodecError):
                raise consuming(error, self._kafka.group) from error
            if self._position(tp) != failure.position:
                continue  # moved meanwhile, or revoked
            self._consumer.seek(tp, failure.offset + 1)
            position = Position(Partition(tp.topic, tp.partition), failure.offset)
            log.error("%s: unreadable, fetched %d times: %s", position, MAX_FETCHES, error)
            reason = f"{type(error).__name__}: {error}"
            lost.append(Unreadable(position, reason, MAX_FETCHES))
        return tuple(lost)

    def _position(self, tp: TopicPartition) -> int | None:
        """The next offset to poll, if it is known. ``KafkaConsumer.position`` would ask the broker
        for an unknown one, and swallow errors that belong to the next poll."""
        state = self._consumer._subscription.assignment.get(tp)
        return state.position.offset if state is not None and state.position else None

    def _held(self) -> list[TopicPartition]:
        """Assigned partitions that the caller knows."""
        return [tp for tp in self._consumer.assignment() if tp not in self._unannounced]

    def _owned(self, partitions: Iterable[Partition]) -> list[TopicPartition]:
        assignment = self._consumer.assignment()
        wanted = (TopicPartition(p.topic, p.number) for p in partitions)
        return [tp for tp in wanted if tp in assignment]

"""The stream over kafka-python: one consumer, one producer, one thread that owns both."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import kafka.errors as kafka_errors
from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition

from pipeline.adapters.kafka_config import DeliveryPolicy, KafkaPolicy, Member, consumer_options
from pipeline.adapters.kafka_producer import Fenced, KafkaSink
from pipeline.errors import Halt, Retry
from pipeline.ports import (
    Assigned,
    Commit,
    CommitDoubtful,
    Polled,
    Revoked,
    Unreadable,
)
from pipeline.records import Partition, Position, Record

log = logging.getLogger(__name__)

CORRUPT_ATTEMPTS = 3
"""Times an unreadable offset is fetched before it is given up."""

OFFSET_TIMEOUT_MS = 10_000
"""Wait for the committed offset of one partition; open transactions hold the answer back."""

FENCE_WINDOW_S = 600.0
"""Fenced twice within this time means that another process uses the same transactional id."""

HALTING = (
    kafka_errors.FencedInstanceIdError,
    kafka_errors.InconsistentGroupProtocolError,
    kafka_errors.UnsupportedVersionError,
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.InvalidSessionTimeoutError,
)


@dataclass(frozen=True, slots=True)
class OffsetNote:
    """What each committed offset says about its topic, in its metadata string.

    ``topic_id`` unmasks a topic that was deleted and created again. ``initial_partitions`` is how
    many partitions the topic had when the group first committed: a partition beyond them without a
    commit was added later and starts at 0; any other missing offset was lost.
    """

    topic_id: str
    initial_partitions: int

    def __str__(self) -> str:
        return f"clipstream/1 topic={self.topic_id} initial={self.initial_partitions}"

    @classmethod
    def parse(cls, metadata: str) -> OffsetNote | None:
        """Read a note back; None for offsets that something else committed."""
        words = dict(word.split("=", 1) for word in metadata.split() if "=" in word)
        if not metadata.startswith("clipstream/1 ") or not {"topic", "initial"} <= words.keys():
            return None
        return cls(words["topic"], int(words["initial"]))


class _Changes(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes changes of assignment for the poll that caused them.

    kafka-python calls it on its I/O thread, where nothing may block or raise.
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
    """Implements ``pipeline.ports.Stream``.

    The group's first offsets must exist: ``kafka_admin.initialise_group`` writes them before the
    first worker of a deployment starts.
    """

    def __init__(
        self,
        kafka: KafkaPolicy,
        delivery: DeliveryPolicy,
        member: Member,
        cluster_id: str,
        topic_ids: Mapping[str, str],
    ) -> None:
        """Connect the consumer and join the group at the first poll.

        Raises:
            Retry: no broker answers.
            Halt: authentication failed, or the broker's version is too old.
        """
        self._kafka = kafka
        self._delivery = delivery
        self._cluster_id = cluster_id
        self._topic_ids = topic_ids
        self._changes = _Changes()
        self._unannounced: list[TopicPartition] = []
        self._notes: dict[str, OffsetNote] = {}
        self._failed_fetches: dict[Position, int] = {}
        self._fenced_at: float | None = None
        try:
            self._consumer = KafkaConsumer(**consumer_options(kafka, delivery, member))
        except kafka_errors.KafkaError as error:
            raise self._consuming(error) from error
        self._consumer.subscribe(topics=list(kafka.input_topics), listener=self._changes)
        self._sink = KafkaSink(kafka, delivery, member)

    # -- consuming --------------------------------------------------------------------------

    def poll(self, max_records: int, timeout_s: float) -> Polled:
        unreadable: tuple[Unreadable, ...] = ()
        polled: Mapping[TopicPartition, Sequence[Any]] = {}
        try:
            polled = self._consumer.poll(
                timeout_ms=round(timeout_s * 1000), max_records=max_records
            )
        except kafka_errors.NoOffsetForPartitionError:
            self._start_uncommitted()
        except kafka_errors.CorruptRecordError as error:
            unreadable = self._step_over(error)
        except kafka_errors.KafkaError as error:
            raise self._consuming(error) from error
        changes = self._take_changes(polled)
        records = tuple(_record(raw) for batch in polled.values() for raw in batch)
        return Polled(changes, records, unreadable)

    def pause(self, partitions: Iterable[Partition]) -> None:
        self._consumer.pause(*self._owned(partitions))

    def resume(self, partitions: Iterable[Partition]) -> None:
        self._consumer.resume(*self._owned(partitions))

    def seek(self, partition: Partition, offset: int) -> None:
        self._consumer.seek(TopicPartition(partition.topic, partition.number), offset)

    def positions(self) -> Mapping[Partition, int]:
        positions = {}
        for tp in self._consumer.assignment():
            if tp not in self._unannounced:
                position = self._consumer.position(tp, timeout_ms=0)
                if position is not None:
                    positions[Partition(tp.topic, tp.partition)] = position
        return positions

    def ends(self) -> Mapping[Partition, int]:
        ends = {}
        for tp in self._consumer.assignment():
            end = self._consumer.highwater(tp)
            if end is not None:
                ends[Partition(tp.topic, tp.partition)] = end
        return ends

    def topic_id(self, topic: str) -> str:
        return self._topic_ids[topic]

    @property
    def cluster_id(self) -> str:
        return self._cluster_id

    # -- committing -------------------------------------------------------------------------

    @property
    def can_commit(self) -> bool:
        return self._sink.ready

    def commit(self, commit: Commit) -> None:
        offsets = {
            TopicPartition(partition.topic, partition.number): OffsetAndMetadata(
                offset, str(self._notes[partition.topic]), -1
            )
            for partition, offset in commit.offsets.items()
        }
        try:
            self._sink.publish(commit.records, offsets, self._consumer.group_metadata())
            if self._delivery.mode == "at_least_once":
                self._consumer.commit(
                    offsets, timeout_ms=round(self._delivery.delivery_timeout_s * 1000)
                )
        except Fenced as error:
            self._fenced(error)
            raise
        except kafka_errors.KafkaError as error:
            self._sink.discard()
            raise CommitDoubtful(
                "kafka.commit_failed",
                f"kafka: committing offsets failed ({type(error).__name__}: {error})",
            ) from error

    def recover(self) -> Mapping[Partition, int | None]:
        try:
            self._sink.build()
            committed = {
                tp: self._consumer.committed(tp, timeout_ms=OFFSET_TIMEOUT_MS)
                for tp in self._consumer.assignment()
            }
        except Fenced as error:
            self._fenced(error)
            raise
        except kafka_errors.KafkaError as error:
            self._sink.discard()
            raise CommitDoubtful(
                "kafka.offsets_unknown",
                f"kafka: the committed offsets cannot be read ({type(error).__name__}: {error})",
            ) from error
        return {Partition(tp.topic, tp.partition): offset for tp, offset in committed.items()}

    def close(self, timeout_s: float) -> None:
        self._sink.discard()
        self._consumer.close(autocommit=False, timeout_ms=round(timeout_s * 1000))

    # -- inside -----------------------------------------------------------------------------

    def _owned(self, partitions: Iterable[Partition]) -> list[TopicPartition]:
        assignment = self._consumer.assignment()
        wanted = (TopicPartition(p.topic, p.number) for p in partitions)
        return [tp for tp in wanted if tp in assignment]

    def _take_changes(
        self, polled: Mapping[TopicPartition, Sequence[Any]]
    ) -> tuple[Assigned | Revoked, ...]:
        """The changes of assignment since the last poll, in order.

        An assignment is announced once its start is known, which may take further polls: it is the
        first record's offset where this very poll brought one, else the position.
        """
        changes: list[Assigned | Revoked] = []
        while self._changes.events:
            assigned, tp = self._changes.events.popleft()
            if assigned:
                self._unannounced.append(tp)
            elif tp in self._unannounced:
                self._unannounced.remove(tp)
            else:
                changes.append(Revoked(Partition(tp.topic, tp.partition)))
        for tp in tuple(self._unannounced):
            if polled.get(tp):
                start = polled[tp][0].offset
            else:
                start = self._consumer.position(tp, timeout_ms=0)
            if start is not None:
                self._check_topic(tp)
                self._unannounced.remove(tp)
                changes.append(Assigned(Partition(tp.topic, tp.partition), start))
        return tuple(changes)

    def _note(self, tp: TopicPartition) -> OffsetNote | None:
        found = self._consumer.committed(tp, metadata=True, timeout_ms=OFFSET_TIMEOUT_MS)
        return OffsetNote.parse(found.metadata) if found is not None else None

    def _check_topic(self, tp: TopicPartition) -> None:
        """Compare the topic with the one whose offset was committed; remember the note."""
        topic_id = self._topic_ids[tp.topic]
        try:
            note = self._note(tp)
        except kafka_errors.KafkaError as error:
            raise self._consuming(error) from error
        if note is None:
            # Committed by hand, or by another program: taken as it is.
            count = len(self._consumer.partitions_for_topic(tp.topic) or ())
            note = OffsetNote(topic_id, count)
        if note.topic_id != topic_id:
            raise Halt(
                "kafka.topic_recreated",
                f"kafka: {tp.topic} was created anew since group {self._kafka.group} committed "
                f"(topic id {note.topic_id} then, {topic_id} now), so its offsets mean nothing; "
                "delete the group's offsets of the topic, or use another group",
            )
        self._notes.setdefault(tp.topic, note)

    def _start_uncommitted(self) -> None:
        """Give a start to assigned partitions without a committed offset: 0 to one that was added
        to the topic after the group began. Any other lost its offset, and nothing may be skipped
        or repeated in silence."""
        for tp in self._consumer.assignment():
            if self._consumer.committed(tp, timeout_ms=OFFSET_TIMEOUT_MS) is not None:
                continue
            others = self._consumer.partitions_for_topic(tp.topic) or set()
            notes = (self._note(TopicPartition(tp.topic, number)) for number in sorted(others))
            note = next((note for note in notes if note is not None), None)
            where = f"kafka: {tp.topic}[{tp.partition}] has no committed offset in group "
            where += self._kafka.group
            if note is None or tp.partition < note.initial_partitions:
                raise Halt(
                    "kafka.offset_missing",
                    f"{where} (expired or deleted); set it with kafka-consumer-groups.sh "
                    "--reset-offsets while the group is stopped, then start again",
                )
            beginning = self._consumer.beginning_offsets([tp])[tp]
            if beginning > 0:
                raise Halt(
                    "kafka.offset_missing",
                    f"{where}, and its records before {beginning} are gone already; set an offset "
                    "with kafka-consumer-groups.sh --reset-offsets while the group is stopped",
                )
            log.info("%s: it was added to the topic, starting at 0", where)
            self._consumer.seek(tp, 0)

    def _step_over(self, error: Exception) -> tuple[Unreadable, ...]:
        """After an unreadable batch: fetch it again, or give its offset up after three times.

        Without a change of position kafka-python's next poll spins for good on the parser that
        raised (B7); the parser knows partition and offset, the exception does not.
        """
        fetcher = self._consumer._fetcher
        parser = fetcher._next_partition_records
        if parser is None:
            raise Retry("kafka.fetch_failed", f"kafka: a fetch failed ({error})") from error
        tp, offset = parser.topic_partition, parser.next_fetch_offset
        parser.drain()
        fetcher._next_partition_records = None
        position = Position(tp.topic, tp.partition, offset)
        attempts = self._failed_fetches.get(position, 0) + 1
        if attempts < CORRUPT_ATTEMPTS:
            self._failed_fetches[position] = attempts
            self._consumer.seek(tp, offset)
            return ()
        self._failed_fetches.pop(position, None)
        self._consumer.seek(tp, offset + 1)
        log.error("%s: unreadable after %d fetches, stepped over: %s", position, attempts, error)
        return (Unreadable(position, str(error)),)

    def _fenced(self, error: Fenced) -> None:
        now = time.monotonic()
        if self._fenced_at is not None and now - self._fenced_at < FENCE_WINDOW_S:
            raise Halt(
                "kafka.fenced",
                f"{error.message} for the second time: another process uses it; give each "
                "deployment its own kafka.instance",
            ) from error
        self._fenced_at = now

    def _consuming(self, error: kafka_errors.KafkaError) -> Retry | Halt:
        """What an error of the consumer means for the worker."""
        if isinstance(error, kafka_errors.OffsetOutOfRangeError):
            return Halt(
                "kafka.offset_out_of_range",
                f"kafka: a committed offset of group {self._kafka.group} is outside its log "
                f"({error}): records were deleted before they were read, or the log was truncated; "
                "set the offset with kafka-consumer-groups.sh --reset-offsets while the group is "
                "stopped",
            )
        if isinstance(error, kafka_errors.LogTruncationError):
            return Halt(
                "kafka.log_truncated",
                f"kafka: records that were read have vanished from the log ({error}), by an "
                "unclean leader election; set the offset by hand and start again",
            )
        if isinstance(error, kafka_errors.AuthorizationError):
            return Halt(
                "kafka.not_authorized",
                f"kafka: reading is not allowed ({error}); grant Read and Describe on the input "
                f"topics and on group {self._kafka.group}",
            )
        if isinstance(error, HALTING):
            return Halt("kafka.refused", f"kafka: {type(error).__name__}: {error}")
        return Retry("kafka.unavailable", f"kafka: {type(error).__name__}: {error}")


def _record(raw: Any) -> Record:
    return Record(
        Position(raw.topic, raw.partition, raw.offset),
        raw.timestamp,
        raw.key,
        raw.value,
        tuple(raw.headers),
    )

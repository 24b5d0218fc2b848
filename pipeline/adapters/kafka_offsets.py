"""The group's committed offsets: what they say of their topic, and what a missing one means."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

import kafka.errors as kafka_errors
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition

from pipeline.errors import Halt
from pipeline.records import Partition

log = logging.getLogger(__name__)

OFFSETS_TIMEOUT_S = 10.0
"""Wait for committed offsets; open transactions hold the answer back."""

# Releases that share a group in a rolling update read each other's notes: later fields are ignored.
_NOTE = re.compile(r"clipstream/1 topic=(\S+) initial=(\d{1,9})(?: \w+=\S+)*")


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
        found = _NOTE.fullmatch(metadata)
        return cls(found[1], int(found[2])) if found else None


class GroupOffsets:
    """The committed offsets of one group, asked through one of its members.

    Every method may block for ``OFFSETS_TIMEOUT_S`` and raise a ``KafkaError``.
    """

    def __init__(self, consumer: KafkaConsumer, group: str, topic_ids: Mapping[str, str]) -> None:
        self._consumer = consumer
        self._group = group
        self._topic_ids = topic_ids
        self._notes: dict[str, OffsetNote] = {}

    def committed(self) -> dict[Partition, int | None]:
        """The committed offset of each assigned partition, None where there is none."""
        deadline = time.monotonic() + OFFSETS_TIMEOUT_S
        offsets = {}
        for tp in self._consumer.assignment():
            left_ms = max(1, round((deadline - time.monotonic()) * 1000))
            offset = self._consumer.committed(tp, timeout_ms=left_ms)
            offsets[Partition(tp.topic, tp.partition)] = offset
        return offsets

    def annotated(
        self, offsets: Mapping[Partition, int]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        """Offsets of checked partitions, ready to commit. Does not block."""
        return {
            TopicPartition(partition.topic, partition.number): OffsetAndMetadata(
                offset, str(self._notes[partition.topic]), -1
            )
            for partition, offset in offsets.items()
        }

    def check(self, tp: TopicPartition) -> None:
        """Compare the topic with the one whose offset was committed; remember the note.

        Raises:
            Halt: it is another one of the same name.
        """
        note = self._note(tp)
        if note is None:
            # Committed by hand, or by another program: taken as it is.
            count = len(self._consumer.partitions_for_topic(tp.topic) or ())
            self._notes.setdefault(tp.topic, OffsetNote(self._topic_ids[tp.topic], count))
        elif note.topic_id == self._topic_ids[tp.topic]:
            self._notes[tp.topic] = note
        else:
            raise self._recreated(tp.topic, note.topic_id, self._topic_ids[tp.topic])

    def check_topics(self) -> None:
        """Look for topics that were deleted and created anew while this member reads them, and for
        ones that it may not read. Does not block: a consumer hears of both with its metadata, and
        by itself goes on at the old offset, or without the topic.

        Raises:
            Halt: one was created anew.
            AuthorizationError: one may not be described.
        """
        cluster = self._consumer._cluster
        if cluster.unauthorized_topics:
            raise kafka_errors.TopicAuthorizationFailedError(cluster.unauthorized_topics)
        for topic, known in self._topic_ids.items():
            now = cluster.topic_id(topic)
            if now is not None and str(now) != known:
                raise self._recreated(topic, known, str(now))

    def start_uncommitted(self) -> None:
        """Give a start to assigned partitions without a committed offset: 0 to one that was added
        to the topic after the group began. Any other lost its offset, and nothing may be skipped
        or repeated in silence.

        Raises:
            Halt: an offset was lost.
        """
        for partition, offset in self.committed().items():
            if offset is None:
                self._start(TopicPartition(partition.topic, partition.number))

    def _start(self, tp: TopicPartition) -> None:
        others = self._consumer.partitions_for_topic(tp.topic) or set()
        notes = (self._note(TopicPartition(tp.topic, number)) for number in sorted(others))
        note = next((note for note in notes if note is not None), None)
        where = f"kafka: {tp.topic}[{tp.partition}] has no committed offset in group {self._group}"
        if note is None or tp.partition < note.initial_partitions:
            raise Halt(
                "kafka.offset_missing",
                f"{where} (expired or deleted); set it with kafka-consumer-groups.sh "
                "--reset-offsets while the group is stopped, then start again",
            )
        beginning = self._beginning(tp)
        if beginning > 0:
            raise Halt(
                "kafka.offset_missing",
                f"{where}, and its records before {beginning} are gone already; set an offset "
                "with kafka-consumer-groups.sh --reset-offsets while the group is stopped",
            )
        log.info("%s: it was added to the topic, starting at 0", where)
        self._consumer.seek(tp, 0)

    def _beginning(self, tp: TopicPartition) -> int:
        """The first offset that the log holds, 0 where its leader does not answer: the member's
        other partitions need not wait for it, and if records are gone the first fetch says so."""
        timeout_ms = round(OFFSETS_TIMEOUT_S * 1000)
        try:
            beginning: int = self._consumer.beginning_offsets([tp], timeout_ms=timeout_ms)[tp]
        except kafka_errors.KafkaTimeoutError:
            return 0
        return beginning

    def _note(self, tp: TopicPartition) -> OffsetNote | None:
        found = self._consumer.committed(
            tp, metadata=True, timeout_ms=round(OFFSETS_TIMEOUT_S * 1000)
        )
        return OffsetNote.parse(found.metadata) if found is not None else None

    def _recreated(self, topic: str, before: str, now: str) -> Halt:
        return Halt(
            "kafka.topic_recreated",
            f"kafka: {topic} was created anew since group {self._group} committed (topic id "
            f"{before} then, {now} now), so its offsets mean nothing; stop the group, delete its "
            "offsets of the topic, and start again",
        )

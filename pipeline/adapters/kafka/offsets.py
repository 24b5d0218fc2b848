"""The group's committed offsets: what they say about their topic, and what a missing offset
means."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import kafka.errors as kafka_errors
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.admin import OffsetSpec

from pipeline.adapters.kafka.clients import listed_offsets
from pipeline.errors import Halt
from pipeline.records import Partition
from pipeline.records.progress import Progress

log = logging.getLogger(__name__)

OFFSETS_TIMEOUT_S = 10.0
"""Longest wait for committed offsets. Open transactions delay the answer."""

# Releases that share a group in a rolling update read each other's notes, so later fields are
# ignored.
_RUN = r"[1-9]\d{0,5}\.[1-9]\d{0,5}"
_RUNS = "delivery.order:"
_NOTE = re.compile(
    rf"clipstream/1 topic=({re.escape(_RUNS)})?"
    r"(\S+) initial=(\d{1,9})"
    rf"(?: ahead=({_RUN}(?:\.{_RUN})*))?(?: \w+=\S+)*"
)


@dataclass(frozen=True, slots=True)
class OffsetNote:
    """A note about the topic that each committed offset carries in its metadata string.

    ``topic_id`` reveals a topic that was deleted and created again. ``initial_partitions`` is the
    number of partitions that the topic had when the group first committed. A partition beyond this
    number without a commit was added later and starts at 0. Any other missing offset was lost.
    ``runs`` are those of ``Progress``.

    A release that does not know runs would publish their outcomes again. So a note with runs names
    another topic to it, and it halts with ``kafka.topic_recreated`` and that name.
    """

    topic_id: str
    initial_partitions: int
    runs: tuple[int, ...] = ()

    def __str__(self) -> str:
        topic, initial = self.topic_id, self.initial_partitions
        if not self.runs:
            return f"clipstream/1 topic={topic} initial={initial}"
        ahead = ".".join(map(str, self.runs))
        return f"clipstream/1 topic={_RUNS}{topic} initial={initial} ahead={ahead}"

    @classmethod
    def parse(cls, metadata: str) -> OffsetNote | None:
        """Read a note back. None for offsets that another program committed."""
        found = _NOTE.fullmatch(metadata)
        if found is None:
            return None
        has_runs, topic_id, initial, ahead = found.groups()
        if not has_runs:
            return cls(topic_id, int(initial))
        if ahead is None:  # of a later release, which this one does not understand
            return cls(has_runs + topic_id, int(initial))
        return cls(topic_id, int(initial), tuple(map(int, ahead.split("."))))


class GroupOffsets:
    """The committed offsets of one group, asked through one of its members.

    Every method may block for ``OFFSETS_TIMEOUT_S`` and raise a ``KafkaError``.
    """

    def __init__(self, consumer: KafkaConsumer, group: str, topic_ids: Mapping[str, str]) -> None:
        self._consumer = consumer
        self._group = group
        self._topic_ids = topic_ids
        self._notes: dict[str, OffsetNote] = {}

    def committed(self) -> dict[Partition, Progress | None]:
        """The committed progress of each assigned partition, or None."""
        assigned = self._consumer.assignment()
        found = self._ask(assigned)
        return {
            Partition(tp.topic, tp.partition): progress_of(found[tp]) if tp in found else None
            for tp in assigned
        }

    def annotated(
        self, progress: Mapping[Partition, Progress]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        """Offsets of checked partitions with their notes, ready to commit. Does not block."""
        return {
            TopicPartition(partition.topic, partition.number): OffsetAndMetadata(
                reached.offset, str(replace(self._notes[partition.topic], runs=reached.runs)), -1
            )
            for partition, reached in progress.items()
        }

    def check(self, starts: Mapping[TopicPartition, int]) -> dict[TopicPartition, Progress]:
        """Compare each partition's topic with the topic whose offset was committed, and remember
        the notes. Sends one request for all.

        Returns:
            The progress with which each partition starts at its offset.

        Raises:
            Halt: a topic is another one with the same name.
        """
        found = self._ask(starts)
        progress = {}
        for tp, start in starts.items():
            note = _note(found.get(tp))
            ahead = progress_of(found[tp]).ahead if note else ()
            progress[tp] = Progress(start, ahead)
            if note is None:
                # Committed by hand or by another program: accepted as it is.
                count = len(self._consumer.partitions_for_topic(tp.topic) or ())
                self._notes.setdefault(tp.topic, OffsetNote(self._topic_ids[tp.topic], count))
            elif note.topic_id == self._topic_ids[tp.topic]:
                self._notes[tp.topic] = note
            else:
                raise self._recreated(tp.topic, note.topic_id, self._topic_ids[tp.topic])
        return progress

    def check_topics(self) -> None:
        """Look for topics that were deleted and created again while this member reads them, and for
        topics that it may not read. Does not block: the consumer learns of both with its metadata.
        By itself it would go on at the old offset, or without the topic.

        Raises:
            Halt: a topic was created again.
            AuthorizationError: a topic may not be described.
        """
        cluster = self._consumer._cluster
        if cluster.unauthorized_topics:
            raise kafka_errors.TopicAuthorizationFailedError(cluster.unauthorized_topics)
        for topic, known in self._topic_ids.items():
            now = cluster.topic_id(topic)
            if now is not None and str(now) != known:
                raise self._recreated(topic, known, str(now))

    def start_uncommitted(self) -> None:
        """Set a start for assigned partitions without a committed offset. A partition that was
        added to the topic after the group began starts at 0. Any other partition has lost its
        offset, and nothing may be skipped or repeated silently. Sends one request for all offsets
        and one for all beginnings.

        Raises:
            Halt: an offset was lost.
        """
        assigned = self._consumer.assignment()
        topics = sorted({tp.topic for tp in assigned})
        of_topics = [
            TopicPartition(topic, number)
            for topic in topics
            for number in sorted(self._consumer.partitions_for_topic(topic) or ())
        ]
        found = self._ask([*of_topics, *assigned.difference(of_topics)])
        # The note of a topic's lowest partition counts.
        notes = {
            tp.topic: note
            for tp in reversed(of_topics)
            if (note := _note(found.get(tp))) is not None
        }
        missing = sorted(tp for tp in assigned if tp not in found)
        for tp in missing:
            note = notes.get(tp.topic)
            if note is None or tp.partition < note.initial_partitions:
                raise Halt(
                    "kafka.offset_missing",
                    f"{self._without_offset(tp)} (expired or deleted); set it with "
                    "kafka-consumer-groups.sh --reset-offsets while the group is stopped, then "
                    "start again",
                )
        for tp, beginning in self._beginnings(missing).items():
            if beginning > 0:
                raise Halt(
                    "kafka.offset_missing",
                    f"{self._without_offset(tp)}, and its records before {beginning} are already "
                    "gone; set an offset with kafka-consumer-groups.sh --reset-offsets while the "
                    "group is stopped",
                )
        for tp in missing:
            log.info("%s: it was added to the topic, starting at 0", self._without_offset(tp))
            self._consumer.seek(tp, 0)

    def _without_offset(self, tp: TopicPartition) -> str:
        return f"kafka: {tp.topic}[{tp.partition}] has no committed offset in group {self._group}"

    def _beginnings(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The first offset in each log. Partitions whose leader does not answer are left out: the
        member's other partitions need not wait for them, and the first fetch reports missing
        records."""
        try:
            return listed_offsets(
                self._consumer, partitions, OffsetSpec.EARLIEST, round(OFFSETS_TIMEOUT_S * 1000)
            )
        except kafka_errors.KafkaTimeoutError:
            return {}

    def _ask(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, Any]:
        """The committed offsets of the partitions, with metadata, in one request. Partitions
        without one are left out."""
        coordinator = self._consumer._coordinator
        # B24: the answer to an abandoned earlier question may be older than our last commit.
        coordinator._offset_fetch_futures.pop(frozenset(partitions), None)
        try:
            found: dict[TopicPartition, Any] = coordinator.fetch_committed_offsets(
                list(partitions), timeout_ms=round(OFFSETS_TIMEOUT_S * 1000)
            )
        except kafka_errors.KafkaTimeoutError as late:
            node = coordinator.coordinator()
            if node is None:
                why = "the group's coordinator is not known, or its connection is lost"
            elif frozenset(partitions) in coordinator._offset_fetch_futures:
                why = f"broker {node}, the group's coordinator, has not answered"
            else:
                why = f"broker {node}, the group's coordinator, has given no usable answer"
            raise kafka_errors.KafkaTimeoutError(f"{why} in {OFFSETS_TIMEOUT_S:g} s") from late
        return found

    def _recreated(self, topic: str, before: str, now: str) -> Halt:
        if before.startswith(_RUNS):
            return Halt(
                "kafka.topic_recreated",
                f"kafka: group {self._group} has offsets on {topic} that a later release wrote, "
                "and this one cannot read what is done beyond them; change no offsets, and see "
                "docs/operations.md, Roll out a version",
            )
        return Halt(
            "kafka.topic_recreated",
            f"kafka: {topic} was created anew since group {self._group} committed (topic id "
            f"{before} then, {now} now), so its offsets mean nothing; stop the group, delete its "
            "offsets on the topic, and start again",
        )


def progress_of(committed: OffsetAndMetadata) -> Progress:
    """What a committed offset and its note say."""
    note = _note(committed)
    return Progress.of_runs(committed.offset, note.runs if note else ())


def _note(found: Any) -> OffsetNote | None:
    return OffsetNote.parse(found.metadata) if found is not None else None

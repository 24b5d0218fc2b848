"""The committed records of a topic, read again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

import kafka.errors as kafka_errors
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import OffsetSpec

from pipeline.adapters.kafka.clients import connect, listed_offsets
from pipeline.adapters.kafka.failures import administrated, administrating
from pipeline.adapters.kafka.policy import KafkaPolicy, common_options
from pipeline.adapters.kafka.reading import TolerantReading, UnreadableBatch, record_of
from pipeline.errors import Halt, Retry
from pipeline.records import Record

POLL_S = 0.5
SILENCE_S = 30.0
"""A broker that returns nothing for this long, before the end is reached, does not answer."""
ANSWER_MS = 30_000

Offsets = dict[TopicPartition, int]


class RecordedTopic:
    """Reads one topic as its consumers see it. Belongs to no group, commits nothing, and belongs
    to one thread. Records that cannot be read are passed over.

    Raises:
        Retry: the broker does not answer; here and in every method.
        Halt: not allowed.
    """

    def __init__(self, kafka: KafkaPolicy, name: str) -> None:
        """Connect.

        Raises:
            Halt: ``kafka.topic_missing``.
        """
        self.name = name
        self._doing = f"reading {name}"
        options = common_options(kafka, "clipstream-recorded") | {
            "enable_auto_commit": False,
            "isolation_level": "read_committed",
            # Records that are deleted meanwhile are no reason to skip the rest.
            "auto_offset_reset": "earliest",
            "fetch_max_wait_ms": 100,
        }
        with contextlib.ExitStack() as failing, administrating(self._doing):
            self._consumer = connect(KafkaConsumer, options)
            failing.callback(self._consumer.close)
            numbers = self._consumer.partitions_for_topic(name) or ()
            if not numbers:
                raise Halt(
                    "kafka.topic_missing",
                    f"kafka: topic {name} does not exist or may not be described; see "
                    "`clipstream doctor`",
                )
            failing.pop_all()
        self._partitions = [TopicPartition(name, number) for number in sorted(numbers)]
        self._reading = TolerantReading(self._consumer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._consumer.close()

    def records(
        self,
        since_ms: int | None = None,
        newest: int | None = None,
        until_ms: int | None = None,
    ) -> Iterator[Record]:
        """All records that are visible now, in order within each partition. ``since_ms`` and
        ``until_ms`` leave out what was written before or after, in milliseconds. With ``newest``,
        about so many of the last offsets."""
        with administrating(self._doing):
            ends = self._offsets(OffsetSpec.LATEST)
            begins = self._offsets(OffsetSpec.EARLIEST)
            if since_ms is not None:
                young = listed_offsets(self._consumer, self._partitions, since_ms, ANSWER_MS)
                begins = {tp: young.get(tp, ends[tp]) for tp in ends}
            if until_ms is not None:
                ends |= listed_offsets(self._consumer, self._partitions, until_ms, ANSWER_MS)
        if newest is not None:
            each = max(1, newest // len(ends))
            begins = {tp: max(first, ends[tp] - each) for tp, first in begins.items()}
        yield from self.between(begins, ends)

    def at(self, partition: int, offset: int) -> Record | None:
        """The record at an offset, or None if there is none that can be read."""
        tp = TopicPartition(self.name, partition)
        if tp not in self._partitions:
            return None
        with administrating(self._doing):
            end = self._offsets(OffsetSpec.LATEST)[tp]
        found = self.between({tp: offset}, {tp: min(end, offset + 1)})
        return next((each for each in found if each.position.offset == offset), None)

    def _offsets(self, at: OffsetSpec) -> Offsets:
        found = listed_offsets(self._consumer, self._partitions, at, ANSWER_MS)
        missing = [tp for tp in self._partitions if tp not in found]
        if missing:
            raise kafka_errors.LeaderNotAvailableError(missing)
        return found

    def between(
        self, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> Iterator[Record]:
        """The records from ``begins`` up to, without, ``ends``."""
        consumer = self._consumer
        with administrating(self._doing):
            unread = [tp for tp, end in ends.items() if begins[tp] < end]
            consumer.assign(unread)
            for tp in unread:
                consumer.seek(tp, begins[tp])
        silent_s = 0.0
        while self._are_unread(unread, ends):
            records = self._poll()
            silent_s = 0.0 if records else silent_s + POLL_S
            if silent_s > SILENCE_S:
                raise Retry(
                    "kafka.unavailable",
                    f"kafka: {self.name} cannot be read to its end for {SILENCE_S:g} s",
                )
            for record in records:
                tp = TopicPartition(self.name, record.position.partition.number)
                if record.position.offset < ends[tp]:
                    yield record

    def _are_unread(self, unread: list[TopicPartition], ends: Mapping[TopicPartition, int]) -> bool:
        with administrating(self._doing):
            return any(
                self._consumer.position(tp, timeout_ms=ANSWER_MS) < ends[tp] for tp in unread
            )

    def _poll(self) -> list[Record]:
        try:
            polled = self._consumer.poll(timeout_ms=round(POLL_S * 1000))
        except UnreadableBatch:
            polled = {}  # noted by the reader
        except kafka_errors.KafkaError as error:
            raise administrated(error, self._doing) from error
        for failure in self._reading.given_up():
            if isinstance(failure.error, kafka_errors.UnsupportedCodecError):
                raise administrated(failure.error, self._doing) from failure.error
            self._consumer.seek(failure.tp, failure.offset + 1)
        return [record_of(raw) for batch in polled.values() for raw in batch]

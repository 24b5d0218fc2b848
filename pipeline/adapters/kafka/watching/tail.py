"""Reads the end of the output topics, as their readers see it."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Self

import kafka.errors as kafka_errors
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import OffsetSpec

from pipeline.adapters.kafka.clients import connect, listed_offsets
from pipeline.adapters.kafka.failures import administrated, administrating
from pipeline.adapters.kafka.policy import MAX_FETCH_BYTES, KafkaPolicy, common_options
from pipeline.adapters.kafka.reading import TolerantReading, UnreadableBatch, record_of
from pipeline.errors import Halt
from pipeline.records import OutputTopic, Record

ROLES = (OutputTopic.CLASSIFICATIONS, OutputTopic.DEAD_LETTERS)
"""What a person looks at. Embeddings are for programs."""

OFFSETS_PER_OUTCOME = 2
"""A transaction has an offset of its own in each partition that it writes to. Where few images
come, that is every second offset."""

LEAST_OFFSETS = 4
"""Offsets that are read back of a partition, however many partitions there are."""

ANSWER_MS = 30_000


class OutcomeTail:
    """Committed classifications and dead letters, from a little before the end. Belongs to no
    group, commits nothing, and belongs to one thread.

    While brokers are away, polls return nothing, and the records follow later. Records that are
    deleted before they were read, and records that cannot be read, are passed over.
    """

    def __init__(self, kafka: KafkaPolicy, newest: int) -> None:
        """Connect. Some ``newest`` records that are there by now are read first, fewer where
        partitions are of very different sizes.

        Raises:
            Retry: no broker answers.
            Halt: not allowed, or no such topics.
        """
        options = common_options(kafka, "clipstream-live") | {
            "enable_auto_commit": False,
            "isolation_level": "read_committed",
            "auto_offset_reset": "latest",
            "fetch_max_wait_ms": 100,
            "max_partition_fetch_bytes": MAX_FETCH_BYTES,
        }
        with administrating("reading outcomes"):
            self._consumer = connect(KafkaConsumer, options)
        try:
            with administrating("reading outcomes"):
                self._begin([kafka.output_topics.name(role) for role in ROLES], newest)
        except BaseException:
            self._consumer.close()
            raise
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

    def poll(self, timeout_s: float) -> list[Record]:
        """Records that have become visible since the last poll. Waits up to ``timeout_s`` for the
        first one.

        Raises:
            Retry, Halt: as ``administrating``.
        """
        try:
            polled = self._consumer.poll(timeout_ms=round(timeout_s * 1000))
        except UnreadableBatch:
            polled = {}  # noted by the reader
        except kafka_errors.KafkaError as error:
            raise administrated(error, "reading outcomes") from error
        for failure in self._reading.given_up():
            if isinstance(failure.error, kafka_errors.UnsupportedCodecError):
                raise administrated(failure.error, "reading outcomes") from failure.error
            self._consumer.seek(failure.tp, failure.offset + 1)
        return [record_of(raw) for batch in polled.values() for raw in batch]

    def _begin(self, names: list[str], newest: int) -> None:
        partitions = [
            TopicPartition(name, number)
            for name in names
            for number in sorted(self._consumer.partitions_for_topic(name) or ())
        ]
        if missing := set(names) - {tp.topic for tp in partitions}:
            raise Halt(
                "kafka.topic_missing",
                f"kafka: topic {', '.join(sorted(missing))} does not exist or may not be "
                "described; see `clipstream doctor`",
            )
        self._consumer.assign(partitions)
        begins = listed_offsets(self._consumer, partitions, OffsetSpec.EARLIEST, ANSWER_MS)
        ends = listed_offsets(self._consumer, partitions, OffsetSpec.LATEST, ANSWER_MS)
        of_topic = math.ceil(OFFSETS_PER_OUTCOME * newest * len(names) / len(partitions))
        back = max(LEAST_OFFSETS, of_topic)
        for tp in partitions:
            if tp not in begins or tp not in ends:
                raise kafka_errors.LeaderNotAvailableError(tp)
            self._consumer.seek(tp, max(begins[tp], ends[tp] - back))

"""Reads what a broker returned, so that a bad record harms only itself.

kafka-python's reader of fetched records spins for ever after an unreadable batch (B7), and cannot
read a record with a header name that is not UTF-8 (B26): see ``DEFECTS.md`` in this folder. The
reader here ends at the failure, notes it and lets the partition be fetched again. It keeps such a
header name in an escaped form. It rests on internals of kafka-python: ``Fetcher``'s
``PartitionRecords``, ``DefaultRecordBatch._read_msg``.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.errors import KafkaError
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.util import decode_varint

from pipeline.records import Partition, Position, Record

MAX_FETCHES = 4
"""Fetches of an unreadable batch before its records are given up: one, and three more."""

NUMBERS_BEFORE_HEADERS = 7
"""Variable-length numbers of a record before its headers: length, attributes, timestamp, offset,
length of the key, length of the value, number of headers."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An offset that could not be read.

    ``position`` is the consumer's. It is below ``offset`` if control records lie between them.
    ``batch_offset`` identifies the record's batch.
    """

    tp: TopicPartition
    position: int
    offset: int
    batch_offset: int
    error: Exception


class TolerantReading:
    """The offsets that a consumer could not read.

    Belongs to the thread that polls. Nothing is skipped here: a failed offset is fetched again and
    again until the consumer is moved past it.
    """

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._failures: deque[Failure] = deque()
        self._fetches: dict[TopicPartition, tuple[int, int]] = {}
        consumer._fetcher.PartitionRecords = partial(_Reader, self._failures)

    def given_up(self) -> tuple[Failure, ...]:
        """Offsets that failed since the last call, of batches fetched ``MAX_FETCHES`` times.

        A batch fails for all its records, so records after the first are given up at once. Each is
        returned separately, once the consumer was moved to it.
        """
        lost = []
        while self._failures:
            failure = self._failures.popleft()
            batch_offset, fetches = self._fetches.get(failure.tp, (failure.batch_offset, 0))
            fetches = fetches + 1 if batch_offset == failure.batch_offset else 1
            self._fetches[failure.tp] = (failure.batch_offset, fetches)
            if fetches >= MAX_FETCHES:
                lost.append(failure)
        return tuple(lost)

    def forget(self, tp: TopicPartition) -> None:
        """The partition has a new owner, or was assigned again."""
        self._fetches.pop(tp, None)


def record_of(raw: Any) -> Record:
    """A polled record of kafka-python, as the pipeline's record."""
    return Record(
        Position(Partition(raw.topic, raw.partition), raw.offset),
        raw.timestamp,
        raw.key,
        raw.value,
        tuple(raw.headers),
    )


class UnreadableBatch(KafkaError):  # type: ignore[misc]
    """Ends a poll early, so that the failure is looked at. The next poll fetches the partition
    again. This error is safe to ignore, and kafka-python drops some."""


class _Reader(Fetcher.PartitionRecords):  # type: ignore[misc]
    """One partition's part of a fetch. Ends at the first unreadable record."""

    next_fetch_offset: int

    def __init__(
        self,
        failures: deque[Failure],
        offset: int,
        tp: TopicPartition,
        records: Any,
        **options: Any,
    ) -> None:
        self._failures = failures
        self._batches = Batches(records, offset)
        super().__init__(offset, tp, self._batches, **options)

    def take(self, n: int | None = None) -> list[Any]:
        position = self.next_fetch_offset
        try:
            taken: list[Any] = super().take(n)
        except Exception as error:  # any error: untrusted bytes, read by foreign code
            # The library counts from the batch's first record, even if the fetch asked for a later
            # one.
            offset = max(self.next_fetch_offset, position)
            self._failures.append(
                Failure(self.topic_partition, position, offset, self._batches.offset, error)
            )
            self.drain()
            raise UnreadableBatch(str(error)) from error
        return taken


class Batches:
    """The batches of a fetch, readable with any header name. ``offset`` is that of the last
    batch."""

    def __init__(self, records: Any, offset: int) -> None:
        self._records = records
        self.offset = offset

    def next_batch(self) -> Any:
        batch = self._records.next_batch()
        if isinstance(batch, DefaultRecordBatch):
            batch = _Batch(batch._buffer)
        if batch is not None:
            self.offset = batch.base_offset
        return batch


class _Batch(DefaultRecordBatch):  # type: ignore[misc]
    __slots__ = ()

    def _read_msg(self, decode_varint: Any = decode_varint) -> Any:
        try:
            return super()._read_msg(decode_varint)
        except UnicodeDecodeError:
            return self._read_escaping(decode_varint)

    def _read_escaping(self, decode_varint: Any) -> Any:
        """Read the same record again, with its header names decoded here: ``\\xff`` for a byte that
        is not UTF-8.

        The library sees question marks instead, of the same length.
        """
        names: list[str] = []
        numbers = 0

        def note_names(buffer: bytearray, position: int) -> tuple[int, int]:
            nonlocal numbers
            number, position = decode_varint(buffer, position)
            numbers += 1
            # For each header, the length of its name comes first, then that of its value.
            if numbers > NUMBERS_BEFORE_HEADERS and (numbers - NUMBERS_BEFORE_HEADERS) % 2 == 1:
                name = bytes(buffer[position : position + max(0, number)])
                buffer[position : position + len(name)] = b"?" * len(name)
                names.append(name.decode("utf-8", "backslashreplace"))
            return number, position

        record = super()._read_msg(note_names)
        record._headers = [
            (name, value) for name, (_, value) in zip(names, record.headers, strict=True)
        ]
        return record

"""Replays dead letters on Kafka: a pass over their topic, and transactions that publish records and
markers together.

``find`` and ``publish`` are a replay, for the command and for any other caller.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import kafka.errors as kafka_errors
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import OffsetSpec

from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.clients import Producer, connect, discard, listed_offsets
from pipeline.adapters.kafka.failures import connecting, replaying
from pipeline.adapters.kafka.policy import DeliveryPolicy, KafkaPolicy, Member, common_options
from pipeline.adapters.kafka.policy import producer_options as member_options
from pipeline.adapters.kafka.reading import record_of
from pipeline.adapters.kafka.sink import first_cause, record_bytes_at_most, within
from pipeline.errors import CommitDoubtful, Halt, Retry
from pipeline.records import OutputRecord, OutputTopic, Record
from pipeline.replay import (
    Found,
    InputRecord,
    Left,
    Letter,
    Search,
    input_record,
    marker_headers,
    obstacle,
)

POLL_S = 0.5
SILENCE_S = 30.0
"""A broker that returns nothing for this long, before the end is reached, does not answer. Ending
the transaction of a crashed worker takes less."""
ANSWER_MS = 30_000
LETTERS_PER_TRANSACTION = 500
BYTES_PER_TRANSACTION = 4 * 1024 * 1024
WINDOW_RECORDS = 4000
"""Records that are read on, from each place further back."""

Told = Callable[[int], object]
"""Called with a count that grows while the work goes on. May raise, to end the work."""


def find(kafka: KafkaPolicy, search: Search, told: Told = lambda records: None) -> Found:
    """Look for letters to replay, in one pass over the whole topic. ``told`` hears how many records
    were read.

    Raises:
        Retry: the broker does not answer.
        Halt: not allowed, or a topic is missing.
    """
    with KafkaAdmin(kafka) as admin:
        cluster_id = admin.facts().cluster_id
        described = admin.topics(kafka.input_topics)
    topics = {name: len(each["partitions"]) for name, each in described.items()}

    def hinders(letter: Letter) -> Left | None:
        why = obstacle(letter, cluster_id, kafka.group, topics, search.max_replays)
        return Left.TOO_LARGE if why is None and not fits(letter, kafka) else why

    found = Found()
    read = 0
    with DeadLetterTopic(kafka) as topic:
        for records in topic.records():
            read += len(records)
            told(read)
            for record in records:
                found.take(record, search, hinders)
    found.keep(search.limit)
    return found


def publish(
    kafka: KafkaPolicy,
    producer: ReplayProducer,
    found: Found,
    *,
    as_routed: bool = False,
    told: Told = lambda letters: None,
) -> int:
    """Publish the found letters, in a second pass, because they need not fit into memory. Returns
    how many; ``told`` hears how many so far. ``producer`` must be older than ``found``, so that no
    other replay can publish what was found.

    Raises:
        Retry: the broker does not answer. Letters that were published are marked.
        Halt: not allowed, or another replay of the group runs.
    """
    count = 0
    with DeadLetterTopic(kafka) as topic:
        for chunk in _chunks(_letters(topic, found, as_routed)):
            producer.publish(chunk)
            count += len(chunk)
            told(count)
    return count


def _letters(topic: DeadLetterTopic, found: Found, as_routed: bool) -> Iterator[Letter]:
    due = set(found.due)
    for records in topic.records():
        for record in records:
            letter = Letter.of(record, as_routed=as_routed)
            if letter is not None and letter.id in due:
                due.remove(letter.id)
                yield letter


def _chunks(letters: Iterator[Letter]) -> Iterator[list[Letter]]:
    chunk: list[Letter] = []
    held_bytes = 0
    for letter in letters:
        chunk.append(letter)
        held_bytes += len(letter.value)
        if len(chunk) >= LETTERS_PER_TRANSACTION or held_bytes >= BYTES_PER_TRANSACTION:
            yield chunk
            chunk, held_bytes = [], 0
    if chunk:
        yield chunk


def fits(letter: Letter, kafka: KafkaPolicy) -> bool:
    """Whether the broker accepts the letter's record. The limit of an input topic is below that of
    the dead-letter topic."""
    record = input_record(letter)
    headers = tuple((name, value or b"") for name, value in record.headers)
    # The topic does not affect the size.
    sized = OutputRecord(OutputTopic.DEAD_LETTERS, record.key, record.value or b"", headers)
    return record_bytes_at_most(sized) <= kafka.max_input_bytes


class DeadLetterTopic:
    """Reads the committed records of the dead-letter topic, from its beginning to its end at the
    start of the pass. Belongs to no group and commits nothing."""

    def __init__(self, kafka: KafkaPolicy) -> None:
        """Connect.

        Raises:
            Retry: no broker answers.
            Halt: the credentials are refused, or there is no such topic.
        """
        self._topic = kafka.output_topics.dead_letters
        options = common_options(kafka, "clipstream-replay") | {
            "enable_auto_commit": False,
            # Records that are deleted during the pass are no reason to skip the rest.
            "auto_offset_reset": "earliest",
        }
        self._closing = contextlib.ExitStack()
        failing = contextlib.ExitStack()
        with failing, connecting(kafka.bootstrap_servers, replaying):
            failing.callback(self._closing.close)
            # How far to read. The committed records end before an open transaction, and a marker of
            # an earlier replay may stand behind it.
            self._ends = self._open(options | {"isolation_level": "read_uncommitted"})
            self._consumer = self._open(options | {"isolation_level": "read_committed"})
            numbers = self._consumer.partitions_for_topic(self._topic) or ()
            failing.pop_all()
        self._partitions = [TopicPartition(self._topic, number) for number in sorted(numbers)]
        if not self._partitions:
            self._closing.close()
            raise Halt(
                "kafka.topic_missing",
                f"kafka: topic {self._topic} does not exist or may not be described; see "
                "`clipstream doctor`",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.close()

    def _open(self, options: Mapping[str, Any]) -> KafkaConsumer:
        consumer = connect(KafkaConsumer, options)
        self._closing.callback(consumer.close)
        return consumer

    def records(self) -> Iterator[list[Record]]:
        """All records that are visible now, poll by poll, in order within each partition.

        Raises:
            Retry: the broker does not answer.
            Halt: not allowed.
        """
        yield from self._translated(self._read())

    def newest_first(
        self, since_ms: int, most: int
    ) -> tuple[bool, Iterator[Iterator[list[Record]]]]:
        """The newest records that are visible now: none written before ``since_ms``, and no more
        than ``most`` offsets. Returns whether that leaves nothing younger out, and windows of
        records. Each window is older than the one before, and in order within a partition. An open
        transaction is not waited for.

        Raises:
            Retry: the broker does not answer, here and while the windows are read.
            Halt: not allowed.
        """
        try:
            upto = self._offsets(self._consumer, OffsetSpec.LATEST)
            young = self._offsets(self._consumer, since_ms)
            # Where no record is that young, there is nothing to read.
            since = {tp: min(end, young.get(tp, end)) for tp, end in upto.items()}
        except kafka_errors.KafkaError as error:
            raise replaying(error) from error
        each = max(1, most // len(upto))
        first = {tp: max(since[tp], end - each) for tp, end in upto.items()}
        return first == since, self._windows(first, upto)

    def _windows(
        self, first: Mapping[TopicPartition, int], upto: Mapping[TopicPartition, int]
    ) -> Iterator[Iterator[list[Record]]]:
        step = max(1, WINDOW_RECORDS // len(upto))
        while any(first[tp] < end for tp, end in upto.items()):
            begin = {tp: max(first[tp], end - step) for tp, end in upto.items()}
            yield self._translated(self._between(begin, upto))
            upto = begin

    def _translated(self, records: Iterator[list[Record]]) -> Iterator[list[Record]]:
        try:
            yield from records
        except kafka_errors.KafkaError as error:
            raise replaying(error) from error

    def _read(self) -> Iterator[list[Record]]:
        yield from self._between(
            self._offsets(self._ends, OffsetSpec.EARLIEST),
            self._offsets(self._ends, OffsetSpec.LATEST),
        )

    def _offsets(self, seen_by: KafkaConsumer, at: OffsetSpec | int) -> dict[TopicPartition, int]:
        """As ``listed_offsets``, but all partitions have a first and a last offset."""
        found = listed_offsets(seen_by, self._partitions, at, ANSWER_MS)
        missing = [tp for tp in self._partitions if tp not in found]
        if missing and isinstance(at, OffsetSpec):
            raise kafka_errors.LeaderNotAvailableError(missing)
        return found

    def _between(
        self, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> Iterator[list[Record]]:
        consumer = self._consumer
        unread = [tp for tp, end in ends.items() if begins[tp] < end]
        consumer.assign(unread)
        for tp in unread:
            consumer.seek(tp, begins[tp])
        silent_s = 0.0
        while any(consumer.position(tp, timeout_ms=ANSWER_MS) < ends[tp] for tp in unread):
            polled = consumer.poll(timeout_ms=round(POLL_S * 1000))
            silent_s = 0.0 if polled else silent_s + POLL_S
            if silent_s > SILENCE_S:
                raise Retry(
                    "kafka.unavailable",
                    f"kafka: {self._topic} cannot be read to its end for {SILENCE_S:g} s; a "
                    "transaction that stays open holds readers up (`clipstream doctor` names it)",
                )
            yield [
                record_of(raw)
                for tp, batch in polled.items()
                for raw in batch
                if raw.offset < ends[tp]
            ]


class ReplayProducer:
    """One transactional producer. A second one for the group, anywhere, fences the first, because
    two replays at the same time would publish the same letters twice."""

    def __init__(self, kafka: KafkaPolicy, delivery: DeliveryPolicy) -> None:
        """Connect, and end what an interrupted replay has left open.

        Raises:
            Retry: the broker does not answer.
            Halt: not allowed.
        """
        self._dead_letters = kafka.output_topics.dead_letters
        self._limit_s = delivery.transaction_timeout_s + delivery.request_timeout_s
        exactly_once = delivery.model_copy(update={"mode": "exactly_once"})
        member = Member(kafka.transactional_id_prefix, kafka.group, "replay", 0)
        options = member_options(kafka, exactly_once, member)
        # One part fewer than in any worker's id.
        options["transactional_id"] = f"{kafka.transactional_id_prefix}/{kafka.group}/replay"
        with connecting(kafka.bootstrap_servers, replaying):
            self._producer = connect(Producer, options)
        try:
            self._within("init_transactions", self._producer.init_transactions)
        except BaseException:
            discard(self._producer)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Without an abort, because the next replay's start makes the broker abort.
        discard(self._producer)

    def publish(self, letters: Sequence[Letter]) -> None:
        """Publish the letters' records, and the markers that say so, all or none.

        Raises:
            Retry: nobody knows whether they were published; the next replay finds out.
            Halt: not allowed, too large for the topic, or another replay runs.
        """

        def transaction() -> None:
            self._producer.begin_transaction()
            futures = [future for letter in letters for future in self._send(letter)]
            for future in futures:
                future.get(timeout=self._limit_s)
            self._producer.commit_transaction()

        self._within("transaction", transaction)

    def _send(self, letter: Letter) -> tuple[Any, Any]:
        record: InputRecord = input_record(letter)
        return (
            self._producer.send(
                record.topic,
                record.value,
                key=record.key,
                headers=list(record.headers),
                partition=record.partition,
            ),
            self._producer.send(
                self._dead_letters,
                b"",
                key=letter.key,
                headers=list(marker_headers(letter)),
                partition=letter.at_partition,
            ),
        )

    def _within(self, what: str, call: Any) -> None:
        try:
            within(self._limit_s, what, call)
        except CommitDoubtful as error:
            raise Retry("replay.connecting", error.message) from error
        except kafka_errors.KafkaError as error:
            raise replaying(first_cause(self._producer, error)) from error

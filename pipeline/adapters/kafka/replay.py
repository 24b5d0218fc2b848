"""Replays dead letters on Kafka: a pass over their topic, and transactions that publish records and
markers together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import kafka.errors as kafka_errors
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import OffsetSpec

from pipeline.adapters.kafka.clients import Producer, connect, discard, listed_offsets
from pipeline.adapters.kafka.failures import connecting, replaying
from pipeline.adapters.kafka.policy import DeliveryPolicy, KafkaPolicy, Member, common_options
from pipeline.adapters.kafka.policy import producer_options as member_options
from pipeline.adapters.kafka.reading import record_of
from pipeline.adapters.kafka.sink import first_cause, record_bytes_at_most, within
from pipeline.errors import CommitDoubtful, Halt, Retry
from pipeline.records import OutputRecord, OutputTopic, Record
from pipeline.replay import InputRecord, Letter, input_record, marker_headers

POLL_S = 0.5
SILENCE_S = 30.0
"""A broker that returns nothing for this long, before the end is reached, does not answer. Ending
the transaction of a crashed worker takes less."""
ANSWER_MS = 30_000


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
        try:
            yield from self._read()
        except kafka_errors.KafkaError as error:
            raise replaying(error) from error

    def _read(self) -> Iterator[list[Record]]:
        consumer = self._consumer
        consumer.assign(self._partitions)
        consumer.seek_to_beginning(*self._partitions)
        ends = listed_offsets(self._ends, self._partitions, OffsetSpec.LATEST, ANSWER_MS)
        if leaderless := [tp for tp in self._partitions if tp not in ends]:
            raise kafka_errors.LeaderNotAvailableError(leaderless)
        silent_s = 0.0
        while any(consumer.position(tp, timeout_ms=ANSWER_MS) < end for tp, end in ends.items()):
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

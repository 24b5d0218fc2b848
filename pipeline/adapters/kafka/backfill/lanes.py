"""Publishes the events of one lane of a job at a time, exactly once.

Events and the lane's mark become visible in one transaction. The mark is an offset of the job's
group on a topic that is always empty, with the mark's text as the offset's metadata. No consumer is
part of it: the offset is sent without a member (KIP-447 allows it), and the transactional id of
the lane keeps a second publisher out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import kafka.errors as kafka_errors
from kafka import ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition

from pipeline.adapters.kafka.backfill.topics import publishing_to
from pipeline.adapters.kafka.clients import Consumer, connect
from pipeline.adapters.kafka.failures import committing, connecting, consuming
from pipeline.adapters.kafka.policy import (
    DeliveryPolicy,
    KafkaPolicy,
    Member,
    common_options,
)
from pipeline.adapters.kafka.sink import KafkaSink
from pipeline.backfill.marks import Mark
from pipeline.backfill.policy import BackfillTopics
from pipeline.errors import Halt
from pipeline.records import OutputRecord

INSTANCE = "backfill"


def group_of(kafka: KafkaPolicy, job: str) -> str:
    """The group whose offsets are a job's marks. It never has members."""
    return f"{kafka.transactional_id_prefix}-backfill-{job}"


class LanePublisher:
    """Owns the producer of one lane. Belongs to one thread; every call blocks."""

    def __init__(
        self,
        kafka: KafkaPolicy,
        delivery: DeliveryPolicy,
        topics: BackfillTopics,
        job: str,
        lane: int,
    ) -> None:
        """Connects to nothing yet. ``job`` is the id of the job: it names the group of the marks
        and, with the lane, the transactional id."""
        self._kafka = publishing_to(kafka, topics)
        self._timeout_ms = round(delivery.delivery_timeout_s * 1000)
        once = delivery.model_copy(update={"mode": "exactly_once"})
        self._group = group_of(kafka, job)
        self._mark = TopicPartition(topics.marks, lane)
        member = Member(kafka.transactional_id_prefix, job, INSTANCE, lane)
        self._sink = KafkaSink(self._kafka, once, member)

    @property
    def ready(self) -> bool:
        """Whether ``publish`` may be called. False before ``take``, and after a failure."""
        return self._sink.ready

    def take(self) -> Mark | None:
        """Take the lane over from whoever publishes it, and say how far it is; None: nobody has
        ever published of it, or its mark has expired.

        Raises:
            CommitDoubtful, Retry: the brokers do not answer; call again.
            Halt: not allowed; a topic is missing; or ``kafka.fenced``: another publisher has taken
                the lane for the second time.
        """
        self._sink.build()
        # Read only now: the predecessor's transaction is over, and it can begin no other.
        found = self._committed()
        try:
            return None if found is None else Mark.parse(found.metadata)
        except ValueError as error:
            self._sink.discard()
            raise Halt(
                "backfill.unreadable",
                f"kafka: {self._mark.topic}[{self._mark.partition}] of group {self._group}: "
                f"{error}; use the release that published before",
            ) from error

    def publish(self, records: Sequence[OutputRecord], mark: Mark) -> None:
        """Make the records visible together with the mark.

        Raises:
            OutcomeTooLarge: nothing became visible. Call ``take`` before the next publish.
            CommitDoubtful: the result is unknown, or another publisher has taken the lane; call
                ``take``.
            Halt: not allowed, or permanently refused.
        """
        offset = OffsetAndMetadata(len(mark.shards), str(mark), -1)
        group = ConsumerGroupMetadata(self._group, -1, "", None)
        self._sink.publish(tuple(records), {self._mark: offset}, group)

    def close(self) -> None:
        self._sink.discard()

    def _committed(self) -> Any:
        """The offset of the lane, once every transaction that wrote one has ended."""
        options = common_options(self._kafka, "clipstream-backfill") | {
            "group_id": self._group,
            "enable_auto_commit": False,
            # With this level the broker waits for the end of transactions.
            "isolation_level": "read_committed",
        }
        with connecting(self._kafka.bootstrap_servers, lambda error: consuming(error, self._group)):
            consumer = connect(Consumer, options)
        try:
            return consumer.committed(self._mark, metadata=True, timeout_ms=self._timeout_ms)
        except kafka_errors.KafkaError as error:
            raise committing(
                error, self._group, "kafka.offsets_unknown", "reading a mark"
            ) from error
        finally:
            consumer.close(autocommit=False)

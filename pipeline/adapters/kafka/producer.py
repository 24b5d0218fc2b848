"""A producer whose ``send`` does only the work that differs from one record to the next.

kafka-python's own ``send`` takes twice as long. For each record it checks the types and the size,
asks under two locks whether the partition takes part in the transaction, and hashes the key. The
sink has done the first before, this producer does the second once for each partition, and an
image's classification and embedding share their key.

This rests on internals of kafka-python. Tests fail if they move.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from kafka import TopicPartition
from kafka.partitioner.default import murmur2

from pipeline.adapters.kafka.clients import Producer

_hash = lru_cache(maxsize=8)(murmur2)


class OutcomeProducer(Producer):
    """Sends records that were checked before: bytes, and at most ``max_request_size``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._taking_part: set[TopicPartition] = set()

    def begin_transaction(self) -> None:
        self._taking_part.clear()
        super().begin_transaction()

    def send(
        self, topic: str, value: bytes, key: bytes | None, headers: tuple[tuple[str, bytes], ...]
    ) -> Any:
        """Returns the record's future, as the library's ``send`` does.

        After a failure this does not raise. It accepts records whose futures then fail.

        Raises:
            KafkaError: the topic's partitions are not known and cannot be learned, or the producer
                is closed.
        """
        if key is None:
            return super().send(topic, value=value, headers=list(headers))
        # The library's partitioner, which is Java's: a key has the same partition whoever sends it.
        partitions = sorted(self.partitions_for(topic))
        tp = TopicPartition(topic, partitions[(_hash(key) & 0x7FFFFFFF) % len(partitions)])
        if tp not in self._taking_part and self._transaction_manager.is_transactional():
            self._transaction_manager.maybe_add_partition_to_transaction(tp)
            self._taking_part.add(tp)
        future, is_full, is_new, _ = self._accumulator.append(tp, None, key, value, headers)
        if is_full or is_new:
            self._sender.wakeup()
        return future

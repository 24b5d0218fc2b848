"""The topics of a stream, for whoever looks at it from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.policy import DeliveryPolicy, KafkaPolicy
from pipeline.adapters.kafka.replay import DeadLetterTopic, ReplayProducer, find, publish
from pipeline.adapters.kafka.watching.tail import OutcomeTail
from pipeline.records import Record
from pipeline.replay import Found, Search


class KafkaTopics:
    """Implements ``workers.serve.live.topics.Topics``. Each call has connections of its own, so
    none outlives an outage, and calls may be made from any thread.

    Raises:
        Retry: the broker does not answer.
        Halt: not allowed, or a topic is missing.
    """

    def __init__(self, kafka: KafkaPolicy, delivery: DeliveryPolicy) -> None:
        """Connects to nothing yet."""
        self._kafka = kafka
        self._delivery = delivery

    @contextmanager
    def tail(self, newest: int) -> Iterator[OutcomeTail]:
        with OutcomeTail(self._kafka, newest) as tail:
            yield tail

    def lag(self) -> int:
        with KafkaAdmin(self._kafka) as admin:
            return admin.lag()

    @contextmanager
    def newest_letters(
        self, since_ms: int, most: int
    ) -> Iterator[tuple[bool, Iterator[Iterator[list[Record]]]]]:
        with DeadLetterTopic(self._kafka) as topic:
            yield topic.newest_first(since_ms, most)

    def find(self, search: Search, told: Callable[[int], object]) -> Found:
        return find(self._kafka, search, told)

    def replay(self, search: Search, told: Callable[[int], object]) -> tuple[int, Found]:
        # Created before the pass, so that no other replay can publish what the pass finds.
        with ReplayProducer(self._kafka, self._delivery) as producer:
            found = find(self._kafka, search, told)
            return publish(self._kafka, producer, found, as_routed=search.as_routed), found

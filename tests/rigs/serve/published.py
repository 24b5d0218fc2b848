"""Outcomes on a real Kafka, as a stream worker publishes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.adapters.kafka.clients import Producer, connect, discard
from pipeline.adapters.kafka.policy import common_options
from pipeline.events import EventBuilder, EventContext, EventsPolicy
from pipeline.ports import Commit
from pipeline.records import Classification, DeadLetter, Origin, Outcome, OutputRecord, Position
from pipeline.records.progress import Progress
from tests.rigs.serve.stream import LOOKED, photo, result
from tests.rigs.services.kafka_deployment import DEADLINE_S, Deployment, Polling


class Worker:
    """Publishes outcomes of a deployment as its worker does, and aborts some."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        facts = deployment.facts
        self._builder = EventBuilder(
            EventContext(facts.cluster_id, deployment.kafka.group, facts.topic_ids, "0"),
            EventsPolicy(),
        )
        self.polling: Polling = deployment.ready()
        self._next = 0

    def origin(self) -> Origin:
        self._next += 1
        return Origin(Position(self.deployment.partition(0), self._next), 0, 0, b"key")

    def classified(self, name: str, bucket: str = "photos") -> tuple[OutputRecord, ...]:
        outcome = Classification(photo(name, bucket), LOOKED, (result(),), None, None)
        return self._records(outcome)

    def dead(self, name: str, code: str = "fetch.not_found") -> tuple[OutputRecord, ...]:
        return self._records(DeadLetter(code, "no", 1, ref=photo(name)))

    def _records(self, outcome: Outcome) -> tuple[OutputRecord, ...]:
        return self._builder.records(self.origin(), outcome)

    def publish(self, *records: tuple[OutputRecord, ...]) -> None:
        """As a worker does, in a transaction."""
        self.polling.once()
        progress = {self.deployment.partition(0): Progress(self._next)}
        self.polling.stream.commit(
            Commit(progress, tuple(record for each in records for record in each))
        )

    def abort(self, *records: tuple[OutputRecord, ...]) -> None:
        """A transaction that writes outcomes and comes to nothing."""
        with self.open_transaction(*records):
            pass

    @contextmanager
    def open_transaction(self, *records: tuple[OutputRecord, ...]) -> Iterator[None]:
        """Outcomes that are written and not committed during the block, and aborted after it."""
        kafka = self.deployment.kafka
        options = common_options(kafka, "test") | {"transactional_id": f"{kafka.group}-aborts"}
        producer = connect(Producer, options)
        try:
            producer.init_transactions()
            producer.begin_transaction()
            for record in (record for each in records for record in each):
                producer.send(
                    self.deployment.topic(record.topic),
                    record.value,
                    key=record.key,
                    headers=list(record.headers),
                ).get(DEADLINE_S)
            yield
            producer.abort_transaction()
        finally:
            discard(producer)

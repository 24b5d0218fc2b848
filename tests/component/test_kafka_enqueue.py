"""Publishing references: nothing is lost unseen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.adapters.kafka.enqueue import ReferenceProducer
from pipeline.errors import Halt
from tests.rigs.services.kafka_deployment import Deployment, Polling

pytestmark = pytest.mark.component


@pytest.fixture
def deployment(kafka_bootstrap: str) -> Iterator[Deployment]:
    with Deployment(kafka_bootstrap) as opened:
        yield opened


def test_records_arrive_as_they_were_sent(deployment: Deployment) -> None:
    headers = (("content-type", b"application/json"), ("again", b"1"), ("again", b"2"))
    with ReferenceProducer(deployment.kafka, deployment.input) as producer:
        producer.send(b"key", b"value", headers, partition=1)
        producer.send(b"tombstone", None, partition=1)
        producer.send(None, b"no key", partition=1)
    polling = Polling(deployment.stream())
    polling.until(lambda: len(polling.records) == 3)
    assert [(r.position.partition.number, r.key, r.value, r.headers) for r in polling.records] == [
        (1, b"key", b"value", headers),
        (1, b"tombstone", None, ()),
        (1, None, b"no key", ()),
    ]


def test_a_record_that_the_broker_refuses_is_told_at_the_end_at_the_latest(
    deployment: Deployment,
) -> None:
    kafka = deployment.kafka.model_copy(update={"max_input_bytes": 3_000_000})
    with (
        pytest.raises(Halt, match="MessageSizeTooLarge"),
        ReferenceProducer(kafka, deployment.input) as producer,
    ):
        producer.send(b"key", b"x" * 2_000_000)


def test_a_record_that_the_producer_refuses_is_told_at_once(deployment: Deployment) -> None:
    with ReferenceProducer(deployment.kafka, deployment.input) as producer:
        with pytest.raises(Halt):
            producer.send(b"key", b"x" * 2_000_000)
        producer.send(b"key", b"small")
    polling = Polling(deployment.stream())
    polling.until(lambda: polling.values == [b"small"])

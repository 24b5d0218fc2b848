"""Partitions paused and resumed on a real Kafka, with fetched records left in the client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.records import Partition
from tests.rigs.services.kafka_deployment import Deployment, Polling

pytestmark = pytest.mark.component

RECORDS = 20
PARTITIONS = 3


@pytest.fixture
def deployment(kafka_bootstrap: str) -> Iterator[Deployment]:
    with Deployment(kafka_bootstrap, PARTITIONS) as opened:
        yield opened


def offsets(polling: Polling, partition: Partition) -> list[int]:
    return [
        record.position.offset
        for record in polling.records
        if record.position.partition == partition
    ]


def halfway(polling: Polling) -> Partition:
    """Poll one record at a time until a partition has been begun, which is then paused."""
    paused = {each for each in polling.owned if offsets(polling, each)}
    while True:
        for record in polling.once(1).records:
            partition = record.position.partition
            if partition not in paused:
                polling.stream.pause([partition])
                return partition


def test_a_paused_partition_goes_on_when_others_were_read_meanwhile(
    deployment: Deployment,
) -> None:
    polling = Polling(deployment.stream())
    polling.until(lambda: len(polling.owned) == PARTITIONS)
    for number in range(PARTITIONS):
        deployment.produce([b"%d" % index for index in range(RECORDS)], partition=number)
    paused = [halfway(polling), halfway(polling)]
    (other,) = polling.owned - {*paused}
    polling.until(lambda: len(offsets(polling, other)) == RECORDS)
    assert all(len(offsets(polling, each)) < RECORDS for each in paused)
    polling.stream.resume(paused)
    polling.until(lambda: len(polling.records) == PARTITIONS * RECORDS)
    for partition in polling.owned:
        assert offsets(polling, partition) == list(range(RECORDS))


def test_resumed_partitions_take_turns_with_one_that_has_always_more(
    deployment: Deployment,
) -> None:
    """Polls of one record never empty the reader in use."""
    polling = Polling(deployment.stream())
    polling.until(lambda: len(polling.owned) == PARTITIONS)
    for number in range(PARTITIONS):
        deployment.produce([b"%d" % index for index in range(RECORDS)], partition=number)
    paused = [halfway(polling), halfway(polling)]
    (other,) = polling.owned - {*paused}
    while not offsets(polling, other):
        polling.once(1)
    polling.stream.resume(paused)
    for _ in range(RECORDS // 2):
        polling.once(1)
    assert all(len(offsets(polling, each)) > 1 for each in polling.owned)

"""Workers that share a group on a real Kafka while they work: one joins while images are with the
model, and another release takes over."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from kafka import OffsetAndMetadata

from pipeline.adapters.kafka.enqueue import ReferenceProducer
from pipeline.adapters.kafka.stream import KafkaStream
from tests.rigs.services.kafka_deployment import Deployment
from tests.rigs.waiting import eventually
from tests.rigs.workers.worker_of_deployment import (
    WorkerOfDeployment,
    classified,
    references,
    working,
)

pytestmark = pytest.mark.component

PARTITIONS = 2
SOME = 20
SEND_EVERY_S = 0.02


@pytest.fixture
def deployment(kafka_bootstrap: str) -> Iterator[Deployment]:
    with Deployment(kafka_bootstrap, PARTITIONS) as opened:
        yield opened


def test_a_partition_that_moves_while_its_image_is_with_the_model_has_one_outcome_each(
    deployment: Deployment,
) -> None:
    keys = [f"slow-{number}" for number in range(PARTITIONS)]
    for number, key in enumerate(keys):
        deployment.produce(references(key), partition=number)
    with working(deployment, 0) as first:
        eventually(lambda: first.flow.running == {*keys})
        with working(deployment, 1) as second:
            eventually(lambda: first.flow.running | second.flow.running == {*keys})
            eventually(lambda: len(first.flow.running) == len(second.flow.running) == 1)
            assert first.flow.running != second.flow.running, "one was given up"
            first.open_gate()
            second.open_gate()
            first.has_committed(1)
            second.has_committed(1)
            assert (first.committed, second.committed) == (1, 1)
    assert classified(deployment) == keys
    assert [deployment.committed(number) for number in range(PARTITIONS)] == [1, 1]


class Load:
    """References that are sent one after the other until it is told to stop."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.keys: list[str] = []

    def _send(self) -> None:
        with ReferenceProducer(self._deployment.kafka, self._deployment.input) as producer:
            while not self._stopping.wait(SEND_EVERY_S):
                number = len(self.keys)
                key = f"{number:06}"
                (value,) = references(key)
                producer.send(b"key", value or b"", partition=number % PARTITIONS)
                self.keys.append(key)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()


@contextmanager
def under_load(deployment: Deployment) -> Iterator[Load]:
    load = Load(deployment)
    load.start()
    try:
        yield load
    finally:
        load.stop()


class Fleet:
    """A worker for each partition, of releases that may differ."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self.workers: list[WorkerOfDeployment] = []

    def start(self, slot: int, release: str) -> None:
        worker = WorkerOfDeployment(self._deployment, slot, release)
        if release != "1":
            write_more_into_notes(worker.stream)
        self.workers[slot : slot + 1] = [worker]

    def stop(self) -> None:
        for worker in self.workers:
            worker.stop()


def write_more_into_notes(stream: KafkaStream) -> None:
    """What a later release may do with the notes beside its offsets."""
    annotated = stream._offsets.annotated

    def more(offsets: Any) -> Mapping[Any, OffsetAndMetadata]:
        return {
            tp: OffsetAndMetadata(at.offset, f"{at.metadata} later=field", at.leader_epoch)
            for tp, at in annotated(offsets).items()
        }

    stream._offsets.annotated = more  # type: ignore[method-assign, assignment]


def test_two_releases_that_share_a_group_are_exchanged_in_turn_under_load(
    deployment: Deployment,
) -> None:
    """Forth and back again: each reads what the other has committed."""
    fleet = Fleet(deployment)
    with under_load(deployment) as load:
        for slot in range(PARTITIONS):
            fleet.start(slot, "1")
        try:
            for slot, release in ((0, "2"), (1, "2"), (0, "1")):
                for worker in fleet.workers:
                    worker.has_committed(SOME)
                fleet.workers[slot].stop()
                fleet.start(slot, release)
            for worker in fleet.workers:
                worker.has_committed(SOME)
            load.stop()
            eventually(
                lambda: (
                    sum(deployment.committed(n) or 0 for n in range(PARTITIONS)) == len(load.keys)
                )
            )
        finally:
            fleet.stop()
    assert classified(deployment) == load.keys
    releases = Counter(
        json.loads(value or b"")["clipstream_version"] for value in deployment.values()
    )
    assert min(releases["1"], releases["2"]) >= SOME

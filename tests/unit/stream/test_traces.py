"""What a tracer is told of an image: its stages, its failure, and the commit that shows it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Literal

import pytest

from pipeline.adapters.memory.stream import MemoryBroker
from pipeline.ports import UNTRACED, Tracer
from pipeline.records import Origin, Partition, Position
from tests.rigs.stages.pipeline_of_fakes import MISSING
from tests.rigs.stages.traced import TellingTracer, Told, traced_worker
from tests.rigs.waiting import eventually
from tests.rigs.workers.committing import PARTITION, Worker
from tests.rigs.workers.outcomes import classified
from tests.rigs.workers.stream_worker import TOPIC, committed, new_broker, running, send

STAGES = ["fetch", "decode", "queue", "encode", "score", "publish"]
ORIGIN = Origin(Position(Partition(TOPIC, 0), 0), 0, 0)


@pytest.fixture
def broker() -> MemoryBroker:
    return new_broker(1)


def told(broker: MemoryBroker) -> TellingTracer:
    """What a worker tells of the records that the broker has."""
    tracer, records = TellingTracer(), broker.end(Partition(TOPIC, 0))
    with traced_worker(broker, tracer):
        eventually(lambda: committed(broker) == records)
    return tracer


def test_a_trace_is_told_every_stage_of_its_image_in_order(broker: MemoryBroker) -> None:
    send(broker, "a", "b")
    tracer = told(broker)
    assert [trace.told for trace in tracer.begun] == [STAGES, STAGES]
    assert [trace.origin.index for trace in tracer.begun] == [0, 1]


def test_a_trace_is_told_in_which_stage_its_image_failed(broker: MemoryBroker) -> None:
    send(broker, MISSING)
    (trace,) = told(broker).begun
    assert trace.told == ["fetch", "failed: fetch.not_found", "publish"]


def test_what_cannot_be_read_as_a_reference_has_a_trace_without_stages(
    broker: MemoryBroker,
) -> None:
    broker.produce(Partition(TOPIC, 0), b"not json")
    (trace,) = told(broker).begun
    assert trace.told == ["failed: reference.not_json"]


def test_a_skipped_record_has_no_trace(broker: MemoryBroker) -> None:
    broker.produce(Partition(TOPIC, 0), None)
    tracer = told(broker)
    assert (tracer.begun, tracer.commits) == ([], [])


def test_every_outcome_is_shown_by_one_commit(broker: MemoryBroker) -> None:
    send(broker, "a", MISSING)
    send(broker, "b")
    tracer = told(broker)
    shown = [trace.origin for commit in tracer.commits for trace in commit]
    assert len(shown) == 3
    assert {*shown} == {trace.origin for trace in tracer.begun}


def test_an_outcome_that_does_not_fit_fails_while_it_is_published() -> None:
    broker = MemoryBroker(max_message_bytes=3_000)
    broker.create_topic(TOPIC, 1)
    metadata = {"note": "x" * 1_500}
    large = {"bucket": "bucket", "key": "b" * 1_000, "metadata": metadata}
    broker.produce(Partition(TOPIC, 0), json.dumps(large).encode())
    (trace,) = told(broker).begun
    assert trace.told == [*STAGES, "failed: publish.too_large"]


def test_an_image_of_a_partition_that_was_revoked_is_never_shown() -> None:
    """Its outcome has no effect, and the new owner makes a trace of its own."""
    broker, tracer = new_broker(2), TellingTracer()
    with running(broker, "0", tracer=tracer) as first:
        for partition in (0, 1):
            send(broker, "slow", partition=partition)
        eventually(lambda: len(tracer.begun) == 2)
        with running(broker, "1") as second:
            eventually(lambda: first.worker.health().partitions == 1)
            first.open_gate()
            second.open_gate()
            eventually(lambda: committed(broker, 0) == 1 and committed(broker, 1) == 1)
    assert [len(commit) for commit in tracer.commits] == [1]


def commits_of(worker: Worker, tracer: TellingTracer) -> list[list[int]]:
    """The offsets of each commit."""
    return [[trace.origin.position.offset for trace in commit] for commit in tracer.commits]


def finish_traced(worker: Worker, tracer: TellingTracer) -> None:
    worker.broker.produce(PARTITION, b"{}")
    ((position, epoch),) = worker._poll(1)
    settled = classified(position)
    worker.window.settle(epoch, replace(settled, trace=tracer.begin(settled.origin)))


def test_a_commit_is_told_with_the_time_when_it_began() -> None:
    tracer = TellingTracer()
    worker = Worker(tracer=tracer)
    finish_traced(worker, tracer)
    worker.cycle(2)
    assert commits_of(worker, tracer) == [[0]]
    assert tracer.began_s == [worker.clock.now]


@pytest.mark.parametrize("fault", ["lost", "applied"])
def test_a_doubtful_commit_is_told_once_it_is_known_to_have_taken_effect(
    fault: Literal["lost", "applied"],
) -> None:
    tracer = TellingTracer()
    worker = Worker(tracer=tracer)
    worker.cycle()
    worker.broker.commit_faults.append(fault)
    finish_traced(worker, tracer)
    worker.cycle()
    assert tracer.commits == []
    worker.cycle(40)
    assert commits_of(worker, tracer) == [[0]]


def test_without_a_tracer_no_image_is_traced(broker: MemoryBroker) -> None:
    assert Tracer().begin(ORIGIN) is UNTRACED
    assert not isinstance(UNTRACED, Told)
    with traced_worker(broker, Tracer()):
        send(broker, "a", MISSING)
        eventually(lambda: committed(broker) == 1)
    assert vars(UNTRACED) == {}

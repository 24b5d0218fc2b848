"""A stream worker in a process of its own that stops at chosen steps: the real worker, commit
window and Kafka adapters, on the pipeline of fakes."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka import sink as kafka_producer
from pipeline.adapters.kafka.admin import ClusterFacts
from pipeline.adapters.kafka.clients import Producer, connect
from pipeline.adapters.kafka.policy import (
    DeliveryPolicy,
    KafkaPolicy,
    Member,
    producer_options,
)
from pipeline.adapters.kafka.producer import OutcomeProducer
from pipeline.adapters.kafka.stream import KafkaStream
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.commit.window import Batch, CommitWindow
from pipeline.encode.batching import Batcher
from pipeline.encode.policy import BatchPolicy
from pipeline.errors import Halt, Retry
from pipeline.events import EventContext
from pipeline.flow import FlowPolicy
from pipeline.metrics import STREAM_WORKER
from pipeline.ports import Commit, Polled, Revoked
from pipeline.records import OutputRecord, OutputTopic
from pipeline.records.progress import Progress
from tests.rigs.stages.fault_steps import Step, Steps
from tests.rigs.stages.pipeline_of_fakes import FakeEncoder, FakeStages, flow_of, rules_of
from tests.rigs.workers.stream_worker import POLICY, stream_worker
from workers.event_loop import EventLoopThread
from workers.stream.worker import StreamWorker

VERSION = "0"
COMMIT_INTERVAL_S = 0.05
MAX_IN_FLIGHT = 64
MAX_OUTCOMES = 8
MAX_BYTES = 1 << 20
"""Few, so that a schedule has many transactions."""
GRACE_S = 5.0
LEFT_OPEN_S = 20.0
"""Longer by far than a transaction of these workers may take."""


class Sabotage(StrEnum):
    """Guarantees broken on purpose, to see that the harness notices."""

    NONE = ""
    OFFSETS_FIRST = "offsets_first"
    NO_TRANSACTIONS = "no_transactions"
    WRONG_RESULTS = "wrong_results"
    NO_COMMITS = "no_commits"
    NO_NOTES = "no_notes"
    OTHER_ORDER = "other_order"
    OPEN_TRANSACTION = "open_transaction"


@dataclass(frozen=True)
class WorkerCase:
    """Everything that a worker's process is told."""

    kafka: KafkaPolicy
    delivery: DeliveryPolicy
    member: Member
    facts: ClusterFacts
    log: Path
    chosen: Mapping[Step, int] = field(default_factory=dict)
    sabotage: Sabotage = Sabotage.NONE


@dataclass(frozen=True)
class Ended:
    """The last word of a worker's process: why it ended by itself, None if it was asked to."""

    why: str | None


def run_worker(case: WorkerCase, link: Connection) -> None:
    """Run until SIGTERM, or until the worker stops by itself."""
    logging.basicConfig(
        filename=case.log,
        level=logging.INFO,
        format=f"%(asctime)s worker {case.member.slot} %(process)d %(name)s %(message)s",
        force=True,
    )
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    steps = Steps(link, case.chosen)
    _stop_in_the_producer(steps)
    _stop_before_pruning(steps)
    end: str | None = None
    try:
        worker = _worker(case, steps)
        signal.signal(signal.SIGTERM, lambda *_: worker.stop(GRACE_S))
        # A thread: signals are handled between two bytecodes of the main one, which must not wait.
        thread = threading.Thread(target=lambda: failures.extend(_run(worker)), daemon=True)
        failures: list[str] = []
        thread.start()
        while thread.is_alive():
            thread.join(0.2)
        end = failures[0] if failures else None
    except Halt as halt:
        end = str(halt)
    link.send(Ended(end))


def _run(worker: StreamWorker) -> list[str]:
    try:
        worker.run()
    except Halt as halt:
        return [str(halt)]
    except Exception as error:
        logging.getLogger("chaos").exception("the worker failed")
        return [repr(error)]
    return []


def _worker(case: WorkerCase, steps: Steps) -> StreamWorker:
    encoder = FakeEncoder(steps.reach)
    clock, meter = SystemClock(), PrometheusMeter(STREAM_WORKER)
    loop = EventLoopThread("images")

    async def batcher() -> Batcher:
        return Batcher(encoder, BatchPolicy(max_size=4, max_wait_s=0.005), clock, meter)

    flow = flow_of(FakeStages(steps.reach), encoder, loop.submit(batcher()).result())
    rules = rules_of(encoder, steps.reach)
    context = EventContext(case.facts.cluster_id, case.kafka.group, case.facts.topic_ids, VERSION)
    return stream_worker(
        _stream(case, steps),
        flow,
        rules,
        context,
        loop,
        meter,
        policy=replace(
            POLICY,
            flow=FlowPolicy(max_in_flight=MAX_IN_FLIGHT),
            order=case.delivery.order,
            commit_interval_s=COMMIT_INTERVAL_S,
            max_outcomes_per_commit=MAX_OUTCOMES,
            max_bytes_per_commit=MAX_BYTES,
        ),
    )


def _stream(case: WorkerCase, steps: Steps) -> KafkaStream:
    while True:
        try:
            return ChaosStream(steps, case)
        except Retry as failure:
            logging.getLogger("chaos").warning("%s; again", failure)


class ChaosStream(KafkaStream):
    def __init__(self, steps: Steps, case: WorkerCase) -> None:
        super().__init__(case.kafka, case.delivery, case.member, case.facts.topic_ids)
        self._steps = steps
        self._sabotage = case.sabotage
        self._case = case
        self._left_open: list[Producer] = []

    def poll(self, max_records: int, timeout_s: float) -> Polled:
        self._steps.reach(Step.POLL)
        polled = super().poll(max_records, timeout_s)
        if any(isinstance(change, Revoked) for change in polled.changes):
            self._steps.reach(Step.REVOKE)
        return polled

    def commit(self, commit: Commit) -> None:
        if self._sabotage == Sabotage.OFFSETS_FIRST:
            super().commit(Commit(commit.progress, ()))
            commit = Commit({}, commit.records)
        elif self._sabotage == Sabotage.WRONG_RESULTS:
            commit = Commit(commit.progress, tuple(map(_swapped, commit.records)))
        elif self._sabotage == Sabotage.NO_COMMITS:
            return
        elif self._sabotage == Sabotage.NO_NOTES:
            offsets = {each: Progress(at.offset) for each, at in commit.progress.items()}
            commit = Commit(offsets, commit.records)
        super().commit(commit)
        if self._sabotage == Sabotage.OPEN_TRANSACTION and not self._left_open:
            self._left_open.append(_transaction_left_open(self._case))


def _transaction_left_open(case: WorkerCase) -> Producer:
    """A transaction that no successor of the worker ends, for its id is of this process."""
    options = producer_options(case.kafka, case.delivery, case.member) | {
        "transactional_id": f"left-open-{os.getpid()}",
        "transaction_timeout_ms": round(LEFT_OPEN_S * 1000),
    }
    producer = connect(Producer, options)
    producer.init_transactions()
    producer.begin_transaction()
    for topic in OutputTopic:
        producer.send(case.kafka.output_topics.name(topic), b"left open").get(GRACE_S)
    return producer


def _swapped(record: OutputRecord) -> OutputRecord:
    """The same record with two labels exchanged."""
    if record.value is None or record.topic is not OutputTopic.CLASSIFICATIONS:
        return record
    value = record.value.replace(b'"cat"', b'"?"').replace(b'"dog"', b'"cat"')
    return replace(record, value=value.replace(b'"?"', b'"dog"'))


def _stop_in_the_producer(steps: Steps) -> None:
    class StoppingProducer(OutcomeProducer):
        def begin_transaction(self) -> None:
            steps.reach(Step.BEGIN)
            super().begin_transaction()

        def send(self, *arguments: Any) -> Any:
            steps.reach(Step.SEND)
            return _Future(super().send(*arguments), steps)

        def send_offsets_to_transaction(self, *arguments: Any) -> None:
            steps.reach(Step.SEND_OFFSETS)
            super().send_offsets_to_transaction(*arguments)

        def commit_transaction(self) -> None:
            steps.reach(Step.COMMIT)
            super().commit_transaction()

    mock.patch.object(kafka_producer, "OutcomeProducer", StoppingProducer).start()


class _Future:
    """A send's future; waiting for it is what others call a flush."""

    def __init__(self, future: Any, steps: Steps) -> None:
        self._future = future
        self._steps = steps
        self.add_errback = future.add_errback

    def get(self, timeout: float) -> Any:
        self._steps.reach(Step.FLUSH)
        return self._future.get(timeout=timeout)


def _stop_before_pruning(steps: Steps) -> None:
    confirm = CommitWindow.confirm

    def stopping(window: CommitWindow) -> Batch:
        steps.reach(Step.PRUNE)
        return confirm(window)

    mock.patch.object(CommitWindow, "confirm", stopping).start()

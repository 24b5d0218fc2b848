"""A lane of a chaos run carries out one schedule after the other: topics, workers and their
proxies, the faults, and the verdict. Several lanes run at the same time."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from pipeline.adapters.kafka.admin import ClusterFacts, KafkaAdmin
from pipeline.adapters.kafka.clients import connect
from pipeline.adapters.kafka.enqueue import ReferenceProducer
from pipeline.adapters.kafka.offsets import progress_of
from pipeline.adapters.kafka.outcomes import OutcomeReader, PublishedOutcome
from pipeline.adapters.kafka.policy import DeliveryPolicy, KafkaPolicy, Member, TopicNames
from pipeline.events import EventContext
from pipeline.records import OutputTopic, Partition, Position, Record
from pipeline.records.progress import Progress
from tests.fault.chaos_worker import VERSION, Ended, Sabotage, WorkerCase, run_worker
from tests.fault.proxy import TcpProxy
from tests.fault.schedules import PARTITIONS, SESSION_S, Fault, Kind, Schedule
from tests.rigs.judge import Verdict, judge
from tests.rigs.services.kafka_deployment import retrying
from tests.rigs.stages.fault_steps import Step
from tests.rigs.stages.pipeline_of_fakes import expected_outcomes

DELIVERY = DeliveryPolicy(
    request_timeout_s=1.0,
    delivery_timeout_s=2.0,
    transaction_timeout_s=3.0,
    session_timeout_s=SESSION_S,
    max_poll_interval_s=8.0,
)
REAPER_S = 0.2
"""The broker's interval for aborting transactions that are over their time."""
BLOCKED_S = DELIVERY.transaction_timeout_s + REAPER_S
SLACK_S = 3.0
"""What a machine that many share may add to a time limit of the broker."""
DEADLINE_S = 60.0
"""From the last repair to the last commit, at most."""
LOOK_S = 0.25
END_S = 10.0


@dataclass
class Outcome:
    """What became of a schedule."""

    schedule: Schedule
    verdict: Verdict
    met: list[Fault] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class Running:
    """A worker's process. ``faults`` by the step at which they are to happen."""

    slot: int
    process: ForkServerProcess
    link: Connection
    faults: dict[Step, Fault]
    zombie: bool = False
    killed: bool = False


class Lane:
    """Topics and clients that are kept from schedule to schedule. One thread owns it."""

    def __init__(
        self, context: ForkServerContext, bootstrap: str, proxies: list[TcpProxy], folder: Path
    ) -> None:
        name = f"lane-{uuid.uuid4().hex[:8]}"
        self._context = context
        self._proxies = proxies
        self._folder = folder
        self._input = f"{name}.references"
        self._kafka = KafkaPolicy(
            bootstrap_servers=(bootstrap,),
            input_topics=(self._input,),
            output_topics=TopicNames(
                **{each.value: f"{name}.{each.value}" for each in OutputTopic}
            ),
        )
        self._closing = contextlib.ExitStack()
        enter = self._closing.enter_context
        self._admin = enter(KafkaAdmin(self._kafka))
        outputs = {self._kafka.output_topics.name(each): dict[str, str]() for each in OutputTopic}
        self._admin.create_topics({self._input: {}}, PARTITIONS, 1)
        self._admin.create_topics(outputs, 1, 1)
        self._facts: ClusterFacts = self._admin.facts()
        self._producer = enter(ReferenceProducer(self._kafka, self._input))
        self._reader = enter(OutcomeReader(self._kafka))
        servers = list(self._kafka.bootstrap_servers)
        self._written = enter(
            contextlib.closing(connect(KafkaConsumer, {"bootstrap_servers": servers}))
        )
        self._readable = enter(
            contextlib.closing(
                connect(
                    KafkaConsumer,
                    {"bootstrap_servers": servers, "isolation_level": "read_committed"},
                )
            )
        )
        self._outputs = [TopicPartition(topic, 0) for topic in outputs]
        self._inputs = [TopicPartition(self._input, number) for number in range(PARTITIONS)]

    def close(self) -> None:
        self._closing.close()

    def run(self, schedule: Schedule, sabotage: Sabotage, deadline_s: float) -> Outcome:
        """Run a schedule to its end, or until nothing has happened for ``deadline_s`` after the
        last repair."""
        return _Run(self, schedule, sabotage, deadline_s).outcome()


class _Run:
    """One schedule."""

    def __init__(
        self, lane: Lane, schedule: Schedule, sabotage: Sabotage, deadline_s: float
    ) -> None:
        self._lane = lane
        self._schedule = schedule
        self._sabotage = sabotage
        self._deadline_s = deadline_s
        self._group = f"{lane._input}-{schedule.index}-{uuid.uuid4().hex[:6]}"
        self._workers: list[Running] = []
        self._replaced: set[int] = set()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._records: list[Record] = []
        self._visible: list[PublishedOutcome] = []
        self._result = Outcome(schedule, Verdict())
        self._log = lane._folder / f"schedule-{schedule.index}.log"

    def outcome(self) -> Outcome:
        lane, began = self._lane, time.monotonic()
        kafka = lane._kafka.model_copy(update={"group": self._group})
        with KafkaAdmin(kafka) as admin:
            retrying(lambda: admin.initialise_group(lane._facts, "latest"))
        self._starts = self._offsets(lane._inputs)
        messages = self._schedule.messages
        self._send(slice(0, self._schedule.second_wave))
        self._start(0)
        self._later(self._schedule.joins_s, lambda: self._start(1))
        self._later(
            self._schedule.joins_s + 0.3,
            lambda: self._send(slice(self._schedule.second_wave, len(messages))),
        )
        self._later(self._schedule.lasts_s, lambda: None)
        try:
            self._until_committed()
        finally:
            self._end_workers()
            for proxy in lane._proxies:
                proxy.heal()
        self._judge()
        self._result.seconds = time.monotonic() - began
        if self._result.verdict.passed:
            self._log.unlink(missing_ok=True)
        return self._result

    # -- what happens -----------------------------------------------------------------------

    def _until_committed(self) -> None:
        deadline = time.monotonic() + self._deadline_s
        while True:
            now = time.monotonic()
            while self._agenda and self._agenda[0][0] <= now:
                heapq.heappop(self._agenda)[2]()
                deadline = time.monotonic() + self._deadline_s
            for worker in list(self._workers):
                self._hear(worker)
            self._visible.extend(self._lane._reader.poll(0.0))
            if not self._agenda and self._everything_committed():
                return
            if now > deadline:
                self._result.verdict.stuck.append(f"not committed after {self._deadline_s:g} s")
                return
            if self._workers:
                wait([worker.link for worker in self._workers], LOOK_S)
            else:
                time.sleep(LOOK_S)

    def _hear(self, worker: Running) -> None:
        try:
            while worker.link.poll():
                said = worker.link.recv()
                if isinstance(said, Ended):
                    self._ended(worker, said)
                    return
                self._fail(worker, worker.faults[said])
        except (EOFError, ConnectionError):
            self._workers.remove(worker)
            if not worker.killed:
                self._result.verdict.stuck.append(f"worker {worker.slot} died")

    def _ended(self, worker: Running, ended: Ended) -> None:
        self._workers.remove(worker)
        # Of two processes with one name the group keeps the one that joined last, which is the
        # zombie where it was frozen before it had joined. It may be dead when this is heard.
        rivalled = worker.slot in self._replaced
        if not (rivalled and str(ended.why).startswith("kafka.fenced")):
            self._result.verdict.stuck.append(f"worker {worker.slot} ended: {ended.why}")

    def _fail(self, worker: Running, fault: Fault) -> None:
        self._result.met.append(fault)
        proxy = self._lane._proxies[worker.slot]
        match fault.kind:
            case Kind.KILL:
                self._signal(worker, signal.SIGKILL)
                worker.killed = True
                if not worker.zombie:
                    self._later(fault.heal_s, lambda: self._start(worker.slot, with_faults=False))
            case Kind.FREEZE:
                self._signal(worker, signal.SIGSTOP)
                worker.link.send("go")
                self._later(fault.heal_s, lambda: self._signal(worker, signal.SIGCONT))
            case Kind.REPLACE:
                self._signal(worker, signal.SIGSTOP)
                worker.link.send("go")
                worker.zombie = True
                self._replaced.add(worker.slot)
                self._start(worker.slot, with_faults=False)
                self._later(fault.heal_s, lambda: self._signal(worker, signal.SIGCONT))
            case Kind.CUT:
                proxy.cut()
                worker.link.send("go")
                self._later(fault.heal_s, proxy.heal)
            case Kind.STALL:
                proxy.stall()
                worker.link.send("go")
                self._later(fault.heal_s, proxy.heal)
        if fault.kind in (Kind.KILL, Kind.REPLACE, Kind.FREEZE):
            self._expect_readers_to_move()

    def _expect_readers_to_move(self) -> None:
        """A transaction that a dead worker left open must not hold readers up for longer than the
        broker's time limits."""
        written = self._lane._written.end_offsets(self._lane._outputs)

        def check() -> None:
            readable = self._lane._readable.end_offsets(self._lane._outputs)
            for tp, end in written.items():
                if readable[tp] < end:
                    self._result.verdict.stuck.append(
                        f"readers of {tp.topic} stand at {readable[tp]}, before {end}, "
                        f"{BLOCKED_S + SLACK_S:g} s after the fault"
                    )

        self._later(BLOCKED_S + SLACK_S, check)

    # -- workers ----------------------------------------------------------------------------

    def _start(self, slot: int, *, with_faults: bool = True) -> None:
        lane = self._lane
        faults = {
            fault.step: fault
            for fault in self._schedule.faults
            if fault.slot == slot and with_faults
        }
        proxy = f"127.0.0.1:{lane._proxies[slot].port}"
        case = WorkerCase(
            lane._kafka.model_copy(update={"group": self._group, "bootstrap_servers": (proxy,)}),
            self._delivery(slot),
            Member("chaos", self._group, "chaos", slot),
            lane._facts,
            self._log,
            {fault.step: fault.occurrence for fault in faults.values()},
            self._sabotage,
        )
        ours, theirs = lane._context.Pipe()
        process = lane._context.Process(target=run_worker, args=(case, theirs), daemon=True)
        process.start()
        theirs.close()
        self._workers.append(Running(slot, process, ours, faults))

    def _delivery(self, slot: int) -> DeliveryPolicy:
        mode = "at_least_once" if self._sabotage is Sabotage.NO_TRANSACTIONS else "exactly_once"
        return DELIVERY.model_copy(update={"mode": mode, "order": self._schedule.orders[slot]})

    def _signal(self, worker: Running, number: int) -> None:
        if worker.process.is_alive() and worker.process.pid is not None:
            os.kill(worker.process.pid, number)

    def _end_workers(self) -> None:
        for worker in self._workers:
            self._signal(worker, signal.SIGKILL)
        for worker in self._workers:
            worker.process.join(END_S)
            worker.link.close()

    # -- input and output -------------------------------------------------------------------

    def _send(self, which: slice) -> None:
        for message in self._schedule.messages[which]:
            self._lane._producer.send(message.key, message.value, partition=message.partition)
        self._lane._producer.flush()

    def _everything_committed(self) -> bool:
        ends = self._offsets(self._lane._inputs)
        return self._committed() == {number: Progress(end) for number, end in ends.items()}

    def _committed(self) -> dict[int, Progress]:
        found = self._lane._admin.client.list_group_offsets({self._group: self._lane._inputs})
        return {tp.partition: progress_of(found[self._group][tp]) for tp in self._lane._inputs}

    def _offsets(self, partitions: list[TopicPartition]) -> dict[int, int]:
        ends: dict[Any, int] = self._lane._written.end_offsets(partitions)
        return {tp.partition: end for tp, end in ends.items()}

    def _judge(self) -> None:
        lane, verdict = self._lane, self._result.verdict
        deadline = time.monotonic() + BLOCKED_S + SLACK_S
        written = lane._written.end_offsets(lane._outputs)
        # Both ends may still move: the broker ends transactions in its own time.
        while any(
            end < written[tp] for tp, end in lane._readable.end_offsets(lane._outputs).items()
        ):
            if time.monotonic() > deadline:
                verdict.stuck.append(f"readers are held up before {written}")
                break
            time.sleep(0.05)
        self._visible.extend(lane._reader.rest())
        context = EventContext(lane._facts.cluster_id, self._group, lane._facts.topic_ids, VERSION)
        expected = expected_outcomes(list(self._input()), context)
        order = "key" if self._sabotage is Sabotage.OTHER_ORDER else self._schedule.order
        found = judge(expected, self._visible, self._committed(), order)
        found.stuck = verdict.stuck
        self._result.verdict = found

    def _input(self) -> Iterator[Record]:
        """The schedule's records, as an independent consumer reads them."""
        consumer, inputs = self._lane._written, self._lane._inputs
        ends = consumer.end_offsets(inputs)
        consumer.assign(inputs)
        for tp in inputs:
            consumer.seek(tp, self._starts[tp.partition])
        while any(consumer.position(tp) < ends[tp] for tp in inputs):
            for batch in consumer.poll(timeout_ms=200).values():
                for raw in batch:
                    position = Position(Partition(raw.topic, raw.partition), raw.offset)
                    yield Record(position, raw.timestamp, raw.key, raw.value, tuple(raw.headers))

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (time.monotonic() + seconds, next(self._numbers), action))


def met(outcomes: list[Outcome]) -> tuple[dict[str, int], dict[str, int]]:
    """How many faults happened at each step, and of each kind."""
    faults = [fault for outcome in outcomes for fault in outcome.met]
    steps = Counter(fault.step for fault in faults)
    kinds = Counter(fault.kind for fault in faults)
    return {each.value: steps[each] for each in Step}, {each.value: kinds[each] for each in Kind}

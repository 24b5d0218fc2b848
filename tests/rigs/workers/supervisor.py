"""A supervisor on a simulated clock, with workers that do what the test says."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from pipeline.adapters.memory.clock import HandClock
from workers.health import Health, Heard
from workers.settings.workers import WorkersPolicy
from workers.supervise.node import Node
from workers.supervise.slot import Ended, Fate
from workers.supervise.supervisor import ExitCode, Supervisor

NO_CREDENTIALS = Ended(Fate.HALTED, "s3.no_credentials", "s3: no credentials anywhere")
NO_MODEL = Ended(Fate.HALTED, "model.not_found", "model: no such directory")
FENCED = Ended(Fate.HALTED, "kafka.fenced", "somebody else")
DIED = Ended(Fate.DIED, "worker.died", "killed by signal 9")
NODES = [Node(letter * 56, f"host-{letter}") for letter in "abc"]


def health(**changes: object) -> Health:
    values: dict[str, object] = {
        "cycle_age_s": 0.0,
        "encode_age_s": 0.0,
        "commit_age_s": 0.0,
        "idle_s": 0.0,
        "partitions": 1,
        "unfinished": 0,
        "lag": 0,
        "committed": 0,
        "passed": 0,
        "available": True,
        "held_up": False,
    }
    return Health(**(values | changes))  # type: ignore[arg-type]


class Worker:
    """Waits for room, begins, ends, answers and stops as told."""

    wants = "1 CPU"

    def __init__(self, clock: HandClock, slot: int = 0) -> None:
        self.slot = slot
        self._clock = clock
        self._heard: Heard | None = None
        self.place: Node | None = Node("a" * 56, "host-a")
        """None while Ray has no room for it."""
        self.goes_at: float | None = None
        """When its node goes away, where that is announced."""
        self.address: str | None = None
        """Of its metrics."""
        self.begun = False
        self.end: Ended | None = None
        self.answer: Health | None = health()
        self.frozen = False
        self.stops: list[float] = []
        self.told: list[object] = []
        self.killed = False
        self.last: Ended | None = Ended(Fate.STOPPED)
        """How it ends when it is asked to; None: it does not."""

    def node(self) -> Node | None:
        return self.place

    def node_goes_in(self) -> float | None:
        return None if self.goes_at is None else self.goes_at - self._clock.now

    def begin(self) -> None:
        assert not self.begun, "a worker begins once"
        assert self.place is not None
        self.begun = True

    def ended(self) -> Ended | None:
        return self.end if self.begun else None

    def health(self) -> Heard | None:
        if not self.frozen:
            self._heard = Heard(self.answer, self._clock.now) if self.answer else None
        return self._heard

    def metrics_at(self) -> str | None:
        return self.address

    def tell(self, message: object) -> None:
        self.told.append(message)

    def stop(self, grace_s: float) -> None:
        assert self.begun
        self.stops.append(grace_s)
        self.end = self.last

    def kill(self) -> None:
        self.killed = True

    @property
    def alive(self) -> bool:
        """Whether a process of it could be a member of the group."""
        return self.begun and self.end is None and not self.killed


@dataclass
class Dismissal:
    """A member that was taken out of the group."""

    at: float
    slot: int
    for_good: bool
    done: Future[None]


class Stage:
    """A supervisor with its workers, and a script that runs at given times. A removal of a member
    takes as long as ``removing_s``; None: until the test ends it. At every moment no worker of a
    slot may be alive while its member is being removed, for it would be the one removed."""

    def __init__(self, **policy: float) -> None:
        self.clock = HandClock()
        self.started: list[tuple[float, int, Worker]] = []
        self.avoided: list[frozenset[str]] = []
        self.at: list[tuple[float, Callable[[], None]]] = []
        self.prepare: Callable[[Worker], None] = lambda worker: None
        self.each_tick: Callable[[], None] = lambda: None
        self.dismissed: list[Dismissal] = []
        self.removing_s: float | None = 0.5
        self.group_lag: int | None = 0
        self.lag_questions: list[float] = []
        self.supervisor = Supervisor(
            self._launch,
            WorkersPolicy.model_validate({"count": 2, **policy}),
            self.clock,
            random.Random(0),
            self._wait,
            dismiss=self._dismiss,
            group_lag=self._ask_group_lag,
        )

    @property
    def ready(self) -> bool:
        return self.supervisor.standing.ready

    @property
    def elapsed(self) -> float:
        return self.clock.now - 1000.0

    def _wait(self, seconds: float) -> None:
        """Time moves only when the supervisor waits."""
        self.clock.now += seconds

    def _launch(self, slot: int, avoid: frozenset[str]) -> Worker:
        worker = Worker(self.clock, slot)
        self.prepare(worker)
        self.started.append((self.elapsed, slot, worker))
        self.avoided.append(avoid)
        return worker

    def _dismiss(self, slot: int, *, for_good: bool) -> Future[None]:
        self.dismissed.append(Dismissal(self.elapsed, slot, for_good, Future()))
        self._check_removals()
        return self.dismissed[-1].done

    def _ask_group_lag(self) -> Future[int | None]:
        self.lag_questions.append(self.elapsed)
        answer: Future[int | None] = Future()
        answer.set_result(self.group_lag)
        return answer

    def _check_removals(self) -> None:
        removing = {each.slot for each in self.dismissed if not each.done.done()}
        for _, slot, worker in self.started:
            assert not (slot in removing and worker.alive), f"slot {slot} loses a living member"

    def worker(self, index: int) -> Worker:
        return self.started[index][2]

    def run(self, until_idle_s: float | None = None, give_up_after_s: float = 3600.0) -> ExitCode:
        def tick(supervisor: Supervisor) -> None:
            self._check_removals()
            self.each_tick()
            while self.at and self.at[0][0] <= self.elapsed:
                self.at.pop(0)[1]()
            for each in self.dismissed:
                late = self.removing_s is not None and self.elapsed - each.at >= self.removing_s
                if late and not each.done.done():
                    each.done.set_result(None)
            assert self.elapsed < give_up_after_s, "the supervisor did not end"

        return self.supervisor.run(until_idle_s, tick)


def end(stage: Stage, index: int, ended: Ended) -> Callable[[], None]:
    return lambda: setattr(stage.worker(index), "end", ended)


def each_of_slot(stage: Stage, slot: int, ended: Ended) -> None:
    """No worker that is started in the slot from now on gets as far as the group."""

    def prepare(worker: Worker) -> None:
        if worker.slot == slot:
            worker.end = ended

    stage.prepare = prepare


def starts_of(stage: Stage, slot: int) -> list[float]:
    return [at for at, number, _ in stage.started if number == slot]

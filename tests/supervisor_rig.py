"""A supervisor on a simulated clock, with workers that do what the test says."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import Future

from tests.hand_clock import HandClock
from workers.health import Health, Heard
from workers.slot import Ended, Fate
from workers.supervise import ExitCode, Supervisor
from workers.workers_policy import WorkersPolicy


class SimulatedClock(HandClock):
    """Time moves only when the supervisor waits."""

    def wait(self, seconds: float) -> None:
        self.now += seconds


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
    }
    return Health(**(values | changes))  # type: ignore[arg-type]


class Worker:
    """Ends, answers and stops as told."""

    def __init__(self, clock: SimulatedClock) -> None:
        self._clock = clock
        self._heard: Heard | None = None
        self.end: Ended | None = None
        self.answer: Health | None = health()
        self.frozen = False
        self.stops: list[float] = []
        self.killed = False
        self.last: Ended | None = Ended(Fate.STOPPED)
        """How it ends when it is asked to; None: it does not."""

    def ended(self) -> Ended | None:
        return self.end

    def health(self) -> Heard | None:
        if not self.frozen:
            self._heard = Heard(self.answer, self._clock.now) if self.answer else None
        return self._heard

    def stop(self, grace_s: float) -> None:
        self.stops.append(grace_s)
        self.end = self.last

    def kill(self) -> None:
        self.killed = True


class Stage:
    """A supervisor with its workers, and a script that runs at given times."""

    def __init__(self, **policy: float) -> None:
        self.clock = SimulatedClock()
        self.started: list[tuple[float, int, Worker]] = []
        self.at: list[tuple[float, Callable[[], None]]] = []
        self.prepare: Callable[[Worker], None] = lambda worker: None
        self.each_tick: Callable[[], None] = lambda: None
        self.dismissed: list[tuple[float, int, Future[None]]] = []
        self.supervisor = Supervisor(
            self._launch,
            WorkersPolicy.model_validate({"count": 2, **policy}),
            self.clock,
            random.Random(0),
            self.clock.wait,
            dismiss=self._dismiss,
        )

    def _launch(self, slot: int) -> Worker:
        worker = Worker(self.clock)
        self.prepare(worker)
        self.started.append((self.clock.now - 1000.0, slot, worker))
        return worker

    def _dismiss(self, slot: int) -> Future[None]:
        self.dismissed.append((self.clock.now - 1000.0, slot, Future()))
        return self.dismissed[-1][2]

    def worker(self, index: int) -> Worker:
        return self.started[index][2]

    def run(self, until_idle_s: float | None = None, give_up_after_s: float = 3600.0) -> ExitCode:
        def tick(supervisor: Supervisor) -> None:
            elapsed = self.clock.now - 1000.0
            self.each_tick()
            while self.at and self.at[0][0] <= elapsed:
                self.at.pop(0)[1]()
            assert elapsed < give_up_after_s, "the supervisor did not end"

        return self.supervisor.run(until_idle_s, tick)

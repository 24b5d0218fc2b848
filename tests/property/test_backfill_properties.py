"""Whatever dies, is told twice, comes late or is run by two drivers at once: every row of a plan is
committed once, and what is committed never changes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import cast

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from pipeline.adapters.memory.clock import HandClock
from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.backfill import layout
from pipeline.backfill.committing import committed_shards
from pipeline.backfill.control import LEASE_S
from pipeline.backfill.job import Job
from pipeline.backfill.ledger import Ledger, Task
from pipeline.errors import Halt, Retry
from pipeline.records import ImageRef
from tests.rigs.stages.null_shards import expected, keys_of, null_job, null_runner, outcomes
from tests.rigs.workers.backfill_places import IDLE, Place
from workers.backfill.shard import Progress
from workers.backfill.worker import AT_ONCE, Assignment, Done
from workers.commands.backfill.dispatch import Dispatcher
from workers.commands.backfill.lease import HeldLease, take_lease
from workers.commands.backfill.stuck import Stuck
from workers.supervise.slot import Fate, Slot

SHARD_ROWS = 8
SHARDS = 5
WORKERS = 2
STEPS = 25
MOVES = 4
DISTURBED = 0.25
"""Share of the writes that something happens to."""

NO_METADATA: Mapping[str, str] = {}


class Died(Exception):
    """The process has died."""


class Output(MemoryFolder):
    """Remembers what each data file held when it became visible."""

    def __init__(self) -> None:
        super().__init__()
        self.committed: dict[str, bytes] = {}

    def create(self, name: str, body: bytes, metadata: Mapping[str, str] = NO_METADATA) -> bool:
        created = super().create(name, body, metadata)
        if created and name.startswith(layout.DATA):
            self.committed[name] = body
        return created

    def write(self, name: str, body: bytes, metadata: Mapping[str, str] = NO_METADATA) -> None:
        super().write(name, body, metadata)
        if name.startswith(layout.DATA):
            self.committed.setdefault(name, body)


class World:
    """One output and everybody who writes to it. All chances come from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.output = Output()
        self.clock = HandClock()
        bad = self.random.sample(range(SHARDS * SHARD_ROWS - 3), 4)
        self.keys = keys_of(SHARDS * SHARD_ROWS - 3, bad=bad)
        self.poison = set(self.random.sample(self.keys, self.random.choice([0, 0, 1, 2])))
        self.job = null_job(self.output, self.keys, SHARD_ROWS)
        self.calm = False
        self.zombies: list[Process] = []
        self.deep = False

    def expected(self) -> dict[str, str]:
        return expected(self.keys) | dict.fromkeys(self.poison, "internal.process_died")

    def meanwhile(self) -> None:
        """A worker of a driver that is gone goes on, between two steps of another."""
        if self.zombies and not self.deep and self.random.random() < 0.3:
            self.deep = True
            try:
                self.random.choice(self.zombies).step()
            finally:
                self.deep = False


class Link(MemoryFolder):
    """A worker's way to the output, on which answers get lost and at which the worker dies."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self.read = world.output.read  # type: ignore[method-assign]
        self.metadata = world.output.metadata  # type: ignore[method-assign]

    def create(self, name: str, body: bytes, metadata: Mapping[str, str] = NO_METADATA) -> bool:
        fate = self._fate()
        if fate == "dies before":
            raise Died
        if fate == "fails":
            raise Retry("output.failed", "503")
        created = self._world.output.create(name, body, metadata)
        self._after(fate)
        return created and fate != "finds itself"

    def write(self, name: str, body: bytes, metadata: Mapping[str, str] = NO_METADATA) -> None:
        fate = self._fate()
        if fate == "dies before":
            raise Died
        if fate == "fails":
            raise Retry("output.failed", "503")
        self._world.output.write(name, body, metadata)
        self._after(fate)

    def _fate(self) -> str:
        self._world.meanwhile()
        if self._world.calm or self._world.random.random() > DISTURBED:
            return "well"
        return self._world.random.choice(
            ["dies before", "dies after", "fails", "answer is lost", "finds itself"]
        )

    def _after(self, fate: str) -> None:
        self._world.meanwhile()
        if fate == "dies after":
            raise Died
        if fate == "answer is lost":
            raise Retry("output.failed", "no answer")


class Process:
    """A worker: it runs what it is told, one task after the other."""

    def __init__(self, world: World, place: Place) -> None:
        self._world = world
        self._place = place
        self._handle = place.handle
        self._runner = null_runner(Link(world), world.job, self._look)
        self._heard = 0
        self._working: dict[Task, None] = {}
        self._done: dict[Task, Done] = {}
        self.dead = False
        self._busy = False

    def _look(self, ref: ImageRef) -> None:
        if ref.key in self._world.poison:
            raise Died
        if not self._world.calm and self._world.random.random() < 0.004:
            raise Died

    def step(self) -> None:
        """Hear what the driver says, and run one task."""
        if self.dead or self._busy:
            return
        self._hear()
        if self._working:
            task = next(iter(self._working))
            self._busy = True
            try:
                with asyncio.Runner() as runner:
                    summary = runner.run(self._runner.run(task, Progress()))
            except Retry:
                del self._working[task]  # it is returned
            except (Died, ExceptionGroup):
                self.dead = True
                return
            else:
                del self._working[task]
                self._done[task] = Done(task, summary)
            finally:
                self._busy = False

    def answer(self) -> None:
        if not self.dead and self._place.handle is self._handle:
            self._hear()
            self._place.fresh = replace(
                IDLE, working=tuple(self._working), done=tuple(self._done.values())
            )

    def _hear(self) -> None:
        assert self._handle is not None
        told: list[Assignment] = self._handle.told[self._heard :]
        self._heard += len(told)
        for each in told:
            for task in each.forget:
                self._done.pop(task, None)
            for task in each.begin:
                if task not in self._done:
                    self._working[task] = None
        assert len(self._working) <= AT_ONCE


@dataclass
class Driver:
    """A driver with its lease, its ledger and its workers."""

    world: World
    lease: HeldLease

    def __post_init__(self) -> None:
        world, job = self.world, self.world.job
        done = committed_shards(world.output, job.shards, job.plan_hash)
        self.ledger = Ledger(job.shards, done, job.shard_rows)
        self.dispatcher = Dispatcher(self.ledger, Stuck(1e9, world.clock), 1.0)
        self.places = [Place(number, handle=None, fresh=None) for number in range(WORKERS)]
        self.processes: list[Process | None] = [None] * WORKERS

    def turn(self) -> None:
        """One look at all workers. Ended ones are replaced."""
        self.world.clock.now += 1.0
        self.lease.renew_when_due()
        for number, place in enumerate(self.places):
            process = self.processes[number]
            if process is not None and process.dead:
                place.end(Fate.DIED)
                self.processes[number] = None
            elif process is not None:
                process.answer()
        self._look()
        for number, place in enumerate(self.places):
            if self.processes[number] is None:
                place.start()
                self.processes[number] = Process(self.world, place)
        self._look()

    def work(self, number: int) -> None:
        process = self.processes[number]
        if process is not None:
            process.step()

    def stop_one(self, number: int) -> None:
        """A node goes away: its worker ends, and is not to blame."""
        place = self.places[number]
        if place.handle is not None:
            place.end(Fate.STOPPED)
            self._abandon(number)
            self._look()

    def die(self) -> None:
        """The driver's process is gone. Its workers may live on for a while."""
        for number in range(WORKERS):
            self._abandon(number)

    def _abandon(self, number: int) -> None:
        process = self.processes[number]
        self.processes[number] = None
        if process is not None and not process.dead:
            self.world.zombies.append(process)

    def _look(self) -> None:
        self.dispatcher.look(cast("list[Slot]", self.places))


def start(world: World, pool: ThreadPoolExecutor, *, force: bool) -> Driver:
    def wait(seconds: float) -> bool:
        world.clock.now += seconds
        return False

    lease = take_lease(world.output, world.clock, wait, force=force, executor=pool)
    assert lease is not None
    return Driver(world, lease)


def disturb(world: World, pool: ThreadPoolExecutor) -> list[Driver]:
    """Some steps in which anything may happen. Returns the drivers that still live."""
    drivers = [start(world, pool, force=False)]
    for _ in range(STEPS):
        event = world.random.random()
        if not drivers or (event < 0.06 and len(drivers) < 2):
            # By force: as if the first one's machine had been frozen, and came back.
            drivers.append(start(world, pool, force=True))
            continue
        driver = world.random.choice(drivers)
        if event < 0.12:
            drivers.remove(driver)
            driver.die()
        elif event < 0.18:
            driver.stop_one(world.random.randrange(WORKERS))
        elif event < 0.25 and world.zombies:
            world.random.choice(world.zombies).step()
        else:
            try:
                driver.turn()
            except Halt as halt:
                if halt.code != "backfill.lease_lost":
                    raise
                drivers.remove(driver)
                driver.die()
                continue
            driver.work(world.random.randrange(WORKERS))
    return drivers


def finish(world: World, pool: ThreadPoolExecutor) -> None:
    """A driver that nothing happens to, but for nodes that go away at first."""
    world.calm = True
    world.clock.now += 2 * LEASE_S
    driver = start(world, pool, force=True)
    for turn in range(500):
        if driver.ledger.complete:
            return
        driver.turn()
        assert driver.dispatcher.halt is None
        if turn < MOVES:
            driver.stop_one(turn % WORKERS)
        for number in range(WORKERS):
            driver.work(number)
    raise AssertionError("the job does not end")


@settings(max_examples=25)
@given(st.integers(0, 2**32))
def test_every_row_is_committed_once_whatever_happens(seed: int) -> None:
    world = World(seed)
    with ThreadPoolExecutor(1) as pool:
        for driver in disturb(world, pool):
            driver.die()
        early = dict(world.output.committed)
        finish(world, pool)
        for zombie in world.zombies:
            zombie.step()
    assert outcomes(world.output) == world.expected()
    assert committed_shards(world.output, SHARDS, world.job.plan_hash) == set(range(SHARDS))
    for name, body in {**early, **world.output.committed}.items():
        found = world.output.read(name)
        assert found is not None
        assert found.body == body, f"{name} has changed"


@pytest.mark.parametrize("late", ["before", "after"])
def test_a_planner_that_comes_late_changes_no_plan(late: str) -> None:
    output = Output()
    mine: Job = null_job(output, keys_of(20), SHARD_ROWS, "first")
    if late == "after":
        asyncio.run(null_runner(output, mine).run(Task(0), Progress()))
    before = {name: output.read(name) for name in output.names()}
    null_job(output, keys_of(40)[20:], SHARD_ROWS, "second")
    assert {name: output.read(name) for name in before} == before
    found = output.read(layout.JOB)
    assert found is not None
    assert Job.of_bytes(found.body, layout.JOB) == mine

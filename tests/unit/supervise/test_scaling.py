"""The number of workers against a model of a queue, on a simulated clock."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters.memory.clock import HandClock
from workers.health import Health
from workers.settings.workers import WorkersPolicy
from workers.supervise.scaling import MEASURED_S, TRIAL_S, Scaling

STEP_S = 2.0
HOUR = 3600.0
START_S = 20.0
"""From the decision until an added worker has its partitions."""
LEAVE_S = 5.0


@dataclass
class Fleet:
    """Workers that take records from a queue and follow what is decided.

    ``arriving`` is the load in records a second at a time in seconds, of which each second brings
    a random number. ``one`` is what a worker does a second, ``all`` what they do at most together.
    """

    arriving: Callable[[float], float]
    one: float = 2.0
    all: float = math.inf
    partitions: int = 16
    lag: float = 0.0
    seed: int = 0
    policy: WorkersPolicy = field(default_factory=lambda: WorkersPolicy(max_count=16))
    available: bool = True
    held_up: bool = False
    knows_lag: bool = True
    starts: bool = True
    cold_s: float = 0.0
    """For so long a worker that has joined does nothing."""

    def __post_init__(self) -> None:
        self.clock = HandClock(0.0)
        self.scaling = Scaling(self.policy, self.clock)
        self.wanted = self.policy.count
        self.changes: list[tuple[float, int]] = []
        self._rng = random.Random(self.seed)
        self._done = 0.0
        self._joined = [0.0] * self.wanted
        self._left_at = 0.0

    def run(self, seconds: float) -> Fleet:
        for _ in range(round(seconds / STEP_S)):
            self._step()
        return self

    def _step(self) -> None:
        self.clock.now += STEP_S
        now = self.clock.now
        mean = self.arriving(now) * STEP_S
        self.lag += max(0.0, self._rng.gauss(mean, math.sqrt(mean)))
        working = [number for number, at in enumerate(self._joined) if at <= now]
        if self.available:
            warm = sum(at + self.cold_s * (at > 0) <= now for at in self._joined)
            useful = min(warm, self.partitions)
            done = min(self.lag, useful * self.one * STEP_S, self.all * STEP_S)
            self.lag -= done
            self._done += done
        decision = self.scaling.decide(self._healths(working))
        if decision is not None:
            assert decision.workers != self.wanted
            self._follow(decision.workers)

    def _healths(self, working: list[int]) -> list[Health | None]:
        leaving = [None] if self.clock.now < self._left_at else []
        healths: list[Health | None] = [None] * self.wanted
        for index, number in enumerate(working):
            healths[number] = self._health(index, len(working))
        return healths + leaving

    def _health(self, index: int, working: int) -> Health:
        extra = int(index < self.partitions % working)
        whole = round(self.lag)
        return Health(
            cycle_age_s=0.0,
            encode_age_s=0.0,
            commit_age_s=0.0,
            idle_s=0.0,
            partitions=self.partitions // working + extra,
            unfinished=0,
            lag=(whole // working + int(index < whole % working)) if self.knows_lag else None,
            committed=0,
            # What a worker has committed goes on under its number; all of it is the first's.
            passed=round(self._done) if index == 0 else 0,
            available=self.available,
            held_up=self.held_up,
        )

    def _follow(self, wanted: int) -> None:
        now = self.clock.now
        if wanted < self.wanted:
            self._left_at = now + LEAVE_S
        joins = now + START_S if self.starts else math.inf
        self._joined = self._joined[:wanted] + [joins] * (wanted - self.wanted)
        self.wanted = wanted
        self.changes.append((now, wanted))

    @property
    def numbers(self) -> list[int]:
        return [number for _, number in self.changes]


def constant(load: float) -> Callable[[float], float]:
    return lambda _: load


def steps(*loads: tuple[float, float]) -> Callable[[float], float]:
    """The load from each time on."""
    return lambda now: [load for since, load in loads if since <= now][-1]


@settings(max_examples=20)
@given(
    load=st.floats(0.1, 14.0),
    one=st.floats(0.5, 20.0),
    lag=st.floats(0.0, 20_000.0),
    seed=st.integers(0, 1000),
)
def test_a_constant_load_settles_at_enough_workers_and_stays_there(
    load: float, one: float, lag: float, seed: int
) -> None:
    """``load`` is in workers."""
    fleet = Fleet(constant(load * one), one, lag=lag, seed=seed).run(3 * HOUR)
    settled = [number for at, number in fleet.changes if at > HOUR + lag / one]
    assert len(settled) <= 1, fleet.changes
    turns = [b > a for a, b in itertools.pairwise([1, *fleet.numbers])]
    assert sum(a != b for a, b in itertools.pairwise(turns)) <= 2, fleet.changes
    if lag / one < 1000:
        assert load <= fleet.wanted <= load / 0.8 * 1.5 + 1
        assert fleet.lag < 60 * fleet.wanted * one


def test_a_load_that_rises_is_followed_by_doubling() -> None:
    fleet = Fleet(steps((0, 1.0), (600, 20.0))).run(1000)
    assert fleet.numbers[:3] == [2, 4, 8]
    times = [at for at, _ in fleet.changes]
    assert times[0] - 600 < 2 * MEASURED_S
    assert all(b - a < START_S + 2 * MEASURED_S for a, b in itertools.pairwise(times))
    fleet.run(HOUR)
    assert 10 <= fleet.wanted <= 15
    assert fleet.lag < 200


def test_the_workers_of_a_load_that_is_gone_are_removed_after_the_window() -> None:
    fleet = Fleet(steps((0, 20.0), (2 * HOUR, 0.0))).run(2 * HOUR)
    many = fleet.wanted
    assert many >= 10
    fleet.run(fleet.policy.scale_in_window_s - 10)
    assert fleet.wanted == many
    fleet.run(2 * MEASURED_S + 10)
    assert fleet.wanted == 1


def test_a_trickle_keeps_no_worker() -> None:
    fleet = Fleet(steps((0, 20.0), (HOUR, 0.02))).run(2 * HOUR)
    assert fleet.wanted == 1


def test_a_backlog_without_arrivals_is_worked_off_in_about_the_target() -> None:
    fleet = Fleet(constant(0.0), lag=6000).run(900)
    assert max(fleet.numbers) in (8, 10)
    assert fleet.lag == 0
    assert fleet.run(900).wanted == 1


@pytest.mark.parametrize("of", ["store or broker", "lag"])
def test_an_outage_changes_nothing_however_long(of: str) -> None:
    fleet = Fleet(constant(5.0)).run(HOUR)
    before = list(fleet.changes)
    if of == "lag":
        fleet.knows_lag = False
    else:
        fleet.available = False
    fleet.run(HOUR)
    assert fleet.changes == before
    fleet.available = fleet.knows_lag = True
    fleet.run(HOUR)
    assert fleet.lag < 100


def test_an_outage_of_one_of_several_stores_adds_no_workers() -> None:
    fleet = Fleet(constant(1.0)).run(HOUR)
    assert fleet.wanted == 1
    # The partitions of the store that is down are not read. All others go on, at half the rate.
    fleet.held_up, fleet.all = True, 0.5
    fleet.run(HOUR)
    assert fleet.lag > 1000
    assert fleet.changes == []
    fleet.held_up, fleet.all = False, math.inf
    assert fleet.run(HOUR).changes, "the backlog is work for more workers"


def test_commits_that_are_held_back_are_no_reason_for_more_workers() -> None:
    fleet = Fleet(constant(5.0)).run(HOUR)
    before = list(fleet.changes)
    fleet.all = 0.0
    fleet.run(HOUR)
    assert [number for _, number in fleet.changes] == [number for _, number in before]


@pytest.mark.parametrize("period_s", [20, 60, 120, 240])
def test_a_load_that_comes_and_goes_within_the_window_does_not_flap(period_s: float) -> None:
    fleet = Fleet(lambda now: 16.0 if now % period_s < period_s / 2 else 0.0).run(HOUR)
    assert len(fleet.changes) <= 6
    before = list(fleet.changes)
    fleet.run(2 * HOUR)
    assert fleet.changes == before


def test_workers_that_bring_nothing_are_given_back_and_tried_again_much_later() -> None:
    fleet = Fleet(constant(10.0), one=2.0, all=3.9).run(TRIAL_S)
    assert fleet.numbers == [2, 4, 2]
    fleet.run(4 * TRIAL_S)
    assert max(fleet.numbers) == 4
    assert len(fleet.changes) <= 2 * 5 + 1


def test_workers_that_warm_up_are_not_taken_for_useless() -> None:
    fleet = Fleet(constant(10.0), one=2.0, cold_s=0.9 * MEASURED_S).run(HOUR)
    assert fleet.wanted >= 6
    assert fleet.lag < 100


def test_a_bound_that_is_gone_is_noticed_at_the_next_trial() -> None:
    fleet = Fleet(constant(10.0), one=2.0, all=3.9).run(900)
    fleet.all = math.inf
    fleet.run(2 * TRIAL_S)
    assert fleet.wanted >= 5


def test_there_are_no_more_workers_than_partitions() -> None:
    fleet = Fleet(constant(40.0), partitions=6).run(HOUR)
    assert fleet.wanted == 6
    assert max(fleet.numbers) == 6
    fleet.partitions = 3
    fleet.run(HOUR)
    assert fleet.wanted == 3


def test_the_least_number_stays_though_there_are_fewer_partitions() -> None:
    policy = WorkersPolicy(count=4, max_count=8)
    fleet = Fleet(constant(40.0), partitions=2, policy=policy).run(HOUR)
    assert fleet.changes == []


def test_added_workers_that_do_not_start_are_given_up() -> None:
    fleet = Fleet(constant(10.0), starts=False).run(HOUR)
    assert fleet.numbers[:2] == [2, 1]
    (out, _), (back, _) = fleet.changes[:2]
    assert back - out >= fleet.policy.start_timeout_s
    assert len(fleet.changes) <= 4


@settings(max_examples=20)
@given(
    loads=st.lists(st.floats(0.0, 40.0), min_size=1, max_size=6),
    bound=st.floats(1.0, 50.0),
    partitions=st.integers(1, 20),
    count=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_whatever_comes_the_number_stays_within_its_bounds_and_moves_slowly(
    loads: list[float], bound: float, partitions: int, count: int, seed: int
) -> None:
    policy = WorkersPolicy(count=count, max_count=12)
    every_s = HOUR / 2
    load = steps(*((number * every_s, each) for number, each in enumerate(loads)))
    fleet = Fleet(load, all=bound, partitions=partitions, policy=policy, seed=seed)
    fleet.run(every_s * len(loads))
    before, changed_at = count, 0.0
    for at, number in fleet.changes:
        assert count <= number <= max(count, min(12, partitions))
        assert number <= 2 * before
        wait_s = MEASURED_S if number > before else policy.scale_in_window_s
        assert at - changed_at >= wait_s
        before, changed_at = number, at

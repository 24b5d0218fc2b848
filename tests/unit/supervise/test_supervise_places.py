"""Places that stay empty because a node is at fault, on a simulated clock: the other workers go on,
the trouble is told and tried again elsewhere, and the group loses the member in time."""

from __future__ import annotations

import itertools
import logging

import pytest

from pipeline import metrics
from pipeline.adapters.memory.meter import MemoryMeter
from tests.rigs.workers.supervisor import (
    DIED,
    FENCED,
    NO_CREDENTIALS,
    NO_MODEL,
    NODES,
    Stage,
    Worker,
    each_of_slot,
    end,
    health,
    starts_of,
)
from workers.supervise.slot import PROVEN_S, Ended, Fate
from workers.supervise.standing import DriverGauges, Standing, State
from workers.supervise.supervisor import ExitCode
from workers.supervise.trouble import RETRIES


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]


def test_a_nodes_fault_keeps_one_place_empty_and_the_others_go_on() -> None:
    stage = Stage(start_timeout_s=50, max_crashes=1)
    each_of_slot(stage, 1, NO_CREDENTIALS)
    standings: list[Standing] = []
    stage.at = [
        (2000, lambda: standings.append(stage.supervisor.standing)),
        (2001, stage.supervisor.request_stop),
    ]
    assert stage.run() is ExitCode.OK
    assert len(starts_of(stage, 0)) == 1
    assert stage.worker(0).stops == [30.0], "it was stopped only when all were"
    (standing,) = standings
    assert standing.ready
    assert standing.empty == {"s3.no_credentials": 1}
    assert standing.states == {State.READY: 1, State.EMPTY: 1}
    (line,) = [line for line in standing.lines if line.startswith("place 1")]
    assert "s3.no_credentials on node host-a (aaaaaaaa); give the node credentials" in line


def test_an_empty_place_is_tried_again_after_growing_waits() -> None:
    stage = Stage()
    each_of_slot(stage, 1, NO_CREDENTIALS)
    stage.at = [(20_000, stage.supervisor.request_stop)]
    assert stage.run(give_up_after_s=30_000) is ExitCode.OK
    waits = [b - a for a, b in itertools.pairwise(starts_of(stage, 1))]
    assert max(waits[:2]) < 2 * RETRIES.first_wait_s + 1
    assert RETRIES.longest_wait_s / 2 < max(waits) < RETRIES.longest_wait_s + 1
    assert len(waits) > 20_000 / RETRIES.longest_wait_s


@pytest.mark.parametrize("ended", [FENCED, Ended(Fate.HALTED, "nobody.knows_it", "why")])
def test_a_fault_of_the_stream_stops_all_at_once(ended: Ended) -> None:
    stage = Stage()
    stage.at = [(5, end(stage, 1, ended))]
    assert stage.run(give_up_after_s=10) is ExitCode.HALTED
    assert stage.worker(0).stops


def test_the_next_try_avoids_the_nodes_that_are_at_fault() -> None:
    stage = Stage(count=2)
    places = itertools.cycle(NODES)
    stage.prepare = lambda worker: setattr(worker, "place", next(places))
    # Workers 0 and 1 are on a and b; those after them meet the fault on c and a.

    def set_ends() -> None:
        for _, _, worker in stage.started[1:4]:
            worker.end = NO_CREDENTIALS

    stage.each_tick = set_ends
    stage.at = [(300, stage.supervisor.request_stop)]
    assert stage.run() is ExitCode.OK
    a, b, c = (node.id for node in NODES)
    assert stage.avoided == [set(), set(), {b}, {b, c}, {b, c, a}]


def test_a_trouble_is_told_once_and_again_at_growing_intervals(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()
    each_of_slot(stage, 1, NO_CREDENTIALS)
    stage.at = [(7200, stage.supervisor.request_stop)]
    assert stage.run(give_up_after_s=8000) is ExitCode.OK
    assert len(starts_of(stage, 1)) > 30
    lines = told(caplog)
    assert 3 <= len(lines) <= 7, "in two hours"
    assert all("place 1 stays empty: s3.no_credentials on node host-a" in each for each in lines)
    assert all(NO_CREDENTIALS.message in each for each in lines)


def test_another_code_or_another_node_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    ends = [NO_CREDENTIALS, NO_CREDENTIALS, NO_CREDENTIALS, NO_MODEL]
    places = [NODES[0], NODES[0], NODES[0], NODES[1], NODES[1]]

    def prepare(worker: Worker) -> None:
        worker.place = places[len(stage.started)]

    def set_ends() -> None:
        for (_, _, worker), ended in zip(stage.started[1:], ends, strict=False):
            worker.end = ended

    stage.prepare, stage.each_tick = prepare, set_ends
    # All within the first interval, after which it would be told in any case.
    stage.at = [(59, stage.supervisor.request_stop)]
    stage.run()
    assert len(stage.started) == 5
    lines = told(caplog)
    assert [line.partition(": ")[2].partition(": ")[0] for line in lines] == [
        f"s3.no_credentials on node {NODES[0]}",
        f"s3.no_credentials on node {NODES[1]}",
        f"model.not_found on node {NODES[1]}",
    ]


def test_a_place_whose_node_was_mended_has_a_worker_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()
    standings: list[Standing] = []
    stage.at = [
        (5, end(stage, 1, NO_CREDENTIALS)),
        (30, lambda: standings.append(stage.supervisor.standing)),
        (30 + PROVEN_S, lambda: caplog.clear()),
        (31 + PROVEN_S, end(stage, 2, NO_CREDENTIALS)),
        (40 + PROVEN_S, stage.supervisor.request_stop),
    ]
    assert stage.run() is ExitCode.OK
    assert standings[0].empty == {}
    assert standings[0].states == {State.READY: 2}
    assert len(told(caplog)) == 1, "a new trouble is told like the first"
    assert stage.avoided[-1] == {NODES[0].id}


@pytest.mark.parametrize("min_ready", [1, 2])
def test_a_driver_is_ready_while_enough_workers_are(min_ready: int) -> None:
    stage = Stage(min_ready=min_ready)
    each_of_slot(stage, 1, NO_CREDENTIALS)
    ready: list[bool] = []
    stage.at = [(50, lambda: ready.append(stage.ready)), (51, stage.supervisor.request_stop)]
    assert stage.run() is ExitCode.OK
    assert ready == [min_ready == 1]


def test_a_driver_whose_only_worker_is_held_up_is_not_ready() -> None:
    stage = Stage()
    each_of_slot(stage, 1, NO_CREDENTIALS)
    held = health(available=False)
    standings: list[Standing] = []
    stage.at = [
        (20, lambda: setattr(stage.worker(0), "answer", held)),
        (50, lambda: standings.append(stage.supervisor.standing)),
        (51, stage.supervisor.request_stop),
    ]
    assert stage.run() is ExitCode.OK
    assert not standings[0].ready
    assert standings[0].states[State.HELD] == 1


# -- when all places are in trouble --------------------------------------------------------------


def all_fail(stage: Stage, ended: Ended = NO_CREDENTIALS, after_s: float = 0.0) -> None:
    """Every worker ends so, ``after_s`` after it was started."""

    def set_ends() -> None:
        for at, _, worker in stage.started:
            if stage.elapsed - at >= after_s and not worker.stops:
                worker.end = ended

    stage.each_tick = set_ends


def test_the_driver_stops_when_no_worker_was_in_the_group_for_the_start_timeout(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage(start_timeout_s=300)
    all_fail(stage)
    assert stage.run() is ExitCode.HALTED
    assert 300 <= stage.elapsed < 302
    assert told(caplog)[-1] == "s3.no_credentials: s3: no credentials anywhere"


def test_the_time_without_a_worker_counts_from_the_last_one() -> None:
    stage = Stage(start_timeout_s=300)
    stage.at = [(400, lambda: all_fail(stage))]
    assert stage.run() is ExitCode.HALTED
    assert 700 <= stage.elapsed < 702


def test_workers_that_halt_right_after_each_start_do_not_hold_the_stop_off() -> None:
    """Each is in the group for a moment, as one whose device fails at the first batch."""
    stage = Stage(start_timeout_s=300)
    all_fail(stage, Ended(Fate.HALTED, "encode.unusable", "a grey image"), after_s=3.0)
    assert stage.run() is ExitCode.HALTED
    assert stage.elapsed >= 300


def test_a_worker_that_works_at_last_is_not_stopped_for_the_time_before() -> None:
    stage = Stage(count=1, start_timeout_s=600)
    all_fail(stage)
    stage.at = [
        (200, lambda: setattr(stage, "each_tick", lambda: None)),
        (900, stage.supervisor.request_stop),
    ]
    assert stage.run() is ExitCode.OK


def test_a_broker_that_is_away_is_waited_for_without_end() -> None:
    stage = Stage(start_timeout_s=100)
    all_fail(stage, Ended(Fate.UNAVAILABLE, "kafka.unavailable", "no broker"))
    stage.at = [(3000, stage.supervisor.request_stop)]
    assert stage.run() is ExitCode.OK


def test_a_driver_that_was_stopped_itself_gives_its_places_their_time() -> None:
    stage = Stage(start_timeout_s=300)
    all_fail(stage)
    stage.at = [(200, lambda: setattr(stage.clock, "now", stage.clock.now + 1000))]
    assert stage.run() is ExitCode.HALTED
    assert stage.elapsed >= 1200 + 300


# -- workers that die in one place ---------------------------------------------------------------


def test_a_place_whose_workers_die_alone_is_left_empty() -> None:
    """A broken device, a full disk: other nodes' workers live."""
    stage = Stage(max_crashes=3)
    each_of_slot(stage, 1, DIED)
    standings: list[Standing] = []
    stage.at = [
        (1000, lambda: standings.append(stage.supervisor.standing)),
        (1001, stage.supervisor.request_stop),
    ]
    assert stage.run() is ExitCode.OK
    assert standings[0].empty == {"worker.died": 1}
    assert standings[0].ready
    assert len(starts_of(stage, 0)) == 1


def test_what_kills_the_workers_of_one_place_after_the_other_stops_the_driver() -> None:
    """A record that kills whoever reads it moves with its partition."""
    stage = Stage(count=3, max_crashes=3)

    def set_ends() -> None:
        victim = 1 if len(starts_of(stage, 1)) <= 3 else 2
        for _, slot, worker in stage.started:
            if slot == victim and not worker.stops:
                worker.end = DIED

    stage.each_tick = set_ends
    assert stage.run() is ExitCode.CRASH_LOOP
    assert len(starts_of(stage, 0)) == 1


def test_deaths_in_several_places_stop_the_driver() -> None:
    stage = Stage(count=3, max_crashes=4)
    # On one node they would be one crash: that of the node.
    stage.prepare = lambda worker: setattr(worker, "place", NODES[worker.slot])
    stage.at = [(10, end(stage, 1, DIED)), (10, end(stage, 2, DIED))]
    stage.at += [(20, end(stage, 3, DIED)), (20, end(stage, 4, DIED))]
    assert stage.run() is ExitCode.CRASH_LOOP


# -- metrics -------------------------------------------------------------------------------------


def test_the_drivers_metrics_follow_the_places() -> None:
    meter = MemoryMeter(metrics.DRIVER_METRICS)
    gauges, value = DriverGauges(meter), meter.value
    gauges.follow(Standing(True, {State.READY: 1, State.EMPTY: 2}, {"model.device": 2}, ()))
    assert value(metrics.DRIVER_WORKERS, state="ready") == 1
    assert value(metrics.DRIVER_WORKERS, state="empty") == 2
    assert value(metrics.DRIVER_WORKERS, state="waiting") == 0
    assert value(metrics.DRIVER_EMPTY, code="model.device") == 2
    gauges.follow(Standing(True, {State.READY: 3}, {}, ()))
    assert value(metrics.DRIVER_WORKERS, state="empty") == 0
    assert value(metrics.DRIVER_EMPTY, code="model.device") is None


def test_deaths_are_counted_and_halts_are_not() -> None:
    stage = Stage(count=3)
    stage.at = [
        (5, end(stage, 0, DIED)),
        (6, end(stage, 1, NO_CREDENTIALS)),
        (200, end(stage, 2, DIED)),
        (300, stage.supervisor.request_stop),
    ]
    meter = MemoryMeter(metrics.DRIVER_METRICS)
    gauges = DriverGauges(meter)
    stage.each_tick = lambda: gauges.follow(stage.supervisor.standing)
    assert stage.run() is ExitCode.OK
    assert meter.value(metrics.WORKER_DEATHS) == 2


def fails_soon_after_loading(stage: Stage, ended: Ended, load_s: float) -> None:
    """Each worker loads for so long, answers, and ends 5 s later."""
    begun_at: dict[int, float] = {}

    def prepare(worker: Worker) -> None:
        worker.answer = None

    def tick() -> None:
        worker = stage.started[-1][2]
        if not worker.begun:
            return
        ran_s = stage.elapsed - begun_at.setdefault(id(worker), stage.elapsed)
        if ran_s > load_s:
            worker.answer = health()
        if ran_s > load_s + 5:
            worker.end = ended

    stage.prepare, stage.each_tick = prepare, tick


@pytest.mark.parametrize("load_s", [10.0, 2 * PROVEN_S])
def test_the_time_that_a_model_takes_to_load_is_no_proof_of_a_worker(load_s: float) -> None:
    stage = Stage(count=1, start_timeout_s=600)
    fails_soon_after_loading(stage, Ended(Fate.HALTED, "encode.unusable", "x"), load_s)
    assert stage.run(give_up_after_s=3600) is ExitCode.HALTED
    stage = Stage(count=1, crash_window_s=2000)
    fails_soon_after_loading(stage, DIED, load_s)
    assert stage.run(give_up_after_s=3600) is ExitCode.CRASH_LOOP


def test_a_process_that_never_began_blames_no_node_that_was_there_before() -> None:
    stage = Stage()
    launched: list[Worker] = []

    def prepare(worker: Worker) -> None:
        launched.append(worker)
        if worker.slot == 1 and len(launched) > 2:
            worker.place = None
            vars(worker)["ended"] = lambda: DIED

    stage.prepare = prepare
    stage.at = [(10, end(stage, 1, DIED)), (400, stage.supervisor.request_stop)]
    assert stage.run() is ExitCode.OK
    assert set().union(*stage.avoided) == set()


def test_one_death_in_a_place_that_is_empty_anyway_is_no_crash_loop_of_another() -> None:
    stage = Stage(count=3, max_crashes=2)
    ends = {0: NO_CREDENTIALS}

    def prepare(worker: Worker) -> None:
        if worker.slot in ends:
            worker.end = ends[worker.slot]

    stage.prepare = prepare
    stage.at = [
        (30, lambda: ends.update({0: DIED})),
        (60, lambda: ends.update({0: NO_CREDENTIALS})),
        (200, lambda: ends.update({1: DIED})),
        (201, lambda: setattr(stage.started[1][2], "end", DIED)),
        (260, stage.supervisor.request_stop),
    ]
    assert stage.run() is ExitCode.OK
    assert len(starts_of(stage, 1)) >= 2


def test_each_place_is_shown_with_the_address_of_its_workers_metrics() -> None:
    stage = Stage(count=3)
    each_of_slot(stage, 1, NO_CREDENTIALS)

    def prepare(worker: Worker) -> None:
        worker.address = f"host:{9400 + worker.slot}"
        worker.answer = None if worker.slot == 2 else health()
        worker.end = NO_CREDENTIALS if worker.slot == 1 else None

    stage.prepare = prepare
    seen: list[dict[int, str | None]] = []
    stage.at = [
        (30, lambda: seen.append({**stage.supervisor.standing.metrics_at})),
        (40, stage.supervisor.request_stop),
    ]
    assert stage.run() is ExitCode.OK
    # One is empty, and one is still being built.
    assert seen == [{0: "host:9400", 1: None, 2: None}]

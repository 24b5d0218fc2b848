"""Whatever is cancelled, revoked or broken meanwhile: a worker goes on that has work and whose
store serves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.fetch import FetchPolicy
from pipeline.records import Partition
from pipeline.retry import BreakerPolicy
from tests.rigs.stages.fetching import Behaviour, break_off, hang, miss, refuse
from tests.rigs.virtual_time import run
from tests.rigs.workers.stream_in_virtual_time import SimulatedWorker

PARTITIONS = [Partition("refs", number) for number in range(4)]
KEPT = PARTITIONS[0]
"""Never revoked: the work that must get done."""
KINDS: list[Behaviour] = [break_off, refuse, hang, miss]
LONGEST_S = 4 * FetchPolicy().deadline_s + 4 * BreakerPolicy().open_s

ELSEWHERE = PARTITIONS[2:]
"""Where there are two stores: partitions of the other one, which may stay down for good."""

partitions = st.sampled_from(PARTITIONS)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), partitions, st.integers(1, 20), st.sampled_from([None, *KINDS])),
        st.tuples(st.just("outage"), st.sampled_from(KINDS[:3])),
        st.tuples(st.just("heal")),
        st.tuples(st.just("outage elsewhere"), st.sampled_from(KINDS[:3])),
        st.tuples(st.just("heal elsewhere")),
        st.tuples(st.just("revoke"), st.sampled_from(PARTITIONS[1:])),
        st.tuples(st.just("go on"), st.sampled_from([0.05, 0.2, 1.0, 6.0, 20.0])),
    ),
    max_size=14,
)


async def live(script: list[tuple[object, ...]], elsewhere: list[Partition]) -> None:
    worker = SimulatedWorker(PARTITIONS, elsewhere=elsewhere)
    store, owned, sent = worker.store, set(PARTITIONS), 0
    worker.send(KEPT, "first")
    await worker.run(1.0)
    for step in script:
        match step:
            case ("send", Partition() as partition, int(count), kind):
                for _ in range(count if partition in owned else 0):
                    if kind is not None:
                        its = worker.other_store if partition in elsewhere else store
                        its.scripts[f"{partition}-{sent}"] = kind  # type: ignore[assignment]
                    worker.send(partition, f"{partition}-{sent}")
                    sent += 1
            case ("outage", kind):
                store.outage = kind  # type: ignore[assignment]
            case ("heal",):
                store.outage = None
            case ("outage elsewhere", kind):
                worker.other_store.outage = kind  # type: ignore[assignment]
            case ("heal elsewhere",):
                worker.other_store.outage = None
            case ("revoke", Partition() as partition) if partition in owned:
                owned.discard(partition)
                worker.revoke(partition)
            case ("go on", float(seconds)):
                await worker.run(seconds)
    store.outage = None
    worker.send(KEPT, "last")
    for _ in range(int(LONGEST_S)):
        await worker.run(1.0)
        if any(each.key == "last" for each in worker.taken):
            break
    else:
        raise AssertionError(f"it does not go on: {script}")
    await worker.close()
    assert not any(task for task in asyncio.all_tasks() if task is not asyncio.current_task())


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Each example would log its outages."""
    logger = logging.getLogger("pipeline.fetch")
    before = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(before)


@settings(max_examples=60)
@given(steps)
def test_a_worker_with_work_and_a_store_that_serves_goes_on(
    script: list[tuple[object, ...]],
) -> None:
    run(live(script, []))


@settings(max_examples=60)
@given(steps)
def test_a_worker_goes_on_with_the_store_that_serves_whatever_becomes_of_another(
    script: list[tuple[object, ...]],
) -> None:
    run(live(script, ELSEWHERE))

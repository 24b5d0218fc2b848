"""Any mix of objects, arrivals and one outage: each object gets the fate that is its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.errors import Reject, Retry, StoreDenied
from pipeline.fetch import Attempts, Fetcher, FetchPolicy, Stores
from pipeline.metrics import IMAGE_METRICS, STORE_METRICS
from pipeline.records import ImageRef, ObjectBody
from pipeline.retry import BreakerPolicy, RetryPolicy
from tests.rigs.stages.fetching import store_of
from tests.rigs.virtual_time import LoopClock, run

POLICY = FetchPolicy(max_bytes=100, deadline_s=20.0, max_refusals=2, max_open_objects=3)
BREAKER = BreakerPolicy(failures=3, open_s=4.0)
DAY_S = 86_400.0


class Nature(Enum):
    GOOD = auto()
    MISSING = auto()
    REFUSED = auto()
    BROKEN = auto()
    HANGING = auto()


FATES = {
    Nature.GOOD: None,
    Nature.MISSING: "fetch.not_found",
    Nature.REFUSED: "fetch.forbidden",
    Nature.BROKEN: "fetch.failed",
    Nature.HANGING: "fetch.timeout",
}
OUTAGES = [Nature.REFUSED, Nature.BROKEN, Nature.HANGING]


@dataclass(frozen=True)
class Case:
    objects: list[tuple[Nature, float]]
    """What each object is, and when its reference arrives."""
    latency_s: float
    outage: Nature
    outage_begins: float
    outage_lasts: float
    jitter: float


cases = st.builds(
    Case,
    objects=st.lists(
        st.tuples(st.sampled_from(Nature), st.floats(0, 120).map(lambda at: round(at, 1))),
        min_size=1,
        max_size=12,
    ),
    latency_s=st.sampled_from([0.01, 1.0, 9.0]),
    outage=st.sampled_from(OUTAGES),
    outage_begins=st.floats(0, 120).map(lambda at: round(at, 1)),
    outage_lasts=st.sampled_from([0.0, 0.5, 7.0, 60.0, 300.0]),
    jitter=st.sampled_from([0.1, 0.5, 0.99]),
)


class World:
    """A store that behaves as the case says."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.began = asyncio.get_running_loop().time()
        self.under_way = 0

    async def fetch(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None,
        etag: str | None,
        max_bytes: int,
        on_answer: Callable[[], Awaitable[None]],
    ) -> ObjectBody:
        self.under_way += 1
        # One for each object, and one that asks whether the store serves at all: what waits for
        # a first byte holds no place.
        assert self.under_way <= len(self.case.objects) + 1
        try:
            body = await self._answer(self.case.objects[int(key)][0])
            await on_answer()
            return body
        finally:
            self.under_way -= 1

    async def _answer(self, nature: Nature) -> ObjectBody:
        now = asyncio.get_running_loop().time()
        now -= self.began
        begins, lasts = self.case.outage_begins, self.case.outage_lasts
        if begins <= now < begins + lasts:
            nature = self.case.outage
        if nature is Nature.HANGING:
            await asyncio.sleep(DAY_S)
        await asyncio.sleep(self.case.latency_s)
        if nature is Nature.MISSING:
            raise Reject("fetch.not_found", "missing")
        if nature is Nature.REFUSED:
            raise StoreDenied("fetch.forbidden", "refused")
        if nature is Nature.BROKEN:
            raise Retry("fetch.failed", "broken")
        return ObjectBody(b"image", None, None)

    async def close(self) -> None: ...


async def fate(fetcher: Fetcher, number: int, at: float) -> str | None:
    await asyncio.sleep(at)
    try:
        async with fetcher.fetch(ImageRef("images", str(number), ("general",))):
            pass
    except Reject as reject:
        return reject.code
    return None


async def live(case: Case) -> None:
    fetcher = Fetcher(
        Attempts(Stores([store_of(World(case))]), POLICY, LoopClock()),
        retry=RetryPolicy(first_wait_s=0.2, longest_wait_s=4.0),
        breaker=BREAKER,
        random=lambda: case.jitter,
        meter=MemoryMeter((*IMAGE_METRICS, *STORE_METRICS)),
    )
    tasks = [
        asyncio.create_task(fate(fetcher, number, at))
        for number, (_, at) in enumerate(case.objects)
    ]
    await asyncio.wait(tasks, timeout=1000.0)
    natures = [nature for nature, _ in case.objects]
    answered = Nature.GOOD in natures or Nature.MISSING in natures
    for task, nature in zip(tasks, natures, strict=True):
        if task.done():
            fates = {FATES[nature]}
            if nature in OUTAGES and case.outage_lasts:
                # A bad object's last failure may be one of the outage: its fate stays the same.
                fates.add(FATES[case.outage])
            assert task.result() in fates
        else:
            # Nobody can tell a bad object from an outage if nothing else was ever answered.
            assert not answered
            task.cancel()
    if answered:
        assert fetcher.available


@settings(max_examples=60)
@given(cases)
def test_an_outage_changes_no_fate_and_every_fate_is_reached(case: Case) -> None:
    run(live(case))

"""Objects that the store refuses or never sends hold up their own partition alone."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.adapters.s3.answers import Answers
from pipeline.fetch import FetchPolicy
from pipeline.records import Partition
from pipeline.retry import RetryPolicy
from tests.rigs.virtual_time import run
from tests.rigs.workers.stream_in_virtual_time import SimulatedWorker

GOOD = [Partition("refs", number) for number in range(2)]
MINUTES = 1
A_MINUTE = 1000
"""Bad objects, in all partitions together."""
GOOD_A_SECOND = 10
PATIENCE_S = 60.0
"""After the last reference was sent."""
A_DAY_S = 86_400.0

DRIPPING = "dripping"
"""Objects that begin to arrive hold memory, and so a place, until their attempt ends."""
KINDS = {
    "refused as SSE-C": (400, "InvalidRequest"),
    "key disabled": (400, "KMS.DisabledException"),
    "forbidden": (403, "AccessDenied"),
    "missing": (404, "NoSuchKey"),
    "failing": (500, "InternalError"),
    "silent": None,
    DRIPPING: None,
}
CODES = {
    "refused as SSE-C": "fetch.locked",
    "key disabled": "fetch.locked",
    "forbidden": "fetch.forbidden",
    "missing": "fetch.not_found",
    "failing": "fetch.failed",
    "silent": "fetch.timeout",
    DRIPPING: "fetch.timeout",
}


class Traffic:
    """Good references in two partitions, bad ones in others."""

    def __init__(self, bad_partitions: int) -> None:
        self.bad = [Partition("refs", 2 + number) for number in range(bad_partitions)]
        self.worker = SimulatedWorker([*GOOD, *self.bad])

    async def flow(self, *, bad_a_minute: int, kind: str, good_behind: bool = False) -> None:
        sending = asyncio.create_task(self._send(bad_a_minute, kind, good_behind))
        await self.worker.run(MINUTES * 60.0)
        await sending
        await self.worker.run(PATIENCE_S)
        await self.worker.close()

    async def _send(self, bad_a_minute: int, kind: str, good_behind: bool) -> None:
        ticks = MINUTES * 60 * GOOD_A_SECOND
        sent = 0
        for tick in range(ticks):
            self.worker.send(GOOD[tick % len(GOOD)], f"good-{tick}")
            while sent < bad_a_minute * MINUTES * tick // ticks:
                key = f"bad-{sent}"
                self._spoil(key, kind)
                self.worker.send(self.bad[sent % len(self.bad)], key)
                if good_behind:
                    self.worker.send(self.bad[sent % len(self.bad)], f"behind-{sent}")
                sent += 1
            await asyncio.sleep(1 / GOOD_A_SECOND)

    def _spoil(self, key: str, kind: str) -> None:
        answer, store = KINDS[kind], self.worker.store
        if kind == DRIPPING:
            store.dripping.add(key)
            return

        async def bad() -> bytes:
            if answer is None:
                await asyncio.sleep(A_DAY_S)
                raise AssertionError("nobody waits this long")
            await asyncio.sleep(0.02 + 0.06 * self.worker.random.random())
            raise Answers("s3").failure(*answer, versioned=False)

        store.scripts[key] = bad

    def p99_s(self) -> float:
        seconds = sorted(each.seconds for each in self.worker.taken if each.partition in GOOD)
        assert len(seconds) == MINUTES * 60 * GOOD_A_SECOND, "each good reference has its outcome"
        return seconds[len(seconds) * 99 // 100]

    def codes(self) -> set[str | None]:
        return {each.code for each in self.worker.taken if each.partition in self.bad}


@pytest.fixture(scope="module")
def alone_s() -> float:
    """The 99th percentile of the good ones without bad ones beside them."""

    async def main() -> float:
        traffic = Traffic(1)
        await traffic.flow(bad_a_minute=0, kind="missing")
        return traffic.p99_s()

    return run(main())


@pytest.mark.parametrize(
    ("kind", "bad_partitions"),
    [*((kind, 30) for kind in KINDS if kind != DRIPPING), ("silent", 1)],
)
def test_bad_objects_in_other_partitions_delay_nobody(
    kind: str, bad_partitions: int, alone_s: float
) -> None:
    async def main() -> None:
        traffic = Traffic(bad_partitions)
        await traffic.flow(bad_a_minute=A_MINUTE, kind=kind)
        assert traffic.p99_s() <= 2 * alone_s
        assert not traffic.worker.paused & set(GOOD)
        assert traffic.codes() <= {CODES[kind]}

    run(main())


def test_only_partitions_of_bad_objects_wait_when_too_many_are_retried(alone_s: float) -> None:
    async def main() -> None:
        traffic = Traffic(3)
        await traffic.flow(bad_a_minute=2 * A_MINUTE, kind="silent")
        assert traffic.p99_s() <= 2 * alone_s
        assert traffic.worker.paused == set(traffic.bad)

    run(main())


@pytest.mark.parametrize(
    ("kind", "a_minute"), [(kind, 20 if kind == DRIPPING else 60) for kind in KINDS]
)
def test_behind_a_bad_object_references_wait_its_deadline_at_most(
    kind: str, a_minute: int, alone_s: float
) -> None:
    async def main() -> None:
        traffic = Traffic(3)
        await traffic.flow(bad_a_minute=a_minute, kind=kind, good_behind=True)
        behind = [each for each in traffic.worker.taken if each.key.startswith("behind")]
        assert traffic.codes() == {CODES[kind], None}
        assert len(behind) == a_minute * MINUTES - 1
        assert {each.code for each in behind} == {None}
        # Beside the deadline: the first wait, and the answer that shows that others are served.
        longest_s = max(each.seconds for each in behind)
        more_s = RetryPolicy().first_wait_s + 2 * alone_s
        assert longest_s <= FetchPolicy().deadline_s + more_s

    run(main())

"""Reads the object that a reference names, with patience: retries failed attempts, and decides when
an object is given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from pipeline.errors import Reject, Retry, StoreDenied
from pipeline.fetch.attempt import Attempts
from pipeline.fetch.healths import Healths
from pipeline.fetch.places import Hold, Places
from pipeline.fetch.policy import CHANCES, FetchPolicy
from pipeline.fetch.store_health import StoreHealth
from pipeline.metrics import FETCH_RETRIES, FETCHED_BYTES, QUEUE_DEPTH, STAGE_SECONDS
from pipeline.ports import Meter
from pipeline.priority import FIRST
from pipeline.records import ImageRef, ObjectBody
from pipeline.retry import BreakerPolicy, Permit, RetryPolicy, wait_s

_LONGEST_ASKED_WAIT_S = 60.0
"""Longest pause that a store's request is honoured for."""

_SLOW = 8
"""An object is slow if its store is silent for this many times the usual time to answer."""
_LEAST_SLOW_S = 1.0
"""No object is slow before this."""


@dataclass(slots=True)
class _Series:
    """The attempts on one object. A failure counts only if the store has served another object in
    an attempt that began after it. In an outage the store serves none."""

    ref: ImageRef
    health: StoreHealth
    of_pattern: bool
    """Whether a message has chosen the host (``Store.pattern``)."""
    source: Hashable
    level: int
    hold: Hold
    attempts: int = 0
    busy_s: float = 0.0
    counted: int = 0
    counted_s: float = 0.0
    refusals: int = 0
    aside: bool = False
    slow: bool = False
    """An attempt on the object has waited long for the first byte. The next attempt begins without
    a place."""
    waited_s: float = 0.0
    """Seconds that the latest attempt waited for a place."""

    def count(self, failure: Retry, took_s: float) -> None:
        self.counted += 1
        self.counted_s += took_s
        self.refusals += isinstance(failure, StoreDenied)

    def exhausted_by(self, failure: Retry, took_s: float, policy: FetchPolicy) -> bool:
        """Whether the failure, if it counts, is the last one."""
        left_s = policy.deadline_s - self.counted_s - took_s
        too_late = self.counted + 1 >= CHANCES and left_s < policy.attempt_s
        refusals = self.refusals + isinstance(failure, StoreDenied)
        return too_late or refusals >= policy.max_refusals


class Fetcher:
    """The fetch stage, on all stores of a worker.

    A failure that may pass is retried. The object is dead-lettered for it only if its store serves
    other objects meanwhile. If no such evidence arrives by itself, an object that was read before
    is read again. While an object fails, or its store stays silent, the object is *aside*: it
    delays only its own source (``places``). When a store answers nobody, its breaker opens, and
    fetches from it wait without a deadline until it answers (``store_health``). Each store has its
    own breaker and evidence (``healths``). All stores share the places in memory.

    A host that only a pattern names was chosen by a message, and perhaps it never existed. Nobody
    waits for it without end: its objects are given up while other web servers answer.

    Belongs to one event loop; ``available``, ``serving``, ``trouble``, ``held_up``,
    ``sources_aside`` and ``room_aside`` may be read from any thread.
    """

    def __init__(
        self,
        attempts: Attempts,
        *,
        retry: RetryPolicy,
        breaker: BreakerPolicy,
        random: Callable[[], float],
        meter: Meter,
        min_share: float = 0.0,
    ) -> None:
        self._stores = attempts.stores
        self._healths = Healths(attempts, breaker, meter)
        self._several = self._healths.several
        self._places = Places(attempts.policy.max_open_objects, min_share)
        self._policy = attempts.policy
        self._retry = retry
        self._clock = attempts.clock
        self._random = random
        self._meter = meter
        self._queued = 0
        meter.set(QUEUE_DEPTH, 0, stage="fetch")

    @property
    def available(self) -> bool:
        """Whether the worker should take in more references, which is so while any store wants
        some, used or not. With several stores, ``room_aside`` bounds the references that wait for a
        store that is down."""
        return self._healths.available

    @property
    def serving(self) -> bool:
        """Whether a store serves the worker. Of several stores only those count that have answered,
        or that references wait for: a store that nobody uses does not make up for one that is
        down."""
        return self._healths.serving

    @property
    def trouble(self) -> str | None:
        """Which store fails, and why, if one has failed since it last answered for an object."""
        found = [(each.called, each.failure) for each in self._healths if each.failure is not None]
        return "; ".join(f"{called}: {failure}" for called, failure in found) or None

    @property
    def held_up(self) -> frozenset[Hashable]:
        """Sources whose objects wait for a store that is down, while other sources go on. With one
        store there are none, because then nothing is taken in at all."""
        return self._places.sources_held_up

    @property
    def sources_aside(self) -> frozenset[Hashable]:
        """Sources of objects that may yet succeed: objects that have failed, or whose store is
        silent or down."""
        return self._places.sources_aside

    @property
    def room_aside(self) -> int:
        """References that those sources together may bring now."""
        room = self._places.room_aside
        if self._several and self._healths.starved:
            return max(room, 1)
        return room

    def fetch(
        self, ref: ImageRef, level: int = FIRST, source: Hashable = None
    ) -> AbstractAsyncContextManager[ObjectBody]:
        """Read the whole object. This takes as long as an outage of its store lasts.

        ``source`` says where the reference comes from. A failing object delays only references of
        its own source.

        The object takes one of ``max_open_objects`` places while an attempt is in progress, and
        from then until the block ends. It has no place while it waits for the next attempt, for the
        store to come back, or for a first byte that is late.

        Raises, where the block begins: Reject: any code of the ``fetch`` stage; ``attempts`` is the
        number of attempts. Halt: the store's adapter cannot work. MemoryError, OSError: this
        process has run out of memory or file descriptors.
        """
        return self._held(ref, level, source)

    async def reads_from(self, bucket: str) -> bool:
        """Whether an object of the bucket that was read before can be read now.

        If there is only one store, the call waits while the store is out of service. With several
        stores, waiting would hold up the other stores' references, so the answer is then True. It
        is also True for a host that only a pattern names: what a message has chosen says nothing
        about this deployment.
        """
        if self._stores.chosen_by_messages(bucket):
            return True
        for health in self._healths:
            if await health.reads_from(bucket, waits=not self._several):
                return True
        return False

    async def close(self) -> None:
        """End the background tasks, then close the stores. Fetches in progress belong to their
        callers, and fail."""
        await self._healths.close()
        await self._stores.close()

    @asynccontextmanager
    async def _held(self, ref: ImageRef, level: int, source: Hashable) -> AsyncIterator[ObjectBody]:
        store = self._stores.of(ref)
        health = self._healths.of(ref, store)
        series = _Series(ref, health, store.pattern, source, level, self._places.hold())
        health.begin()
        self._places.begin(source)
        try:
            try:
                body = await self._until_read(series)
            except Reject as reason:
                reason.attempts = series.attempts
                self._meter.observe(STAGE_SECONDS, series.busy_s, stage="fetch")
                raise
            finally:
                health.end(untried=series.attempts == 0)
                self._come_back(series)
                self._places.end(source)
            self._meter.add(FETCHED_BYTES, len(body.body))
            self._meter.observe(STAGE_SECONDS, series.busy_s, stage="fetch")
            yield body
        finally:
            series.hold.give_back()

    async def _until_read(self, series: _Series) -> ObjectBody:
        """Returns the object, with a place taken."""
        while True:
            permit = await self._enter(series)
            begun = self._clock.monotonic()
            try:
                return await self._attempt(series, permit)
            except Retry as error:
                failure = _bare(error)
            finally:
                ended = self._clock.monotonic()
                took_s = ended - begun - series.waited_s
                series.busy_s += took_s
            series.hold.give_back()
            self._go_aside(series)
            own_s = wait_s(series.attempts, self._retry, self._random)
            asked_s = min(failure.retry_after_s or 0.0, _LONGEST_ASKED_WAIT_S)
            if series.exhausted_by(failure, took_s + own_s, self._policy):
                # No time is left for another attempt: the object is given up if the store serves
                # others.
                if await self._others_served(series, ended):
                    raise Reject(
                        "fetch.host_failed" if series.of_pattern else failure.code,
                        f"{failure.message} ({series.attempts} attempts over "
                        f"{series.counted_s + took_s:.1f} s, while the store served other objects)",
                    )
                await self._wait(series, max(own_s, asked_s))
            else:
                await self._wait(series, max(own_s, asked_s))
                if await self._others_served(series, ended):
                    series.count(failure, took_s + own_s)
            self._meter.add(FETCH_RETRIES)

    async def _others_served(self, series: _Series, since: float) -> bool:
        """Whether what failed is this object, or this host if a message has chosen it."""
        ref, turn = series.ref, series.attempts
        if await series.health.serves_others(ref, since, turn):
            return True
        return series.of_pattern and await self._healths.serves_elsewhere(
            series.health, ref, since, turn
        )

    async def _wait(self, series: _Series, seconds: float) -> None:
        await self._clock.sleep(seconds)
        series.busy_s += seconds

    async def _enter(self, series: _Series) -> Permit:
        """Wait for the store to be in service, and for a place if the attempt needs one first."""
        self._queue(1)
        try:
            while True:
                if not series.health.closed:
                    # An object that failed in an outage is no worse than others.
                    self._come_back(series, forgiven=True)
                    await self._in_service(series)
                    series.slow = False
                aside = series.aside or self._places.bursts(series.source)
                if not series.slow:
                    await series.hold.take(aside=aside, level=series.level)
                    if not aside and self._places.bursts(series.source):
                        series.hold.give_back()  # the source turned bad meanwhile
                        continue
                permit = series.health.admit()
                if permit is not None:
                    self._begin(series)
                    return permit
                series.hold.give_back()
        finally:
            self._queue(-1)

    async def _in_service(self, series: _Series) -> None:
        """Wait for the store to be in service. With several stores, the object's source is held up,
        so that references of other sources go on."""
        if self._several:
            self._places.hold_up(series.source)
        try:
            since = self._clock.monotonic()
            while not await self._back(series):
                if await self._healths.serves_elsewhere(
                    series.health, series.ref, since, series.attempts
                ):
                    raise Reject(
                        "fetch.host_failed",
                        f"fetch: {series.ref.bucket} has not answered for "
                        f"{self._policy.deadline_s:g} s, while other hosts did; name it in "
                        "https.allowed_hosts if it should be waited for",
                    )
        finally:
            if self._several:
                self._places.let_go(series.source)

    async def _back(self, series: _Series) -> bool:
        """Wait for the store to be in service: without end, unless a message has chosen the
        host."""
        limit_s = self._policy.deadline_s if series.of_pattern else None
        try:
            async with asyncio.timeout(limit_s) as limit:
                await series.health.in_service(
                    series.ref, lambda: self._begin(series), untried=series.attempts == 0
                )
        except TimeoutError:
            if not limit.expired():
                raise
            return False
        return True

    async def _attempt(self, series: _Series, permit: Permit) -> ObjectBody:
        """One attempt. If the store is silent for too long, the attempt gives its place back and
        goes on."""
        series.waited_s = 0.0
        usual_s = series.health.usual_s()
        timer = None
        if usual_s is None and self._several:
            usual_s = 0.0  # do not let others wait until this store is known to be down
        if usual_s is not None and series.hold.taken:
            patience_s = max(_LEAST_SLOW_S, _SLOW * usual_s)
            timer = asyncio.get_running_loop().call_later(patience_s, self._turn_slow, series)

        async def on_answer() -> None:
            if timer is not None:
                timer.cancel()
            waiting_since = self._clock.monotonic()
            await series.hold.take_for_answer()
            series.waited_s = self._clock.monotonic() - waiting_since

        try:
            return await series.health.read(series.ref, permit, on_answer)
        finally:
            if timer is not None:
                timer.cancel()

    def _turn_slow(self, series: _Series) -> None:
        series.slow = True
        series.hold.give_back()
        self._go_aside(series)

    def _go_aside(self, series: _Series) -> None:
        if not series.aside:
            series.aside = True
            self._places.go_aside(series.source)

    def _come_back(self, series: _Series, *, forgiven: bool = False) -> None:
        if series.aside:
            series.aside = False
            self._places.come_back(series.source, forgiven=forgiven)

    def _begin(self, series: _Series) -> None:
        if series.attempts == 0:
            series.health.tried()
        series.attempts += 1

    def _queue(self, change: int) -> None:
        self._queued += change
        self._meter.set(QUEUE_DEPTH, self._queued, stage="fetch")


def _bare(failure: Retry) -> Retry:
    """The failure without its traceback. The frames hold the bytes that had arrived, and a series
    keeps its failure while it holds no place."""
    failure.__context__ = failure.__cause__ = None
    return failure.with_traceback(None)

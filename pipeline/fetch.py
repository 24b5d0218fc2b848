"""Reads the object that a reference names: retries, deadlines, and telling an outage from a bad
object (docs/fetching.md)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from pydantic import Field

from pipeline.errors import Reject, Retry
from pipeline.metrics import (
    BREAKER_OPEN,
    FETCH_RETRIES,
    FETCHED_BYTES,
    QUEUE_DEPTH,
    STAGE_SECONDS,
)
from pipeline.policy import Policy
from pipeline.ports import Clock, Meter, ObjectStore, StoreDenied
from pipeline.priority import FIRST, Turns
from pipeline.records import ImageRef, ObjectBody
from pipeline.retry import Breaker, BreakerPolicy, Permit, RetryPolicy, wait_s

log = logging.getLogger(__name__)

_CHANCES = 2
"""An object is given up only after failing this often beside a store that works. The last attempt
begun in an outage can end after it and then seems to be the object's own failure; a second cannot.
Each attempt may take its share of the deadline, so none begins when less than that is left."""

_LONGEST_ASKED_WAIT_S = 60.0
"""A store that asks for a longer pause is asked again after this."""


class FetchPolicy(Policy):
    """How an object is read."""

    max_bytes: int = Field(
        32 * 1024 * 1024,
        description="An object of more bytes is dead-lettered as fetch.too_large; no more than "
        "this is held in memory. A file that has more bytes once its Content-Encoding is undone is "
        "dead-lettered as decode.too_large.",
        gt=0,
    )
    deadline_s: float = Field(
        30.0,
        description="Seconds within which an object must arrive: all attempts and the waits "
        "between them, while the store serves other objects. One attempt may take half of it, and "
        "none begins in the second half. "
        "Waiting for a free slot or for the store to come back does not count.",
        gt=0,
    )
    max_refusals: int = Field(
        3,
        description="An object that the store refuses (403, or no such bucket) this often, while "
        "it serves others, is dead-lettered before the deadline. An outage can charge an object "
        "with one refusal, so the least is 2.",
        ge=2,
    )
    max_open_objects: int = Field(
        64,
        description="Objects that each worker holds at a time, from the first byte read until "
        "they are decoded; times fetch.max_bytes this bounds memory.",
        gt=0,
    )


class Answers:
    """The two latest attempts, of two different objects, that the store answered.

    Two suffice to ask about objects other than any given one.
    """

    def __init__(self) -> None:
        self._latest: tuple[tuple[float, ImageRef], ...] = ()

    def __bool__(self) -> bool:
        """Whether the store has answered anything yet."""
        return bool(self._latest)

    def add(self, ref: ImageRef, begun: float) -> None:
        """The store answered an attempt on ``ref`` that began at ``begun`` (monotonic seconds)."""
        if len(self._latest) == 2 and begun <= self._latest[1][0]:
            return  # Both are as late, and about other objects, or this one's latest is among them.
        same = [entry for entry in self._latest if _same_object(entry[1], ref)]
        others = [entry for entry in self._latest if not _same_object(entry[1], ref)]
        newest = max([*same, (begun, ref)], key=lambda entry: entry[0])
        ordered = sorted([*others, newest], key=lambda entry: entry[0], reverse=True)
        self._latest = tuple(ordered[:2])

    def other_than(self, ref: ImageRef) -> ImageRef | None:
        """The other object that answered last, if any."""
        return next((other for _, other in self._latest if not _same_object(other, ref)), None)

    def since(self, moment: float, ref: ImageRef) -> bool:
        """Whether an attempt on another object, begun at ``moment`` or later, was answered."""
        return any(
            begun >= moment and not _same_object(other, ref) for begun, other in self._latest
        )


def _same_object(one: ImageRef, other: ImageRef) -> bool:
    return one.key == other.key and one.bucket == other.bucket


@dataclass(slots=True)
class _Series:
    """The attempts on one object. A failure counts only if the store is known to have served
    another object in an attempt begun after it: in an outage none does."""

    attempts: int = 0
    busy_s: float = 0.0
    counted: int = 0
    counted_s: float = 0.0
    refusals: int = 0

    def count(self, failure: Retry, took_s: float) -> None:
        self.counted += 1
        self.counted_s += took_s
        self.refusals += isinstance(failure, StoreDenied)

    def exhausted(self, policy: FetchPolicy) -> bool:
        left_s = policy.deadline_s - self.counted_s
        too_late = self.counted >= _CHANCES and left_s < _limit_s(policy)
        return too_late or self.refusals >= policy.max_refusals


def _limit_s(policy: FetchPolicy) -> float:
    """Seconds that one attempt may take."""
    return policy.deadline_s / _CHANCES


class _Held:
    """The block in which an object is held."""

    def __init__(self, opening: Coroutine[None, None, ObjectBody], slots: Turns) -> None:
        self._opening, self._slots = opening, slots

    async def __aenter__(self) -> ObjectBody:
        return await self._opening

    async def __aexit__(self, *raised: object) -> None:
        self._slots.release()


class Fetcher:
    """The fetch stage.

    A failure that may pass is retried. The object is dead-lettered for it only if the store serves
    other objects meanwhile; where the stream itself brings no such evidence, the object that was
    read last is read again to get it. When many objects fail in a row the breaker opens: fetches
    wait, without a deadline, and one request at a time asks whether the store is back.

    Belongs to one event loop; ``available`` may be read from any thread.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        allows_bucket: Callable[[str], bool],
        policy: FetchPolicy,
        retry: RetryPolicy,
        breaker: BreakerPolicy,
        clock: Clock,
        random: Callable[[], float],
        meter: Meter,
        min_share: float = 0.0,
    ) -> None:
        self._store = store
        self._allows_bucket = allows_bucket
        self._policy = policy
        self._retry = retry
        self._breaker = Breaker(breaker)
        self._clock = clock
        self._random = random
        self._meter = meter
        self._slots = Turns(policy.max_open_objects, min_share)
        self._asking = asyncio.Lock()
        self._answers = Answers()
        self._untried = 0
        self._queued = 0
        self._down_since = 0.0
        meter.set(BREAKER_OPEN, 0)
        meter.set(QUEUE_DEPTH, 0, stage="fetch")

    @property
    def available(self) -> bool:
        """Whether the worker should take in more references: not while the breaker is open.

        One exception keeps refused objects from holding up a stream for good: as long as the store
        has never answered anything, a reference that has not been tried yet is the only way to
        tell an outage from bad references, so there should always be one.
        """
        return self._breaker.closed() or (not self._answers and self._untried == 0)

    def fetch(self, ref: ImageRef, level: int = FIRST) -> AbstractAsyncContextManager[ObjectBody]:
        """Read the whole object; takes as long as an outage of the store lasts.

        The object takes one of ``max_open_objects`` places while an attempt is under way, and from
        then until the block ends: none while it waits for the next attempt or for the store.

        Raises, where the block begins:
            Reject: any code of the ``fetch`` stage; ``attempts`` says how many were made.
            Halt: the store's adapter cannot work.
            MemoryError, OSError: this process has run out of memory or file descriptors.
        """
        return _Held(self._open(ref, level), self._slots)

    async def _open(self, ref: ImageRef, level: int) -> ObjectBody:
        """Returns with a slot, which the caller releases; raises without one."""
        if not self._allows_bucket(ref.bucket):
            raise Reject(
                "fetch.bucket_not_allowed",
                f"fetch: bucket {ref.bucket!r} is not in s3.allowed_buckets; "
                "add it there, or mend the producer",
            )
        series = _Series()
        self._untried += 1
        try:
            body = await self._until_settled(ref, series, level)
        except Reject as reason:
            reason.attempts = series.attempts
            self._meter.observe(STAGE_SECONDS, series.busy_s, stage="fetch")
            raise
        finally:
            self._untried -= series.attempts == 0
        self._meter.add(FETCHED_BYTES, len(body.body))
        self._meter.observe(STAGE_SECONDS, series.busy_s, stage="fetch")
        return body

    async def _until_settled(self, ref: ImageRef, series: _Series, level: int) -> ObjectBody:
        """Returns with a slot, which the caller releases; raises without one."""
        while True:
            permit = await self._enter(ref, series, level)
            self._begin(series)
            begun = self._clock.monotonic()
            try:
                return await self._read(ref, permit)
            except Retry as error:
                self._slots.release()
                failure = error
            except BaseException:
                self._slots.release()
                raise
            finally:
                ended = self._clock.monotonic()
                series.busy_s += ended - begun
            own_s = wait_s(series.attempts, self._retry, self._random)
            asked_s = min(failure.retry_after_s or 0.0, _LONGEST_ASKED_WAIT_S)
            await self._clock.sleep(max(own_s, asked_s))
            series.busy_s += max(own_s, asked_s)
            if await self._serves_others(ref, ended):
                series.count(failure, ended - begun + own_s)
                if series.exhausted(self._policy):
                    raise Reject(
                        failure.code,
                        f"{failure.message} ({series.attempts} attempts over "
                        f"{series.counted_s:.1f} s, while the store served other objects)",
                    )
            self._meter.add(FETCH_RETRIES)

    async def _enter(self, ref: ImageRef, series: _Series, level: int) -> Permit:
        """Wait for a slot, and for the store to be in service. The caller releases the slot."""
        self._queue(1)
        try:
            while True:
                await self._in_service(ref, series)
                await self._slots.acquire(level)
                if self._breaker.closed():
                    permit = self._breaker.admit(self._clock.monotonic())
                    if permit is not None:
                        return permit
                self._slots.release()
        finally:
            self._queue(-1)

    async def _in_service(self, ref: ImageRef, series: _Series) -> None:
        """Return when the breaker is closed. Meanwhile one fetch at a time asks the store.

        The lock is first come, first served: until the store has answered something, each waiting
        reference is asked for in its turn, so no set of bad ones can hide a good one.
        """
        while not self._breaker.closed():
            async with self._asking:
                if self._breaker.closed():
                    return
                await self._clock.sleep(self._breaker.asks_in_s(self._clock.monotonic()))
                witness = self._answers.other_than(ref)
                if witness is None:
                    self._begin(series)
                await self._ask(witness or ref)

    async def _serves_others(self, ref: ImageRef, since: float) -> bool:
        """Whether the store answers for other objects, in attempts begun at ``since`` or later."""
        if self._answers.since(since, ref):
            return True
        async with self._asking:
            witness = self._answers.other_than(ref)
            if witness is None or not self._breaker.closed():
                return False
            if not self._answers.since(since, ref):
                await self._ask(witness)
        return self._answers.since(since, ref)

    async def _ask(self, witness: ImageRef) -> None:
        """Read an object for the sake of what it says about the store."""
        permit = self._breaker.admit(self._clock.monotonic())
        if permit is not None:
            with contextlib.suppress(Reject, Retry):
                await self._read(witness, permit)

    async def _read(self, ref: ImageRef, permit: Permit) -> ObjectBody:
        """One attempt, and what it says about the store."""
        begun = self._clock.monotonic()
        limit_s = _limit_s(self._policy)
        try:
            async with asyncio.timeout(limit_s):
                body = await self._store.fetch(
                    ref.bucket,
                    ref.key,
                    version_id=ref.version_id,
                    etag=ref.etag,
                    max_bytes=self._policy.max_bytes,
                )
        except Reject:
            self._answered(ref, permit, begun)
            raise
        except Retry as failure:
            self._failed(ref, permit, failure)
            raise
        except TimeoutError:
            late = Retry(
                "fetch.timeout",
                f"fetch: the object did not arrive within {limit_s:.1f} s "
                f"(fetch.deadline_s = {self._policy.deadline_s:g}); look at the store's latency",
            )
            self._failed(ref, permit, late)
            raise late from None
        except BaseException:
            self._breaker.abandoned(permit)
            raise
        self._answered(ref, permit, begun)
        return body

    def _answered(self, ref: ImageRef, permit: Permit, begun: float) -> None:
        self._answers.add(ref, begun)
        was_closed = self._breaker.closed()
        self._breaker.succeeded(permit)
        if self._breaker.closed() and not was_closed:
            down_s = self._clock.monotonic() - self._down_since
            log.warning("fetch: the store is back after %.0f s; intake resumes", down_s)
            self._meter.set(BREAKER_OPEN, 0)

    def _failed(self, ref: ImageRef, permit: Permit, failure: Retry) -> None:
        was_closed = self._breaker.closed()
        self._breaker.failed(permit, (ref.bucket, ref.key), self._clock.monotonic())
        if was_closed and not self._breaker.closed():
            self._down_since = self._clock.monotonic()
            log.warning(
                "fetch: the store is out of service: several objects failed in a row (%s); intake "
                "pauses and nothing is dead-lettered until it answers",
                failure,
            )
            self._meter.set(BREAKER_OPEN, 1)
        elif not was_closed:
            log.debug("fetch: the store is still out of service (%s)", failure)

    def _begin(self, series: _Series) -> None:
        self._untried -= series.attempts == 0
        series.attempts += 1

    def _queue(self, change: int) -> None:
        self._queued += change
        self._meter.set(QUEUE_DEPTH, self._queued, stage="fetch")

"""Whether a store serves: what single attempts say about it, and a probe while the store is in
doubt. There is one of these for each store (``healths``)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import statistics
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable

from pipeline.errors import Halt, Reject, Retry, StoreDenied, ends_worker
from pipeline.fetch.attempt import Attempts
from pipeline.fetch.evidence import Answers, Witnesses, same_object
from pipeline.records import ImageRef, ObjectBody
from pipeline.retry import Breaker, BreakerPolicy, Permit

log = logging.getLogger(__name__)

_ASKED_IN_DOUBT = 2
"""Objects that are asked for, one after the other, before the breaker opens. One of them may have
been deleted or locked since it was read."""

_LEAST_SLEEP_S = 0.001

_USUAL_OF = 31
"""Answers whose median is the usual time to answer."""
_USUAL_FROM = 5
"""Fewest answers for a median."""


class StoreHealth:
    """Makes attempts on one store's objects and learns from them whether the store serves.

    While the breaker is open, a task of this object asks the store whether it is back, even if no
    fetch waits. ``close`` ends that task.

    ``called`` is the store's name in the log. ``on_turn`` is called after the breaker has opened or
    closed.

    Belongs to one event loop; ``serves``, ``wants_more``, ``starved``, ``used``, ``called`` and
    ``failure`` may be read from any thread.
    """

    def __init__(
        self,
        attempts: Attempts,
        breaker: BreakerPolicy,
        called: str,
        on_turn: Callable[[], None],
    ) -> None:
        self._attempts = attempts
        self._breaker = Breaker(breaker)
        self._clock = attempts.clock
        self.called = called
        self._on_turn = on_turn
        self._untried = 0  # fetches in progress without an attempt so far
        self._under_way = 0  # all fetches in progress
        self._answers = Answers()
        self._witnesses = Witnesses()
        self._usual_s: deque[float] = deque(maxlen=_USUAL_OF)
        self._asking = asyncio.Lock()
        self._probe: asyncio.Task[None] | None = None
        self._probes = 0
        self._broken: Exception | None = None
        self._closed = False
        self._waiting: OrderedDict[object, tuple[ImageRef, Callable[[], None], bool]] = (
            OrderedDict()
        )
        self._changed = asyncio.Event()
        self._down_since = 0.0
        self.failure: str | None = None
        """The latest failure, if the store has answered for no object since."""

    @property
    def closed(self) -> bool:
        """Whether the breaker is closed, so that attempts may be made."""
        return self._breaker.closed()

    @property
    def serves(self) -> bool:
        """Whether fetches may go on. True also if asking the store failed for a reason of this
        process: the next fetch raises it."""
        return self._breaker.closed() or self._broken is not None

    @property
    def starved(self) -> bool:
        """Whether a store that has never answered has no object left to be asked about. Only an
        untried reference can then tell an outage from bad references, so there should always be
        one."""
        return not self.serves and not self._answers and self._untried == 0

    @property
    def wants_more(self) -> bool:
        """Whether more references should come."""
        return self.serves or self.starved

    @property
    def used(self) -> bool:
        """Whether the store has answered, or references wait for it. Nothing is known about a store
        that no reference has named."""
        return bool(self._answers) or self._under_way > 0

    @property
    def idle(self) -> bool:
        """Whether no fetch is in progress."""
        return self._under_way == 0

    @property
    def has_answered(self) -> bool:
        """Whether the store has answered anything yet."""
        return bool(self._answers)

    def answered_since(self, moment: float, ref: ImageRef) -> bool:
        """Whether an attempt on another object, begun at ``moment`` or later, was answered."""
        return self._answers.since(moment, ref)

    def begin(self) -> None:
        """A fetch begins; no attempt on its object has been made."""
        self._untried += 1
        self._under_way += 1

    def tried(self) -> None:
        """The first attempt on a fetch's object begins."""
        self._untried -= 1

    def end(self, *, untried: bool) -> None:
        """A fetch ends; ``untried``: without an attempt."""
        self._untried -= untried
        self._under_way -= 1

    def usual_s(self) -> float | None:
        """Seconds in which the store usually begins to answer; None until it has answered a few
        times."""
        if len(self._usual_s) < _USUAL_FROM:
            return None
        return statistics.median(self._usual_s)

    def admit(self) -> Permit | None:
        """Permission for an attempt, or None while the breaker is open."""
        return self._breaker.admit(self._clock.monotonic()) if self.closed else None

    async def in_service(self, ref: ImageRef, begin: Callable[[], None], *, untried: bool) -> None:
        """Return when the breaker is closed.

        Meanwhile the probe may ask the store about ``ref``, earlier than about others if ``ref`` is
        ``untried``. ``begin`` is called when the probe makes an attempt on ``ref``.

        Raises:
            Halt, MemoryError, OSError: asking failed for a reason of this process.
        """
        place = object()
        self._waiting[place] = (ref, begin, untried)
        if untried:
            self._waiting.move_to_end(place, last=False)
        try:
            while not self._breaker.closed():
                if self._broken is not None:
                    raise self._broken
                self._look_into_it()
                self._changed.clear()
                await self._changed.wait()
        finally:
            self._waiting.pop(place, None)

    async def serves_others(self, ref: ImageRef, since: float, turn: int) -> bool:
        """Whether the store answers for other objects, in attempts begun at ``since`` or later. If
        the stream brings no such answer, an object that the store has answered for is read again;
        ``turn`` selects it."""
        if self._answers.since(since, ref):
            return True
        async with self._asking:
            others = [other for other in self._known() if not same_object(other, ref)]
            in_doubt = self._breaker.doubtful or not self._breaker.closed()  # the probe asks
            if others and not in_doubt and not self._answers.since(since, ref):
                await self._ask(others[turn % len(others)])
        return self._answers.since(since, ref)

    async def reads_from(self, bucket: str, *, waits: bool) -> bool:
        """Whether an object of the bucket that was read before can be read now. While the store is
        out of service this cannot be known: the call then ``waits``, or returns True."""
        for witness in self._witnesses.of(bucket):
            while (permit := self.admit()) is None:
                if not waits:
                    return True
                await self.in_service(witness, lambda: None, untried=False)
            with contextlib.suppress(Reject, Retry):
                await self.read(witness, permit)
                return True
        return False

    async def read(
        self,
        ref: ImageRef,
        permit: Permit,
        on_answer: Callable[[], Awaitable[None]] | None = None,
    ) -> ObjectBody:
        """One attempt, whose result is noted for the store.

        Raises:
            Reject, Retry, Halt, MemoryError, OSError: as ``Attempts.read``.
        """
        begun = self._clock.monotonic()

        async def answered(_: int | None = None) -> None:
            self._usual_s.append(self._clock.monotonic() - begun)
            if on_answer is not None:
                await on_answer()

        try:
            body = await self._attempts.read(ref, answered)
        except Reject:
            self._answered(ref, permit, begun)
            raise
        except Retry as failure:
            self._failed(ref, permit, failure)
            raise
        except BaseException:
            self._breaker.abandoned(permit)
            raise
        self._answered(ref, permit, begun)
        self._witnesses.add(ref)
        return body

    def retire(self) -> None:
        """End the probe permanently, without waiting for its end."""
        self._closed = True
        if self._probe is not None:
            self._probe.cancel()

    async def close(self) -> None:
        """End the probe permanently."""
        self.retire()
        probe, self._probe = self._probe, None
        if probe is not None:
            await asyncio.gather(probe, return_exceptions=True)

    # -- what attempts say ------------------------------------------------------------------

    def _answered(self, ref: ImageRef, permit: Permit, begun: float) -> None:
        self._answers.add(ref, begun)
        self._broken = self.failure = None
        was_closed = self._breaker.closed()
        self._breaker.succeeded(permit)
        if self._breaker.closed() and not was_closed:
            down_s = self._clock.monotonic() - self._down_since
            log.warning("fetch: %s is back after %.0f s; references go on", self.called, down_s)
            self._on_turn()
            self._changed.set()

    def _failed(self, ref: ImageRef, permit: Permit, failure: Retry) -> None:
        now = self._clock.monotonic()
        self.failure = str(failure)
        self._breaker.failed(permit, (ref.bucket, ref.full_key), now)
        if not self._breaker.closed():
            log.debug("fetch: %s is still out of service (%s)", self.called, failure)
        elif self._breaker.doubtful:
            if self._answers:
                self._look_into_it()
            else:
                self._trip(failure)

    def _trip(self, failure: Retry) -> None:
        self._down_since = self._clock.monotonic()
        self._breaker.trip(self._down_since)
        log.warning(
            "fetch: %s is out of service: several objects failed in a row (%s); its references "
            "wait, and none is dead-lettered, until it answers",
            self.called,
            failure,
        )
        self._on_turn()
        self._look_into_it()

    # -- the probe --------------------------------------------------------------------------

    def _look_into_it(self) -> None:
        """Start the probe. It does not depend on any fetch that waits for the store."""
        if not self._closed and (self._probe is None or self._probe.done()):
            self._probe = asyncio.create_task(self._probing(), name="store-probe")

    async def _probing(self) -> None:
        try:
            if self._breaker.doubtful:
                await self._ask_for_known()
            while not self._breaker.closed():
                asks_in_s = self._breaker.asks_in_s(self._clock.monotonic())
                # Timers end a little early, and a request before its time would be refused.
                await self._clock.sleep(max(_LEAST_SLEEP_S, asks_in_s))
                async with self._asking:
                    if self._breaker.asks_in_s(self._clock.monotonic()):
                        continue
                    candidate = self._candidate()
                    if candidate is None:
                        return  # nothing to ask about; the next waiting fetch starts it again
                    failure = await self._ask(candidate)
                    if isinstance(failure, StoreDenied) and self._untried_wait():
                        # The store is up and has never served anything: the next reference may be
                        # the first.
                        self._breaker.ask_at(self._clock.monotonic())
        except Exception as error:
            # Nobody awaits this task; the fetches that wait for the store raise its error.
            self._broken = error
            if not isinstance(error, Halt) and not ends_worker(error):
                log.exception("fetch: asking whether %s serves failed unexpectedly", self.called)
                self._broken = Halt(
                    "worker.unexpected", f"fetch: {type(error).__name__}; see the traceback above"
                )
        finally:
            self._changed.set()

    async def _ask_for_known(self) -> None:
        """Ask for objects that the store has answered for. The breaker opens only if the store
        answers for none of them now. Otherwise the objects that failed in a row are bad
        themselves."""
        failure: Retry | None = None
        for witness in self._known()[:_ASKED_IN_DOUBT]:
            async with self._asking:
                if not self._breaker.doubtful:
                    return
                failure = await self._ask(witness)
            if failure is None:
                return
            if failure.code == "fetch.timeout":
                break  # A store that serves would answer even for a bad object.
        if failure is not None and self._breaker.doubtful:
            self._trip(failure)

    def _known(self) -> list[ImageRef]:
        """Objects that the store has answered for: the latest, one of each other bucket, and the
        latest but one."""
        latest = self._answers.objects
        others = [ref for ref in self._witnesses.latest if ref.bucket != latest[0].bucket]
        return [*latest[:1], *others, *latest[1:]]

    def _candidate(self) -> ImageRef | None:
        """The next object to ask for. Known objects and waiting references take turns, each in
        their order, so that no set of bad objects hides a good one."""
        self._probes += 1
        known = self._known()
        if known and (self._probes % 2 or not self._waiting):
            return known[self._probes // 2 % len(known)]
        if not self._waiting:
            return None
        place, (ref, begin, _) = self._waiting.popitem(last=False)
        self._waiting[place] = (ref, begin, False)
        begin()
        return ref

    def _untried_wait(self) -> bool:
        """Whether an untried reference waits for a store that has never answered."""
        if self._answers or not self._waiting:
            return False
        _, _, untried = next(iter(self._waiting.values()))
        return untried

    async def _ask(self, witness: ImageRef) -> Retry | None:
        """Read an object to learn about the store. Returns the failure, or None if the store
        answered."""
        permit = self._breaker.admit(self._clock.monotonic())
        if permit is None:
            return None
        try:
            await self.read(witness, permit)
        except Reject:
            return None
        except Retry as failure:
            return failure
        return None

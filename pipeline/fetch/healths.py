"""The health of every store: one for each store, and one for each host that only a pattern names.

Any number of hosts may match a pattern, so their healths are bounded: the host that was named
longest ago is forgotten first, once nothing is read from it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import chain, islice

from pipeline.fetch.attempt import Attempts
from pipeline.fetch.store_health import StoreHealth
from pipeline.fetch.stores import Store
from pipeline.metrics import BREAKER_OPEN, STORE_BREAKER_OPEN
from pipeline.ports import Meter
from pipeline.records import ImageRef
from pipeline.retry import BreakerPolicy

MAX_HOSTS = 64
"""Hosts of patterns that are remembered. More are, while something is read from each."""

_WEB = "https"

_ASKED_ELSEWHERE = 2
"""Other hosts that are asked whether they serve, one after the other."""


class Healths:
    """Belongs to one event loop; ``available``, ``serving`` and ``starved`` may be read from any
    thread. ``several`` says whether one store may be down while another serves."""

    def __init__(self, attempts: Attempts, breaker: BreakerPolicy, meter: Meter) -> None:
        self._attempts = attempts
        self._breaker = breaker
        self._meter = meter
        self._patterns = any(store.pattern for store in attempts.stores)
        self.several = self._patterns or len(attempts.stores) > 1
        self._named = {
            store.name: self._new(f"store {store.name}" if self.several else "the store")
            for store in attempts.stores
            if not store.pattern
        }
        self._hosts: OrderedDict[str, StoreHealth] = OrderedDict()
        self._tell_breakers()

    def __iter__(self) -> Iterator[StoreHealth]:
        # Copies, because other threads read this while hosts come and go.
        return chain(list(self._named.values()), list(self._hosts.values()))

    @property
    def available(self) -> bool:
        """Whether any store wants more references. A pattern always does: it may name a host that
        nobody has named before."""
        return self._patterns or any(health.wants_more for health in self)

    @property
    def serving(self) -> bool:
        """Whether a store serves. Of several stores only those count that have answered, or that
        references wait for: a store that nobody uses does not make up for one that is down."""
        if not self.several:
            return self.available
        used = [health for health in self if health.used]
        return not used or any(health.serves for health in used)

    @property
    def starved(self) -> bool:
        """Whether a store needs one more reference, to be asked about."""
        return any(health.starved for health in self)

    def of(self, ref: ImageRef, store: Store) -> StoreHealth:
        """The health of the store that a reference is read from."""
        if not store.pattern:
            return self._named[store.name]
        health = self._hosts.pop(ref.bucket, None)
        if health is None:
            self._make_room()
            health = self._new(f"host {ref.bucket}")
        self._hosts[ref.bucket] = health
        return health

    async def serves_elsewhere(
        self, health: StoreHealth, ref: ImageRef, since: float, turn: int
    ) -> bool:
        """Whether another web server answers, in attempts begun at ``since`` or later. This tells a
        host that fails from a worker that reaches no host at all."""
        servers = [
            *(self._named[each.name] for each in self._attempts.stores if self._is_server(each)),
            *reversed(self._hosts.values()),
        ]
        others = [each for each in servers if each is not health and each.has_answered]
        if any(each.answered_since(since, ref) for each in others):
            return True
        for other in islice(others, _ASKED_ELSEWHERE):
            if await other.serves_others(ref, since, turn):
                return True
        return False

    async def close(self) -> None:
        """End the background tasks."""
        for health in self:
            await health.close()

    def _new(self, called: str) -> StoreHealth:
        return StoreHealth(self._attempts, self._breaker, called, self._tell_breakers)

    def _make_room(self) -> None:
        for host, health in list(self._hosts.items()):
            if len(self._hosts) < MAX_HOSTS:
                return
            if health.idle:
                self._hosts.pop(host).retire()

    def _is_server(self, store: Store) -> bool:
        return store.name in self._named and store.scheme == _WEB

    def _tell_breakers(self) -> None:
        """Of hosts that only a pattern names there is no gauge: messages choose them."""
        is_open = {name: not health.closed for name, health in self._named.items()}
        self._meter.set(BREAKER_OPEN, any(is_open.values()))
        for name, is_it in is_open.items():
            self._meter.set(STORE_BREAKER_OPEN, is_it, store=name)

"""How many images a replica has in hand."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.metrics import HTTP_IMAGES_IN_HAND
from pipeline.ports import Meter
from pipeline.priority import FIRST
from workers.serve.admission.rates import Rates
from workers.serve.admission.shares import Shares
from workers.serve.caller import ANYBODY, Admitted
from workers.serve.errors import overloaded


class Depth:
    """How many images may be in hand, so that each is served within ``max_wait_s``.

    ``full`` images keep all lanes busy: fewer would leave the device idle. Beside them as many may
    wait as are encoded in ``max_wait_s``, or ``queued`` where that is None. ``wait_s`` tells how
    long so many waiting images take.
    """

    def __init__(
        self, full: int, queued: int, max_wait_s: float | None, wait_s: Callable[[int], float]
    ) -> None:
        self._full = full
        self._queued = queued
        self._max_wait_s = max_wait_s
        self.wait_s = wait_s

    def __call__(self) -> int:
        if self._max_wait_s is None:
            return self._full + self._queued
        # Half a round of batches is the least that lets the next batches fill meanwhile.
        least = self._full + self._full // 2
        return max(least, self._full + int(self._max_wait_s / self.wait_s(1)))


class Room:
    """Room for images between their request's admission and its answer. Belongs to one event
    loop."""

    def __init__(
        self,
        depth: Depth,
        rates: Rates,
        meter: Meter,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._depth = depth
        self._rates = rates
        self._meter = meter
        self._chance = chance
        self._shares = Shares()

    @property
    def images(self) -> int:
        """Images in hand."""
        return self._shares.total

    @contextmanager
    def taken(self, images: int, admitted: Admitted) -> Iterator[None]:
        """Room for so many images of a request during the block.

        Raises:
            ApiError: 429: there is no room, or the key's rate allows no more.
        """
        caller = admitted.caller
        # Without keys each request stands for itself, or small ones would keep out a large one.
        name = admitted.request_id if caller is ANYBODY else caller.name
        lower = caller.level > FIRST
        bound = self._depth()
        if not self._shares.room_for(name, images, bound, lower=lower):
            wait_s = self._depth.wait_s(self._shares.total)
            raise overloaded(
                f"the server has {self._shares.total} images in hand against a bound of {bound}; "
                f"try again in {wait_s:.2f} s",
                wait_s,
                self._chance,
            )
        if caller.rate is not None:
            self._rates.charge(caller.name, caller.rate, images - admitted.prepaid)
        admitted.prepaid = max(0, admitted.prepaid - images)
        self._shares.take(name, images, lower=lower)
        self._meter.set(HTTP_IMAGES_IN_HAND, self._shares.total)
        try:
            yield
        finally:
            self._shares.give_back(name, images, lower=lower)
            self._meter.set(HTTP_IMAGES_IN_HAND, self._shares.total)

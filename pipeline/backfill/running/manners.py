"""The rate of a job as a whole, and the share of each worker."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.ports import Clock

STEPS = 20
"""A rate grows in so many steps, so that workers are told of each and not all the time."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What may be read a second. None: no limit."""

    objects_per_s: float | None = None
    bytes_per_s: float | None = None

    def times(self, share: float) -> Rates:
        return Rates(
            None if self.objects_per_s is None else self.objects_per_s * share,
            None if self.bytes_per_s is None else self.bytes_per_s * share,
        )


UNLIMITED = Rates()


class Manners:
    """Shares the job's rate among its workers. A job with a rate and ``ramp_up_s`` begins slowly,
    because a store splits its partitions only under load."""

    def __init__(self, ramp_up_s: float, clock: Clock) -> None:
        self._ramp_up_s = ramp_up_s
        self._clock = clock
        self._began: float | None = None

    def share(self, rates: Rates, workers: int) -> Rates:
        """What each of ``workers`` may read now. Time counts from the first worker on."""
        if not workers:
            self._began = None
            return rates
        now = self._clock.monotonic()
        if self._began is None:
            self._began = now
        grown = 1.0
        if self._ramp_up_s > 0:
            step = int(STEPS * (now - self._began) / self._ramp_up_s) + 1
            grown = min(STEPS, step) / STEPS
        return rates.times(grown / workers)

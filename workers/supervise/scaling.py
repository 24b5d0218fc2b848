"""How many workers are wanted: pure, with the clock as an argument.

The rule. Over a span of ``MEASURED_S`` in which nothing changed, the workers commit ``rate``
records a second, and ``rate`` and the growth of lag arrive. Enough workers do what arrives and work
the lag off within ``drain_target_s``:

    needed = arriving + lag / drain_target_s

What one worker can do is ``rate / workers`` while all are busy: while records waited all the time,
enough for ``BUSY_S``, and the rate was steady. An idle moment shows only that it can do no less.

- Out: when all are busy and ``needed`` exceeds what they do by ``TOLERANCE``; to what is needed, at
  most twice as many, no more than partitions.
- In: when ``needed`` was at most ``FULLEST`` of what fewer can do, for the whole
  ``scale_in_window_s``; to the highest number that was needed meanwhile, as the Kubernetes
  autoscaler does. The gap between the two bounds keeps a constant load from adding and removing in
  turns.
- Not at all: while a worker starts, ends, does not answer, is held up by the store or the broker or
  does not know its lag, while partitions move, and for ``MEASURED_S`` after. An outage makes lag,
  and no worker can mend it.

Where more workers do not help, for the broker, the store, the machine or one full partition is what
is slow, their number would grow without end, for each seems to do less. So an addition is a trial:
if all are busy still and the rate has not risen by ``LEAST_GAIN`` of the workers' share, nor in a
second span, for in the first their caches were cold, the number before it is the limit for
``TRIAL_S``. So it is if the added workers do not start.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.ports import Clock
from workers.settings.workers import WorkersPolicy
from workers.stream.health import Health

MEASURED_S = 30.0
"""Span over which rates are measured: long against a commit, short against a drain."""

BUSY_S = 10.0
"""Lag that makes sure that every worker had work: records in flight are lag too, and rates vary."""

TOLERANCE = 0.1
"""Share by which what is needed must exceed what is done: that of the Kubernetes autoscaler."""

STEADY = 0.5
"""Least share of one half of the span's rate in the other: less, and it says that commits began or
ceased meanwhile, not what workers can do."""

FULLEST = 0.8
"""Share of what workers can do that the load may take after some were removed."""

LEAST_GAIN = 0.2
"""Share of a linear gain below which an addition was of no use."""

TRIAL_S = 1800.0
"""Time after which more workers are tried again where they were of no use."""


@dataclass(frozen=True, slots=True)
class Resize:
    """So many workers are wanted; ``why`` has the numbers, for the log."""

    workers: int
    why: str


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    lag: int
    passed: int
    spread: tuple[int, ...]
    """Partitions of each worker."""


@dataclass(frozen=True, slots=True)
class _Rates:
    """Records a second, measured. ``busy``: no worker was ever without work."""

    workers: int
    partitions: int
    lag: int
    done: float
    arriving: float
    busy: bool


@dataclass(frozen=True, slots=True)
class _Trial:
    """An addition whose use is not known yet."""

    before: int
    done: float
    at: float


class Scaling:
    """Decides from what the workers say. Give it every look at them: it knows time by its clock and
    change by what it is given, not by whether its decisions were followed."""

    def __init__(self, policy: WorkersPolicy, clock: Clock) -> None:
        self._policy = policy
        self._clock = clock
        self._samples: deque[_Sample] = deque()
        self._unchanged_since = clock.monotonic()
        self._per_worker: float | None = None
        self._trial: _Trial | None = None
        # Above this number workers are of no use, until a time.
        self._limit = (policy.most, 0.0)
        # How many would have been enough, and when, since it was fewer than there are.
        self._fewer: deque[tuple[float, int]] = deque()

    def decide(self, workers: Sequence[Health | None]) -> Resize | None:
        """What to change now, if anything. ``workers`` has an answer for each that is wanted or has
        not ended yet, None where there is no fresh one; those added last come last."""
        sample = self._sample(workers)
        if self._samples and (sample is None or sample.spread != self._samples[-1].spread):
            self._samples.clear()
            self._fewer.clear()
        if sample is None:
            return self._give_up_on_starts(workers)
        if not self._samples:
            self._unchanged_since = sample.at
        self._samples.append(sample)
        while len(self._samples) > 1 and sample.at - self._samples[1].at >= MEASURED_S:
            self._samples.popleft()
        if sample.at - self._samples[0].at < MEASURED_S:
            return None
        rates = self._rates()
        if rates.done == 0 and min(each.lag for each in self._samples) > 0:
            # Something holds every commit, as a failure budget does: nothing is known.
            self._fewer.clear()
            return None
        self._learn(rates)
        if self._per_worker is None:
            return None
        return self._more(rates, self._per_worker) or self._less(rates, self._per_worker)

    # -- inside -----------------------------------------------------------------------------

    def _sample(self, workers: Sequence[Health | None]) -> _Sample | None:
        known = [each for each in workers if each is not None and each.available]
        lags = [each.lag for each in known if each.lag is not None]
        spread = tuple(each.partitions for each in known)
        if not len(workers) == len(known) == len(lags) or not any(spread):
            return None
        passed = sum(each.passed for each in known)
        return _Sample(self._clock.monotonic(), sum(lags), passed, spread)

    def _rates(self) -> _Rates:
        first, last = self._samples[0], self._samples[-1]
        seconds = last.at - first.at
        done = (last.passed - first.passed) / seconds
        middle = next(each for each in self._samples if each.at - first.at >= seconds / 2)
        halves = (middle.passed - first.passed, last.passed - middle.passed)
        steady = done > 0 and min(halves) >= STEADY * max(halves)
        return _Rates(
            workers=len(last.spread),
            partitions=sum(last.spread),
            lag=last.lag,
            done=done,
            arriving=max(0.0, done + (last.lag - first.lag) / seconds),
            busy=steady and min(each.lag for each in self._samples) >= BUSY_S * done,
        )

    def _learn(self, rates: _Rates) -> None:
        """What a worker can do, and whether the last addition was of use."""
        done_by_one = rates.done / rates.workers
        if rates.busy:
            self._per_worker = done_by_one
        elif self._per_worker is not None:
            self._per_worker = max(self._per_worker, done_by_one)
        if self._trial is not None:
            self._judge(self._trial, rates)

    def _judge(self, trial: _Trial, rates: _Rates) -> None:
        now = self._clock.monotonic()
        linear = trial.done * (rates.workers / trial.before - 1)
        useful = rates.done - trial.done >= LEAST_GAIN * linear
        if useful or not rates.busy or rates.workers <= trial.before:
            self._trial = None
        elif now - self._unchanged_since >= 2 * MEASURED_S:
            self._trial, self._limit = None, (trial.before, now + TRIAL_S)

    def _more(self, rates: _Rates, per_worker: float) -> Resize | None:
        now, needed = self._clock.monotonic(), self._needed(rates)
        if self._trial is not None or not rates.busy or needed <= rates.done * (1 + TOLERANCE):
            return None
        enough = math.ceil(needed / per_worker)
        target = min(enough, 2 * rates.workers, self._most(rates))
        if target <= rates.workers:
            return None
        self._trial = _Trial(rates.workers, rates.done, now)
        return Resize(target, self._why(rates, per_worker, enough))

    def _less(self, rates: _Rates, per_worker: float) -> Resize | None:
        now, fewer = self._clock.monotonic(), self._fewer
        enough = math.ceil(self._needed(rates) / (FULLEST * per_worker))
        target = max(self._policy.count, min(enough, self._most(rates)))
        if target >= rates.workers:
            fewer.clear()
            return None
        fewer.append((now, target))
        # A load that falls at once falls here over the measured span: its slope does not count.
        if now - fewer[0][0] < self._policy.scale_in_window_s + MEASURED_S:
            return None
        while now - fewer[0][0] > self._policy.scale_in_window_s:
            fewer.popleft()
        highest = max(number for _, number in fewer)
        return Resize(highest, self._why(rates, per_worker, enough))

    def _needed(self, rates: _Rates) -> float:
        return rates.arriving + rates.lag / self._policy.drain_target_s

    def _most(self, rates: _Rates) -> int:
        """A worker without a partition is of no use, nor is one that showed it."""
        limit, until = self._limit
        limited = limit if self._clock.monotonic() < until else self._policy.most
        return min(self._policy.most, rates.partitions, limited)

    def _why(self, rates: _Rates, per_worker: float, enough: int) -> str:
        limit, until = self._limit
        limited = self._clock.monotonic() < until
        return (
            f"lag {rates.lag}, {rates.arriving:.1f}/s arrive, {rates.done:.1f}/s committed, "
            f"{per_worker:.1f}/s by a busy worker: {enough} would do; {rates.partitions} partitions"
            + (f", more than {limit} brought nothing" if limited else "")
        )

    def _give_up_on_starts(self, workers: Sequence[Health | None]) -> Resize | None:
        """Added workers that do not start, for the cluster has no room, must not end scaling."""
        trial, now = self._trial, self._clock.monotonic()
        if trial is None or now - trial.at <= self._policy.start_timeout_s:
            return None
        started = next((n for n, each in enumerate(workers) if each is None), len(workers))
        if not trial.before <= started < len(workers):
            return None
        self._trial, self._limit = None, (started, now + TRIAL_S)
        seconds = self._policy.start_timeout_s
        return Resize(started, f"the others have not started within {seconds:g} s")

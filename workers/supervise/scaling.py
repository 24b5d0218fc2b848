"""How many workers are wanted. Pure; the clock is an argument.

The rule: over a span of ``MEASURED_S`` in which nothing changed, the workers commit ``rate``
records a second. The records that arrive are ``rate`` plus the growth of lag. Enough workers handle
what arrives and work the lag off within ``drain_target_s``:

    needed = arriving + lag / drain_target_s

One worker can do ``rate / workers`` while all workers are busy. They are busy if records waited all
the time, enough for ``BUSY_S``, and the rate was steady. An idle moment only gives a lower bound.

- Add: when all workers are busy and ``needed`` exceeds what they do by ``TOLERANCE``. The new
  number is what is needed, at most twice as many as before, and at most the number of partitions.
- Remove: when ``needed`` was at most ``FULLEST`` of what fewer workers can do, for the whole
  ``scale_in_window_s``. The new number is the highest that was needed in this window, as in the
  Kubernetes autoscaler. The gap between the two bounds keeps a constant load from adding and
  removing workers in turns.
- Do nothing: while a worker starts, ends, does not answer, is held up by the broker or a store, or
  does not know its lag; while partitions move; and for ``MEASURED_S`` afterwards. An outage makes
  lag, and more workers cannot help. This holds for an outage of one of several stores too: the lag
  of the partitions that wait for that store would count as work.

More workers do not help if the broker, the store, the machine or one full partition is the
bottleneck. Each worker then seems to do less, and their number would grow without end. So an
addition is a trial. It fails if all workers are still busy and the rate has risen by less than
``LEAST_GAIN`` of the new workers' share, in a first and in a second span (in the first span their
caches are cold). It also fails if the added workers do not start. After a failed trial, the earlier
number is the limit for ``TRIAL_S``.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.ports import Clock
from workers.health import Health
from workers.settings.workers import WorkersPolicy

MEASURED_S = 30.0
"""Span over which rates are measured. Long compared with a commit, short compared with a drain."""

BUSY_S = 10.0
"""Seconds of lag that show that every worker had work. Records in flight are lag too, and rates
vary."""

TOLERANCE = 0.1
"""Share by which the needed rate must exceed the measured rate, as in the Kubernetes autoscaler."""

STEADY = 0.5
"""Smallest share of one half of the span's rate in the other half. With less, commits began or
ceased in the span, and the rate does not show what workers can do."""

FULLEST = 0.8
"""Share of their capacity that the load may take after workers were removed."""

LEAST_GAIN = 0.2
"""Share of a linear gain below which an addition was useless."""

TRIAL_S = 1800.0
"""Seconds after which more workers are tried again after a failed trial."""


@dataclass(frozen=True, slots=True)
class Resize:
    """The wanted number of workers. ``why`` has the figures, for the log."""

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
    """Measured records a second. ``busy``: no worker was ever without work."""

    workers: int
    partitions: int
    lag: int
    done: float
    arriving: float
    busy: bool


@dataclass(frozen=True, slots=True)
class _Trial:
    """An addition that has not proven useful yet."""

    before: int
    done: float
    at: float


class Sizing(Protocol):
    """Decides how many workers are wanted."""

    def decide(self, workers: Sequence[Health | None]) -> Resize | None:
        """The change to make now, if any. ``workers`` has an answer for each worker that is wanted
        or has not ended yet, or None without a fresh answer. The workers added last come last."""


class Scaling:
    """Decides from the workers' answers. Call it with every look at the workers. It notices changes
    in the answers, not whether its decisions were followed."""

    def __init__(self, policy: WorkersPolicy, clock: Clock) -> None:
        self._policy = policy
        self._clock = clock
        self._samples: deque[_Sample] = deque()
        self._unchanged_since = clock.monotonic()
        self._per_worker: float | None = None
        self._trial: _Trial | None = None
        # Above this number workers are useless, until this time.
        self._limit = (policy.most, 0.0)
        # How many workers would have been enough, and when; since that was last as many as there
        # are.
        self._fewer: deque[tuple[float, int]] = deque()

    def decide(self, workers: Sequence[Health | None]) -> Resize | None:
        """The change to make now, if any. ``workers`` has an answer for each worker that is wanted
        or has not ended yet, or None without a fresh answer. The workers added last come last."""
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
            # Commits are held back, as by a failure budget, so nothing can be measured.
            self._fewer.clear()
            return None
        self._learn(rates)
        if self._per_worker is None:
            return None
        return self._more(rates, self._per_worker) or self._less(rates, self._per_worker)

    # -- inside -----------------------------------------------------------------------------

    def _sample(self, workers: Sequence[Health | None]) -> _Sample | None:
        known = [each for each in workers if each and each.available and not each.held_up]
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
        """Learn what one worker can do, and whether the last addition was useful."""
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
        # A sudden drop of the load appears here as a slope over the measured span, which must not
        # count.
        if now - fewer[0][0] < self._policy.scale_in_window_s + MEASURED_S:
            return None
        while now - fewer[0][0] > self._policy.scale_in_window_s:
            fewer.popleft()
        highest = max(number for _, number in fewer)
        return Resize(highest, self._why(rates, per_worker, enough))

    def _needed(self, rates: _Rates) -> float:
        return rates.arriving + rates.lag / self._policy.drain_target_s

    def _most(self, rates: _Rates) -> int:
        """A worker without a partition is useless, and so is one beyond the limit of a failed
        trial."""
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
        """End the trial if added workers do not start because the cluster has no room. Scaling goes
        on."""
        trial, now = self._trial, self._clock.monotonic()
        if trial is None or now - trial.at <= self._policy.start_timeout_s:
            return None
        started = next((n for n, each in enumerate(workers) if each is None), len(workers))
        if not trial.before <= started < len(workers):
            return None
        self._trial, self._limit = None, (started, now + TRIAL_S)
        seconds = self._policy.start_timeout_s
        return Resize(started, f"the others have not started within {seconds:g} s")

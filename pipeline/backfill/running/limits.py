"""What a job has used so far, and how much it may use."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.backfill.job import Written


class Used(Written):
    """Of all drivers of a job together. ``hours``: while the job had workers. ``worker_hours``:
    summed over the workers, from the moment that each has its place on a node. ``cost`` is
    ``gpu_hours`` at the price that a driver was given, in its currency."""

    hours: float = 0.0
    worker_hours: float = 0.0
    gpu_hours: float = 0.0
    cost: float = 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """None: no limit. ``gpu_hour_price`` is the price of an hour of one GPU."""

    max_hours: float | None = None
    max_cost: float | None = None
    gpu_hour_price: float | None = None

    def reached(self, used: Used) -> str | None:
        """The limit that is reached, in words; None if there is none."""
        if self.max_hours is not None and used.hours >= self.max_hours:
            return f"--max-hours {self.max_hours:g} is reached: the job ran {used.hours:.2f} hours"
        if self.max_cost is not None and used.cost >= self.max_cost:
            return (
                f"--max-cost {self.max_cost:g} is reached: {used.gpu_hours:.2f} GPU hours cost "
                f"{used.cost:.2f}"
            )
        return None


NO_LIMITS = Limits()


class Account:
    """Adds up what a job uses, against its limits."""

    def __init__(self, before: Used, gpus_per_worker: float, limits: Limits) -> None:
        self.used = before
        self._gpus_per_worker = gpus_per_worker
        self._limits = limits

    @property
    def limit(self) -> str | None:
        """The limit that is reached, in words."""
        return self._limits.reached(self.used)

    def add(self, seconds: float, workers: int) -> None:
        """For ``seconds`` there were so many workers."""
        if not workers:
            return
        hours = seconds / 3600
        gpu_hours = hours * workers * self._gpus_per_worker
        self.used = Used(
            hours=self.used.hours + hours,
            worker_hours=self.used.worker_hours + hours * workers,
            gpu_hours=self.used.gpu_hours + gpu_hours,
            cost=self.used.cost + gpu_hours * (self._limits.gpu_hour_price or 0.0),
        )

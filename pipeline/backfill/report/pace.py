"""How fast a job was, from the times at which its shards began and ended.

A shard's rows count as spread evenly over its time. Times are Unix seconds of the workers' clocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

STEPS = 120


@dataclass(frozen=True, slots=True)
class Span:
    """When a shard was in work, by whom, and how many rows it had. ``gpus`` is the worker's part of
    a GPU."""

    began_at: float
    ended_at: float
    rows: int
    worker: str
    gpus: float = 0.0


@dataclass(frozen=True, slots=True)
class Pace:
    """``rows_per_s`` has the mean rate of each step of ``step_s`` seconds from ``began_at`` on."""

    began_at: float
    step_s: float
    rows_per_s: tuple[float, ...]

    @property
    def ended_at(self) -> float:
        return self.began_at + self.step_s * len(self.rows_per_s)


def pace(spans: Sequence[Span], steps: int = STEPS) -> Pace | None:
    """None without spans."""
    if not spans:
        return None
    began, ended = min(each.began_at for each in spans), max(each.ended_at for each in spans)
    step_s = max((ended - began) / steps, 1e-3)
    rows = [0.0] * steps
    for span in spans:
        took_s = max(span.ended_at - span.began_at, 1e-9)
        first = min(steps - 1, int((span.began_at - began) / step_s))
        last = min(steps - 1, int((span.ended_at - began) / step_s))
        for step in range(first, last + 1):
            starts = began + step * step_s
            within = min(span.ended_at, starts + step_s) - max(span.began_at, starts)
            rows[step] += span.rows * max(0.0, within) / took_s
    return Pace(began, step_s, tuple(each / step_s for each in rows))


def busy_s(spans: Iterable[Span]) -> float:
    """Seconds in which at least one of the shards was in work."""
    total, until = 0.0, float("-inf")
    for span in sorted(spans, key=lambda each: each.began_at):
        total += max(0.0, span.ended_at - max(span.began_at, until))
        until = max(until, span.ended_at)
    return total


@dataclass(frozen=True, slots=True)
class WorkerTime:
    """Time in which workers had committed shards in work. Loading the model, waiting and work that
    was lost are not part of it."""

    worker_s: float
    gpu_s: float
    workers: int


def worker_time(spans: Iterable[Span]) -> WorkerTime:
    by_worker: dict[str, list[Span]] = {}
    for span in spans:
        by_worker.setdefault(span.worker, []).append(span)
    times = {worker: busy_s(each) for worker, each in by_worker.items()}
    return WorkerTime(
        sum(times.values()),
        sum(times[worker] * each[0].gpus for worker, each in by_worker.items()),
        len(times),
    )

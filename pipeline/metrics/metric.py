"""What a metric is, and what the groups share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PREFIX = "clipstream_"


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric. ``remedy`` says what an operator does when the metric looks wrong.

    Each metric is created once, in this room, and equals only itself. A meter looks the metric up
    for every image, and hashing all fields would cost more than counting.
    """

    name: str
    kind: Kind
    help: str
    remedy: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
LATENCY = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def metric(
    kind: Kind,
    name: str,
    help: str,
    remedy: str,
    labels: tuple[str, ...] = (),
    buckets: tuple[float, ...] = (),
) -> Metric:
    return Metric(PREFIX + name, kind, help, remedy, labels, buckets)

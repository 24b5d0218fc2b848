"""The driver."""

from __future__ import annotations

from pipeline.metrics.metric import Kind, Metric, metric

DRIVER_WORKERS = metric(
    Kind.GAUGE,
    "driver_workers",
    "Worker places of this driver by state: ready (takes in work), held (runs, but waits for the "
    "store or the broker), starting, waiting (Ray has no room), empty (after a fault of its "
    "node), leaving.",
    "waiting: free resources, add a node, or lower workers.count. empty: see "
    "clipstream_driver_places_empty. held: see the workers' clipstream_breaker_open and "
    "clipstream_commit_failures_total.",
    ("state",),
)
DRIVER_EMPTY = metric(
    Kind.GAUGE,
    "driver_places_empty",
    "Worker places that are empty because of a fault of their node, by code of the halt. The "
    "other workers go on.",
    "Look the code up in docs/reference/codes.md. The driver's log and the body of /readyz name "
    "the node.",
    ("code",),
)

DRIVER_METRICS: tuple[Metric, ...] = (
    DRIVER_WORKERS,
    DRIVER_EMPTY,
)
"""The places for workers: exposed by the driver only."""

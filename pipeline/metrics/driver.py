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
WORKER_DEATHS = metric(
    Kind.COUNTER,
    "driver_worker_deaths_total",
    "Workers of this driver that died, or hung and were killed. Workers that were asked to stop, "
    "or whose node went away, are not counted.",
    "The driver's log has a line for each death with its code. A record or a broken node kills "
    "again and again: see docs/troubleshooting.md, Workers die again and again.",
)
CERTIFICATE_EXPIRY = metric(
    Kind.GAUGE,
    "certificate_expiry_timestamp_seconds",
    "Unix time at which the file of this setting can no longer be used: a client certificate or "
    "its chain expires, or the last one of several authorities. The file is read again every "
    "hour.",
    "Renew the file on every node, and restart the drivers one after the other.",
    ("setting",),
)

WORKER_UP = metric(
    Kind.GAUGE,
    "worker_up",
    "1 if the worker in this place answered the driver with its metrics, else 0. Each place for a "
    "worker has a series, also while no worker is there. A label that a kind of worker lacks is "
    "empty.",
    "0 for longer than a start takes: the body of /readyz and clipstream_driver_workers say why "
    "the place has no worker. If they call the worker ready, the driver cannot reach its port: "
    "set endpoints.host to 0.0.0.0 on the workers' machines and open the port.",
    ("kind", "worker", "group", "backfill", "node", "driver"),
)

DRIVER_METRICS: tuple[Metric, ...] = (
    DRIVER_WORKERS,
    DRIVER_EMPTY,
    WORKER_DEATHS,
    CERTIFICATE_EXPIRY,
)
"""The places for workers, and the driver's files: exposed by the driver only."""

FLEET_METRICS: tuple[Metric, ...] = (WORKER_UP,)
"""What the driver finds out when it asks its workers: exposed at /metrics/all only."""

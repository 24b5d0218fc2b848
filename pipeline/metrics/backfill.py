"""A backfill: its workers and its driver."""

from __future__ import annotations

from pipeline.metrics.metric import LATENCY, Kind, Metric, metric

BACKFILL_ROWS = metric(
    Kind.COUNTER,
    "backfill_rows_total",
    "Rows of shards that this worker has finished, by outcome (classified, failed, skipped). A "
    "shard that another worker committed first counts for both workers.",
    "failed: clipstream_backfill_failures_total says why.",
    ("outcome",),
)
BACKFILL_FAILURES = metric(
    Kind.COUNTER,
    "backfill_failures_total",
    "Failed rows of shards that this worker has finished, by stable code.",
    "Look the code up in docs/reference/codes.md. `clipstream backfill retry` repeats the rows.",
    ("code",),
)
BACKFILL_SHARD_SECONDS = metric(
    Kind.HISTOGRAM,
    "backfill_shard_duration_seconds",
    "Seconds from the first row of a shard to its last one. Two shards are in work at once.",
    "A lost worker loses up to two shards of work. Far above 120: lower backfill.shard_rows for "
    "the next job.",
    (),
    LATENCY,
)
BACKFILL_LAST_PROGRESS = metric(
    Kind.GAUGE,
    "backfill_last_progress_timestamp_seconds",
    "Unix time at which this worker last finished a shard. 0: none yet.",
    "Older than a few shards take: see clipstream_breaker_open and the worker's log.",
)
BACKFILL_SHARDS = metric(
    Kind.GAUGE,
    "backfill_shards",
    "Shards of the job by state: committed, in_work, set_aside (they killed their process several "
    "times, and are done last) and waiting.",
    "set_aside: the driver searches the rows that kill their process, and makes them errors. "
    "in_work is 0 while the job is paused.",
    ("state",),
)
BACKFILL_SECONDS_LEFT = metric(
    Kind.GAUGE,
    "backfill_left_seconds",
    "Seconds until the job is complete, at the rate of the last minutes. NaN while that is not "
    "known.",
    "Too long: `clipstream backfill scale OUTPUT --workers NUMBER`.",
)
BACKFILL_GIVEN_BACK = metric(
    Kind.GAUGE,
    "backfill_given_back_places",
    "Places for workers that the job has given back to the stream on the same cluster.",
    "Never 0: the stream needs more devices than it has, or backfill.yield_above_lag is below its "
    "usual lag.",
)

BACKFILL_METRICS: tuple[Metric, ...] = (
    BACKFILL_ROWS,
    BACKFILL_FAILURES,
    BACKFILL_SHARD_SECONDS,
    BACKFILL_LAST_PROGRESS,
)
"""Finished shards: exposed by workers of a backfill only."""

BACKFILL_JOB_METRICS: tuple[Metric, ...] = (
    BACKFILL_SHARDS,
    BACKFILL_SECONDS_LEFT,
    BACKFILL_GIVEN_BACK,
)
"""The job: exposed by the driver of a backfill only."""

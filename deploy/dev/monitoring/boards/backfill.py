"""Backfills: how far, how fast, and what fails."""

from __future__ import annotations

from deploy.dev.monitoring.boards.board import (
    RELEASE,
    WORKER_LEGEND,
    Board,
    Panel,
    Query,
    Row,
    gauge,
    mean,
    quantile,
    rate,
)

SHARDS = "clipstream_backfill_shards"

BACKFILL = Board(
    "backfill",
    "Clipstream / Backfill",
    "How far a job is, how fast it goes, and what fails.",
    (
        Row(
            "The job",
            (
                Panel(
                    "Done",
                    "Share of the shards that are committed.",
                    "percentunit",
                    (
                        Query(
                            f'sum by (instance) ({SHARDS}{{{RELEASE},state="committed"}}) / '
                            f"sum by (instance) ({SHARDS}{{{RELEASE}}})",
                            "{{instance}}",
                        ),
                    ),
                    width=6,
                    figure=True,
                ),
                Panel(
                    "Time left",
                    "At the rate of the last minutes. 0: not known yet.",
                    "s",
                    (
                        Query(
                            gauge(
                                "max", "clipstream_backfill_left_seconds", RELEASE, by="instance"
                            ),
                            "{{instance}}",
                        ),
                    ),
                    width=6,
                    figure=True,
                ),
                Panel(
                    "Shards by state",
                    "set_aside: they killed their process several times, and are done last. "
                    "in_work is 0 while the job is paused.",
                    "short",
                    (Query(f"sum by (state) ({SHARDS}{{{RELEASE}}})", "{{state}}"),),
                    width=12,
                    stacked=True,
                ),
                Panel(
                    "Rows of finished shards",
                    "A second, by outcome. A shard that two workers finished counts twice.",
                    "ops",
                    (
                        Query(
                            rate("clipstream_backfill_rows_total", RELEASE, "outcome"),
                            "{{outcome}}",
                        ),
                    ),
                    width=12,
                    stacked=True,
                ),
                Panel(
                    "Time of a shard",
                    "From its first row to its last. A lost worker loses up to two shards of work.",
                    "s",
                    (
                        Query(mean("clipstream_backfill_shard_duration_seconds", RELEASE), "mean"),
                        Query(
                            quantile(0.9, "clipstream_backfill_shard_duration_seconds", RELEASE),
                            "90 %",
                        ),
                    ),
                    width=12,
                ),
            ),
        ),
        Row(
            "Workers and failures",
            (
                Panel(
                    "Failed rows by code",
                    "`clipstream backfill retry` repeats them.",
                    "ops",
                    (
                        Query(
                            rate("clipstream_backfill_failures_total", RELEASE, "code"),
                            "{{code}}",
                        ),
                    ),
                ),
                Panel(
                    "Time since a worker finished a shard",
                    "Older than a few shards take: look at the breaker and the worker's log.",
                    "s",
                    (
                        Query(
                            "time() - max by (driver, worker) "
                            "(clipstream_backfill_last_progress_timestamp_seconds"
                            f"{{{RELEASE}}} > 0)",
                            WORKER_LEGEND,
                        ),
                    ),
                ),
                Panel(
                    "Places given back to the stream",
                    "Never 0: the stream needs more devices than it has.",
                    "short",
                    (
                        Query(
                            gauge(
                                "sum",
                                "clipstream_backfill_given_back_places",
                                RELEASE,
                                by="instance",
                            ),
                            "{{instance}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)

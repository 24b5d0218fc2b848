"""Delivery through Kafka: commits, partitions and members."""

from __future__ import annotations

from deploy.dev.monitoring.boards.board import (
    ALL,
    WORKER,
    WORKER_LEGEND,
    Board,
    Panel,
    Query,
    Row,
    gauge,
    increase,
    rate,
    stage_time,
)

KAFKA = Board(
    "kafka",
    "Clipstream / Kafka delivery",
    "Do commits succeed, and who owns the partitions?",
    (
        Row(
            "Commits",
            (
                Panel(
                    "Commits",
                    "Transactions that succeeded, a second.",
                    "ops",
                    (Query(rate("clipstream_commits_total", by=WORKER), WORKER_LEGEND),),
                ),
                Panel(
                    "Failed commits",
                    "A few during a broker's restart are normal.",
                    "ops",
                    (Query(rate("clipstream_commit_failures_total", by=WORKER), WORKER_LEGEND),),
                ),
                Panel(
                    "Time of a commit",
                    "From the first record of the transaction to its end.",
                    "s",
                    stage_time("commit"),
                ),
                Panel(
                    "Outcomes in a commit",
                    "How many references one transaction finishes.",
                    "short",
                    (
                        Query(
                            f"{rate('clipstream_references_total')} / "
                            f"{rate('clipstream_commits_total')}",
                            "outcomes",
                        ),
                    ),
                ),
                Panel(
                    "Time for which outcomes wait for a commit",
                    "Above 5 s a worker counts as held. Above 360 s an alert fires.",
                    "s",
                    (
                        Query(
                            gauge("max", "clipstream_commit_age_seconds", by=WORKER), WORKER_LEGEND
                        ),
                    ),
                    width=16,
                ),
            ),
        ),
        Row(
            "Partitions",
            (
                Panel(
                    "Partitions of a worker",
                    "0 for long: the group is rebalancing, or has more members than partitions.",
                    "short",
                    (
                        Query(
                            gauge("sum", "clipstream_assigned_partitions", by=WORKER), WORKER_LEGEND
                        ),
                    ),
                ),
                Panel(
                    "Rebalances",
                    "Changes of a worker's partitions, an hour. A steady number: members come "
                    "and go.",
                    "short",
                    (
                        Query(
                            increase("clipstream_rebalances_total", "1h", by=WORKER), WORKER_LEGEND
                        ),
                    ),
                ),
                Panel(
                    "Lag by partition",
                    "The partitions that are furthest behind.",
                    "short",
                    (
                        Query(
                            "topk(12, sum by (topic, partition) "
                            f"(clipstream_consumer_lag_records{{{ALL}}}))",
                            "{{topic}}[{{partition}}]",
                        ),
                    ),
                ),
            ),
        ),
    ),
)

"""The stream: how much, how late, and where it is held up."""

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
    mean,
    quantile,
    rate,
)

STREAM = Board(
    "stream",
    "Clipstream / Stream",
    "How much is classified, how late, and which stage holds it up.",
    (
        Row(
            "Rate and lag",
            (
                Panel(
                    "Outcomes",
                    "References whose outcome was committed, a second.",
                    "ops",
                    (Query(rate("clipstream_references_total", by="outcome"), "{{outcome}}"),),
                    stacked=True,
                ),
                Panel(
                    "Outcomes by worker",
                    "One worker far below the others: look at its node.",
                    "ops",
                    (Query(rate("clipstream_references_total", by=WORKER), WORKER_LEGEND),),
                ),
                Panel(
                    "Lag by partition",
                    "The partitions that are furthest behind. One alone: a hot or a stuck "
                    "partition.",
                    "short",
                    (
                        Query(
                            "topk(12, sum by (topic, partition) "
                            f"(clipstream_consumer_lag_records{{{ALL}}}))",
                            "{{topic}}[{{partition}}]",
                        ),
                    ),
                ),
                Panel(
                    "Skipped",
                    "Records that a rule left out, by reason. A sudden rise: a producer changed.",
                    "ops",
                    (Query(rate("clipstream_skipped_total", by="reason"), "{{reason}}"),),
                ),
                Panel(
                    "Time since the last progress",
                    "Of each worker. It matters only while records wait.",
                    "s",
                    (
                        Query(
                            "time() - "
                            + gauge("max", "clipstream_last_progress_timestamp_seconds", by=WORKER),
                            WORKER_LEGEND,
                        ),
                    ),
                ),
                Panel(
                    "Oldest reference without an outcome",
                    "Above 40 s, the sum of the deadlines, it waits for a store, a model or a "
                    "broker.",
                    "s",
                    (
                        Query(
                            gauge("max", "clipstream_oldest_unfinished_seconds", by=WORKER),
                            WORKER_LEGEND,
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Latency",
            (
                Panel(
                    "End to end",
                    "From the record's timestamp to the commit of its outcome.",
                    "s",
                    tuple(
                        Query(quantile(q, "clipstream_end_to_end_latency_seconds"), name)
                        for q, name in ((0.5, "half"), (0.9, "90 %"), (0.99, "99 %"))
                    ),
                    width=6,
                ),
                Panel(
                    "Mean time of an image in a stage",
                    "encode is a batch, commit a transaction. The stage that grows is the "
                    "bottleneck.",
                    "s",
                    (Query(mean("clipstream_stage_duration_seconds", by="stage"), "{{stage}}"),),
                    width=6,
                ),
                Panel(
                    "Slowest time of an image in a stage",
                    "One image of a hundred takes longer.",
                    "s",
                    (
                        Query(
                            quantile(0.99, "clipstream_stage_duration_seconds", by="stage"),
                            "{{stage}}",
                        ),
                    ),
                    width=6,
                ),
                Panel(
                    "Done beyond committed offsets",
                    "Records whose outcomes are committed although an earlier one of their "
                    "partition is not. Large: an image is slow, or its store is down.",
                    "short",
                    (
                        Query(
                            gauge("sum", "clipstream_done_ahead_records", by=WORKER), WORKER_LEGEND
                        ),
                    ),
                    width=6,
                ),
            ),
        ),
        Row(
            "What workers hold",
            (
                Panel(
                    "Images before a stage",
                    "The stage behind the full queue is the limit.",
                    "short",
                    (Query(gauge("sum", "clipstream_queue_depth", by="stage"), "{{stage}}"),),
                ),
                Panel(
                    "References in flight",
                    "Admitted and not committed. At flow.max_in_flight (1,024) a worker pauses: "
                    "this is backpressure and no error.",
                    "short",
                    (
                        Query(
                            gauge("sum", "clipstream_in_flight_references", by=WORKER),
                            WORKER_LEGEND,
                        ),
                    ),
                ),
                Panel(
                    "Bytes that wait for their commit",
                    "At flow.max_pending_mib (256 MiB) a worker pauses.",
                    "bytes",
                    (Query(gauge("sum", "clipstream_in_flight_bytes", by=WORKER), WORKER_LEGEND),),
                ),
                Panel(
                    "Held back by the failure budget",
                    "Share of what was ready to be committed that had failed for one reason. "
                    "Above 0 for long, the driver stops.",
                    "percentunit",
                    (
                        Query(
                            gauge("max", "clipstream_failure_budget_share", by=WORKER),
                            WORKER_LEGEND,
                        ),
                    ),
                ),
                Panel(
                    "Dead letters by code",
                    "docs/reference/codes.md says what each code means and what to do.",
                    "ops",
                    (
                        Query(
                            f"topk(10, {rate('clipstream_dead_letters_total', by='code')})",
                            "{{code}}",
                        ),
                    ),
                ),
                Panel(
                    "Spans of traces",
                    "Made, and what became of their export. Far fewer sent than made: the queue is "
                    "full. Empty without tracing.enabled.",
                    "ops",
                    (
                        Query(rate("clipstream_trace_spans_total"), "made"),
                        Query(
                            rate("clipstream_trace_spans_exported_total", by="outcome"),
                            "{{outcome}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)

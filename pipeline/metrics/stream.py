"""A stream worker."""

from __future__ import annotations

from pipeline.metrics.metric import LATENCY, Kind, Metric, metric

REFERENCES = metric(
    Kind.COUNTER,
    "references_total",
    "References whose outcome was committed (classified, dead_letter, skipped).",
    "A rate of zero while lag grows means a stall: see clipstream_last_progress_timestamp_seconds.",
    ("outcome",),
)
DEAD_LETTERS = metric(
    Kind.COUNTER,
    "dead_letters_total",
    "Dead letters committed, by stable code.",
    "Look the code up in docs/reference/codes.md.",
    ("code",),
)
UNSUPPORTED_FORMATS = metric(
    Kind.COUNTER,
    "unsupported_formats_total",
    "Dead letters of `decode.unsupported_format` committed, by recognised format (HEIF, SVG, PDF, "
    "MP4, ...; unknown).",
    "The dead letter's message says what to install or set for a format. unknown: check the "
    "uploader.",
    ("format",),
)
SKIPPED = metric(
    Kind.COUNTER,
    "skipped_total",
    "Records or entries that were skipped by rule and left no event, by reason.",
    "A sudden rise of one reason suggests that a producer changed.",
    ("reason",),
)
LATENCY_SECONDS = metric(
    Kind.HISTOGRAM,
    "end_to_end_latency_seconds",
    "Seconds from the record's timestamp to the commit of its outcome.",
    "High with low lag: look at the stage durations. High with high lag: add workers.",
    (),
    LATENCY,
)
IN_FLIGHT = metric(
    Kind.GAUGE,
    "in_flight_references",
    "References that are admitted and not yet committed.",
    "At flow.max_in_flight the worker pauses its partitions. This is backpressure, not an error.",
)
IN_FLIGHT_BYTES = metric(
    Kind.GAUGE,
    "in_flight_bytes",
    "Bytes of outcomes that wait in memory for their commit.",
    "At flow.max_pending_mib the worker pauses its partitions. One slow image delays all commits "
    "of its partition.",
)
LAG = metric(
    Kind.GAUGE,
    "consumer_lag_records",
    "Records of the partition whose outcomes are not committed, up to its end.",
    "Growing in all partitions: add workers, up to the number of partitions. Growing in one: see "
    "docs/troubleshooting.md, A partition is stuck.",
    ("topic", "partition"),
)
DONE_AHEAD = metric(
    Kind.GAUGE,
    "done_ahead_records",
    "Records beyond this worker's committed offsets whose outcomes are committed. Kafka's own "
    "tools count them as lag; clipstream_consumer_lag_records does not.",
    "Large: an image is slow, or its store is down, while others of its partition go on. It must "
    "be 0 before a release without delivery.order takes over.",
)
OLDEST_SECONDS = metric(
    Kind.GAUGE,
    "oldest_unfinished_seconds",
    "Age of the oldest reference in this worker without a committed outcome.",
    "Above the sum of the fetch and decode deadlines: the store, the model or the broker is down.",
)
COMMIT_AGE_SECONDS = metric(
    Kind.GAUGE,
    "commit_age_seconds",
    "Seconds since the last successful commit while an outcome was ready to be committed, else 0.",
    "Check the broker, clipstream_commit_failures_total and clipstream_failure_budget_share. "
    "Outcomes that the failure budget holds back count as ready.",
)
COMMITS = metric(
    Kind.COUNTER,
    "commits_total",
    "Transactions (or offset commits) that succeeded.",
    "None while references are in flight: see clipstream_commit_failures_total.",
)
COMMIT_FAILURES = metric(
    Kind.COUNTER,
    "commit_failures_total",
    "Commits that failed, or whose result was unknown and had to be determined.",
    "A few during a broker's restart are normal; a steady rate is not.",
)
REBALANCES = metric(
    Kind.COUNTER,
    "rebalances_total",
    "Changes of this worker's assignment.",
    "A steady rate means that members come and go: look for restarts, and for polls slower than "
    "max.poll.interval.",
)
ASSIGNED = metric(
    Kind.GAUGE,
    "assigned_partitions",
    "Partitions that this worker owns.",
    "Zero for long: the group is rebalancing, or it has more members than partitions.",
)
BUDGET_SPENT = metric(
    Kind.GAUGE,
    "failure_budget_share",
    "Share of the outcomes ready to be committed that would be dead-lettered for one reason, "
    "while the failure budget holds them back, else 0.",
    "The worker is about to halt, or much of the input is malformed: look at the codes in the log.",
)
LAST_PROGRESS = metric(
    Kind.GAUGE,
    "last_progress_timestamp_seconds",
    "Unix time of the last commit that finished a reference, or of start-up.",
    "Old while lag is above zero: the worker is stalled, and its log says why.",
)
TRACE_SPANS = metric(
    Kind.COUNTER,
    "trace_spans_total",
    "Spans of traces that were made. None without tracing.enabled.",
    "More than clipstream_trace_spans_exported_total all the time: the queue of spans is full. "
    "Raise OTEL_BSP_MAX_QUEUE_SIZE, or sample less.",
)
TRACE_SPANS_EXPORTED = metric(
    Kind.COUNTER,
    "trace_spans_exported_total",
    "Spans of traces, by what became of their export (sent, failed). Images never wait for it.",
    "failed: the log says why. Check OTEL_EXPORTER_OTLP_ENDPOINT and the receiver.",
    ("outcome",),
)

STREAM_METRICS: tuple[Metric, ...] = (
    REFERENCES,
    DEAD_LETTERS,
    UNSUPPORTED_FORMATS,
    SKIPPED,
    LATENCY_SECONDS,
    IN_FLIGHT,
    IN_FLIGHT_BYTES,
    LAG,
    DONE_AHEAD,
    OLDEST_SECONDS,
    COMMIT_AGE_SECONDS,
    COMMITS,
    COMMIT_FAILURES,
    REBALANCES,
    ASSIGNED,
    BUDGET_SPENT,
    LAST_PROGRESS,
    TRACE_SPANS,
    TRACE_SPANS_EXPORTED,
)
"""References, partitions and commits: exposed by stream workers only."""

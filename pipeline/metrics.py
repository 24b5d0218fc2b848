"""Every metric once: name, unit, labels, meaning, and what to do about it.

A process registers the groups that it can change, and no other: a gauge of somebody else would stay
at 0 and look like a measure. Each metric is in one group. ``tests/unit/test_metrics.py`` walks the
code: a module that touches a metric outside of its groups fails there.
"""

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
    """One metric. ``remedy`` says what an operator does when it looks wrong.

    Each is made once, in this module, and equal to itself alone: a meter looks it up for every
    image, and to hash all its fields would cost more than to count.
    """

    name: str
    kind: Kind
    help: str
    remedy: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LATENCY = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def _metric(
    kind: Kind,
    name: str,
    help: str,
    remedy: str,
    labels: tuple[str, ...] = (),
    buckets: tuple[float, ...] = (),
) -> Metric:
    return Metric(PREFIX + name, kind, help, remedy, labels, buckets)


# -- the path of an image -------------------------------------------------------------------------

STAGE_SECONDS = _metric(
    Kind.HISTOGRAM,
    "stage_duration_seconds",
    "Time one image spent in a stage: fetch (attempts and the waits between them), decode (the "
    "wait for a free process included), queue (before encode) and score; per batch for encode, per "
    "successful transaction for commit.",
    "The stage that grows names the bottleneck: fetch is the store, decode is CPU, queue and "
    "encode are the device, commit is the broker.",
    ("stage",),
    _SECONDS,
)
BATCH_SIZE = _metric(
    Kind.HISTOGRAM,
    "batch_size",
    "Images per encoded batch.",
    "Small batches under load mean the device waits for fetch or decode.",
    (),
    _SIZES,
)
QUEUE_DEPTH = _metric(
    Kind.GAUGE,
    "queue_depth",
    "Images waiting before a stage (fetch, decode, encode).",
    "The queue that is full stands before the bottleneck.",
    ("stage",),
)
FETCHED_BYTES = _metric(
    Kind.COUNTER,
    "fetched_bytes_total",
    "Bytes of objects that were read whole, each once: neither failed attempts nor questions to "
    "the store.",
    "Compare with the network's limit.",
)
DECODER_RESTARTS = _metric(
    Kind.COUNTER,
    "decoder_restarts_total",
    "Decoder processes replaced after a crash, a timeout or too much memory.",
    "Harmless one by one; a steady rate means hostile input or too tight limits.",
)
MAX_BATCH = _metric(
    Kind.GAUGE,
    "max_batch_images",
    "batch.max_size, or the part of it that is left since the device ran out of memory.",
    "Lower batch.max_size, or give the worker more of the device.",
)
MODEL_INFO = _metric(
    Kind.GAUGE,
    "model_info",
    "1; its labels say what this worker runs.",
    "Differing revisions among workers mean an unfinished roll-out.",
    ("model", "revision", "precision", "engine", "version"),
)
LABEL_SET_INFO = _metric(
    Kind.GAUGE,
    "label_set_info",
    "1 for each label set in force; its version is the content hash that events carry.",
    "Differing versions among workers for longer than two label_sets.reload_interval_s: one of "
    "them cannot read or load the files; see clipstream_label_set_reloads_total.",
    ("label_set", "version"),
)
LABEL_SET_RELOADS = _metric(
    Kind.COUNTER,
    "label_set_reloads_total",
    "Changes of label set files, by outcome (loaded, refused).",
    "Refused: the changed files are not valid and those before stay in force; the log and "
    "`clipstream labels check` say what to mend.",
    ("outcome",),
)

IMAGE_METRICS: tuple[Metric, ...] = (
    STAGE_SECONDS,
    BATCH_SIZE,
    QUEUE_DEPTH,
    FETCHED_BYTES,
    DECODER_RESTARTS,
    MAX_BATCH,
    MODEL_INFO,
    LABEL_SET_INFO,
    LABEL_SET_RELOADS,
)
"""What happens to an image, wherever it comes from: every kind of worker exposes these."""

# -- patience with a store ------------------------------------------------------------------------

FETCH_RETRIES = _metric(
    Kind.COUNTER,
    "fetch_retries_total",
    "Attempts to read an object that failed and were tried again.",
    "A rise comes before an open breaker: look at the store.",
)
BREAKER_OPEN = _metric(
    Kind.GAUGE,
    "breaker_open",
    "1 while the circuit breaker of any store is open, else 0.",
    "A store is down or refuses everything: its references wait, nothing is dead-lettered, work "
    "resumes by itself. clipstream_store_breaker_open names the store.",
)
STORE_BREAKER_OPEN = _metric(
    Kind.GAUGE,
    "store_breaker_open",
    "1 while the circuit breaker of this store is open, else 0. `s3` is the store of the section "
    "`s3`; others have the name that their entry of `stores` gives them.",
    "As clipstream_breaker_open. References to other stores go on.",
    ("store",),
)

STORE_METRICS: tuple[Metric, ...] = (
    FETCH_RETRIES,
    BREAKER_OPEN,
    STORE_BREAKER_OPEN,
)
"""Waiting for a store: exposed by workers that would rather wait than fail."""

# -- a stream worker ------------------------------------------------------------------------------

REFERENCES = _metric(
    Kind.COUNTER,
    "references_total",
    "References that reached their outcome and were committed (classified, dead_letter, skipped).",
    "A rate of zero while lag grows means a stall: see clipstream_last_progress_timestamp_seconds.",
    ("outcome",),
)
DEAD_LETTERS = _metric(
    Kind.COUNTER,
    "dead_letters_total",
    "Dead letters committed, by stable code.",
    "Look the code up in docs/reference/codes.md.",
    ("code",),
)
UNSUPPORTED_FORMATS = _metric(
    Kind.COUNTER,
    "unsupported_formats_total",
    "Dead letters of `decode.unsupported_format` committed, by the format that was recognised "
    "(HEIF, SVG, PDF, MP4, ...; unknown).",
    "The dead letter's message says what to install or set for a format; unknown: look at the "
    "uploader.",
    ("format",),
)
SKIPPED = _metric(
    Kind.COUNTER,
    "skipped_total",
    "Records or entries that were not to be classified and left no event, by reason.",
    "A sudden rise of one reason points at a producer's change.",
    ("reason",),
)
LATENCY_SECONDS = _metric(
    Kind.HISTOGRAM,
    "end_to_end_latency_seconds",
    "From the record's timestamp to the commit of its outcome.",
    "High with low lag: look at stage durations. High with high lag: add workers.",
    (),
    _LATENCY,
)
IN_FLIGHT = _metric(
    Kind.GAUGE,
    "in_flight_references",
    "References admitted and not yet committed.",
    "At flow.max_in_flight the worker pauses its partitions: that is backpressure, not an error.",
)
IN_FLIGHT_BYTES = _metric(
    Kind.GAUGE,
    "in_flight_bytes",
    "Bytes of outcomes that wait in memory for their commit.",
    "At flow.max_pending_mib the worker pauses; one slow image holds its partition's commits.",
)
LAG = _metric(
    Kind.GAUGE,
    "consumer_lag_records",
    "Records between this worker's committed position and the end of the partition.",
    "Growing in all partitions: add workers, up to the number of partitions. Growing in one: see "
    "docs/troubleshooting.md, A partition is stuck.",
    ("topic", "partition"),
)
OLDEST_SECONDS = _metric(
    Kind.GAUGE,
    "oldest_unfinished_seconds",
    "Age in this worker of the oldest reference without a committed outcome.",
    "Beyond the fetch and decode deadlines together: the store, the model or the broker is down.",
)
COMMIT_AGE_SECONDS = _metric(
    Kind.GAUGE,
    "commit_age_seconds",
    "Time since the last successful commit, while an outcome was ready for one; else 0.",
    "Look at the broker and at clipstream_commit_failures_total, and at "
    "clipstream_failure_budget_share: what the budget holds back is ready too.",
)
COMMITS = _metric(
    Kind.COUNTER,
    "commits_total",
    "Transactions (or offset commits) that succeeded.",
    "None while references are in flight: see clipstream_commit_failures_total.",
)
COMMIT_FAILURES = _metric(
    Kind.COUNTER,
    "commit_failures_total",
    "Commits that failed or whose fate had to be settled.",
    "A few during a broker's restart are normal; a steady rate is not.",
)
REBALANCES = _metric(
    Kind.COUNTER,
    "rebalances_total",
    "Changes of this worker's assignment.",
    "A steady rate means members come and go: look for restarts and for max.poll.interval.",
)
ASSIGNED = _metric(
    Kind.GAUGE,
    "assigned_partitions",
    "Partitions that this worker owns.",
    "Zero with partitions to spare: the group is rebalancing or has more members than partitions.",
)
BUDGET_SPENT = _metric(
    Kind.GAUGE,
    "failure_budget_share",
    "Share of the outcomes about to be committed that would be dead-lettered for one reason, while "
    "the failure budget holds them back for it; else 0.",
    "The worker is about to halt, or malformed input comes in masses: see the codes in the log.",
)
LAST_PROGRESS = _metric(
    Kind.GAUGE,
    "last_progress_timestamp_seconds",
    "Unix time of the last commit that finished a reference, or of start-up.",
    "Old while lag is above zero: the worker is stalled; its log says why.",
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
    OLDEST_SECONDS,
    COMMIT_AGE_SECONDS,
    COMMITS,
    COMMIT_FAILURES,
    REBALANCES,
    ASSIGNED,
    BUDGET_SPENT,
    LAST_PROGRESS,
)
"""References, partitions and commits: a stream worker's own."""

# -- the driver -----------------------------------------------------------------------------------

DRIVER_WORKERS = _metric(
    Kind.GAUGE,
    "driver_workers",
    "Places for workers of this driver, by what is in them: ready (takes in work), held (runs, and "
    "the store or the broker holds it up), starting, waiting (Ray has no room for it), empty (a "
    "fault of its node), leaving.",
    "Waiting: free resources, add a node, or lower workers.count. Empty: see "
    "clipstream_driver_places_empty. Held: see clipstream_breaker_open and "
    "clipstream_commit_failures_total of the workers.",
    ("state",),
)
DRIVER_EMPTY = _metric(
    Kind.GAUGE,
    "driver_places_empty",
    "Places that a fault of a node keeps empty, by the code of the halt. The other workers go on.",
    "Look the code up in docs/reference/codes.md; the driver's log and the body of /readyz name "
    "the node.",
    ("code",),
)

DRIVER_METRICS: tuple[Metric, ...] = (
    DRIVER_WORKERS,
    DRIVER_EMPTY,
)
"""The places for workers: the driver's own."""

# -- what a process registers ---------------------------------------------------------------------

STREAM_WORKER = (*IMAGE_METRICS, *STORE_METRICS, *STREAM_METRICS)
"""What each stream worker exposes."""

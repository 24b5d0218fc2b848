"""Every metric once: name, unit, labels, meaning, and what to do about it.

A process registers only the groups of metrics that it can change. Any other gauge would stay at 0
and look like a measurement. Each metric is in one group. ``tests/unit/project/test_metrics.py``
walks the code and fails if a module touches a metric outside its groups.
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
    """One metric. ``remedy`` says what an operator does when the metric looks wrong.

    Each metric is created once, in this module, and equals only itself. A meter looks the metric up
    for every image, and hashing all fields would cost more than counting.
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
    "Seconds that one image spends in a stage: fetch (attempts and the waits between them), "
    "decode (including the wait for a free process), queue (before encode) and score. encode is "
    "measured per batch, and commit per successful transaction.",
    "The stage that grows is the bottleneck: the store for fetch, the CPU for decode, the device "
    "for queue and encode, the broker for commit.",
    ("stage",),
    _SECONDS,
)
BATCH_SIZE = _metric(
    Kind.HISTOGRAM,
    "batch_size",
    "Images per encoded batch.",
    "Small batches under load mean that the device waits for fetch or decode.",
    (),
    _SIZES,
)
QUEUE_DEPTH = _metric(
    Kind.GAUGE,
    "queue_depth",
    "Images waiting before a stage (fetch, decode, encode).",
    "The stage behind the full queue is the bottleneck.",
    ("stage",),
)
FETCHED_BYTES = _metric(
    Kind.COUNTER,
    "fetched_bytes_total",
    "Bytes of objects that were read completely, each object once. Failed attempts and requests "
    "that test the store are not counted.",
    "Compare with the network's limit.",
)
DECODER_RESTARTS = _metric(
    Kind.COUNTER,
    "decoder_restarts_total",
    "Decoder processes that were replaced after a crash, a timeout or excessive memory use.",
    "Single restarts are harmless. A steady rate means hostile input or limits that are too tight.",
)
MAX_BATCH = _metric(
    Kind.GAUGE,
    "max_batch_images",
    "Largest batch in use: batch.max_size, or less after the device ran out of memory.",
    "If it is below batch.max_size, lower batch.max_size or give the worker a larger part of the "
    "device.",
)
MODEL_INFO = _metric(
    Kind.GAUGE,
    "model_info",
    "Always 1. The labels name the model that this worker runs.",
    "Different revisions among workers mean an unfinished roll-out.",
    ("model", "revision", "precision", "engine", "version"),
)
LABEL_SET_INFO = _metric(
    Kind.GAUGE,
    "label_set_info",
    "1 for each label set in force. The label version is the content hash that events carry.",
    "Workers differ in versions for longer than two label_sets.reload_interval_s: one of them "
    "cannot read or load the files. See clipstream_label_set_reloads_total.",
    ("label_set", "version"),
)
LABEL_SET_RELOADS = _metric(
    Kind.COUNTER,
    "label_set_reloads_total",
    "Changes of label set files, by outcome (loaded, refused).",
    "refused: the changed files are not valid, and the earlier label sets stay in force. The log "
    "and `clipstream labels check` say what to fix.",
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
"""Metrics of an image's path, whatever its source. The stream worker exposes these, and another
kind of worker would too."""

# -- patience with a store ------------------------------------------------------------------------

FETCH_RETRIES = _metric(
    Kind.COUNTER,
    "fetch_retries_total",
    "Failed attempts to read an object that were followed by another attempt.",
    "A rise often precedes an open breaker: check the store.",
)
BREAKER_OPEN = _metric(
    Kind.GAUGE,
    "breaker_open",
    "1 while the circuit breaker of any store is open, else 0.",
    "A store is down or refuses everything. Its references wait, nothing is dead-lettered, and "
    "work resumes without action. clipstream_store_breaker_open names the store.",
)
STORE_BREAKER_OPEN = _metric(
    Kind.GAUGE,
    "store_breaker_open",
    "1 while the circuit breaker of this store is open, else 0. `s3` is the store of the section "
    "`s3`; other stores have the name of their entry in `stores`, and web servers that of their "
    "host. There is no gauge for hosts that only a pattern of `https.allowed_hosts` names.",
    "As for clipstream_breaker_open. References to other stores go on.",
    ("store",),
)

STORE_METRICS: tuple[Metric, ...] = (
    FETCH_RETRIES,
    BREAKER_OPEN,
    STORE_BREAKER_OPEN,
)
"""Waiting for a store: exposed by workers that wait rather than fail."""

# -- a stream worker ------------------------------------------------------------------------------

REFERENCES = _metric(
    Kind.COUNTER,
    "references_total",
    "References whose outcome was committed (classified, dead_letter, skipped).",
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
    "Dead letters of `decode.unsupported_format` committed, by recognised format (HEIF, SVG, PDF, "
    "MP4, ...; unknown).",
    "The dead letter's message says what to install or set for a format. unknown: check the "
    "uploader.",
    ("format",),
)
SKIPPED = _metric(
    Kind.COUNTER,
    "skipped_total",
    "Records or entries that were skipped by rule and left no event, by reason.",
    "A sudden rise of one reason suggests that a producer changed.",
    ("reason",),
)
LATENCY_SECONDS = _metric(
    Kind.HISTOGRAM,
    "end_to_end_latency_seconds",
    "Seconds from the record's timestamp to the commit of its outcome.",
    "High with low lag: look at the stage durations. High with high lag: add workers.",
    (),
    _LATENCY,
)
IN_FLIGHT = _metric(
    Kind.GAUGE,
    "in_flight_references",
    "References that are admitted and not yet committed.",
    "At flow.max_in_flight the worker pauses its partitions. This is backpressure, not an error.",
)
IN_FLIGHT_BYTES = _metric(
    Kind.GAUGE,
    "in_flight_bytes",
    "Bytes of outcomes that wait in memory for their commit.",
    "At flow.max_pending_mib the worker pauses its partitions. One slow image delays all commits "
    "of its partition.",
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
    "Age of the oldest reference in this worker without a committed outcome.",
    "Above the sum of the fetch and decode deadlines: the store, the model or the broker is down.",
)
COMMIT_AGE_SECONDS = _metric(
    Kind.GAUGE,
    "commit_age_seconds",
    "Seconds since the last successful commit while an outcome was ready to be committed, else 0.",
    "Check the broker, clipstream_commit_failures_total and clipstream_failure_budget_share. "
    "Outcomes that the failure budget holds back count as ready.",
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
    "Commits that failed, or whose result was unknown and had to be determined.",
    "A few during a broker's restart are normal; a steady rate is not.",
)
REBALANCES = _metric(
    Kind.COUNTER,
    "rebalances_total",
    "Changes of this worker's assignment.",
    "A steady rate means that members come and go: look for restarts, and for polls slower than "
    "max.poll.interval.",
)
ASSIGNED = _metric(
    Kind.GAUGE,
    "assigned_partitions",
    "Partitions that this worker owns.",
    "Zero for long: the group is rebalancing, or it has more members than partitions.",
)
BUDGET_SPENT = _metric(
    Kind.GAUGE,
    "failure_budget_share",
    "Share of the outcomes ready to be committed that would be dead-lettered for one reason, "
    "while the failure budget holds them back, else 0.",
    "The worker is about to halt, or much of the input is malformed: look at the codes in the log.",
)
LAST_PROGRESS = _metric(
    Kind.GAUGE,
    "last_progress_timestamp_seconds",
    "Unix time of the last commit that finished a reference, or of start-up.",
    "Old while lag is above zero: the worker is stalled, and its log says why.",
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
"""References, partitions and commits: exposed by stream workers only."""

# -- the driver -----------------------------------------------------------------------------------

DRIVER_WORKERS = _metric(
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
DRIVER_EMPTY = _metric(
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

# -- HTTP ----------------------------------------------------------------------------------------

HTTP_REQUESTS = _metric(
    Kind.COUNTER,
    "http_requests_total",
    "Requests that were answered, by route, status and name of the key. Status 499: the client "
    "did not wait for the answer. A request that reached no route counts for the family of its "
    "path.",
    "429: add replicas, or raise the key's rate; clipstream_http_refusals_total says which. 5xx: "
    "the log names the request.",
    ("route", "status", "key"),
)
HTTP_REQUEST_SECONDS = _metric(
    Kind.HISTOGRAM,
    "http_request_duration_seconds",
    "Seconds from the head of a request to the end of its answer, the time of reading the body "
    "included.",
    "clipstream_stage_duration_seconds says which stage takes the time. If no stage does, clients "
    "send their bodies slowly.",
    ("route",),
    _SECONDS,
)
HTTP_IN_FLIGHT = _metric(
    Kind.GAUGE,
    "http_requests_in_flight",
    "Requests that are not answered yet, those whose body is still being read included.",
    "At serve.max_requests further requests get 429.",
)
HTTP_IMAGES_IN_HAND = _metric(
    Kind.GAUGE,
    "http_images_in_hand",
    "Images of requests that are being read, decoded and encoded, or wait for it.",
    "Steadily high: the replica is busy; add replicas.",
)
HTTP_HELD_BYTES = _metric(
    Kind.GAUGE,
    "http_held_bytes",
    "Bytes of bodies and fetched images in memory.",
    "At serve.max_memory_mib further requests get 429. Raise it if the machine has the memory.",
)
HTTP_REFUSALS = _metric(
    Kind.COUNTER,
    "http_refusals_total",
    "Requests that were refused before a route read them, by code of the error.",
    "overloaded: add replicas. rate_limit_exceeded: a key asks for more than its rate. "
    "invalid_api_key: a client has an old key, or somebody is guessing.",
    ("reason",),
)
HTTP_IMAGES = _metric(
    Kind.COUNTER,
    "http_images_total",
    "Images of requests that were looked at, by name of the key.",
    "What to bill.",
    ("key",),
)
HTTP_IMAGE_BYTES = _metric(
    Kind.COUNTER,
    "http_image_bytes_total",
    "Bytes of the images that were looked at, by name of the key.",
    "What to bill.",
    ("key",),
)
HTTP_IMAGE_OUTCOMES = _metric(
    Kind.COUNTER,
    "http_image_outcomes_total",
    "Images of requests by what became of them: seen, or the stage at which they failed.",
    "fetch: a store, or addresses that do not exist. decode: clients send files that are no "
    "images. encode: the model or the device.",
    ("outcome",),
)
KEY_RELOADS = _metric(
    Kind.COUNTER,
    "key_reloads_total",
    "Changes of the files of keys, by outcome (loaded, refused).",
    "refused: the changed files are not valid, and the earlier keys stay in force, revoked ones "
    "too. The log says what to fix.",
    ("outcome",),
)

HTTP_METRICS: tuple[Metric, ...] = (
    HTTP_REQUESTS,
    HTTP_REQUEST_SECONDS,
    HTTP_IN_FLIGHT,
    HTTP_IMAGES_IN_HAND,
    HTTP_HELD_BYTES,
    HTTP_REFUSALS,
    HTTP_IMAGES,
    HTTP_IMAGE_BYTES,
    HTTP_IMAGE_OUTCOMES,
    KEY_RELOADS,
)
"""Requests and keys: exposed by a replica that serves HTTP only."""

# -- what a process registers ---------------------------------------------------------------------

STREAM_WORKER = (*IMAGE_METRICS, *STORE_METRICS, *STREAM_METRICS)
"""What each stream worker exposes."""

SERVE_REPLICA = (*IMAGE_METRICS, *HTTP_METRICS)
"""What each replica of the server exposes."""

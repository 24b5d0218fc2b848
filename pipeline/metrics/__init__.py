"""Every metric once: name, unit, labels, meaning, and what to do about it.

A process registers only the groups of metrics that it can change. Any other gauge would stay at 0
and look like a measurement. Each metric is in one group.
``tests/unit/project/test_metrics_touched.py`` walks the code and fails if a module touches a metric
outside its groups.

Read ``metric`` first: what a metric is. The groups are ``image``, ``store``, ``stream``,
``drift``, ``driver``, ``http`` and ``backfill``.
"""

from __future__ import annotations

from pipeline.metrics.backfill import (
    BACKFILL_FAILURES,
    BACKFILL_GIVEN_BACK,
    BACKFILL_JOB_METRICS,
    BACKFILL_LAST_PROGRESS,
    BACKFILL_METRICS,
    BACKFILL_ROWS,
    BACKFILL_SECONDS_LEFT,
    BACKFILL_SHARD_SECONDS,
    BACKFILL_SHARDS,
)
from pipeline.metrics.drift import (
    DRIFT_DECISIONS,
    DRIFT_EMBEDDINGS,
    DRIFT_IMAGES,
    DRIFT_METRICS,
    DRIFT_SCORES,
    DRIFT_SHARES,
    DRIFT_UNFIT,
)
from pipeline.metrics.driver import (
    CERTIFICATE_EXPIRY,
    DRIVER_EMPTY,
    DRIVER_METRICS,
    DRIVER_WORKERS,
    FLEET_METRICS,
    WORKER_DEATHS,
    WORKER_UP,
)
from pipeline.metrics.http import (
    HTTP_HELD_BYTES,
    HTTP_IMAGE_BYTES,
    HTTP_IMAGE_OUTCOMES,
    HTTP_IMAGES,
    HTTP_IMAGES_IN_HAND,
    HTTP_IN_FLIGHT,
    HTTP_METRICS,
    HTTP_REFUSALS,
    HTTP_REQUEST_SECONDS,
    HTTP_REQUESTS,
    KEY_RELOADS,
    KEYS_REFUSED,
)
from pipeline.metrics.image import (
    BATCH_SIZE,
    DECODER_RESTARTS,
    FETCHED_BYTES,
    IMAGE_METRICS,
    KNOWN_LIST_INFO,
    KNOWN_LIST_RELOADS,
    KNOWN_LISTS_REFUSED,
    KNOWN_MATCHES,
    LABEL_DECISIONS,
    LABEL_MATCHES,
    LABEL_SET_INFO,
    LABEL_SET_RELOADS,
    LABEL_SETS_REFUSED,
    MAX_BATCH,
    MODEL_INFO,
    QUEUE_DEPTH,
    STAGE_SECONDS,
)
from pipeline.metrics.metric import (
    PREFIX,
    Kind,
    Metric,
)
from pipeline.metrics.store import (
    BREAKER_OPEN,
    FETCH_RETRIES,
    STORE_BREAKER_OPEN,
    STORE_METRICS,
)
from pipeline.metrics.stream import (
    ASSIGNED,
    BUDGET_SPENT,
    COMMIT_AGE_SECONDS,
    COMMIT_FAILURES,
    COMMITS,
    DEAD_LETTERS,
    DONE_AHEAD,
    IN_FLIGHT,
    IN_FLIGHT_BYTES,
    LAG,
    LAST_PROGRESS,
    LATENCY_SECONDS,
    OLDEST_SECONDS,
    REBALANCES,
    REFERENCES,
    SKIPPED,
    STREAM_METRICS,
    TRACE_SPANS,
    TRACE_SPANS_EXPORTED,
    UNSUPPORTED_FORMATS,
)

STREAM_WORKER = (*IMAGE_METRICS, *STORE_METRICS, *STREAM_METRICS, *DRIFT_METRICS)
"""What each stream worker exposes."""

BACKFILL_WORKER = (*IMAGE_METRICS, *STORE_METRICS, *BACKFILL_METRICS)
"""What each worker of a backfill exposes."""

BACKFILL_DRIVER = (*DRIVER_METRICS, *BACKFILL_JOB_METRICS)
"""What the driver of a backfill exposes."""

SERVE_REPLICA = (*IMAGE_METRICS, *HTTP_METRICS)
"""What each replica of the server exposes."""

__all__ = [
    "ASSIGNED",
    "BACKFILL_DRIVER",
    "BACKFILL_FAILURES",
    "BACKFILL_GIVEN_BACK",
    "BACKFILL_JOB_METRICS",
    "BACKFILL_LAST_PROGRESS",
    "BACKFILL_METRICS",
    "BACKFILL_ROWS",
    "BACKFILL_SECONDS_LEFT",
    "BACKFILL_SHARDS",
    "BACKFILL_SHARD_SECONDS",
    "BACKFILL_WORKER",
    "BATCH_SIZE",
    "BREAKER_OPEN",
    "BUDGET_SPENT",
    "CERTIFICATE_EXPIRY",
    "COMMITS",
    "COMMIT_AGE_SECONDS",
    "COMMIT_FAILURES",
    "DEAD_LETTERS",
    "DECODER_RESTARTS",
    "DONE_AHEAD",
    "DRIFT_DECISIONS",
    "DRIFT_EMBEDDINGS",
    "DRIFT_IMAGES",
    "DRIFT_METRICS",
    "DRIFT_SCORES",
    "DRIFT_SHARES",
    "DRIFT_UNFIT",
    "DRIVER_EMPTY",
    "DRIVER_METRICS",
    "DRIVER_WORKERS",
    "FETCHED_BYTES",
    "FETCH_RETRIES",
    "FLEET_METRICS",
    "HTTP_HELD_BYTES",
    "HTTP_IMAGES",
    "HTTP_IMAGES_IN_HAND",
    "HTTP_IMAGE_BYTES",
    "HTTP_IMAGE_OUTCOMES",
    "HTTP_IN_FLIGHT",
    "HTTP_METRICS",
    "HTTP_REFUSALS",
    "HTTP_REQUESTS",
    "HTTP_REQUEST_SECONDS",
    "IMAGE_METRICS",
    "IN_FLIGHT",
    "IN_FLIGHT_BYTES",
    "KEYS_REFUSED",
    "KEY_RELOADS",
    "KNOWN_LISTS_REFUSED",
    "KNOWN_LIST_INFO",
    "KNOWN_LIST_RELOADS",
    "KNOWN_MATCHES",
    "LABEL_DECISIONS",
    "LABEL_MATCHES",
    "LABEL_SETS_REFUSED",
    "LABEL_SET_INFO",
    "LABEL_SET_RELOADS",
    "LAG",
    "LAST_PROGRESS",
    "LATENCY_SECONDS",
    "MAX_BATCH",
    "MODEL_INFO",
    "OLDEST_SECONDS",
    "PREFIX",
    "QUEUE_DEPTH",
    "REBALANCES",
    "REFERENCES",
    "SERVE_REPLICA",
    "SKIPPED",
    "STAGE_SECONDS",
    "STORE_BREAKER_OPEN",
    "STORE_METRICS",
    "STREAM_METRICS",
    "STREAM_WORKER",
    "TRACE_SPANS",
    "TRACE_SPANS_EXPORTED",
    "UNSUPPORTED_FORMATS",
    "WORKER_DEATHS",
    "WORKER_UP",
    "Kind",
    "Metric",
]

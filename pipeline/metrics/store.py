"""Patience with a store."""

from __future__ import annotations

from pipeline.metrics.metric import Kind, Metric, metric

FETCH_RETRIES = metric(
    Kind.COUNTER,
    "fetch_retries_total",
    "Failed attempts to read an object that were followed by another attempt.",
    "A rise often precedes an open breaker: check the store.",
)
BREAKER_OPEN = metric(
    Kind.GAUGE,
    "breaker_open",
    "1 while the circuit breaker of any store is open, else 0.",
    "A store is down or refuses everything. Its references wait, nothing is dead-lettered, and "
    "work resumes without action. clipstream_store_breaker_open names the store.",
)
STORE_BREAKER_OPEN = metric(
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

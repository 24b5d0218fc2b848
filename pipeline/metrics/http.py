"""Requests over HTTP, and their keys."""

from __future__ import annotations

from pipeline.metrics.metric import SECONDS, Kind, Metric, metric

HTTP_REQUESTS = metric(
    Kind.COUNTER,
    "http_requests_total",
    "Requests that were answered, by route, status and name of the key. Status 499: the client "
    "did not wait for the answer. A request that reached no route counts for the family of its "
    "path.",
    "429: add replicas, or raise the key's rate; clipstream_http_refusals_total says which. 5xx: "
    "the log names the request.",
    ("route", "status", "key"),
)
HTTP_REQUEST_SECONDS = metric(
    Kind.HISTOGRAM,
    "http_request_duration_seconds",
    "Seconds from the head of a request to the end of its answer, the time of reading the body "
    "included.",
    "clipstream_stage_duration_seconds says which stage takes the time. If no stage does, clients "
    "send their bodies slowly.",
    ("route",),
    SECONDS,
)
HTTP_IN_FLIGHT = metric(
    Kind.GAUGE,
    "http_requests_in_flight",
    "Requests that are not answered yet, those whose body is still being read included.",
    "At serve.max_requests further requests get 429.",
)
HTTP_IMAGES_IN_HAND = metric(
    Kind.GAUGE,
    "http_images_in_hand",
    "Images of requests that are being read, decoded and encoded, or wait for it.",
    "Steadily high: the replica is busy; add replicas.",
)
HTTP_HELD_BYTES = metric(
    Kind.GAUGE,
    "http_held_bytes",
    "Bytes of bodies and fetched images in memory.",
    "At serve.max_memory_mib further requests get 429. Raise it if the machine has the memory.",
)
HTTP_REFUSALS = metric(
    Kind.COUNTER,
    "http_refusals_total",
    "Requests that were refused before a route read them, and later answers of status 429 and 503, "
    "by code of the error.",
    "overloaded, encode.overloaded: add replicas. publish_failed: look at the brokers. "
    "rate_limit_exceeded: a key asks for more than its rate. "
    "invalid_api_key: a client has an old key, or somebody is guessing.",
    ("reason",),
)
HTTP_IMAGES = metric(
    Kind.COUNTER,
    "http_images_total",
    "Images of requests that were looked at, by name of the key.",
    "What to bill.",
    ("key",),
)
HTTP_IMAGE_BYTES = metric(
    Kind.COUNTER,
    "http_image_bytes_total",
    "Bytes of the images that were looked at, by name of the key.",
    "What to bill.",
    ("key",),
)
HTTP_IMAGE_OUTCOMES = metric(
    Kind.COUNTER,
    "http_image_outcomes_total",
    "Images of requests by what became of them: seen, or the stage at which they failed.",
    "fetch: a store, or addresses that do not exist. decode: clients send files that are no "
    "images. encode: the model or the device.",
    ("outcome",),
)
KEY_RELOADS = metric(
    Kind.COUNTER,
    "key_reloads_total",
    "Changes of the files of keys, by outcome (loaded, refused).",
    "refused: the changed files are not valid, and the earlier keys stay in force, revoked ones "
    "too. The log says what to fix.",
    ("outcome",),
)
KEYS_REFUSED = metric(
    Kind.GAUGE,
    "keys_refused",
    "1 while the changed files of keys are not valid and the earlier keys stay in force, revoked "
    "ones too, else 0.",
    "`clipstream keys list` names the line to mend. No restart is needed.",
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
    KEYS_REFUSED,
)
"""Requests and keys: exposed by a replica that serves HTTP only."""

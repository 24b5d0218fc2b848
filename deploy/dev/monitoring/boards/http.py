"""The HTTP server: who asks, what is answered, and how fast."""

from __future__ import annotations

from deploy.dev.monitoring.boards.board import (
    RELEASE,
    Board,
    Panel,
    Query,
    Row,
    increase,
    quantile,
    rate,
)

ROUTES = f'{RELEASE},route=~"$route"'
REQUESTS = "clipstream_http_requests_total"

HTTP = Board(
    "http",
    "Clipstream / HTTP",
    "Who asks, what is answered, and how fast.",
    (
        Row(
            "Requests",
            (
                Panel(
                    "Requests by status",
                    "499: the client did not wait for the answer.",
                    "reqps",
                    (Query(rate(REQUESTS, ROUTES, "status"), "{{status}}"),),
                    stacked=True,
                ),
                Panel(
                    "Requests by route",
                    "A second.",
                    "reqps",
                    (Query(rate(REQUESTS, ROUTES, "route"), "{{route}}"),),
                ),
                Panel(
                    "Share of failed requests",
                    "Status 500 and above.",
                    "percentunit",
                    (
                        Query(
                            rate(REQUESTS, f'{ROUTES},status=~"5.."')
                            + f" / ({rate(REQUESTS, ROUTES)} > 0)",
                            "failed",
                        ),
                    ),
                ),
                Panel(
                    "Time of a request",
                    "From its head to the end of its answer, the reading of the body included.",
                    "s",
                    tuple(
                        Query(quantile(q, "clipstream_http_request_duration_seconds", ROUTES), name)
                        for q, name in ((0.5, "half"), (0.9, "90 %"), (0.99, "99 %"))
                    ),
                ),
                Panel(
                    "Refusals by reason",
                    "overloaded: add replicas. rate_limit_exceeded: a key asks for more than its "
                    "rate. invalid_api_key: an old key, or somebody is guessing.",
                    "reqps",
                    (
                        Query(
                            rate("clipstream_http_refusals_total", RELEASE, "reason"),
                            "{{reason}}",
                        ),
                    ),
                ),
                Panel(
                    "Requests by key",
                    "The ten keys that ask most.",
                    "reqps",
                    (Query(f"topk(10, {rate(REQUESTS, ROUTES, 'key')})", "{{key}}"),),
                ),
            ),
        ),
        Row(
            "Images",
            (
                Panel(
                    "What became of images",
                    "seen, or the stage at which they failed.",
                    "ops",
                    (
                        Query(
                            rate("clipstream_http_image_outcomes_total", RELEASE, "outcome"),
                            "{{outcome}}",
                        ),
                    ),
                    stacked=True,
                ),
                Panel(
                    "Images by key",
                    "What to bill.",
                    "ops",
                    (Query(rate("clipstream_http_images_total", RELEASE, "key"), "{{key}}"),),
                ),
                Panel(
                    "Bytes of images by key",
                    "What to bill.",
                    "Bps",
                    (Query(rate("clipstream_http_image_bytes_total", RELEASE, "key"), "{{key}}"),),
                ),
            ),
        ),
        Row(
            "Replicas",
            (
                Panel(
                    "Replicas",
                    "Replicas that expose metrics.",
                    "short",
                    (Query(f"count(clipstream_http_requests_in_flight{{{RELEASE}}})", "replicas"),),
                    width=4,
                    figure=True,
                ),
                Panel(
                    "Requests in flight",
                    "At serve.max_requests further ones get 429.",
                    "short",
                    (
                        Query(f"sum(clipstream_http_requests_in_flight{{{RELEASE}}})", "requests"),
                        Query(f"sum(clipstream_http_images_in_hand{{{RELEASE}}})", "images"),
                    ),
                    width=7,
                ),
                Panel(
                    "Bytes held",
                    "At serve.max_memory_mib further requests get 429.",
                    "bytes",
                    (Query(f"max(clipstream_http_held_bytes{{{RELEASE}}})", "most of a replica"),),
                    width=7,
                ),
                Panel(
                    "Changes of key files",
                    "In the last hour. refused: revoked keys still work.",
                    "short",
                    (
                        Query(
                            increase("clipstream_key_reloads_total", "1h", RELEASE, by="outcome"),
                            "{{outcome}}",
                        ),
                    ),
                    width=6,
                ),
            ),
        ),
    ),
)

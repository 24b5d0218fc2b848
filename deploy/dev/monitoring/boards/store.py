"""S3 and decoding: do the stores answer, and can the files be read?"""

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

STORE = Board(
    "store",
    "Clipstream / S3 and decoding",
    "Do the stores answer, and can the files be decoded?",
    (
        Row(
            "Stores",
            (
                Panel(
                    "Breakers",
                    "1 while a store is down. Its images wait, and nothing is dead-lettered.",
                    "short",
                    (
                        Query(
                            gauge("max", "clipstream_store_breaker_open", by="store"), "{{store}}"
                        ),
                    ),
                ),
                Panel(
                    "Attempts that failed and were repeated",
                    "A rise often precedes an open breaker.",
                    "ops",
                    (Query(rate("clipstream_fetch_retries_total", by=WORKER), WORKER_LEGEND),),
                ),
                Panel(
                    "Bytes read",
                    "Of whole objects. Compare with the network's limit.",
                    "Bps",
                    (Query(rate("clipstream_fetched_bytes_total"), "bytes"),),
                ),
                Panel(
                    "Time of a fetch",
                    "Attempts and the waits between them.",
                    "s",
                    stage_time("fetch"),
                ),
                Panel(
                    "Images before fetch",
                    "Full: raise fetch.max_open_objects if the network has room.",
                    "short",
                    (
                        Query(
                            gauge(
                                "sum", "clipstream_queue_depth", f'{ALL},stage="fetch"', by=WORKER
                            ),
                            WORKER_LEGEND,
                        ),
                    ),
                ),
                Panel(
                    "Objects that could not be read",
                    "Dead letters of the stage fetch, by code.",
                    "ops",
                    (
                        Query(
                            rate(
                                "clipstream_dead_letters_total", f'{ALL},code=~"fetch[.].*"', "code"
                            ),
                            "{{code}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Decoding",
            (
                Panel(
                    "Time of a decode",
                    "The wait for a free process included.",
                    "s",
                    stage_time("decode"),
                ),
                Panel(
                    "Images before decode",
                    "Full: too few cores or decode.processes.",
                    "short",
                    (
                        Query(
                            gauge(
                                "sum", "clipstream_queue_depth", f'{ALL},stage="decode"', by=WORKER
                            ),
                            WORKER_LEGEND,
                        ),
                    ),
                ),
                Panel(
                    "Replaced decoders",
                    "Processes that crashed, ran out of time or took too much memory, an hour. A "
                    "steady number: hostile files, or limits that are too tight.",
                    "short",
                    (
                        Query(
                            increase("clipstream_decoder_restarts_total", "1h", by=WORKER),
                            WORKER_LEGEND,
                        ),
                    ),
                ),
                Panel(
                    "Files that could not be decoded",
                    "Dead letters of the stage decode, by code.",
                    "ops",
                    (
                        Query(
                            rate(
                                "clipstream_dead_letters_total",
                                f'{ALL},code=~"decode[.].*"',
                                "code",
                            ),
                            "{{code}}",
                        ),
                    ),
                    width=12,
                ),
                Panel(
                    "Files of other formats",
                    "Dead letters of decode.unsupported_format, by the format that was recognised.",
                    "ops",
                    (
                        Query(
                            rate("clipstream_unsupported_formats_total", by="format"), "{{format}}"
                        ),
                    ),
                    width=12,
                ),
            ),
        ),
    ),
)

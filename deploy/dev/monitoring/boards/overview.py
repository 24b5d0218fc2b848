"""For whoever is on duty: is it working, and if not, which part is it?"""

from __future__ import annotations

from deploy.dev.monitoring.boards.board import (
    ALL,
    RELEASE,
    Board,
    Panel,
    Query,
    Row,
    gauge,
    increase,
    quantile,
    rate,
)

OVERVIEW = Board(
    "overview",
    "Clipstream / Overview",
    "Is it working, and if not, which part is it? The other dashboards of the folder go into "
    "detail.",
    (
        Row(
            "Now",
            (
                Panel(
                    "Firing alerts",
                    "Alerts of Clipstream that fire now. Each has a runbook. An alert of a whole "
                    "group or namespace names no release, and counts for each.",
                    "short",
                    (
                        Query(
                            'count(ALERTS{alertstate="firing",alertname=~"Clipstream.*",'
                            'namespace=~"$namespace",release=~"$release|"}) or vector(0)',
                            "firing",
                        ),
                    ),
                    width=4,
                    figure=True,
                    alarm=1,
                ),
                Panel(
                    "Classified",
                    "References whose outcome was committed, a second.",
                    "ops",
                    (Query(rate("clipstream_references_total"), "outcomes"),),
                    width=4,
                    figure=True,
                ),
                Panel(
                    "Lag",
                    "Records that wait. 0 means that nothing waits.",
                    "short",
                    (Query(f"sum(clipstream_consumer_lag_records{{{ALL}}})", "records"),),
                    width=4,
                    figure=True,
                ),
                Panel(
                    "Backlog",
                    "Seconds until the lag is worked off at the present rate.",
                    "s",
                    (
                        Query(
                            f"sum(clipstream_consumer_lag_records{{{ALL}}}) / "
                            f"({rate('clipstream_references_total')} > 0)",
                            "backlog",
                        ),
                    ),
                    width=4,
                    figure=True,
                    alarm=900,
                ),
                Panel(
                    "Dead letters",
                    "Share of outcomes that are dead letters.",
                    "percentunit",
                    (
                        Query(
                            rate("clipstream_references_total", f'{ALL},outcome="dead_letter"')
                            + f" / ({rate('clipstream_references_total')} > 0)",
                            "dead letters",
                        ),
                    ),
                    width=4,
                    figure=True,
                    alarm=0.05,
                ),
                Panel(
                    "Stores that are down",
                    "Open circuit breakers. Their images wait, and nothing is lost.",
                    "short",
                    (
                        Query(
                            f"sum(max by (store) (clipstream_store_breaker_open{{{ALL}}}))",
                            "stores",
                        ),
                    ),
                    width=4,
                    figure=True,
                    alarm=1,
                ),
            ),
        ),
        Row(
            "Progress",
            (
                Panel(
                    "Outcomes",
                    "What became of references, a second. skipped: a rule left them out.",
                    "ops",
                    (Query(rate("clipstream_references_total", by="outcome"), "{{outcome}}"),),
                    width=12,
                    stacked=True,
                ),
                Panel(
                    "Lag by topic",
                    "Records between the committed position and the end of the partitions. A "
                    "partition without an owner is not in it.",
                    "short",
                    (
                        Query(
                            gauge("sum", "clipstream_consumer_lag_records", by="topic"), "{{topic}}"
                        ),
                    ),
                    width=12,
                ),
                Panel(
                    "End-to-end latency",
                    "From the record's timestamp to the commit of its outcome.",
                    "s",
                    (
                        Query(quantile(0.5, "clipstream_end_to_end_latency_seconds"), "half"),
                        Query(quantile(0.99, "clipstream_end_to_end_latency_seconds"), "99 %"),
                    ),
                    width=12,
                ),
                Panel(
                    "Places for workers",
                    "ready takes in work. held waits for a store or the brokers. waiting has no "
                    "room in Ray. empty has a fault of its node: the driver's /readyz says which.",
                    "short",
                    (
                        Query(
                            gauge("sum", "clipstream_driver_workers", RELEASE, by="state"),
                            "{{state}}",
                        ),
                    ),
                    width=12,
                    stacked=True,
                ),
            ),
        ),
        Row(
            "Trouble",
            (
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
                    "Empty places by code",
                    "Places without a worker because of a fault of their node.",
                    "short",
                    (
                        Query(
                            gauge("sum", "clipstream_driver_places_empty", RELEASE, by="code"),
                            "{{code}}",
                        ),
                    ),
                ),
                Panel(
                    "Deaths of workers",
                    "Workers that died or hung, an hour. The driver starts them again.",
                    "short",
                    (
                        Query(
                            increase(
                                "clipstream_driver_worker_deaths_total",
                                "1h",
                                RELEASE,
                                by="instance",
                            ),
                            "{{instance}}",
                        ),
                    ),
                ),
                Panel(
                    "Certificates",
                    "Time until a certificate that the settings name expires.",
                    "s",
                    (
                        Query(
                            gauge(
                                "min",
                                "clipstream_certificate_expiry_timestamp_seconds",
                                RELEASE,
                                by="setting",
                            )
                            + " - time()",
                            "{{setting}}",
                        ),
                    ),
                ),
                Panel(
                    "Workers that do not answer",
                    "Workers that the driver wants and that do not answer for their metrics.",
                    "short",
                    (
                        Query(
                            "count by (kind, group, driver) "
                            f"((clipstream_worker_up{{{RELEASE}}} or "
                            f'up{{{RELEASE},kind!="",driver!="",worker!=""}}) == 0)',
                            "{{kind}} {{group}} {{driver}}",
                        ),
                    ),
                ),
                Panel(
                    "Releases",
                    "Workers by version of Clipstream, model and precision. Two versions: a "
                    "roll-out.",
                    "short",
                    (
                        Query(
                            gauge(
                                "count",
                                "clipstream_model_info",
                                RELEASE,
                                by="version, model, revision, precision, engine",
                            ),
                            "{{version}} {{model}} {{precision}} {{engine}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)

"""What a dashboard is made of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

RELEASE = 'namespace=~"$namespace",release=~"$release"'
"""Matchers of series without a group: of drivers, of the HTTP server, and of backfills."""

ALL = f'{RELEASE},group=~"$group",driver=~"$driver"'
"""Matchers of series that a worker of a stream exposes."""

RATE = "$__rate_interval"

WORKER = "driver, worker"
"""The labels that tell one worker from all others."""

WORKER_LEGEND = "{{driver}}/{{worker}}"

EVERYWHERE = '{__name__=~"clipstream_driver_workers|clipstream_model_info"}'
"""A driver without workers has the first, and every worker, also of a server alone, the second."""

SOURCES: Mapping[str, str] = {
    "namespace": EVERYWHERE,
    "release": EVERYWHERE,
    "group": "clipstream_references_total",
    "driver": "clipstream_references_total",
    "label_set": "clipstream_label_decisions_total",
    "route": "clipstream_http_requests_total",
}
"""The variables that a dashboard may have → the series whose label of that name has the choices."""


@dataclass(frozen=True, slots=True)
class Query:
    """``legend`` names a series by its labels, in Grafana's way: ``{{code}}``."""

    expr: str
    legend: str

    def filled(self, rate: str, **chosen: str) -> str:
        """What Grafana asks with all variables at *All*, but for those ``chosen``. Rates look back
        over ``rate``, such as ``2m``."""
        asked = self.expr.replace(RATE, rate)
        return re.sub(r"\$(\w+)", lambda variable: chosen.get(variable[1], ".*"), asked)


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture. ``unit`` is one of Grafana's. ``width`` is in 24ths of the page. A ``figure``
    shows the last value as a number, coloured from ``alarm`` on."""

    title: str
    meaning: str
    unit: str
    queries: tuple[Query, ...]
    width: int = 8
    figure: bool = False
    alarm: float | None = None
    stacked: bool = False
    device: bool = False
    """Whether only a worker on a GPU has this series."""


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard. ``name`` is that of its file and part of its address in Grafana."""

    name: str
    title: str
    meaning: str
    rows: tuple[Row, ...]

    @property
    def uid(self) -> str:
        return f"clipstream-{self.name}"

    @property
    def panels(self) -> Iterator[Panel]:
        for row in self.rows:
            yield from row.panels

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables that its queries use, in the order of ``SOURCES``."""
        asked = " ".join(query.expr for panel in self.panels for query in panel.queries)
        used = set(re.findall(r"\$(\w+)", asked))
        return tuple(name for name in SOURCES if name in used)


def rate(metric: str, matchers: str = ALL, by: str = "") -> str:
    """Events a second, summed ``by`` labels."""
    return f"sum by ({by}) (rate({metric}{{{matchers}}}[{RATE}]))"


def increase(metric: str, window: str, matchers: str = ALL, by: str = "") -> str:
    """Events in the last ``window``, such as ``1h``, summed ``by`` labels."""
    return f"sum by ({by}) (increase({metric}{{{matchers}}}[{window}]))"


def gauge(how: str, metric: str, matchers: str = ALL, by: str = "") -> str:
    """The values of a gauge put together ``by`` labels. ``how``: ``sum``, ``max``, ``count`` …"""
    return f"{how} by ({by}) ({metric}{{{matchers}}})"


def quantile(share: float, metric: str, matchers: str = ALL, by: str = "") -> str:
    """A quantile of a histogram with classic buckets, ``by`` labels."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', matchers, labels)})"


def mean(metric: str, matchers: str = ALL, by: str = "") -> str:
    """The mean of what a histogram observed."""
    return f"{rate(f'{metric}_sum', matchers, by)} / {rate(f'{metric}_count', matchers, by)}"


def stage_time(stage: str) -> tuple[Query, Query]:
    """How long an image is in a stage: the mean, and what one image of a hundred exceeds."""
    metric, matchers = "clipstream_stage_duration_seconds", f'{ALL},stage="{stage}"'
    return (
        Query(mean(metric, matchers), "mean"),
        Query(quantile(0.99, metric, matchers), "99 %"),
    )

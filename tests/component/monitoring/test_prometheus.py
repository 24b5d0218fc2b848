"""A real Prometheus: it takes the rules and the queries of the dashboards, and alerts reach it.

The series are those of the product's own meters, with values made up here. That a running stream
fills the panels is another test's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from deploy.dev.monitoring import pictures, promtool
from deploy.dev.monitoring.boards import BOARDS, PANELS
from deploy.dev.monitoring.boards.board import Board, Query
from deploy.dev.monitoring.rules import defaults, rules_file, scaled
from pipeline import metrics
from pipeline.adapters.prometheus import PrometheusMeter, serve
from pipeline.metrics import (
    BACKFILL_DRIVER,
    BACKFILL_METRICS,
    FLEET_METRICS,
    HTTP_METRICS,
    STREAM_WORKER,
    WORKER_UP,
    Kind,
    Metric,
)
from tests.rigs.services.prometheus import Prometheus
from tests.rigs.waiting import eventually
from workers.embedded.processes import LOOPBACK

pytestmark = pytest.mark.component

VALUES = {
    "measure": ("cosine", "spreads", "spread"),
    "state": ("ready", "held", "starting", "waiting", "empty", "leaving", "committed", "in_work"),
    "stage": ("fetch", "decode", "queue", "encode", "score", "commit"),
    "outcome": ("classified", "dead_letter", "skipped", "loaded", "refused", "seen"),
    "code": ("fetch.not_found", "decode.corrupt", "internal.unexpected", "model.device"),
    "status": ("200", "429", "503"),
    "reason": ("overloaded", "invalid_api_key", "folder"),
    "engine": ("torch-cuda",),
    "store": ("s3",),
}


RELEASES = ("live", "other")
"""They share a group, as two releases do for the time of an upgrade, and expose the same."""

OF_EVERY_RELEASE = {"overview: Firing alerts", "decisions: Scores against the reference"}
"""Alerts and recorded series of a group name no release."""


class Exposed:
    """A process's metrics, each with a few series that move."""

    def __init__(self, catalogue: tuple[Metric, ...]) -> None:
        self.meter = PrometheusMeter(catalogue)
        self._catalogue = catalogue
        self.server, self._thread = serve(self.meter.registry, LOOPBACK, 0)

    def move(self) -> None:
        for metric in self._catalogue:
            for labels in labels_of(metric):
                if metric.kind is Kind.COUNTER:
                    self.meter.add(metric, 1, **labels)
                elif metric.kind is Kind.HISTOGRAM:
                    self.meter.observe(metric, metric.buckets[3], **labels)
                else:
                    self.meter.set(metric, 1, **labels)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


def labels_of(metric: Metric) -> Iterator[dict[str, str]]:
    """Each value of one label, with one value of the others."""
    plain = {label: VALUES.get(label, (f"some-{label}",))[0] for label in metric.labels}
    yield plain
    for label in metric.labels:
        for value in VALUES.get(label, ())[1:]:
            yield plain | {label: value}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Has scraped a driver and a worker for some seconds, with the rules at a sixtieth of the
    time."""
    if not promtool.available():
        pytest.skip(promtool.WHAT_IT_NEEDS)
    with ExitStack() as owned:
        worker = Exposed((*STREAM_WORKER, *HTTP_METRICS, *BACKFILL_METRICS))
        owned.callback(worker.close)
        driver = Exposed((*BACKFILL_DRIVER, *FLEET_METRICS))
        owned.callback(driver.close)
        labels = {"kind": "stream", "worker": "0", "group": "live", "driver": "pod-0"}
        scrapes = [
            {
                "job_name": name,
                "static_configs": [
                    {
                        "targets": [f"{LOOPBACK}:{exposed.server.server_port}"],
                        "labels": {"namespace": "images", "release": release, **more},
                    }
                    for release in RELEASES
                ],
            }
            for name, exposed, more in (
                ("clipstream-workers", worker, labels),
                ("clipstream-driver", driver, {}),
            )
        ]
        rules = rules_file(scaled(defaults(), 60))
        running = owned.enter_context(
            Prometheus(tmp_path_factory.mktemp("prometheus"), scrapes, rules)
        )

        missing = dict.fromkeys(WORKER_UP.labels, "") | labels | {"worker": "1"}

        def scraped() -> bool:
            """Moves what is exposed, and says whether Prometheus has seen it several times."""
            worker.move()
            driver.move()
            driver.meter.set(WORKER_UP, 0, **missing)
            seen = running.query("min(count_over_time(up[1h]))")
            return bool(seen) and float(seen[0]["value"][1]) >= 8

        eventually(scraped, interval_s=0.2)
        yield running


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_every_panel_has_data(prometheus: Prometheus, board: Board) -> None:
    empty = []
    for panel in board.panels:
        for query in panel.queries:
            if not prometheus.query(query.filled("5s")):
                empty.append(f"{panel.title}: {query.expr}")
    assert empty == []


def test_a_panel_has_the_series_of_the_chosen_release_alone(prometheus: Prometheus) -> None:
    def answered(query: Query, **release: str) -> list[dict[str, Any]]:
        return prometheus.query(query.filled("5s", **release))

    for name, panel in PANELS.items():
        for query in panel.queries:
            assert answered(query, release="live"), name
            if name not in OF_EVERY_RELEASE:
                assert not answered(query, release="another"), name
    (replicas,) = PANELS["http: Replicas"].queries
    counts = [answered(replicas, release=name)[0]["value"][1] for name in ("live", "live|other")]
    assert counts == ["1", "2"]


def test_the_dashboards_are_drawn_without_grafana(prometheus: Prometheus, tmp_path: Path) -> None:
    address = f"http://{LOOPBACK}:{prometheus.port}"
    look_back = ("--minutes", "1", "--rate", "5s", "--folder", str(tmp_path))
    assert pictures.main([address, *look_back]) == 0
    assert {file.name for file in tmp_path.iterdir()} == {f"{board.name}.png" for board in BOARDS}


def test_every_rule_is_evaluated(prometheus: Prometheus) -> None:
    eventually(lambda: bool(prometheus.query("clipstream:late:ratio_ticket_long")))
    assert prometheus.failing_rules() == {}


def test_an_alert_fires_with_its_texts(prometheus: Prometheus) -> None:
    eventually(lambda: "ClipstreamStoreDown" in prometheus.firing())
    alert = prometheus.firing()["ClipstreamStoreDown"]
    assert alert["labels"] == {
        "alertname": "ClipstreamStoreDown",
        "severity": "page",
        "namespace": "images",
        "group": "live",
        "store": "s3",
    }
    assert alert["annotations"]["summary"] == "Store s3 serves nothing, and its images wait."
    assert alert["annotations"]["dashboard_url"].endswith(
        "/d/clipstream-store?var-namespace=images&var-group=live"
    )


def test_a_query_that_is_wrong_is_told(prometheus: Prometheus) -> None:
    with pytest.raises(ValueError, match="parse error"):
        prometheus.query("sum by (")


def test_the_catalogue_is_what_is_exposed_here() -> None:
    """Else a panel of a new metric could have no data here."""
    here = {*STREAM_WORKER, *HTTP_METRICS, *BACKFILL_METRICS, *BACKFILL_DRIVER, *FLEET_METRICS}
    every = {value for value in vars(metrics).values() if isinstance(value, Metric)}
    assert every == here

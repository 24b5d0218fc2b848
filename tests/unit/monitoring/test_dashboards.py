"""The dashboards ask for what exists, say what they show, and use their variables."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from deploy.dev.monitoring.boards import BOARDS
from deploy.dev.monitoring.boards.board import SOURCES, Board, Panel, Query, Row
from deploy.dev.monitoring.expressions import selections
from deploy.dev.monitoring.grafana import dashboards, rendered
from pipeline.metrics import (
    BACKFILL_WORKER,
    IMAGE_METRICS,
    SERVE_REPLICA,
    STREAM_METRICS,
    STREAM_WORKER,
)
from tests.rigs.series import complaints, labels_of

PANELS = [
    pytest.param(board, panel, id=f"{board.name}: {panel.title}")
    for board in BOARDS
    for panel in board.panels
]

UNITS = {"short", "s", "ops", "reqps", "bytes", "Bps", "percentunit"}


def asked(expression: str) -> str:
    """A query as Prometheus gets it."""
    return expression.replace("$__rate_interval", "5m")


def legend_labels(query: Query) -> set[str]:
    return set(re.findall(r"\{\{(\w+)\}\}", query.legend))


def panels_of(board: Board) -> list[dict[str, Any]]:
    """The panels as Grafana gets them."""
    found: list[dict[str, Any]] = json.loads(rendered(board))["panels"]
    return [panel for panel in found if panel["type"] != "row"]


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_a_panel_asks_for_and_groups_by_what_exists(board: Board, panel: Panel) -> None:
    assert [told for query in panel.queries for told in complaints(asked(query.expr))] == []


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_a_panel_says_what_it_shows(board: Board, panel: Panel) -> None:
    assert panel.title
    assert panel.meaning.endswith(".")
    assert panel.unit in UNITS
    assert len({query.legend for query in panel.queries}) == len(panel.queries)


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_a_legend_names_labels_by_which_its_query_groups(board: Board, panel: Panel) -> None:
    for query in panel.queries:
        grouped = set(re.findall(r"(?:sum|max|min|count) by \(([^)]*)\)", query.expr))
        labels = {label.strip() for each in grouped for label in each.split(",")} - {"", "le"}
        assert legend_labels(query) <= labels
        # Series that look alike in the legend cannot be told apart. The model's revision is long.
        assert labels - legend_labels(query) <= {"revision"} or not legend_labels(query)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_a_row_fills_the_width_of_the_page(board: Board) -> None:
    for row in board.rows:
        width = 0
        for panel in row.panels:
            width = panel.width if width + panel.width > 24 else width + panel.width
        assert width == 24, f"{board.name}: {row.title}"


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_every_query_is_of_the_chosen_release_and_every_variable_is_used(board: Board) -> None:
    for panel in board.panels:
        of_a_group = panel.title == "Scores against the reference"
        wanted = {"namespace"} if of_a_group else {"namespace", "release"}
        for query in panel.queries:
            for selection in selections(asked(query.expr)):
                assert wanted <= selection.labels, f"{panel.title}: {selection}"
    dashboard = json.loads(rendered(board))
    names = [variable["name"] for variable in dashboard["templating"]["list"]]
    assert names == ["datasource", *board.variables]
    text = json.dumps(dashboard["panels"])
    assert all(f"${name}" in text or f"${{{name}}}" in text for name in names)


def sources_of(variable: str) -> set[str]:
    return {*re.findall(r"clipstream_\w+", SOURCES[variable])}


def test_a_variable_has_its_choices_from_a_series_with_that_label() -> None:
    for name in SOURCES:
        assert all(name in (labels_of(series) or ()) for series in sources_of(name))


def test_every_kind_of_worker_has_what_the_choices_of_a_release_come_from() -> None:
    """A server alone has no places for workers of a stream."""
    for kind in (STREAM_WORKER, BACKFILL_WORKER, SERVE_REPLICA):
        assert {metric.name for metric in kind} & sources_of("release")


def test_a_variable_that_nothing_uses_is_none() -> None:
    row = Row("r", (Panel("p", "m", "s", (Query("up{group=~'$group'}", "x"),)),))
    assert Board("b", "t", "m", (row,)).variables == ("group",)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_grafana_gets_every_panel_with_its_unit_text_and_source(board: Board) -> None:
    drawn = panels_of(board)
    assert [panel["title"] for panel in drawn] == [panel.title for panel in board.panels]
    for drawn_panel, panel in zip(drawn, board.panels, strict=True):
        assert drawn_panel["description"] == panel.meaning
        assert drawn_panel["fieldConfig"]["defaults"]["unit"] == panel.unit
        assert drawn_panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert [it["expr"] for it in drawn_panel["targets"]] == [it.expr for it in panel.queries]
        assert all(target["legendFormat"] for target in drawn_panel["targets"])


def test_dashboards_have_addresses_of_their_own_and_link_one_another() -> None:
    drawn = [json.loads(render()) for render in dashboards().values()]
    assert len({each["uid"] for each in drawn}) == len(BOARDS)
    assert all(each["links"][0]["tags"] == each["tags"] == ["clipstream"] for each in drawn)
    assert "id" not in {key for each in drawn for key in each if each[key] is not None}


def test_each_dashboard_is_rendered_twice_to_the_same_text() -> None:
    assert [render() for render in dashboards().values()] == [
        render() for render in dashboards().values()
    ]


def test_every_metric_of_the_stream_and_of_images_is_on_a_dashboard() -> None:
    text = " ".join(
        query.expr for board in BOARDS for panel in board.panels for query in panel.queries
    )
    # The other gauge names the store too.
    hidden = {"clipstream_breaker_open"}
    names = {metric.name for metric in (*STREAM_METRICS, *IMAGE_METRICS)} - hidden
    assert {name for name in names if name not in text} == set()

"""Dashboards as Grafana's JSON. Rendering twice gives the same text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from grafana_foundation_sdk.builders import common, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as grafana
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
    VariableSort,
)

from deploy.dev.monitoring.boards import BOARDS
from deploy.dev.monitoring.boards.board import SOURCES, Board, Panel

TAG = "clipstream"
HEIGHT = 8
FIGURE_HEIGHT = 4
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


def dashboards() -> Mapping[str, Callable[[], str]]:
    """Every dashboard: its path from the repository's root → what renders it."""
    return {
        f"monitoring/dashboards/{board.name}.json": partial(rendered, board) for board in BOARDS
    }


def rendered(board: Board) -> str:
    """The JSON that Grafana imports."""
    builder = (
        grafana.Dashboard(board.title)
        .uid(board.uid)
        .description(board.meaning)
        .tags([TAG])
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .time("now-1h", "now")
        .link(
            grafana.DashboardLink("Clipstream")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(
            grafana.DatasourceVariable("datasource").label("Data source").type("prometheus")
        )
    )
    for name in board.variables:
        builder = builder.with_variable(_variable(name))
    for row in board.rows:
        builder = builder.with_row(grafana.Row(row.title))
        for panel in row.panels:
            builder = builder.with_panel(_figure(panel) if panel.figure else _graph(panel))
    return JSONEncoder(sort_keys=True, indent=2).encode(builder.build()) + "\n"


def _variable(name: str) -> grafana.QueryVariable:
    # "All" also matches series without the label: a plain Prometheus adds no namespace.
    return (
        grafana.QueryVariable(name)
        .label(name.replace("_", " ").capitalize())
        .query(f"label_values({SOURCES[name]}, {name})")
        .datasource(SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def _targets(panel: Panel) -> list[Builder[Dataquery]]:
    return [
        prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(ref_id)
        for query, ref_id in zip(panel.queries, "ABCDEFGH", strict=False)
    ]


def _graph(panel: Panel) -> timeseries.Panel:
    builder = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.meaning)
        .unit(panel.unit)
        .datasource(SOURCE)
        .span(panel.width)
        .height(HEIGHT)
        .min(0)
        .fill_opacity(30 if panel.stacked else 5)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .targets(_targets(panel))
    )
    if panel.stacked:
        builder = builder.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    return builder


def _figure(panel: Panel) -> stat.Panel:
    colours = [Threshold(color="green", value=None)]
    if panel.alarm is not None:
        colours.append(Threshold(color="red", value=panel.alarm))
    return (
        stat.Panel()
        .title(panel.title)
        .description(panel.meaning)
        .unit(panel.unit)
        .datasource(SOURCE)
        .span(panel.width)
        .height(FIGURE_HEIGHT)
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.AREA)
        .no_value("-")
        .thresholds(grafana.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(colours))
        .targets(_targets(panel))
    )

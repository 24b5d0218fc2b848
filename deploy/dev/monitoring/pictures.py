"""``python -m deploy.dev.monitoring.pictures ADDRESS``: draw the dashboards without a Grafana.

Asks a Prometheus the panels' own queries, and writes one picture a dashboard.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deploy.dev.monitoring.boards import BOARDS
from deploy.dev.monitoring.boards.board import Board, Panel, Query
from deploy.dev.monitoring.grafana import FIGURE_HEIGHT, HEIGHT

COLUMNS = 24
TITLE_HEIGHT = 1.5
"""Of a row of panels. Heights and widths are in Grafana's units."""

INCHES = 0.62, 0.36
"""Width and height of a unit."""

BELOW, ABOVE, LEFT, RIGHT = 2.4, 1.0, 1.6, 0.4
"""Room within a panel for its legend, title and labels."""

POINTS = 240
NAMED = 6
"""The most series that a legend names."""

ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class Series:
    """``minutes`` count from the end of the picture: they are negative."""

    legend: str
    minutes: Sequence[float]
    values: Sequence[float]


Ask = Callable[[Query], Sequence[Series]]


@dataclass(frozen=True, slots=True)
class Window:
    """The last ``minutes`` until now, of the Prometheus at ``address``. Rates look back over
    ``rate``, at least four times the interval of its scrapes."""

    address: str
    minutes: float
    rate: str

    def __call__(self, query: Query) -> list[Series]:
        """The series that Grafana would draw with all variables at *All*.

        Raises:
            OSError: nobody answers at the address, or Prometheus refuses the query.
        """
        end = time.time()
        seconds = self.minutes * 60
        asked = {
            "query": query.filled(self.rate),
            "start": end - seconds,
            "end": end,
            "step": max(1.0, seconds / POINTS),
        }
        address = f"{self.address}/api/v1/query_range?{urllib.parse.urlencode(asked)}"
        with urllib.request.urlopen(address, timeout=ANSWER_S) as answer:  # noqa: S310 - the user's
            found = json.load(answer)["data"]["result"]
        return [
            Series(
                named(query.legend, each["metric"]),
                [(at - end) / 60 for at, _ in each["values"]],
                [float(value) for _, value in each["values"]],
            )
            for each in found
        ]


def named(legend: str, labels: Mapping[str, str]) -> str:
    """The legend with a series' labels, as Grafana fills ``{{label}}``."""
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), legend)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a panel or the title of a row is, in units from the upper left corner."""

    what: Panel | str
    left: float
    top: float
    width: float
    height: float


def places(board: Board) -> Iterator[Place]:
    """In the order and the places in which Grafana shows them, from the top."""
    top = 0.0
    for row in board.rows:
        yield Place(row.title, 0, top, COLUMNS, TITLE_HEIGHT)
        top += TITLE_HEIGHT
        left, height = 0, 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                left, top, height = 0, top + height, 0
            tall = FIGURE_HEIGHT if panel.figure else HEIGHT
            yield Place(panel, left, top, panel.width, tall)
            left, height = left + panel.width, max(height, tall)
        top += height


def draw(board: Board, ask: Ask, file: Path) -> None:
    """Write the dashboard's picture as PNG. A panel whose queries have no series says so."""
    page = list(places(board))
    units = max(place.top + place.height for place in page)
    figure = pyplot.figure(figsize=(COLUMNS * INCHES[0], units * INCHES[1]), facecolor="#f4f5f5")
    try:
        for place in page:
            if isinstance(place.what, Panel):
                _panel(figure, place, place.what, units, ask)
            else:
                height = 1 - (place.top + place.height / 2) / units
                figure.text(0.01, height, place.what, weight="bold", va="center")
        figure.savefig(file, dpi=90)
    finally:
        pyplot.close(figure)


def _panel(figure: Figure, place: Place, panel: Panel, units: float, ask: Ask) -> None:
    below = 0.4 if panel.figure else BELOW
    axes = figure.add_axes(
        (
            (place.left + LEFT) / COLUMNS,
            1 - (place.top + place.height - below) / units,
            (place.width - LEFT - RIGHT) / COLUMNS,
            (place.height - below - ABOVE) / units,
        )
    )
    axes.set_title(panel.title, loc="left", fontsize=9)
    series = [each for query in panel.queries for each in ask(query)]
    if not series:
        axes.set_axis_off()
        why = "only on a GPU" if panel.device else "no data"
        axes.text(0.5, 0.5, why, ha="center", va="center", color="grey", transform=axes.transAxes)
    elif panel.figure:
        _figure(axes, panel, series)
    else:
        _graph(axes, panel, series)


def _figure(axes: Axes, panel: Panel, series: Sequence[Series]) -> None:
    axes.set_axis_off()
    value = max(each.values[-1] for each in series)
    alarming = panel.alarm is not None and value >= panel.alarm
    axes.text(
        *(0.5, 0.5, written(value, panel.unit)),
        ha="center",
        va="center",
        fontsize=20,
        color="tab:red" if alarming else "tab:green",
        transform=axes.transAxes,
    )


def _graph(axes: Axes, panel: Panel, series: Sequence[Series]) -> None:
    floor: dict[float, float] = {}
    for number, each in enumerate(series):
        colour = f"C{number % 10}"
        values = list(each.values)
        if panel.stacked:
            under = [floor.get(minute, 0.0) for minute in each.minutes]
            values = [low + value for low, value in zip(under, values, strict=True)]
            floor |= zip(each.minutes, values, strict=True)
            axes.fill_between(each.minutes, under, values, color=colour, alpha=0.3, linewidth=0)
        axes.plot(each.minutes, values, color=colour, linewidth=1.2, label=each.legend)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: written(value, panel.unit))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} min" if value else "now")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(labelsize=7, length=0)
    axes.grid(alpha=0.3)
    axes.spines[:].set_visible(False)
    handles, legends = axes.get_legend_handles_labels()
    if len(legends) > NAMED:
        legends[NAMED - 1] = f"and {len(legends) - NAMED + 1} more"
    axes.legend(
        *(handles[:NAMED], legends[:NAMED]),
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        ncols=2,
        fontsize=6.5,
        frameon=False,
    )


def written(value: float, unit: str) -> str:
    """A value as Grafana writes it in one of its units."""
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    scaled: tuple[tuple[float, str], ...]
    if unit == "s":
        scaled = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs"))
    elif unit in {"bytes", "Bps"}:
        scaled = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))
    else:
        scaled = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""))
    size, name = next(
        ((size, name) for size, name in scaled if abs(value) >= size),
        scaled[-1] if value else next(each for each in scaled if each[0] == 1),
    )
    per = "/s" if unit in {"Bps", "ops", "reqps"} else ""
    return f"{value / size:.3g} {name}{per}".strip()


def main(arguments: Sequence[str] | None = None) -> int:
    """2: Prometheus does not answer, or refuses a query."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.dev.monitoring.pictures",
        description="Draw the dashboards from what a Prometheus answers.",
    )
    parser.add_argument("address", help="of Prometheus: http://127.0.0.1:9090")
    parser.add_argument("--minutes", type=float, default=60, help="look back (%(default)s)")
    parser.add_argument("--rate", default="2m", help="look back of rates (%(default)s)")
    parser.add_argument("--folder", type=Path, default=Path(), help="where the pictures go")
    given = parser.parse_args(arguments)
    given.folder.mkdir(parents=True, exist_ok=True)
    window = Window(given.address.rstrip("/"), given.minutes, given.rate)
    try:
        for board in BOARDS:
            file = given.folder / f"{board.name}.png"
            draw(board, window, file)
            print(file)
    except urllib.error.HTTPError as refused:
        sys.stderr.write(f"{given.address}: {refused.read().decode(errors='replace')}\n")
        return 2
    except OSError as problem:
        sys.stderr.write(f"{given.address}: {problem}; is it Prometheus' address?\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Pictures of the dashboards show what Prometheus answers, where Grafana would show it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from deploy.dev.monitoring.boards import BOARDS
from deploy.dev.monitoring.boards.board import Board, Panel, Query, Row
from deploy.dev.monitoring.pictures import COLUMNS, Series, draw, main, named, places, written

RED, GREEN = (214, 39, 40), (44, 160, 44)
"""As they are drawn."""

QUERY = Query("up", "{{code}}")


def board(**panel: object) -> Board:
    shown = Panel("A panel", "What it means.", "short", (QUERY,), **panel)  # type: ignore[arg-type]
    return Board("one", "One", "What it is for.", (Row("A row", (shown,)),))


def colours(file: Path) -> set[object]:
    with Image.open(file) as picture:
        return {colour for _, colour in picture.convert("RGB").getcolors(1 << 24) or ()}


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0123, "percentunit", "1.23 %"),
        (0.0, "s", "0 s"),
        (0.25, "s", "250 ms"),
        (5400.0, "s", "1.5 h"),
        (3 * 2**20, "bytes", "3 MiB"),
        (1536.0, "Bps", "1.5 KiB/s"),
        (12345.0, "ops", "12.3 k/s"),
        (7.0, "short", "7"),
        (-2000.0, "short", "-2 k"),
    ],
)
def test_a_value_has_its_unit(value: float, unit: str, text: str) -> None:
    assert written(value, unit) == text


def test_a_legend_names_a_series_by_its_labels() -> None:
    assert named("{{driver}}/{{worker}} {{none}}", {"driver": "a", "worker": "1"}) == "a/1 "


@pytest.mark.parametrize("each", BOARDS, ids=lambda each: each.name)
def test_no_panel_lies_on_another_or_outside_the_page(each: Board) -> None:
    taken: set[tuple[int, int]] = set()
    for place in places(each):
        # Halves of a unit, which the titles of rows need.
        cells = {
            (left, top)
            for left in range(int(place.left), int(place.left + place.width))
            for top in range(int(2 * place.top), int(2 * (place.top + place.height)))
        }
        assert place.left + place.width <= COLUMNS
        assert not cells & taken
        taken |= cells


@pytest.mark.parametrize(("value", "seen", "absent"), [(4.9, GREEN, RED), (5.0, RED, GREEN)])
def test_a_figure_is_red_from_its_alarm_on(
    tmp_path: Path, value: float, seen: object, absent: object
) -> None:
    file = tmp_path / "picture.png"
    draw(board(figure=True, alarm=5), lambda _: [Series("a", [-1, 0], [9.0, value])], file)
    assert seen in colours(file)
    assert absent not in colours(file)


def test_a_panel_shows_a_line_a_series(tmp_path: Path) -> None:
    blue, orange = (31, 119, 180), (255, 127, 14)
    lines = [Series("a", [-1, 0], [1, 2]), Series("b", [-1, 0], [2, 1])]
    for name, series in (("none", []), ("one", lines[:1]), ("two", lines)):
        draw(board(), lambda _, series=series: series, tmp_path / f"{name}.png")  # type: ignore[misc]
    assert not {blue, orange} & colours(tmp_path / "none.png")
    assert {blue, orange} & colours(tmp_path / "one.png") == {blue}
    assert {blue, orange} <= colours(tmp_path / "two.png")


def test_who_does_not_answer_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["http://127.0.0.1:1", "--folder", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("http://127.0.0.1:1: ")

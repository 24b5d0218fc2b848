"""The picture of imports is as the code has it, and the linter judges every library."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import grimp
import pytest

from deploy.dev.architecture import PICTURE, Rooms, draw, read_rooms
from tests.rigs.root import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text()
MOST_MODULES = 14
WORDS_OF_ALL = {"numpy", "pydantic", "pydantic_core", "typing_extensions"}
"""Libraries whose types are words that every room may use."""


@pytest.fixture(scope="module")
def rooms() -> Rooms:
    return read_rooms()


def test_the_committed_picture_is_as_the_code_has_it(rooms: Rooms) -> None:
    assert (ROOT / PICTURE).read_text() == draw(rooms), "run `make architecture`"
    assert f"({PICTURE.name})" in PAGE


def test_every_arrow_that_does_not_go_down_is_explained(rooms: Rooms) -> None:
    assert [(a, b) for a, b in rooms.against if f"`{a}` → `{b}`" not in PAGE] == []


def test_every_module_lies_in_a_room_of_the_picture(rooms: Rooms) -> None:
    graph = grimp.build_graph("pipeline", "workers", cache_dir=None)
    around = {"pipeline", "workers", "pipeline.adapters"}
    named = tuple(room for row in rooms.rows for room in row)
    assert {
        module
        for module in graph.modules - around
        if not any(f"{module}.".startswith(f"{room}.") for room in named)
    } == set()


MADE_UP = Rooms(
    rows=(("top",), ("left", "right"), ("bottom",), ("pipeline.ports",)),
    arrows=frozenset(
        {
            ("top", "left"),
            ("top", "bottom"),
            ("left", "bottom"),
            ("top", "pipeline.ports"),
            ("left", "right"),
            ("bottom", "top"),
        }
    ),
)


def test_what_a_longer_way_implies_and_what_everybody_uses_is_not_drawn() -> None:
    assert MADE_UP.drawn == [("left", "bottom"), ("top", "left")]


def test_arrows_up_and_sideways_are_told_apart() -> None:
    assert MADE_UP.against == [("bottom", "top"), ("left", "right")]


def test_the_picture_shows_every_room_and_every_arrow(rooms: Rooms) -> None:
    upwards = ("workers.settings", "workers.stream")
    picture = ElementTree.fromstring(draw(Rooms(rooms.rows, rooms.arrows | {upwards})))
    svg = "{http://www.w3.org/2000/svg}"
    texts = {text.text for text in picture.iter(f"{svg}text")}
    for row in rooms.rows:
        for room in row:
            assert {room.rpartition(".")[2] + end for end in ("/", ".py")} & texts
    ends = [path.get("marker-end") for path in picture.iter(f"{svg}path")]
    assert ends.count("url(#down)") + ends.count("url(#pale)") == len(rooms.drawn)
    assert ends.count("url(#pale)") == sum(a == "workers.settings" for a, _ in rooms.drawn)
    assert ends.count("url(#against)") == 1


def points_of(path: str) -> list[tuple[float, float]]:
    """Points along a path of the picture, close to each other."""
    points: list[tuple[float, float]] = []
    for command, numbers in re.findall(r"([MCV])([^MCV]*)", path):
        values = [float(number) for number in re.findall(r"[-.\d]+", numbers)]
        if command == "M":
            points.append((values[0], values[1]))
            continue
        x, y = points[-1]
        curve = [x, y, *values] if command == "C" else [x, y, x, y, x, values[0], x, values[0]]
        for step in range(1, 33):
            t = step / 32
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
            points.append(
                (
                    sum(w * v for w, v in zip(weights, curve[::2], strict=True)),
                    sum(w * v for w, v in zip(weights, curve[1::2], strict=True)),
                )
            )
    return points


def test_no_arrow_of_the_picture_crosses_a_box(rooms: Rooms) -> None:
    picture = ElementTree.fromstring(draw(rooms))
    svg = "{http://www.w3.org/2000/svg}"
    boxes = [
        (*(float(box.get(name, "")) for name in ("x", "y", "width", "height")),)
        for box in picture.iter(f"{svg}rect")
        if box.get("rx")
    ]
    paths = [path.get("d", "") for path in picture.iter(f"{svg}path") if path.get("stroke")]
    assert len(boxes) == sum(map(len, rooms.rows))
    assert len(paths) == len(rooms.drawn)
    assert [
        (path, x, y)
        for path in paths
        for x, y in points_of(path)
        for left, top, width, height in boxes
        if left < x < left + width and top < y < top + height
    ] == []


def test_the_linter_judges_every_outside_library() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    lists = [
        {*contract["forbidden_modules"]}
        for contract in contracts["contracts"]
        if "know outside libraries" in contract["name"]
    ]
    graph = grimp.build_graph("pipeline", "workers", include_external_packages=True, cache_dir=None)
    used = {
        module
        for module in graph.modules
        if graph.is_module_squashed(module) and module not in sys.stdlib_module_names
    }
    assert len(lists) == 2
    assert [used - WORDS_OF_ALL - names for names in lists] == [set(), set()]


def rooms_with_code() -> list[Path]:
    tops = (ROOT / top for top in ("pipeline", "workers", "deploy/dev", "tests/rigs"))
    return sorted(page.parent for top in tops for page in top.rglob("__init__.py"))


def said_of(room: Path) -> str:
    return ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""


@pytest.mark.parametrize("room", rooms_with_code(), ids=lambda room: str(room.relative_to(ROOT)))
def test_every_room_says_what_to_read_first(room: Path) -> None:
    first = re.search(r"Read ``([\w.]+)``", said_of(room))
    assert first, f"{room}: no word of what to read first"
    name = first[1].rpartition(".")[2]
    assert [*room.glob(f"{name}.py"), *room.glob(f"{name}/__init__.py")]


@pytest.mark.parametrize("room", rooms_with_code(), ids=lambda room: str(room.relative_to(ROOT)))
def test_every_room_names_all_of_its_modules(room: Path) -> None:
    modules = {path.stem for path in room.glob("*.py")} - {"__init__", "__main__"}
    rooms = {page.parent.name for page in room.glob("*/__init__.py")}
    named = {name.rpartition(".")[2] for name in re.findall(r"``([\w.]+)``", said_of(room))}
    assert (modules | rooms) - named == set(), f"say in {room}/__init__.py what they are"


@pytest.mark.parametrize("room", rooms_with_code(), ids=lambda room: str(room.relative_to(ROOT)))
def test_a_room_is_a_place_and_not_a_list(room: Path) -> None:
    modules = {path.name for path in room.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert len(modules) <= MOST_MODULES, "find rooms in it"


def test_every_folder_of_tests_is_on_their_page() -> None:
    page = (ROOT / "tests/README.md").read_text()
    tests = ROOT / "tests"
    files = [file for file in tests.rglob("*") if file.is_file() and file.suffix != ".pyc"]
    folders = {f"{file.relative_to(tests).parent}/" for file in files} - {"./"}
    of_data = {folder for folder in folders if folder.startswith("data/")}
    assert all((tests / folder / "README.md").is_file() for folder in of_data)
    assert {folder for folder in folders - of_data if f"| `{folder}` |" not in page} == set()

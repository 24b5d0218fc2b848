"""Draws docs/architecture.svg: which room imports which, in the rows of the linter's layers.

The graph is grimp's, the library under import-linter; the rows are the contracts of pyproject.toml.
Arrows that a longer way implies are left out, and so are arrows to the lowest rows, which hold
shared words and small tools. An arrow that does not go down is drawn in red, and must be explained
on docs/architecture.md. Arrows go round the boxes of the rows between their ends.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[2]
PICTURE = Path("docs/architecture.svg")

COMMON = "pipeline.ports"
"""The row of this module and all below are shared words and small tools."""
COMBINING = "workers.settings"
"""It imports the rooms whose policies it combines, which are nearly all: its arrows are pale."""

WIDTH, MARGIN_LEFT, BOX_HEIGHT, ROW_HEIGHT, CHARACTER = 1760, 150, 30, 70, 7.3
ASIDE = 110
BESIDE_BOX, BESIDE_ARROW = 12, 9
"""Least distances, in pixels, of an arrow that passes a row to its boxes and to other arrows."""
COLOURS = {"down": "#5b6b7b", "pale": "#b4bfca", "against": "#c0392b"}
BANDS = (
    ("workers", "where it runs", "#eef4fb"),
    ("pipeline.adapters", "the outside world", "#fdf3e4"),
    ("pipeline", "what happens to an image", "#eef7ee"),
)

NOTES = (
    "An arrow means: imports. Pale arrows: settings/ combines the policies of the rooms below it.",
    "Not drawn: arrows that a longer way implies, arrows to the grey boxes (shared words and small",
    "tools), and rooms inside of rooms. memory/ is for tests: no room imports it.",
)

Arrow = tuple[str, str]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Rooms:
    """Rooms and loose modules in rows, highest first, and who imports whom among them."""

    rows: tuple[tuple[str, ...], ...]
    arrows: frozenset[Arrow]

    @property
    def common(self) -> frozenset[str]:
        """The shared words and small tools."""
        first = next(number for number, row in enumerate(self.rows) if COMMON in row)
        return frozenset(room for row in self.rows[first:] for room in row)

    @property
    def against(self) -> list[Arrow]:
        """Arrows that do not go down."""
        row_of = {room: number for number, row in enumerate(self.rows) for room in row}
        return sorted((a, b) for a, b in self.arrows if row_of[a] >= row_of[b])

    @property
    def drawn(self) -> list[Arrow]:
        """Arrows down to rooms that are not ``common`` and that no longer way implies."""
        common, against = self.common, {*self.against}
        below: Mapping[str, set[str]] = defaultdict(set)
        for a, b in sorted(self.arrows - against):
            if b not in common:
                below[a].add(b)
        return sorted(
            (a, b)
            for a in list(below)
            for b in below[a]
            if not any(_reaches(below, other, b) for other in below[a] - {b})
        )


def _reaches(below: Mapping[str, set[str]], start: str, end: str) -> bool:
    return end in below[start] or any(_reaches(below, each, end) for each in below[start])


def read_rooms(root: Path = ROOT) -> Rooms:
    """The rooms as the contracts name them, with the imports between them."""
    configuration = tomllib.loads((root / "pyproject.toml").read_text())
    contracts = configuration["tool"]["importlinter"]["contracts"]
    within: dict[str, list[list[str]]] = {}
    rows: list[list[str]] = []
    for contract in contracts:
        if contract["type"] != "layers":
            continue
        for container in contract.get("containers", [""]):
            layers = [_names(layer, container) for layer in contract["layers"]]
            if container:
                within[container] = layers
            else:
                rows = layers
    graph = grimp.build_graph("pipeline", "workers", cache_dir=None)
    expanded = [finer for row in rows for finer in within.get(row[0], [row])]
    existing = [tuple(name for name in row if name in graph.modules) for row in expanded]
    names = {name for row in existing for name in row}
    arrows = {
        (importer, imported)
        for module in graph.modules
        for other in graph.find_modules_directly_imported_by(module)
        if (importer := _room(module, names))
        and (imported := _room(other, names))
        and importer != imported
    }
    return Rooms(tuple(row for row in existing if row), frozenset(arrows))


def _names(layer: str, container: str) -> list[str]:
    names = [name.strip(" ()") for name in layer.split("|")]
    return [f"{container}.{name}" for name in names] if container else names


def _room(module: str, names: Iterable[str]) -> str | None:
    """The room that a module lies in; None for the packages around them."""
    return next((name for name in names if f"{module}.".startswith(f"{name}.")), None)


# -- drawing --------------------------------------------------------------------------------------


def draw(rooms: Rooms, root: Path = ROOT) -> str:
    """The picture as SVG; the same text for the same rooms."""
    against = rooms.against
    arrows = rooms.drawn
    rows = _ordered(rooms.rows, arrows)
    centres = _centres(rows)
    height = ROW_HEIGHT * len(rows) + 24 + 16 * len(NOTES)
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    font = 'font-family="Menlo, DejaVu Sans Mono, monospace" font-size="12"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>',
        "<title>Which room of Clipstream imports which</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        *(_marker(name, colour) for name, colour in COLOURS.items()),
        *_bands(rows),
        *_arrows(arrows, rows, centres),
        *_arrows(against, rows, centres),
    ]
    for row in rows:
        for room in row:
            folder = (root / Path(*room.split("."))).is_dir()
            parts.append(_box(room, *centres[room], folder=folder, common=room in rooms.common))
    for line, note in enumerate(NOTES):
        y = height - 14 - 16 * (len(NOTES) - 1 - line)
        parts.append(f'<text x="12" y="{y}" fill="#444">{escape(note)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _label(room: str, *, folder: bool = True) -> str:
    return room.rpartition(".")[2] + ("/" if folder else ".py")


def _box_width(room: str) -> float:
    return len(_label(room)) * CHARACTER + 40


def _centres(rows: Sequence[Sequence[str]]) -> dict[str, Point]:
    """Where the middle of each box is: the boxes of a row in equal distances.

    A box that is alone in its row stands left or right of the middle in turn: arrows past it are
    seen.
    """
    centres = {}
    for number, row in enumerate(rows):
        free = WIDTH - MARGIN_LEFT - sum(map(_box_width, row))
        gap, x = free / (len(row) + 1), float(MARGIN_LEFT)
        if len(row) == 1:
            x += ASIDE if number % 2 else -ASIDE
        for room in row:
            x += gap + _box_width(room) / 2
            centres[room] = (round(x, 1), _middle(number))
            x += _box_width(room) / 2
    return centres


def _ordered(rows: Sequence[Sequence[str]], arrows: Sequence[Arrow]) -> list[list[str]]:
    """Rows whose boxes stand near those that they have arrows with."""
    ordered = [list(row) for row in rows]
    near: Mapping[str, list[str]] = defaultdict(list)
    for a, b in arrows:
        near[a].append(b)
        near[b].append(a)
    for _ in range(12):
        for row in ordered:
            centres = _centres(ordered)

            def middle(room: str, centres: Mapping[str, Point] = centres) -> float:
                others = [centres[other][0] for other in near[room]] or [centres[room][0]]
                return sum(others) / len(others)

            row.sort(key=lambda room: (round(middle(room), 1), room))
    return ordered


def _marker(name: str, colour: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{colour}"/></marker>'
    )


def _bands(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """A coloured ground behind the rows of one part of the tree, with its name."""
    for prefix, meaning, colour in BANDS:
        numbers = [
            number
            for number, row in enumerate(rows)
            if next(each for each, *_ in BANDS if row[0].startswith(f"{each}.")) == prefix
        ]
        top = numbers[0] * ROW_HEIGHT + 4
        height = len(numbers) * ROW_HEIGHT - 4
        yield f'<rect x="4" y="{top}" width="{WIDTH - 8}" height="{height}" fill="{colour}"/>'
        name = prefix.replace(".", "/") + "/"
        yield f'<text x="12" y="{top + 20}" font-weight="bold">{name}</text>'
        for line, word in enumerate(_wrapped(meaning)):
            yield f'<text x="12" y="{top + 37 + 15 * line}" fill="#555">{escape(word)}</text>'


def _wrapped(text: str, width: int = 18) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _arrows(
    arrows: Sequence[Arrow],
    rows: Sequence[Sequence[str]],
    centres: Mapping[str, Point],
) -> Iterable[str]:
    """Curves from the lower edge of one box to the upper edge of another, side by side. They pass
    the rows between beside the boxes, straight down."""
    ways = {arrow: [centres[arrow[0]][0], centres[arrow[1]][0]] for arrow in arrows}
    for _ in range(3):  # where an arrow leaves its box and where it passes depend on each other
        starts, ends = _ports(ways, centres, 0), _ports(ways, centres, 1)
        ways = _ways(starts, ends, rows, centres)
    row_of = {room: number for number, row in enumerate(rows) for room in row}
    for arrow in sorted(ways, key=lambda arrow: (arrow[0] != COMBINING, arrow)):  # pale ones below
        upper, lower = (row_of[room] for room in arrow)
        name = "against" if upper >= lower else "pale" if arrow[0] == COMBINING else "down"
        yield (
            f'<path d="{_path(ways[arrow], upper, lower)}" fill="none" stroke="{COLOURS[name]}" '
            f'stroke-width="1.2" marker-end="url(#{name})"/>'
        )


def _path(way: Sequence[float], upper: int, lower: int) -> str:
    y = _middle(upper) + BOX_HEIGHT / 2
    path = f"M{way[0]:g},{y:g}"
    rows = [*range(upper + 1, lower), lower]
    for row, (x1, x2) in zip(rows, itertools.pairwise(way), strict=True):
        top = _middle(row) - BOX_HEIGHT / 2 - (row == lower)
        bend = abs(top - y) / 2
        path += f" C{x1:g},{y + bend:g} {x2:g},{top - bend:g} {x2:g},{top:g}"
        if row != lower:
            y = top + BOX_HEIGHT
            path += f" V{y:g}"
    return path


def _middle(row: int) -> float:
    """Where the middle of a row is, in pixels from above."""
    return row * ROW_HEIGHT + 36.0


def _ways(
    starts: Mapping[Arrow, float],
    ends: Mapping[Arrow, float],
    rows: Sequence[Sequence[str]],
    centres: Mapping[str, Point],
) -> dict[Arrow, list[float]]:
    """For each arrow the x at its start, at each row that it passes, and at its end."""
    row_of = {room: number for number, row in enumerate(rows) for room in row}
    ways = {arrow: [x] for arrow, x in starts.items()}
    for number, row in enumerate(rows):
        gaps = _gaps(row, centres)
        wanted: Mapping[Point, list[tuple[float, Arrow]]] = defaultdict(list)
        for arrow, way in ways.items():
            upper, lower = (row_of[room] for room in arrow)
            if upper < number < lower:
                # The straight line from where the arrow is to where it ends.
                x = way[-1] + (ends[arrow] - way[-1]) / (lower - number + 1)
                gap = min(gaps, key=lambda gap: abs(_within(gap, x) - x))
                wanted[gap].append((_within(gap, x), arrow))
        for gap, passing in wanted.items():
            passing.sort()
            for x, (_, arrow) in zip(_spread(gap, [x for x, _ in passing]), passing, strict=True):
                ways[arrow].append(round(x, 1))
    return {arrow: [*way, ends[arrow]] for arrow, way in ways.items()}


def _gaps(row: Sequence[str], centres: Mapping[str, Point]) -> list[Point]:
    """Where arrows can pass a row: left and right of its boxes and between them."""
    edges: list[float] = [MARGIN_LEFT - BESIDE_BOX]
    for room in row:
        half = _box_width(room) / 2
        edges += [centres[room][0] - half, centres[room][0] + half]
    edges.append(WIDTH)
    spans = zip(edges[::2], edges[1::2], strict=True)
    return [
        (left + BESIDE_BOX, right - BESIDE_BOX)
        for left, right in spans
        if right - left > 2 * BESIDE_BOX
    ]


def _within(gap: Point, x: float) -> float:
    return min(max(x, gap[0]), gap[1])


def _spread(gap: Point, wanted: Sequence[float]) -> list[float]:
    """The wanted places in a gap, in their order, moved as little as keeps them apart."""
    apart = min(BESIDE_ARROW, (gap[1] - gap[0]) / max(1, len(wanted) - 1))
    places: list[float] = []
    for x in wanted:
        places.append(max(x, places[-1] + apart) if places else x)
    last = gap[1]
    for index in reversed(range(len(places))):
        places[index] = last = min(places[index], last)
        last -= apart
    return places


def _ports(
    ways: Mapping[Arrow, Sequence[float]], centres: Mapping[str, Point], end: int
) -> dict[Arrow, float]:
    """Where each arrow meets the box at one of its ends: in the order in which they come."""
    by_room: Mapping[str, list[Arrow]] = defaultdict(list)
    for arrow in ways:
        by_room[arrow[end]].append(arrow)
    ports = {}
    for room, its in by_room.items():
        its.sort(key=lambda arrow: (ways[arrow][-2 if end else 1], arrow))
        width = _box_width(room) - 24
        for number, arrow in enumerate(its):
            share = (number + 1) / (len(its) + 1) - 0.5
            ports[arrow] = round(centres[room][0] + share * width, 1)
    return ports


def _box(room: str, x: float, y: float, *, folder: bool, common: bool) -> str:
    width = _box_width(room)
    fill = "#e4e4e4" if common else "white"
    return (
        f'<rect x="{x - width / 2:g}" y="{y - BOX_HEIGHT / 2:g}" width="{width:g}" '
        f'height="{BOX_HEIGHT}" rx="5" fill="{fill}" stroke="#34495e"/>'
        f'<text x="{x:g}" y="{y + 4:g}" text-anchor="middle">'
        f"{escape(_label(room, folder=folder))}</text>"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="architecture", description=__doc__)
    parser.parse_args(arguments)
    (ROOT / PICTURE).write_text(draw(read_rooms()))
    print(f"written: {PICTURE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

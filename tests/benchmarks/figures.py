"""What a benchmark says: a number, its unit, and what it should be."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One result. ``goal`` is the least that it should be, or the most where ``at_least`` is
    False; without one it only informs. ``spread`` are the least and the most of its rounds."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    at_least: bool = True
    spread: tuple[float, float] | None = None

    @classmethod
    def median(
        cls,
        name: str,
        rounds: Iterable[float],
        unit: str,
        goal: float | None = None,
        *,
        at_least: bool = True,
    ) -> Self:
        """Of what the rounds gave."""
        values = list(rounds)
        spread = (min(values), max(values)) if len(values) > 1 else None
        return cls(name, statistics.median(values), unit, goal, at_least, spread)

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    @property
    def range(self) -> str:
        """The spread, for people."""
        return "" if self.spread is None else f"{self.spread[0]:.3g} to {self.spread[1]:.3g}"


def show(figures: Sequence[Figure], title: str, console: Console) -> None:
    """Print them as a table."""
    table = Table("what", "value", "rounds", "unit", "goal", title=title)
    for figure in figures:
        goal = "" if figure.goal is None else f"{figure.goal:g}"
        style = {None: None, True: "green", False: "red"}[figure.met]
        row = (figure.name, f"{figure.value:.4g}", figure.range, figure.unit, goal)
        table.add_row(*row, style=style)
    console.print(table)

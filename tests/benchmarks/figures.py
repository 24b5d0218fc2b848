"""What a benchmark says: a number, its unit, and what it should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One result. ``goal`` is the least that it should be, or the most where ``at_least`` is
    False; without one it only informs."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    at_least: bool = True

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal


def show(figures: Sequence[Figure], title: str, console: Console) -> None:
    """Print them as a table."""
    table = Table("what", "value", "unit", "goal", title=title)
    for figure in figures:
        goal = "" if figure.goal is None else f"{figure.goal:.3g}"
        style = {None: None, True: "green", False: "red"}[figure.met]
        table.add_row(figure.name, f"{figure.value:.4g}", figure.unit, goal, style=style)
    console.print(table)

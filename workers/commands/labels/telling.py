"""Figures as a person reads them at a terminal."""

from __future__ import annotations

from rich import box
from rich.table import Table

from pipeline.evaluation.judging import Interval
from pipeline.share import Share

_NAME_CHARACTERS = 8


def table_of_labels(*headings: str) -> Table:
    """A table with a row of numbers for each label."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("label", style="bold", overflow="fold", min_width=_NAME_CHARACTERS)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def percent(estimate: Share | Interval, *, interval: bool = True) -> str:
    """An estimate in per cent, with its interval."""
    if estimate.value is None:
        return "[dim]-[/]"
    shown = f"{100 * estimate.value:.1f}"
    if estimate.low is None or estimate.high is None or not interval:
        return shown
    return f"{shown} [dim]{100 * estimate.low:.1f}-{100 * estimate.high:.1f}[/]"


def told(score: float) -> str:
    """A threshold with all its decimals."""
    return f"{score:.12g}"

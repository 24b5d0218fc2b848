"""Figures as a person reads them at a terminal, and as programs read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.evaluation.judging import Interval
from pipeline.evaluation.share import Share

if TYPE_CHECKING:
    from workers.commands.evaluation.embedding import Refused

_NAME_CHARACTERS = 8
_SHOWN_REFUSALS = 10


def table_of_labels(*headings: str, first: str = "label") -> Table:
    """A table with a row of numbers for each label."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, style="bold", overflow="fold", min_width=_NAME_CHARACTERS)
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


def figure(estimate: Interval, *, interval: bool = True) -> str:
    """An estimate with four decimals, and its interval."""
    if estimate.value is None:
        return "[dim]-[/]"
    if not interval:
        return f"{estimate.value:.4f}"
    return f"{estimate.value:.4f} [dim]{estimate.low:.4f} to {estimate.high:.4f}[/]"


def plain_share(share: Share) -> dict[str, float | int | None]:
    bounds = {"value": share.value, "low": share.low, "high": share.high}
    return {**bounds, "hits": share.hits, "of": share.of}


def plain_interval(interval: Interval) -> dict[str, float | None]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def told(score: float) -> str:
    """A threshold with all its decimals."""
    return f"{score:.12g}"


def tell_refused(refused: Sequence[Refused], console: Console) -> None:
    """Name the images that could not be used."""
    for each in refused[:_SHOWN_REFUSALS]:
        console.print(f"[yellow]not used:[/] {escape(f'{each.name}: {each.message}')}")
    if len(refused) > _SHOWN_REFUSALS:
        console.print(f"[yellow]not used:[/] {len(refused) - _SHOWN_REFUSALS} more; --json has all")
